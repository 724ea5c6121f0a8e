"""From what is asked for to ranks that can be: ``rules`` (which can), ``budget`` (to fill one), ``resolve``."""
