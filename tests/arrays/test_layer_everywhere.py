"""The layer computes the same numbers wherever its arrays live, to the last bit, and leaves them there."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from arrays.twins import assert_same, assert_same_named, twins
from cases import integers
from hypothesis import given
from hypothesis import strategies as st
from spaces import on_every_place

import tlinear
from tlinear import FactorizedLinear, Linear, factorized_linear
from tlinear.arrays import space_of, to_numpy
from tlinear.contraction.network import Network
from tlinear.contraction.search import plan
from tlinear.contraction.tape import contract_with_tape

MEMORIES = ("store", "recompute")


@on_every_place
@given(st.data())
def test_output_and_every_gradient_are_the_same_everywhere(place, data):
    pair = data.draw(twins(place))
    y, pullback = pair.here.vjp(pair.case.x)
    gradients = pullback(pair.case.dy)
    y_there, pullback_there = pair.there.vjp(pair.x)
    gradients_there = pullback_there(pair.dy)
    assert_same(pair.there(pair.x), y, place)
    assert_same(y_there, y, place)
    assert_same(gradients_there.x, gradients.x, place)
    assert_same_named(gradients_there.parameters, gradients.parameters, place)


@on_every_place
@given(st.data())
def test_tangents_are_pushed_forward_the_same_everywhere(place, data):
    pair = data.draw(twins(place))
    names = data.draw(st.sets(st.sampled_from(sorted(pair.here.parameters()))))
    drawn = {name: pair.like(pair.here.parameters()[name]) for name in sorted(names)}
    dx, dx_there = pair.like(pair.case.x) if data.draw(st.booleans()) else (None, None)
    expected = pair.here.jvp(pair.case.x, dx, {name: here for name, (here, _) in drawn.items()})
    found = pair.there.jvp(pair.x, dx_there, {name: there for name, (_, there) in drawn.items()})
    for there, here in zip(found, expected, strict=True):
        assert_same(there, here, place)


@on_every_place
@given(st.data())
def test_gradients_asked_for_are_the_same_everywhere(place, data):
    pair = data.draw(twins(place))
    names = data.draw(st.sets(st.sampled_from(["x", *pair.here.parameters()])))
    expected = pair.here.vjp(pair.case.x, wrt=names)[1](pair.case.dy)
    found = pair.there.vjp(pair.x, wrt=names)[1](pair.dy)
    assert (found.x is None) == (expected.x is None)
    if expected.x is not None:
        assert_same(found.x, expected.x, place)
    assert_same_named(found.parameters, expected.parameters, place)


@on_every_place
@given(st.data())
def test_last_intermediate_of_a_trace_is_the_output_everywhere(place, data):
    pair = data.draw(twins(place))
    trace = pair.there.trace(pair.x)
    assert_same(trace["y"], pair.here(pair.case.x), place)
    assert all(space_of(array) is place.space for array in trace.values())
    assert all(trace.equations[name] in str(trace) for name in trace)


@on_every_place
@given(st.data())
def test_frozen_layer_is_the_layer_everywhere(place, data):
    pair = data.draw(twins(place))
    frozen = pair.there.freeze()
    y, pullback = frozen.vjp(pair.x)
    assert_same(frozen(pair.x), pair.here(pair.case.x), place)
    assert_same(y, pair.here(pair.case.x), place)
    assert_same(pullback(pair.dy).x, pair.here.vjp(pair.case.x, wrt="x")[1](pair.case.dy).x, place)
    dx, dx_there = pair.like(pair.case.x)
    assert_same(frozen.jvp(pair.x, dx_there)[1], pair.here.jvp(pair.case.x, dx)[1], place)
    assert frozen.held_bytes >= 0
    assert space_of(copy.deepcopy(frozen)(pair.x)) is place.space


@on_every_place
@given(st.data(), st.sampled_from([1, 3, 8]), st.sampled_from(MEMORIES))
def test_chunks_change_nothing_anywhere(place, data, chunk, memory):
    """The plan that a limit of memory would give, without having to find the limit that gives it."""
    pair = data.draw(twins(place))
    plan = replace(pair.there.plan(8, "training"), chunk_size=chunk, memory=memory).on(place.space)
    weight = pair.here.weight
    x = integers(pair.case.rng, (8, *weight.in_shape), weight.dtype)
    dy = integers(pair.case.rng, (8, *weight.out_shape), weight.dtype)
    here = replace(plan, space=space_of(x))
    operands = list(weight.operands.values())
    result, tape = contract_with_tape(here, [x, *operands])
    found, tape_there = contract_with_tape(plan, [place.array(x), *pair.there.weight.operands.values()])
    gradients, gradients_there = tape.pull_back(dy), tape_there.pull_back(place.array(dy))
    space, exact = place.space, max(abs(array).max(initial=0) for array in (result, *gradients.values())) < 2**22
    assert_same(space.reshape(found, result.shape), result, place)
    for number, gradient in gradients.items():
        if exact or place.has_double:
            assert_same(gradients_there[number], gradient, place)


@on_every_place
@given(st.data())
def test_padding_and_cropping_are_the_same_everywhere(place, data):
    pair = data.draw(twins(place))
    weight = pair.case.weight
    n_in, n_out = data.draw(st.integers(1, weight.in_features)), data.draw(st.integers(1, weight.out_features))
    x, dy = pair.case.x[..., :n_in], pair.case.dy[..., :n_out]
    bias = None if pair.case.bias is None else pair.case.bias[:n_out]
    here = FactorizedLinear.from_weight(weight, bias, in_features=n_in, out_features=n_out)
    there = here.to(place.xp, place.device)
    assert (there.in_features, there.out_features) == (n_in, n_out)
    gradients, (y, pullback) = here.vjp(x)[1](dy), there.vjp(place.array(x))
    assert_same(y, here(x), place)
    found = pullback(place.array(dy))
    assert_same(found.x, gradients.x, place)
    assert_same_named(found.parameters, gradients.parameters, place)
    assert_same(there.to_linear()(place.array(x)), here(x), place)


@on_every_place
@given(st.data())
def test_pure_function_is_the_layer_everywhere(place, data):
    pair = data.draw(twins(place))
    there = pair.there
    y = factorized_linear(pair.x, there.weight, there.bias, implementation=there.implementation)
    assert_same(y, pair.here(pair.case.x), place)


@on_every_place
@given(st.data())
def test_dense_layer_is_the_same_everywhere(place, data):
    pair = data.draw(twins(place))
    here = pair.here.to_linear()
    there = here.to(place.xp, place.device)
    y, pullback = there.vjp(pair.x)
    assert_same(y, here(pair.case.x), place)
    gradients, found = here.vjp(pair.case.x)[1](pair.case.dy), pullback(pair.dy)
    assert_same(found.x, gradients.x, place)
    assert_same_named(found.parameters, gradients.parameters, place)
    drawn = {name: pair.like(array) for name, array in here.parameters().items()}
    dx, dx_there = pair.like(pair.case.x)
    expected = here.jvp(pair.case.x, dx, {name: tangent for name, (tangent, _) in drawn.items()})
    pushed = there.jvp(pair.x, dx_there, {name: tangent for name, (_, tangent) in drawn.items()})
    for array, other in zip(pushed, expected, strict=True):
        assert_same(array, other, place)


@on_every_place
@given(st.data())
def test_tensor_and_matrix_are_the_same_everywhere(place, data):
    pair = data.draw(twins(place))
    assert_same(pair.there.weight.to_tensor(), pair.here.weight.to_tensor(), place)
    assert_same(pair.there.weight.to_matrix(), pair.here.weight.to_matrix(), place)
    assert pair.there.weight.shape == pair.here.weight.shape
    assert pair.there.weight.rank == pair.here.weight.rank
    assert repr(pair.there).count(", cp,") == repr(pair.here).count(", cp,")


@on_every_place
@given(st.data())
def test_layers_are_pickled_where_they_are(place, data):
    pair = data.draw(twins(place))
    again = pickle.loads(pickle.dumps(pair.there))
    assert_same(again(pair.x), pair.here(pair.case.x), place)


@on_every_place
def test_forward_and_backward_are_the_vjp_everywhere(place):
    weight = tlinear.TTTensor.random((4, 3), (2, 5), 2, rng=0, dtype="float32").to(place.xp, place.device)
    layer = FactorizedLinear.from_weight(weight)
    rng = np.random.default_rng(0)
    x, dy = (place.array(rng.standard_normal((3, n)).astype(np.float32)) for n in (12, 10))
    y, pullback = layer.vjp(x)
    gradients = pullback(dy)
    np.testing.assert_array_equal(to_numpy(layer.forward(x)), to_numpy(y))
    np.testing.assert_array_equal(to_numpy(layer.backward(dy)), to_numpy(gradients.x))
    for name, gradient in layer.gradients.items():
        np.testing.assert_array_equal(to_numpy(gradient), to_numpy(gradients.parameters[name]))


@on_every_place
def test_integers_take_the_dtype_of_the_weight_everywhere(place):
    weight = np.ones((3, 4), np.float32)
    x = np.arange(8, dtype=np.int32).reshape(2, 4)
    there = Linear.from_arrays(place.array(weight))
    y = there(place.array(x))
    assert space_of(y) is place.space
    np.testing.assert_array_equal(to_numpy(y), x @ weight.T)


@on_every_place
def test_more_modes_than_libraries_have_axes_are_contracted_with_the_factors(place):
    shape = (4, 4) + (1,) * 38
    here = FactorizedLinear(shape, shape, factorization="cp", rank=3, rng=0, dtype="float32")
    here = here.with_parameters({name: np.sign(array) for name, array in here.parameters().items()})
    x = np.ones((5, 16), np.float32)
    assert_same(here.to(place.xp, place.device)(place.array(x)), here(x), place)


@on_every_place
@pytest.mark.parametrize("mode", ["forward", "training"])
def test_a_limit_of_memory_changes_nothing_but_the_plan(place, mode):
    shapes = (4, 4, 4), (4, 4, 4)
    layer = FactorizedLinear(
        *shapes, factorization="blocktt", rank=4, rng=0, dtype="float32", implementation="factorized"
    )
    layer = layer.with_parameters({name: np.sign(array) for name, array in layer.parameters().items()})
    x, dy = (np.sign(np.random.default_rng(n).standard_normal((256, 64))).astype(np.float32) for n in range(2))
    there = layer.to(place.xp, place.device)
    plan = there.plan(256, mode)
    frugal = there.with_options(memory_limit=int(plan.peak_bytes * 0.9))
    assert frugal.plan(256, mode).peak_bytes <= 0.9 * plan.peak_bytes
    y, pullback = frugal.vjp(place.array(x)) if mode == "training" else (frugal(place.array(x)), None)
    assert_same(y, layer(x), place)
    if pullback is not None:
        assert_same_named(pullback(place.array(dy)).parameters, layer.vjp(x)[1](dy).parameters, place)


@on_every_place
@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt", "dense"])
@given(st.integers(0, 2**32 - 1))
def test_real_parameters_of_complex_products_have_real_gradients_everywhere(place, factorization, seed):
    """Real weight, complex x; and the other way round a real x, whose gradient is real."""
    rank = "same" if factorization == "dense" else 2
    rng = np.random.default_rng(seed)
    real = FactorizedLinear((2, 2), (2, 3), factorization=factorization, rank=rank, rng=0)
    for weight_dtype, x_dtype in (("float32", "complex64"), ("complex64", "float32")):
        drawn = {name: integers(rng, array.shape, weight_dtype) for name, array in real.parameters().items()}
        here = FactorizedLinear.from_weight(
            real.weight.with_operands({name: drawn[f"weight.{name}"] for name in real.weight.operands}), drawn["bias"]
        )
        there = here.to(place.xp, place.device)
        x, dy = integers(rng, (3, 4), x_dtype), integers(rng, (3, 6), "complex64")
        gradients, found = here.vjp(x)[1](dy), there.vjp(place.array(x))[1](place.array(dy))
        assert gradients.x.dtype == x_dtype
        assert_same(found.x, gradients.x, place)
        assert_same_named(found.parameters, gradients.parameters, place)


@on_every_place
def test_integers_alone_take_the_default_of_the_place(place):
    layer = Linear.from_arrays(place.array(np.arange(8, dtype=np.int32).reshape(2, 4)))
    default = place.space.xp.empty((0,), device=place.device).dtype if place.xp is not np else np.dtype(np.float64)
    assert layer.weight.dtype == default
    y = layer(place.array(np.ones(4, np.int32)))
    assert space_of(y) is place.space
    np.testing.assert_array_equal(to_numpy(y), [6.0, 22.0])


@on_every_place
@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt", "dense"])
def test_what_is_given_back_and_what_is_frozen_is_memory_of_its_own_everywhere(place, factorization):
    rank = "same" if factorization == "dense" else 2
    here = FactorizedLinear((2, 2), (2, 3), factorization=factorization, rank=rank, rng=0, dtype="float32")
    layer, x = here.to(place.xp, place.device), place.array(np.ones((3, 4), np.float32))
    frozen, dense = layer.freeze(), layer.to_linear()
    y, pullback = layer.vjp(x)
    gradients = pullback(place.array(np.ones((3, 6), np.float32)))
    given = [layer.weight.to_tensor(), layer.weight.to_matrix(), dense.weight, dense.bias, *layer.trace(x).values()]
    given += [*layer.jvp(x, x), y, gradients.x, *gradients.parameters.values()]
    for array in given:
        array[...] = 7
    assert_same_named(layer.parameters(), here.parameters(), place)
    assert_same(x, np.ones((3, 4), np.float32), place)
    expected = to_numpy(frozen(x)).copy()
    for array in layer.parameters().values():
        array[...] = 7
    np.testing.assert_array_equal(to_numpy(frozen(x)), expected)
    for name, array in frozen.parameters().items():
        np.testing.assert_array_equal(to_numpy(array), here.parameters()[name])


@on_every_place
def test_gradients_of_what_is_summed_over_an_axis_of_its_own_can_be_written_to(place):
    """Each entry along that axis has the same gradient, and is yet an entry of its own."""
    network = Network(("a", "b"), ((0, 2), (1,)), (0, 1), ((0, 2), (1, 3), (2, 4)), n_in=1, n_modes=2)
    found = plan(network, dtype=np.float32, hardware=place.space.hardware).on(place.space)
    operands = [place.array(np.ones(shape, np.float32)) for shape in ((2, 4), (3,))]
    _, tape = contract_with_tape(found, operands)
    gradient = tape.pull_back(place.array(np.ones((2, 3), np.float32)))[0]
    gradient[0, 0] = 0
    expected = np.full((2, 4), 3, np.float32)
    expected[0, 0] = 0
    assert_same(gradient, expected, place)


@on_every_place
@pytest.mark.parametrize("n_samples", [4095, 4096, 5003])
def test_the_gradient_of_the_bias_is_the_sum_of_many_samples_everywhere(place, n_samples):
    """Of more samples than a GPU sums in one go, and of a number that stripes of them do not divide."""
    here = Linear(2, 3, rng=0, dtype="float32")
    layer, cotangent = here.to(place.xp, place.device), np.arange(3 * n_samples).reshape(n_samples, 3) % 61
    dy = place.array(cotangent.astype(np.float32))
    _, pullback = layer.vjp(place.array(np.ones((n_samples, 2), np.float32)))
    assert_same(pullback(dy).parameters["bias"], cotangent.sum(axis=0).astype(np.float32), place)
