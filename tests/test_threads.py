"""Layers may be called from many threads at once: a call changes nothing but the bounded cache of plans."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import integers

from tlinear import FactorizedLinear, Linear
from tlinear.contraction.search import cached_plan
from tlinear.formats import FORMATS


def test_concurrent_calls_give_what_calls_one_by_one_give():
    rng = np.random.default_rng(0)
    layers = []
    for cls in FORMATS.values():
        random = cls.random((3, 4), (2, 5), "same" if cls.factorization == "dense" else 2, rng=0)
        operands = {name: integers(rng, array.shape, float) for name, array in random.operands.items()}
        layers.append(FactorizedLinear.from_weight(cls.from_operands(operands, 2, 2)))
    calls = [(layer, integers(rng, (n, 12), float)) for n in range(1, 40) for layer in layers]

    def both_ways(call):
        layer, x = call
        y, pullback = layer.vjp(x)
        return layer(x), y, pullback(np.ones_like(y)).x

    expected = [both_ways(call) for call in calls]
    cached_plan.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(both_ways, calls))
    for result, one_by_one in zip(results, expected, strict=True):
        for a, b in zip(result, one_by_one, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [FactorizedLinear, Linear])
def test_shallow_copies_share_the_arrays_and_remember_a_pass_of_their_own(make):
    """The passes are held open together, so that a layer which remembered them for all would pull back the last one."""
    layer = make((3, 4), (2, 5), factorization="tt", rank=2, rng=0) if make is FactorizedLinear else make(12, 10, rng=0)
    rng = np.random.default_rng(0)
    inputs = [integers(rng, (n, 12), float) for n in range(1, 9)]
    copies = [copy.copy(layer) for _ in inputs]
    for own, x in zip(copies, inputs, strict=True):
        own.forward(x)
    for own, x in zip(copies, inputs, strict=True):
        y, pullback = layer.vjp(x)
        expected = pullback(np.ones_like(y))
        np.testing.assert_array_equal(own.backward(np.ones_like(y)), expected.x)
        for name, gradient in expected.parameters.items():
            np.testing.assert_array_equal(own.gradients[name], gradient)
            assert own.parameters()[name] is layer.parameters()[name]
