"""Hypothesis profiles: the default one is reproducible and quick; `wide` and `thorough` look further, at random."""

import os

# before NumPy is loaded, and for the workers too: there is one for each core, which two threads would fight for
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

from tlinear.formats import FactorizedTensor

settings.register_profile("default", derandomize=True, deadline=None, max_examples=15)
for name, max_examples in (("wide", 100), ("thorough", 1000)):
    settings.register_profile(
        name,
        derandomize=False,
        print_blob=True,
        deadline=None,
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("default")


def print_tensor(tensor, printer, cycle):
    """A failing case's weight, to be pasted; else Hypothesis would read fields off a format that it does not have."""
    operands = f"{tensor.operands!r}, {len(tensor.in_shape)}, {len(tensor.out_shape)}"
    printer.text(f"{type(tensor).__name__}.from_operands({operands})")


FactorizedTensor._repr_pretty_ = print_tensor
