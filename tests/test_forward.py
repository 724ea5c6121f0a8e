"""The layer is ``x @ W.T + b`` with W built by ``to_matrix()``, whatever the implementation, batch and layout."""

import numpy as np
import pytest
from cases import FACTORIZATIONS, IMPLEMENTATIONS, cases
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear import FactorizedLinear, factorized_linear
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import plan
from tlinear.errors import ShapeError
from tlinear.formats import FORMATS
from tlinear.functional import linear_trace


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_layer_is_the_dense_layer_of_its_matrix(case, implementation):
    expected = case.x @ case.weight.to_matrix().T
    expected = expected if case.bias is None else expected + case.bias
    y = factorized_linear(case.x, case.weight, case.bias, implementation=implementation)
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == expected.dtype
    assert y.flags.c_contiguous


@given(cases())
def test_matrix_is_the_tensor_with_its_modes_merged(case):
    weight = case.weight
    merged = weight.to_tensor().reshape(weight.in_features, weight.out_features)
    np.testing.assert_array_equal(weight.to_matrix(), merged.T)
    assert weight.to_tensor().shape == weight.shape == (*weight.in_shape, *weight.out_shape)


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_last_intermediate_of_the_trace_is_the_output(case, implementation):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    trace = layer.trace(case.x)
    np.testing.assert_array_equal(trace["y"], layer(case.x))
    assert list(trace)[-1] == "y"
    assert set(trace) == set(trace.equations)
    for name in trace:
        assert trace.equations[name] in str(trace)


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_each_array_of_a_trace_is_what_its_equation_says(case, implementation):
    """The last step's result is without the bias, and shares no memory with y."""
    trace = linear_trace(case.x, case.weight, case.bias, options=PlanOptions(implementation))
    *_, last, y = trace
    assert y == "y"
    assert not np.shares_memory(trace[last], trace["y"])
    without = linear_trace(case.x, case.weight, options=PlanOptions(implementation))
    np.testing.assert_array_equal(trace[last], without[last])


def test_more_modes_than_an_array_has_axes_are_contracted_with_the_factors():
    shape = (8, 8) + (1,) * 38
    layer = FactorizedLinear(shape, shape, factorization="cp", rank=60, rng=0)
    assert layer(np.ones((5000, 64))).shape == (5000, 64)
    with pytest.raises(ShapeError, match="The dense weight has 80 axes, but an array can have at most 64"):
        factorized_linear(np.ones((2, 64)), layer.weight, implementation="reconstructed")


@given(cases())
def test_trace_of_the_reconstructed_layer_shows_the_weight(case):
    layer = FactorizedLinear.from_weight(case.weight, implementation="reconstructed")
    trace = layer.trace(case.x)
    if len(case.weight.operands) > 1:
        assert np.sort(trace["weight"].ravel()).tolist() == np.sort(case.weight.to_tensor().ravel()).tolist()


def bound(weight, x, implementation):
    """gamma_K contract(|x|, |operands|): what rounding can do, K the longest chain of roundings of any entry.

    A pair that contracts k entries rounds at most k times (k - 1 sums and one product).
    """
    chosen = plan(weight.layer_network, PlanOptions(implementation), batch_size=len(x), dtype=weight.dtype)
    sizes = weight.network.sizes
    contracted = [step.pair.contracted for step in chosen.steps]
    rounded = sum(int(np.prod([sizes[label] for label in labels])) for labels in contracted)
    u = np.finfo(weight.dtype).eps / 2
    absolute = weight.from_operands(
        {name: np.abs(array).astype(np.float64) for name, array in weight.operands.items()},
        len(weight.in_shape),
        len(weight.out_shape),
    )
    return rounded * u / (1 - rounded * u) * factorized_linear(np.abs(x).astype(np.float64), absolute)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("implementation", ["factorized", "reconstructed"])
def test_rounding_stays_within_the_derived_bound(factorization, implementation, dtype):
    """|y^ - y| <= gamma_K contract(|x|, |operands|) elementwise, y being computed in extended precision."""
    rank = "same" if factorization == "dense" else 3
    weight = FORMATS[factorization].random((4, 3, 2), (3, 5), rank, dtype=dtype, rng=1)
    x = np.random.default_rng(2).standard_normal((7, 24)).astype(dtype)
    exact = weight.with_operands({name: array.astype(np.longdouble) for name, array in weight.operands.items()})
    expected = x.astype(np.longdouble) @ exact.to_matrix().T
    error = np.abs(factorized_linear(x, weight, implementation=implementation) - expected)
    assert np.all(error <= bound(weight, x, implementation))


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("x_dtype", "weight_dtype", "y_dtype"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float16", "float16", "float16"),
        ("float16", "float32", "float32"),
        ("int8", "float32", "float32"),
        ("int64", "float32", "float64"),
        ("bool", "float32", "float32"),
        ("float32", "complex64", "complex64"),
        ("complex64", "float64", "complex128"),
    ],
)
def test_output_has_the_dtype_of_the_product_and_gradients_that_of_their_primal(
    factorization, implementation, x_dtype, weight_dtype, y_dtype
):
    layer = FactorizedLinear(
        (4, 4), (2, 5), factorization=factorization, dtype=weight_dtype, implementation=implementation, rng=0
    )
    x = np.ones((3, 16), x_dtype)
    y, pullback = layer.vjp(x)
    gradients = pullback(np.ones_like(y))
    assert y.dtype == y_dtype == layer(x).dtype == layer.jvp(x)[1].dtype
    assert gradients.x.dtype == (x_dtype if np.dtype(x_dtype).kind in "fc" else np.float64)
    assert {gradient.dtype for gradient in gradients.parameters.values()} == {np.dtype(weight_dtype)}


def test_half_precision_accumulates_in_single():
    """4096 + 1 + 1 + .. stays 4096 when summed in float16, whose spacing there is 4."""
    weight = tlinear.TTTensor((np.ones((1, 64, 1)), np.ones((1, 64, 1)), np.ones((1, 1, 1))), n_in=2).astype("float16")
    x = np.ones(4096, "float16")
    x[0] = 4096
    assert factorized_linear(x, weight)[0] == np.float16(4096 + 4095)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
@pytest.mark.parametrize("implementation", ["factorized", "auto"])
def test_twelve_modes_a_side(factorization, implementation):
    """More axes than the alphabet has letters; Euler's checksums of +-1 operands are exact."""
    rank = 1 if factorization == "tucker" else 2
    random = FORMATS[factorization].random((2,) * 12, (2,) * 12, rank, rng=0)
    weight = random.with_operands({name: np.sign(array) for name, array in random.operands.items()})
    layer = FactorizedLinear.from_weight(weight, implementation=implementation)
    x, dy = np.ones((2, 4096)), np.sign(np.random.default_rng(0).standard_normal((2, 4096)))
    y, pullback = layer.vjp(x)
    gradients = pullback(dy)
    # |y| <= 2^12 2^23 and the sum of 2^13 of them stays below 2^53
    assert np.vdot(gradients.x, x) == np.vdot(dy, y)
    for name, operand in weight.operands.items():
        assert np.vdot(gradients.parameters[f"weight.{name}"], operand) == np.vdot(dy, y)
