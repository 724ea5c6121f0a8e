"""Every gradient, exactly: the layer is linear in each operand, so no step size is needed.

All numbers are integers held in float64 or complex128, so that both sides of each law are
computed without rounding and are compared with ``==``.
"""

import numpy as np
import pytest
from cases import IMPLEMENTATIONS, cases, inner
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear, Linear

implementations = st.sampled_from(IMPLEMENTATIONS)


def layer_of(case, implementation):
    return FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)


def moved(layer, name, tangent):
    """The layer with one parameter replaced by `tangent` and the bias, unless it is that one, by zero."""
    parameters = layer.parameters() | {name: tangent}
    if "bias" in parameters and name != "bias":
        parameters["bias"] = np.zeros_like(parameters["bias"])
    if name == "bias":
        parameters = {key: tangent if key == name else np.zeros_like(value) for key, value in parameters.items()}
    return layer.with_parameters(parameters)


@given(cases(), implementations)
def test_gradient_of_every_parameter_is_the_adjoint_of_moving_it(case, implementation):
    """<dY, f(.., V at k, ..)> == <grad_k, V>."""
    layer = layer_of(case, implementation)
    gradients = layer.vjp(case.x)[1](case.dy)
    assert list(gradients.parameters) == list(layer.parameters())
    for name, parameter in layer.parameters().items():
        tangent = case.like(parameter)
        assert gradients.parameters[name].shape == parameter.shape
        assert gradients.parameters[name].dtype == parameter.dtype
        assert inner(case.dy, moved(layer, name, tangent)(case.x)) == inner(gradients.parameters[name], tangent)


@given(cases(), implementations)
def test_gradient_of_the_input_is_the_adjoint_of_moving_it(case, implementation):
    """<dY, V W> == <grad_x, V>."""
    layer = layer_of(case, implementation)
    gradients = layer.vjp(case.x)[1](case.dy)
    tangent = case.like(case.x)
    linear = FactorizedLinear.from_weight(case.weight, implementation=implementation)
    assert gradients.x.shape == case.x.shape
    assert gradients.x.dtype == case.x.dtype
    assert inner(case.dy, linear(tangent)) == inner(gradients.x, tangent)


@given(cases(), implementations)
def test_euler_checksum_of_every_operand(case, implementation):
    """<grad_k, G_k> == <dY, Y - bias> for every operand and for x."""
    y, pullback = FactorizedLinear.from_weight(case.weight, implementation=implementation).vjp(case.x)
    gradients = pullback(case.dy)
    expected = np.conj(inner(case.dy, y))
    assert np.conj(inner(gradients.x, case.x)) == expected
    for name, operand in case.weight.operands.items():
        assert np.conj(inner(gradients.parameters[f"weight.{name}"], operand)) == expected


@given(cases(), implementations)
def test_pullback_is_adjoint_of_jvp(case, implementation):
    """<dY, J t> == <J* dY, t> for all tangents at once."""
    layer = layer_of(case, implementation)
    dx = case.like(case.x)
    tangents = {name: case.like(array) for name, array in layer.parameters().items()}
    y, dy = layer.jvp(case.x, dx, tangents)
    _, pullback = layer.vjp(case.x)
    gradients = pullback(case.dy)
    np.testing.assert_array_equal(y, layer(case.x))
    pulled = inner(gradients.x, dx) + sum(inner(gradients.parameters[name], tangents[name]) for name in tangents)
    assert inner(case.dy, dy) == pulled


@given(cases(), implementations, st.data())
def test_jvp_of_a_missing_tangent_is_that_of_zero(case, implementation, data):
    layer = layer_of(case, implementation)
    names = data.draw(st.sets(st.sampled_from(sorted(layer.parameters()))))
    tangents = {name: case.like(layer.parameters()[name]) for name in names}
    filled = {name: tangents.get(name, np.zeros_like(array)) for name, array in layer.parameters().items()}
    np.testing.assert_array_equal(
        layer.jvp(case.x, None, tangents)[1], layer.jvp(case.x, np.zeros_like(case.x), filled)[1]
    )


@given(cases(), implementations)
def test_forward_and_backward_are_the_vjp(case, implementation):
    layer = layer_of(case, implementation)
    y, pullback = layer.vjp(case.x)
    expected = pullback(case.dy)
    np.testing.assert_array_equal(layer.forward(case.x), y)
    np.testing.assert_array_equal(layer.backward(case.dy), expected.x)
    for name, gradient in expected.parameters.items():
        np.testing.assert_array_equal(layer.gradients[name], gradient)


@given(cases(dtypes=("float64",)), implementations)
def test_real_operand_of_a_complex_product_gets_the_real_part(case, implementation):
    """A real parameter can move along the real axis only: its gradient is real, and is the adjoint under Re <a, b>."""
    x = case.x + 1j * case.like(case.x)
    dy = case.dy + 1j * case.like(case.dy)
    layer = layer_of(case, implementation)
    gradients = layer.vjp(x)[1](dy)
    assert gradients.x.dtype == np.complex128
    for name, parameter in layer.parameters().items():
        tangent = case.like(parameter)
        assert gradients.parameters[name].dtype == np.float64
        assert inner(dy, moved(layer, name, tangent)(x)).real == inner(gradients.parameters[name], tangent).real


@given(cases())
def test_dense_layer_has_the_gradients_of_the_dense_format(case):
    """Linear and a reconstructed layer are the same function of x, bias and the matrix."""
    dense = Linear.from_arrays(case.weight.to_matrix(), case.bias)
    y, pullback = dense.vjp(case.x)
    gradients = pullback(case.dy)
    np.testing.assert_array_equal(y, layer_of(case, "factorized")(case.x))
    np.testing.assert_array_equal(gradients.x, layer_of(case, "factorized").vjp(case.x)[1](case.dy).x)
    tangent = case.like(dense.weight)
    assert inner(case.dy, dense.jvp(case.x, None, {"weight": tangent})[1]) == inner(
        gradients.parameters["weight"], tangent
    )
    dx, tangents = case.like(case.x), {name: case.like(array) for name, array in dense.parameters().items()}
    pulled = inner(gradients.x, dx) + sum(inner(gradients.parameters[name], tangents[name]) for name in tangents)
    assert inner(case.dy, dense.jvp(case.x, dx, tangents)[1]) == pulled


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt", "dense"])
@pytest.mark.parametrize("implementation", ["factorized", "reconstructed"])
def test_gradients_of_the_empty_batch_are_zero(factorization, implementation):
    layer = FactorizedLinear(
        (4, 4), (2, 5), factorization=factorization, rank="same", implementation=implementation, rng=0
    )
    y, pullback = layer.vjp(np.ones((3, 0, 16)))
    gradients = pullback(np.ones((3, 0, 10)))
    assert y.shape == (3, 0, 10)
    assert gradients.x.shape == (3, 0, 16)
    for name, parameter in layer.parameters().items():
        np.testing.assert_array_equal(gradients.parameters[name], np.zeros_like(parameter))
