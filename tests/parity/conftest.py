"""The settings of the parity suite: what every test of this folder shares."""

from hypothesis import settings

settings.register_profile("parity", deadline=None, max_examples=12, derandomize=True)
settings.load_profile("parity")
