"""Hypothesis profiles: the default one is reproducible, `--hypothesis-profile=thorough` looks further."""

from hypothesis import HealthCheck, settings

settings.register_profile("default", derandomize=True, deadline=None, max_examples=60)
settings.register_profile(
    "thorough",
    derandomize=False,
    print_blob=True,
    deadline=None,
    max_examples=1000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")
