"""A failing case shows its numbers, whatever the format."""

import numpy as np
from cases import cases
from hypothesis import given
from hypothesis.vendor.pretty import pretty


@given(cases())
def test_a_case_is_printed_with_every_operand(case):
    printed = pretty(case)
    for name, array in case.weight.operands.items():
        assert f"'{name}': {np.array_repr(array)}" in printed
