"""No call of NumPy touches an array of another library, and importing tlinear loads none of them."""

import subprocess
import sys

import numpy as np
import pytest
from spaces import Place

from tlinear import FactorizedLinear
from tlinear.arrays import space_of
from tlinear.formats import FORMATS
from tlinear.optim import SGD, Adam

strict = pytest.importorskip("array_api_strict")
DEVICES = [Place(name, strict, strict.Device(name)) for name in ("CPU_DEVICE", "device1")]
DOORS = ("__array__", "__float__", "__int__", "__index__", "__complex__", "__buffer__", "__dlpack__")
"""How an array, or what is in it, gets out of its library."""


class CrossedError(AssertionError):
    """Something came out."""


@pytest.fixture
def closed(monkeypatch):
    """array-api-strict with its doors shut; bool is left, with which the library itself compares shapes."""

    def refuse(door):
        def call(self, *arguments, **options):
            raise CrossedError(f"{door} of an array was called")

        return call

    def close():
        for door in DOORS:
            if hasattr(strict._array_object.Array, door):
                monkeypatch.setattr(strict._array_object.Array, door, refuse(door))

    return close


@pytest.mark.parametrize("place", DEVICES, ids=repr)
@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("implementation", ["factorized", "reconstructed", "auto"])
def test_training_and_inference_bring_nothing_to_the_host(closed, place, factorization, implementation):
    rank = "same" if factorization == "dense" else 2
    here = FactorizedLinear(
        (4, 3), (2, 5), in_features=11, factorization=factorization, rank=rank, rng=0, implementation=implementation
    )
    layer = here.to(place.xp, place.device)
    x, dy = place.array(np.ones((6, 11))), place.array(np.ones((6, 10)))
    sgd, adam = SGD(0.1, momentum=0.9), Adam(0.1)
    closed()
    with pytest.raises(CrossedError):
        np.asarray(x)
    with pytest.raises(CrossedError):
        float(x[0, 0])
    frozen = layer.freeze()
    for optimiser in (sgd, adam):
        state = optimiser.init(layer.parameters())
        for _ in range(2):
            _, pullback = layer.vjp(x)
            gradients = pullback(dy)
            parameters, state = optimiser.update(layer.parameters(), gradients.parameters, state)
            layer = layer.with_parameters(parameters)
    results = [
        layer(x),
        frozen(x),
        frozen.vjp(x)[1](dy).x,
        gradients.x,
        *layer.jvp(x, x, {"bias": layer.bias}),
        *layer.trace(x).values(),
    ]
    assert all(space_of(array) is place.space for array in results)


def test_import_and_work_in_numpy_load_no_other_array_library():
    """Those that are installed: array-api-strict at least is, with the tests."""
    program = """
import sys
import numpy as np, tlinear, tlinear.optim
layer = tlinear.FactorizedLinear((4, 4), (2, 5), rank=2, rng=0)
layer.vjp(np.ones((3, 16)))[1](np.ones((3, 10)))
layer([[1.0] * 16]), layer.to(np)
known = ("array_api_strict", "torch", "cupy", "jax", "dask", "sparse", "ndonnx", "tensorflow")
print([name for name in known if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
