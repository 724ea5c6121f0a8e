"""A frozen layer is the layer it was made of, its numbers its own, and what has no batch contracted once."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import FACTORIZATIONS, IMPLEMENTATIONS, cases, integers
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear
from tlinear import frozen as frozen_module
from tlinear.errors import ParameterError, ShapeError, StateError
from tlinear.frozen import _PLANS_HELD, FrozenLinear


def layer_of(case, data, **options):
    """A layer, perhaps of fewer features than its modes hold, and an input and a cotangent of it."""
    most_in, most_out = case.weight.in_features, case.weight.out_features
    n_in, n_out = data.draw(st.integers(1, most_in)), data.draw(st.integers(1, most_out))
    bias = None if case.bias is None else case.bias[:n_out]
    layer = FactorizedLinear.from_weight(case.weight, bias, in_features=n_in, out_features=n_out)
    return layer.with_options(**options), case.x[..., :n_in], case.dy[..., :n_out]


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.data())
def test_freezing_changes_nothing_that_is_computed(case, implementation, data):
    layer, x, dy = layer_of(case, data, implementation=implementation)
    frozen, dx = layer.freeze(), case.like(x)
    expected, gradient = layer(x), layer.vjp(x)[1](dy).x
    for _ in range(2):
        y, pullback = frozen.vjp(x)
        for found in (frozen(x), y, frozen.forward(x), frozen.jvp(x, dx)[0]):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
        gradients = pullback(dy)
        np.testing.assert_array_equal(gradients.x, gradient)
        assert gradients.x.dtype == gradient.dtype
        assert gradients.parameters == {}
        np.testing.assert_array_equal(frozen.backward(dy), gradient)
        assert frozen.gradients == {}
        np.testing.assert_array_equal(frozen.jvp(x, dx)[1], layer.jvp(x, dx)[1])
        assert frozen.jvp(x, dx)[1].dtype == layer.jvp(x, dx)[1].dtype
        np.testing.assert_array_equal(frozen.jvp(x)[1], np.zeros_like(expected))
    assert (frozen.in_features, frozen.out_features) == (layer.in_features, layer.out_features)
    assert frozen.n_parameters == layer.n_parameters
    assert frozen.options is layer.options


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_a_frozen_layer_shares_no_memory_and_cannot_be_written(case, implementation):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    frozen = layer.freeze()
    expected = frozen(case.x)
    assert list(frozen.parameters()) == list(layer.parameters())
    for name, array in frozen.parameters().items():
        np.testing.assert_array_equal(array, layer.parameters()[name])
        assert not np.shares_memory(array, layer.parameters()[name])
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for array in layer.parameters().values():
        array[...] = 7
    np.testing.assert_array_equal(frozen(case.x), expected)
    for name in ("weight", "bias", "options"):
        with pytest.raises(AttributeError, match=f"{name!r} of a frozen layer cannot be set. Use"):
            setattr(frozen, name, None)


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_other_numbers_are_frozen_anew(case, implementation):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    frozen = layer.freeze()
    expected = frozen(case.x)
    other = {name: case.like(array) for name, array in layer.parameters().items()}
    again = frozen.with_parameters(other)
    assert isinstance(again, FrozenLinear)
    np.testing.assert_array_equal(again(case.x), layer.with_parameters(other)(case.x))
    np.testing.assert_array_equal(frozen(case.x), expected)
    assert not any(np.shares_memory(again.parameters()[name], array) for name, array in other.items())


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_what_has_no_batch_is_contracted_once_a_plan(factorization, implementation, monkeypatch):
    counted = []
    plain = frozen_module.contract_weights

    def spy(plan, *arguments, **keywords):
        counted.append(plan.batch_size)
        return plain(plan, *arguments, **keywords)

    monkeypatch.setattr(frozen_module, "contract_weights", spy)
    rank = "same" if factorization == "dense" else 2
    layer = FactorizedLinear((4, 3), (3, 4), factorization=factorization, rank=rank, rng=0)
    frozen = layer.with_options(implementation=implementation).freeze()
    for _ in range(3):
        for size in (3, 4, 30, 32):
            x = np.ones((size, 12))
            frozen(x)
            frozen.vjp(x)[1](np.ones((size, 12)))
            frozen.jvp(x, x)
    assert counted == [4, 32]


def test_what_is_held_is_bounded_and_counted():
    layer = FactorizedLinear((8, 8), (8, 8), factorization="tt", rank=4, rng=0)
    frozen = layer.with_options(implementation="reconstructed").freeze()
    assert frozen.held_bytes == 0
    for exponent in range(10):
        x = np.ones((2**exponent, 64))
        np.testing.assert_array_equal(frozen(x), layer.with_options(implementation="reconstructed").freeze()(x))
        assert frozen.held_bytes in {64 * 64 * 8, 2 * 64 * 64 * 8}  # it lies in one order for one sample, one for more
        assert len(frozen._held) == min(exponent + 1, _PLANS_HELD)
    dense = FactorizedLinear((8,), (8,), factorization="dense", rng=0).freeze()
    dense(np.ones((3, 8)))
    assert dense.held_bytes == 0  # the input meets the parameter itself


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.integers(0, 300))
def test_the_figures_of_a_frozen_plan_leave_out_what_has_no_batch(case, implementation, batch_size):
    frozen = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation).freeze()
    found = frozen.plan(batch_size)
    scale = 4 if case.weight.dtype.kind == "c" else 1
    assert found.mode == "frozen"
    assert found.flops == scale * sum(step.pair.flops(batch_size) for step in found.steps if step.pair.has_batch)
    assert found.done_anew == ()


def test_only_the_input_has_a_gradient():
    frozen = FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, rng=0).freeze()
    x = np.ones((3, 16))
    for wrt in (["bias"], ["x", "weight.cores.0"], "weight.cores.1"):
        with pytest.raises(ParameterError, match=r"The names in wrt do not match. .*Choose from \['x'\]"):
            frozen.vjp(x, wrt)
    with pytest.raises(ParameterError, match="The tangents of a frozen layer's parameters do not match"):
        frozen.jvp(x, x, {"bias": np.ones(10)})
    y, pullback = frozen.vjp(x, [])
    assert pullback(y).x is None
    assert pullback(y).parameters == {}
    np.testing.assert_array_equal(frozen.vjp(x, "x")[1](y).x, frozen.vjp(x)[1](y).x)
    with pytest.raises(StateError):
        frozen.backward(y)
    with pytest.raises(ShapeError, match="in_features=16"):
        frozen(np.ones(15))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda frozen: pickle.loads(pickle.dumps(frozen))])
def test_a_copy_computes_the_same_and_holds_its_own(again):
    frozen = FactorizedLinear((4, 4), (2, 5), factorization="tucker", rank=2, rng=0).freeze()
    x = np.ones((3, 16))
    expected = frozen(x)
    other = again(frozen)
    assert other.held_bytes == 0
    np.testing.assert_array_equal(other(x), expected)
    assert other._held is not frozen._held
    for array in other.parameters().values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag to True"):
            array.flags.writeable = True


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("dtypes", [("float64", "complex64"), ("complex64", "float64")])
def test_inputs_of_two_dtypes_of_one_size_do_not_share_what_is_held(factorization, dtypes):
    rank = "same" if factorization == "dense" else 2
    layer = FactorizedLinear((8, 8), (8, 8), factorization=factorization, rank=rank, dtype="float32", rng=0)
    layer = layer.with_parameters({name: np.ones_like(array) for name, array in layer.parameters().items()})
    frozen = layer.freeze()
    for dtype in dtypes:
        x = np.ones((3000, 64), dtype)
        y = frozen(x)
        assert y.dtype == np.result_type(dtype, "float32")
        np.testing.assert_array_equal(y, layer(x))


def test_what_is_fixed_can_neither_be_set_nor_deleted():
    frozen = FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, rng=0).freeze()
    for name in ("weight", "bias", "options"):
        with pytest.raises(AttributeError, match=f"'{name}' of a frozen layer cannot be set"):
            setattr(frozen, name, None)
        with pytest.raises(AttributeError, match=f"'{name}' of a frozen layer cannot be deleted"):
            delattr(frozen, name)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_threads_may_call_it_at_once(factorization):
    """More batch sizes than plans are held, so that they are dropped and made all the time."""
    rng = np.random.default_rng(0)
    rank = "same" if factorization == "dense" else 2
    layer = FactorizedLinear((3, 4), (2, 5), factorization=factorization, rank=rank, rng=0)
    layer = layer.with_parameters({name: integers(rng, a.shape, float) for name, a in layer.parameters().items()})
    frozen, inputs = layer.freeze(), [integers(rng, (2**k, 12), float) for k in range(8)] * 10

    def ask(x):
        assert frozen.held_bytes >= 0
        return frozen(x)

    with ThreadPoolExecutor(8) as pool:
        for x, y in zip(inputs, pool.map(ask, inputs), strict=True):
            np.testing.assert_array_equal(y, layer(x))
    assert len(frozen._held) <= _PLANS_HELD


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("batch", [(), (0,), (3, 0), (2, 3)])
def test_half_precision_and_empty_batches(factorization, batch):
    rank = "same" if factorization == "dense" else 2
    layer = FactorizedLinear(
        (4, 4), (2, 5), in_features=15, factorization=factorization, rank=rank, dtype="float16", rng=0
    )
    x = np.ones((*batch, 15), np.float16)
    frozen = layer.with_options(implementation="factorized").freeze()
    y, pullback = frozen.vjp(x)
    assert y.dtype == np.float16
    assert y.shape == (*batch, 10)
    assert pullback(y).x.dtype == np.float16
    assert pullback(y).x.shape == x.shape
    assert frozen.plan(5).dtype == np.float32


def test_its_parameters_cannot_be_made_writeable_again():
    frozen = FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, rng=0).freeze()
    for array in frozen.parameters().values():
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
