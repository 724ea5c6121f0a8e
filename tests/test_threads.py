"""Layers may be called from many threads at once: a call changes nothing but the bounded cache of plans."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from cases import integers

from tlinear import FactorizedLinear
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
