"""Parameters are C-contiguous, whatever is given: what is so already is held, and the rest is copied."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from spaces import on_every_place

import tlinear
from tlinear import FactorizedLinear, Linear, decompose
from tlinear.arrays import as_parameter, as_source, to_numpy
from tlinear.formats import FORMATS
from tlinear.optim import Adam

generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
OPTIONS = {"cp": {"max_iterations": 3}, "tucker": {"max_iterations": 3}}


def strided(rng, array):
    """The same numbers in another order of memory."""
    match rng.integers(4):
        case 0:
            return np.asfortranarray(array)
        case 1:
            return np.repeat(array, 2, axis=-1)[..., ::2]
        case 2:
            return np.flip(np.ascontiguousarray(np.flip(array)))
        case _:
            wider = np.zeros((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
            wider[..., 1:] = array
            return wider[..., 1:]


def is_in_order(array):
    """As the library tells; where it does not, there is nothing to say."""
    if hasattr(array, "is_contiguous"):
        return array.is_contiguous()
    return getattr(getattr(array, "flags", None), "c_contiguous", True)


def assert_in_order(layer):
    arrays = layer.operands if isinstance(layer, tlinear.formats.FactorizedTensor) else layer.parameters()
    assert {name: array.strides for name, array in arrays.items() if not is_in_order(array)} == {}


def layers_of(rng, factorization, dtype):
    """A layer by every way there is to one, from arrays that lie in any order."""
    rank = "same" if factorization == "dense" else 2
    asked = {"factorization": factorization, "rank": rank}
    new = FactorizedLinear((2, 3), (3, 2), dtype=dtype, rng=rng, **asked)
    yield new
    operands = {name: strided(rng, array) for name, array in new.weight.operands.items()}
    bias = strided(rng, new.bias)
    weight = type(new.weight).from_operands(operands, 2, 2)
    yield weight
    yield new.weight.with_operands(operands)
    yield FactorizedLinear.from_weight(weight, bias)
    given = new.with_parameters({name: strided(rng, array) for name, array in new.parameters().items()})
    yield from (given, given.freeze(), given.freeze().with_parameters(given.parameters()), given.to_linear())
    yield from (given.to(np), given.weight.to(np), weight.astype(np.complex64), weight.astype(np.complex128))
    yield from (pickle.loads(pickle.dumps(given)), copy.deepcopy(given.freeze()))
    matrix = strided(rng, new.weight.to_matrix())
    dense = Linear.from_arrays(matrix, bias)
    yield from (dense, Linear.from_arrays(matrix.T, bias, transposed=True), Linear(6, 6, dtype=dtype, rng=rng))
    yield from (dense.to(np), dense.with_parameters({"weight": strided(rng, dense.weight), "bias": bias}))
    options = OPTIONS.get(factorization, {})
    for pad, transposed, inputs in ((False, False, None), (0.5, True, None), (False, False, np.eye(6)[:4] + 0.1)):
        small = {"decomposition_options": options, "calibration": inputs, "pad": pad, "transposed": transposed}
        yield FactorizedLinear.from_linear(dense, **small, **asked)
    tensor = strided(rng, new.weight.to_tensor())
    yield decompose(tensor, factorization, rank, n_in=2, **options).tensor
    adam, parameters = Adam(0.1), given.parameters()
    _, pullback = given.vjp(np.ones((3, 6), dtype))
    yield given.with_parameters(adam.update(parameters, pullback(np.ones((3, 6))).parameters, adam.init(parameters))[0])


@pytest.mark.parametrize("factorization", FORMATS)
@given(rng=generators, dtype=st.sampled_from([np.float32, np.float64, np.complex64]))
@settings(max_examples=5)
def test_every_way_to_a_layer_puts_its_parameters_in_order(factorization, rng, dtype):
    for layer in layers_of(rng, factorization, dtype):
        assert_in_order(layer)


@given(generators, st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple))
@settings(max_examples=30)
def test_what_lies_in_order_is_held_and_the_rest_copied_entry_by_entry(rng, shape):
    array = rng.standard_normal(shape)
    assert as_parameter(array) is array
    other = strided(rng, array)
    found = as_parameter(other)
    assert (found is other) == other.flags.c_contiguous
    assert found.flags.c_contiguous
    assert as_source(other) is other
    np.testing.assert_array_equal(found, array)


@on_every_place
def test_parameters_lie_in_order_in_other_libraries_too(place):
    cores = [
        place.space.transpose(place.array(np.ones(shape, np.float32)), (2, 1, 0)) for shape in ((2, 3, 1), (1, 4, 2))
    ]
    matrix = place.array(np.arange(24, dtype=np.float32).reshape(4, 6))
    layer = FactorizedLinear.from_weight(tlinear.TTTensor(tuple(cores), n_in=1))
    for each in (
        layer,
        layer.freeze(),
        layer.to_linear(),
        layer.with_parameters(layer.parameters()),
        layer.to(np),
        Linear.from_arrays(matrix, transposed=True),
        FactorizedLinear.from_linear(Linear.from_arrays(matrix, transposed=True), factorization="dense"),
    ):
        assert_in_order(each)
    assert Linear.from_arrays(matrix).weight is matrix
    np.testing.assert_array_equal(to_numpy(Linear.from_arrays(matrix, transposed=True).weight), to_numpy(matrix).T)


def test_a_file_of_parameters_holds_the_numbers_of_a_transposed_weight():
    """safetensors stores the memory as it lies, and the shape beside it."""
    weight = np.arange(6.0).reshape(2, 3)
    layer = Linear.from_arrays(weight, transposed=True)
    stored = load(save(layer.parameters()))
    np.testing.assert_array_equal(stored["weight"], weight.T)
