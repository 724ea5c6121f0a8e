"""A layer of integer-valued numbers in NumPy, and the same layer elsewhere: their results are equal.

With what a place without double precision can hold exactly, which is assumed and not hoped for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from cases import Case, cases
from hypothesis import assume
from hypothesis import strategies as st
from spaces import Place

from tlinear import FactorizedLinear
from tlinear.arrays import space_of, to_numpy

EXACT_IN_SINGLE = 2**24


@dataclass(frozen=True)
class Twins:
    """A case with a layer of its weight and bias, here and elsewhere."""

    case: Case
    here: FactorizedLinear
    there: FactorizedLinear
    place: Place

    @property
    def x(self):
        return self.place.array(self.case.x)

    @property
    def dy(self):
        return self.place.array(self.case.dy)

    def like(self, array):
        """Other numbers of the same shape and dtype, here and there."""
        drawn = self.case.like(array)
        return drawn, self.place.array(drawn)


def single(case: Case) -> Case:
    """The same numbers in single precision, if every sum of them is exact in it."""
    layer = FactorizedLinear.from_weight(*_absolute(case.weight, case.bias))
    y, pullback = layer.vjp(_parts(case.x))
    gradients = pullback(_parts(case.dy))
    # a sum of products of absolute values bounds every partial sum, and a tangent has entries of the same size
    sums = [y, gradients.x, *gradients.parameters.values()]
    n_parameters = len(gradients.parameters) + 1
    assume(all(array.size == 0 or array.max() * n_parameters < EXACT_IN_SINGLE for array in sums))
    dtype = {"d": np.float32, "D": np.complex64}[case.x.dtype.char]
    bias = None if case.bias is None else case.bias.astype(dtype)
    return replace(case, weight=case.weight.astype(dtype), bias=bias, x=case.x.astype(dtype), dy=case.dy.astype(dtype))


def _absolute(weight, bias):
    operands = {name: _parts(array) for name, array in weight.operands.items()}
    return weight.with_operands(operands), None if bias is None else _parts(bias)


def _parts(array):
    return np.abs(array.real) + np.abs(array.imag)


@st.composite
def twins(draw, place, *, implementations=("factorized", "reconstructed", "auto"), **kinds):
    """A drawn case as a layer here and there."""
    case = draw(cases(**kinds))
    if not place.has_double:
        case = single(case)
    here = FactorizedLinear.from_weight(case.weight, case.bias, implementation=draw(st.sampled_from(implementations)))
    there = here.to(place.xp, place.device)
    return Twins(case, here, there, place)


def assert_same(there, here, place):
    """Equal numbers of the same shape and dtype, and where they should be."""
    assert space_of(there) is place.space
    crossed = to_numpy(there)
    assert crossed.dtype == here.dtype
    np.testing.assert_array_equal(crossed, here)


def assert_same_named(there, here, place):
    """The same of dicts of arrays."""
    assert list(there) == list(here)
    for name, array in here.items():
        assert_same(there[name], array, place)
