"""The layer on a GPU: right by every tier of the oracle, and nothing comes to the host on the way.

``pytest tests/gpu`` where there is one; ``pytest tests/gpu --mock`` proves these tests where there is none.
"""

import numpy as np
import pytest
from testing.drawn import by_layer

from tlinear import FactorizedLinear
from tlinear.arrays import space_of, to_numpy
from tlinear.formats import FORMATS
from tlinear.optim import SGD, Adam
from tlinear.testing import check

HALVES = ("float16", "bfloat16")
IMPLEMENTATIONS = ("factorized", "reconstructed", "auto")


def layer_on(cp, factorization, implementation="auto", **options):
    rank = "same" if factorization == "dense" else 3
    return FactorizedLinear(
        (4, 4, 2), (2, 5), factorization=factorization, rank=rank, implementation=implementation, rng=0, **options
    ).to(cp)


def numbers(cp, *shape, dtype="float32"):
    return cp.asarray(np.random.default_rng(0).integers(-2, 3, shape).astype(dtype))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_tier_of_the_oracle_passes(cp, implementation, request):
    def on_device(case):
        results = by_layer(case.map(cp.asarray), implementation=implementation)
        assert all(space_of(array).hardware == "gpu" for array in results.values())
        return {name: to_numpy(array) for name, array in results.items()}

    n_cases = 40 if request.config.getoption("--mock") else 400
    report = check(on_device, max_examples=n_cases, max_modes=3, large=False, jvp=True)
    assert report.passed, str(report)


def test_a_copy_to_the_host_is_counted(cp, transfers):
    """What the next test relies on."""
    array = numbers(cp, 3)
    to_numpy(array)
    assert len(transfers) >= 1
    transfers.clear()
    float(cp.sum(array))
    assert len(transfers) >= 1


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_nothing_comes_to_the_host_in_training_and_inference(cp, transfers, factorization, implementation):
    layer = layer_on(cp, factorization, implementation, dtype="float32")
    x, dy = numbers(cp, 64, 32), numbers(cp, 64, 10)
    frozen = layer.freeze()
    sgd, adam = SGD(0.1, momentum=0.9), Adam(0.1)
    states = sgd.init(layer.parameters()), adam.init(layer.parameters())
    transfers.clear()
    y, pullback = layer.vjp(x)
    gradients = pullback(dy)
    layer(x), frozen(x), frozen.vjp(x)[1](dy), layer.jvp(x, x), layer.trace(x)
    for optimiser, state in zip((sgd, adam), states, strict=True):
        optimiser.update(layer.parameters(), gradients.parameters, state)
    assert transfers == []
    assert space_of(y) is space_of(gradients.x) is layer.space


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_exact_on_small_integers(cp, factorization, dtype):
    """Bias 0, +-1 operands of few ranks: no sum is above 256, which both kinds of half precision hold."""
    if not hasattr(cp, dtype):
        pytest.skip(f"{cp.__name__} has no {dtype}")
    rank = "same" if factorization == "dense" else 1
    here = FactorizedLinear((4, 4), (2, 5), factorization=factorization, rank=rank, rng=0, bias=False)
    here = here.with_parameters({name: np.sign(array) for name, array in here.parameters().items()})
    half = FactorizedLinear.from_weight(here.to(cp).weight.astype(getattr(cp, dtype)))
    x, dy = (np.sign(np.random.default_rng(n).standard_normal((4, n))) for n in (16, 10))
    y, pullback = half.vjp(cp.asarray(x).astype(dtype))
    assert y.dtype == getattr(cp, dtype)
    np.testing.assert_array_equal(to_numpy(y.astype("float32")), here(x))
    gradients = pullback(cp.asarray(dy).astype(dtype))
    np.testing.assert_array_equal(to_numpy(gradients.x.astype("float32")), here.vjp(x)[1](dy).x)


def test_plans_are_those_of_a_gpu(cp):
    """Launches cost more than caches save there, so that a batch is cut into fewer chunks than for a CPU."""
    options = {"factorization": "blocktt", "rank": 8, "dtype": "float32", "rng": 0, "implementation": "factorized"}
    here = FactorizedLinear((4, 8, 8, 4), (4, 8, 8, 4), **options)
    plan = here.to(cp).plan(8192)
    assert (plan.hardware, here.plan(8192).hardware) == ("gpu", "cpu")
    assert plan.chunk_size > here.plan(8192).chunk_size


def test_memory_is_reused(cp):
    """The pool of the library holds no more after further calls than after the first ones."""
    layer = layer_on(cp, "tt", dtype="float32")
    x, dy = numbers(cp, 512, 32), numbers(cp, 512, 10)
    for _ in range(3):
        layer.vjp(x)[1](dy)
    held = cp.get_default_memory_pool().total_bytes()
    for _ in range(20):
        layer.vjp(x)[1](dy)
    assert cp.get_default_memory_pool().total_bytes() == held
