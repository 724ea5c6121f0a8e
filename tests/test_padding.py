"""A layer with fewer features than its modes hold is, exactly, the dense layer of the cropped matrix."""

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
from cases import FACTORIZATIONS, IMPLEMENTATIONS, cases, inner
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear, Linear, factorized_linear
from tlinear.errors import OptionError, ParameterError, ShapeError
from tlinear.formats import FORMATS
from tlinear.functional import linear_jvp, linear_trace, linear_vjp
from tlinear.optim import SGD

implementations = st.sampled_from(IMPLEMENTATIONS)


@st.composite
def padded_cases(draw):
    """A case whose input, bias and cotangent have fewer features than the modes of its weight hold, or as many."""
    case = draw(cases())
    n_in = draw(st.integers(1, case.weight.in_features))
    n_out = draw(st.integers(1, case.weight.out_features))
    bias = None if case.bias is None else case.bias[:n_out]
    return dataclasses.replace(case, x=case.x[..., :n_in], dy=case.dy[..., :n_out], bias=bias)


def features(case):
    return {"in_features": case.x.shape[-1], "out_features": case.dy.shape[-1]}


def layer_of(case, implementation="auto"):
    return FactorizedLinear.from_weight(case.weight, case.bias, **features(case), implementation=implementation)


def dense_of(case):
    """The dense layer of the cropped matrix."""
    return Linear.from_arrays(case.weight.to_matrix()[: case.dy.shape[-1], : case.x.shape[-1]], case.bias)


def filled(array, n):
    """The array with zeros behind its last axis, up to n."""
    return np.concatenate([array, np.zeros((*array.shape[:-1], n - array.shape[-1]), array.dtype)], axis=-1)


@given(padded_cases(), implementations)
def test_padded_layer_is_the_dense_layer_of_the_cropped_matrix(case, implementation):
    expected = dense_of(case)(case.x)
    y = factorized_linear(case.x, case.weight, case.bias, **features(case), implementation=implementation)
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == expected.dtype
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(layer_of(case, implementation)(case.x), expected)


@given(padded_cases(), implementations)
def test_input_and_bias_gradients_are_those_of_the_dense_layer(case, implementation):
    expected_y, dense_pullback = dense_of(case).vjp(case.x)
    y, pullback = layer_of(case, implementation).vjp(case.x)
    expected, gradients = dense_pullback(case.dy), pullback(case.dy)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(gradients.x, expected.x)
    assert gradients.x.dtype == case.x.dtype
    if case.bias is not None:
        np.testing.assert_array_equal(gradients.parameters["bias"], expected.parameters["bias"])


@given(padded_cases(), implementations)
def test_operand_gradients_are_those_of_the_full_layer_fed_with_zeros(case, implementation):
    weight = case.weight
    full = FactorizedLinear.from_weight(weight, implementation=implementation)
    expected = full.vjp(filled(case.x, weight.in_features))[1](filled(case.dy, weight.out_features)).parameters
    gradients = layer_of(case, implementation).vjp(case.x)[1](case.dy).parameters
    assert list(gradients) == [*expected, *([] if case.bias is None else ["bias"])]
    for name, gradient in expected.items():
        np.testing.assert_array_equal(gradients[name], gradient)


@given(padded_cases(), implementations)
def test_jvp_is_that_of_the_full_layer_cropped(case, implementation):
    weight, n_out = case.weight, case.dy.shape[-1]
    layer, dx = layer_of(case, implementation), case.like(case.x)
    np.testing.assert_array_equal(layer.jvp(case.x, dx)[1], dense_of(case).jvp(case.x, dx)[1])
    tangents = {name: case.like(array) for name, array in layer.parameters().items()}
    operands = {name: tangent for name, tangent in tangents.items() if name != "bias"}
    full = FactorizedLinear.from_weight(weight, implementation=implementation)
    moved = full.jvp(filled(case.x, weight.in_features), filled(dx, weight.in_features), operands)[1][..., :n_out]
    y, dy = layer.jvp(case.x, dx, tangents)
    np.testing.assert_array_equal(y, layer(case.x))
    np.testing.assert_array_equal(dy, moved + tangents.get("bias", 0))


@given(padded_cases(), implementations)
def test_pullback_is_adjoint_of_jvp(case, implementation):
    """<dY, J t> == <J* dY, t> for all tangents at once."""
    layer, dx = layer_of(case, implementation), case.like(case.x)
    tangents = {name: case.like(array) for name, array in layer.parameters().items()}
    gradients = layer.vjp(case.x)[1](case.dy)
    pulled = inner(gradients.x, dx) + sum(inner(gradients.parameters[name], tangents[name]) for name in tangents)
    assert inner(case.dy, layer.jvp(case.x, dx, tangents)[1]) == pulled


@given(padded_cases(), implementations)
def test_forward_backward_and_trace_keep_the_padding(case, implementation):
    layer = layer_of(case, implementation)
    expected = layer.vjp(case.x)[1](case.dy)
    np.testing.assert_array_equal(layer.forward(case.x), layer(case.x))
    np.testing.assert_array_equal(layer.backward(case.dy), expected.x)
    for name, gradient in expected.parameters.items():
        np.testing.assert_array_equal(layer.gradients[name], gradient)
    trace = layer.trace(case.x)
    np.testing.assert_array_equal(trace["y"], layer(case.x))
    cropped = case.dy.shape[-1] < case.weight.out_features
    assert (f"the first {case.dy.shape[-1]} features kept" in trace.equations["y"]) == cropped


@given(padded_cases())
def test_to_linear_is_the_same_function_in_arrays_of_its_own(case):
    layer = layer_of(case)
    dense = layer.to_linear()
    np.testing.assert_array_equal(dense.weight, dense_of(case).weight)
    np.testing.assert_array_equal(dense(case.x), layer(case.x))
    assert (dense.bias is None) == (layer.bias is None)
    for array in dense.parameters().values():
        assert array.flags.c_contiguous
        assert not any(np.shares_memory(array, parameter) for parameter in layer.parameters().values())


@given(padded_cases(), implementations)
def test_another_layer_made_of_a_padded_one_is_padded_too(case, implementation):
    layer = layer_of(case, implementation)
    layer.forward(case.x)
    again = [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), layer.with_parameters(layer.parameters())]
    for other in again:
        assert repr(other) == repr(layer)
        assert (other.in_features, other.out_features) == (layer.in_features, layer.out_features)
        np.testing.assert_array_equal(other(case.x), layer(case.x))


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_gradients_of_a_padded_layer_may_be_changed_in_place(factorization):
    weight = FORMATS[factorization].random((4, 4), (2, 5), rng=0)
    layer = FactorizedLinear.from_weight(weight, np.zeros(9), in_features=15, out_features=9)
    gradients = layer.vjp(np.ones((2, 15)))[1](np.ones((2, 9)))
    for gradient in (gradients.x, *gradients.parameters.values()):
        assert gradient.flags.writeable
        assert gradient.flags.c_contiguous


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_an_optimiser_moves_a_padded_layer(implementation):
    """One step of gradient descent down y^2 / 2, whose gradient is that of the dense layer where it is linear."""
    layer = FactorizedLinear(
        (7, 14),
        (2, 5),
        in_features=97,
        out_features=9,
        factorization="tt",
        rank=2,
        implementation=implementation,
        rng=0,
    )
    sgd = SGD(learning_rate=1e-3)
    x = np.random.default_rng(0).standard_normal((8, 97))
    y, pullback = layer.vjp(x)
    gradients = pullback(y).parameters
    parameters, _ = sgd.update(layer.parameters(), gradients, sgd.init(layer.parameters()))
    moved = layer.with_parameters(parameters)
    assert (moved.in_features, moved.out_features) == (97, 9)
    for name, array in moved.parameters().items():
        np.testing.assert_array_equal(array, layer.parameters()[name] - 1e-3 * gradients[name])
    assert np.sum(moved(x) ** 2) < np.sum(y**2)


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt", "dense"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex128"])
def test_from_linear_with_padding_at_full_rank_is_the_source(factorization, dtype):
    """Up to the rounding of the working and of the stored precision, as without padding."""
    source = Linear(97, 127, dtype=dtype, rng=0)
    rank = None if factorization == "dense" else 10**6
    layer = FactorizedLinear.from_linear(source, pad=True, factorization=factorization, rank=rank)
    assert (layer.in_features, layer.out_features) == (97, 127)
    assert (layer.in_tensorized_features, layer.out_tensorized_features) == ((7, 14), (8, 16))
    assert {array.dtype for array in layer.parameters().values()} == {np.dtype(dtype)}
    np.testing.assert_array_equal(layer.bias, source.bias)
    # rounding the stored operands perturbs each by u, the working precision its sums by at most their terms
    n, terms = len(layer.weight.operands), layer.weight.in_features * layer.weight.out_features
    unit = np.finfo(dtype).eps / 2 + np.finfo(np.float64).eps * terms
    wide = np.result_type(dtype, np.float64)
    difference = layer.to_linear().weight.astype(wide) - source.weight
    assert np.linalg.norm(difference) <= 4 * n * unit * np.linalg.norm(source.weight.astype(wide))


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_error_of_the_padded_tensor_bounds_that_of_the_matrix(factorization):
    source = Linear(97, 127, rng=0)
    layer = FactorizedLinear.from_linear(source, pad=True, factorization=factorization, rank=3)
    error = np.linalg.norm(layer.to_linear().weight - source.weight) / np.linalg.norm(source.weight)
    # the norms of 97 * 127 terms are rounded by at most half of that many units each
    slack = 97 * 127 * np.finfo(np.float64).eps
    assert error <= layer.decomposition.relative_error * (1 + slack)


def test_given_modes_may_hold_more_than_the_features_by_the_overhead():
    source = Linear(97, 10, rng=0)
    shape = {"in_tensorized_features": (10, 10), "out_tensorized_features": (2, 5)}
    layer = FactorizedLinear.from_linear(source, pad=0.05, factorization="dense", rank=None, **shape)
    np.testing.assert_array_equal(layer.to_linear().weight, source.weight)
    np.testing.assert_array_equal(layer.weight.to_matrix()[:, 97:], np.zeros((10, 3)))
    message = "in_features=97. Pass modes whose product is 97, or pad=0.031 to pad to 100."
    with pytest.raises(ShapeError, match=re.escape(message)):
        FactorizedLinear.from_linear(source, factorization="dense", **shape)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
@pytest.mark.parametrize("rank", [0.1, 0.3, 1.0, "same"])
def test_a_budget_is_a_fraction_of_the_features_without_padding(factorization, rank):
    """With 49 of 98 features and 64 of 128 it is a quarter of what the modes would allow."""
    fraction = 1.0 if rank == "same" else rank
    layer = FactorizedLinear(
        (7, 14), (8, 16), in_features=49, out_features=64, factorization=factorization, rank=rank, rng=0
    )
    assert layer.weight.n_parameters <= fraction * 49 * 64
    assert layer.weight.n_parameters == FORMATS[factorization].random((7, 14), (8, 16), layer.rank).n_parameters
    if factorization != "cp":
        source = Linear(97, 127, rng=0)
        padded = FactorizedLinear.from_linear(source, pad=True, factorization=factorization, rank=rank)
        assert padded.weight.n_parameters <= fraction * 97 * 127


def test_a_padded_layer_starts_as_a_dense_one_of_its_own_features():
    """Of 16 features instead of 64 the standard deviation is twice as large."""
    full, padded = (
        FactorizedLinear((8, 8), (2, 5), in_features=n, out_features=9, factorization="dense", rank=None, rng=0)
        for n in (64, 16)
    )
    np.testing.assert_array_equal(2 * full.weight.to_matrix(), padded.weight.to_matrix())
    np.testing.assert_array_equal(2 * full.bias, padded.bias)
    assert padded.bias.shape == (9,)


def test_repr_names_the_features_that_the_modes_are_padded_from():
    layer = FactorizedLinear((7, 14), (8, 16), in_features=97, factorization="blocktt", rank=2, rng=0)
    assert repr(layer) == (
        "FactorizedLinear(97 -> 128, blocktt, in=(7, 14) padded from 97, out=(8, 16), rank=(1, 2, 1), bias=True, "
        "implementation='auto',\n"
        "                 parameters=688 of 12,544 dense, compression=18.23x, float64)"
    )


WEIGHT = FORMATS["tt"].random((4, 4), (2, 5), 2, rng=0)
PADDED = FactorizedLinear.from_weight(WEIGHT, np.zeros(9), in_features=15, out_features=9)
BAD_CALLS = [
    (lambda: PADDED(np.ones((3, 16))), ShapeError, "x has shape (3, 16), but its last axis must be in_features=15, padded to 16 = 4x4."),
    (lambda: PADDED.vjp(np.ones(15))[1](np.ones(10)), ShapeError, "dy has shape (10,), but y has shape (9,)"),
    (lambda: PADDED.jvp(np.ones(15), np.ones(16)), ShapeError, "The tangent dx has shape (16,), but its primal has (15,)"),
    (lambda: PADDED.jvp(np.ones(15), None, {"bias": np.ones(10)}), ShapeError, "The tangent bias has shape (10,), but its primal has (9,)"),
    (lambda: PADDED.with_parameters(PADDED.parameters() | {"bias": np.ones(10)}), ShapeError, "bias has shape (10,), but the layer has out_features=9"),
    (lambda: PADDED.with_parameters(WEIGHT.operands), ParameterError, "Missing"),
    (lambda: FactorizedLinear((4, 4), (2, 5), rank=2, in_features=17), ShapeError, "in_features=17, but the input modes (4, 4) hold from 1 to 16 features."),
    (lambda: FactorizedLinear((4, 4), (2, 5), rank=2, out_features=0), ShapeError, "out_features=0, but the output modes (2, 5) hold from 1 to 10 features."),
    (lambda: FactorizedLinear.from_weight(WEIGHT, in_features=-1), ShapeError, "in_features=-1, but"),
    (lambda: FactorizedLinear.from_weight(WEIGHT, out_features=9.0), ShapeError, "out_features=9.0, but"),
    (lambda: FactorizedLinear.from_weight(WEIGHT, np.zeros(10), out_features=9), ShapeError, "bias has shape (10,), but the layer has out_features=9"),
    (lambda: factorized_linear(np.ones(15), WEIGHT, in_features=True), ShapeError, "in_features=True, but"),
    (lambda: factorized_linear(np.ones(15), WEIGHT), ShapeError, "its last axis must be in_features=16 = 4x4."),
    (lambda: linear_vjp(np.ones(15), WEIGHT, None, features=("15", None)), ShapeError, "in_features='15', but"),
    (lambda: linear_jvp(np.ones(15), WEIGHT, None, None, {}, features=(None, 11)), ShapeError, "out_features=11, but"),
    (lambda: linear_trace(np.ones(15), WEIGHT, features=(100, None)), ShapeError, "in_features=100, but"),
    (lambda: FactorizedLinear.from_linear(Linear(97, 128, rng=0), rank=1), ShapeError, "in_features=97: 97 features cannot be written"),
    (lambda: FactorizedLinear.from_linear(Linear(97, 10, rng=0), rank=1, pad=True, n_tensorized_modes=(2, 3)), ShapeError, "out_features=10: 10 features cannot be padded by at most 2 %"),
    (lambda: FactorizedLinear.from_linear(Linear(97, 10, rng=0), rank=1, pad="yes"), ShapeError, "pad='yes' is not an overhead"),
    (lambda: FactorizedLinear.from_linear(Linear(96, 10, rng=0), rank=1, decomposition_options={"dense_parameters": 9}), OptionError, "decomposition_options holds ['dense_parameters']"),
]  # fmt: skip


def test_padding_is_a_permission_features_without_a_near_balanced_shape_keep_their_exact_one():
    """10 = 2x5 is not balanced, and 12 = 3x4 is 20 % away."""
    layer = FactorizedLinear.from_linear(Linear(97, 10, rng=0), rank=1, pad=True)
    assert layer.weight.shape == (7, 14, 2, 5)


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS, ids=[str(k) for k in range(len(BAD_CALLS))])
def test_bad_features_get_an_error_that_names_both_sides(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
