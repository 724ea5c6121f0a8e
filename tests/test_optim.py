"""Optimisers are pure functions of parameters, gradients and state, and follow their equations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear.errors import DTypeError, OptionError, ParameterError, ShapeError
from tlinear.optim import SGD, Adam

OPTIMISERS = [SGD(0.5), SGD(0.25, momentum=0.5), SGD(0.5, weight_decay=0.25), Adam(0.1), Adam(0.1, weight_decay=0.5)]
dyadic = st.integers(-8, 8).map(lambda n: n / 8)


@given(st.lists(dyadic, min_size=1, max_size=5), dyadic)
def test_sgd_with_momentum_sums_the_gradients_geometrically(gradients, start):
    """theta_n = theta_0 - eta sum_k g_k (1 - mu^(n - k)) / (1 - mu), exactly for powers of two."""
    sgd, parameters = SGD(0.25, momentum=0.5), {"w": np.array([start])}
    state = sgd.init(parameters)
    for gradient in gradients:
        parameters, state = sgd.update(parameters, {"w": np.array([gradient])}, state)
    n = len(gradients)
    expected = start - 0.25 * sum(g * (1 - 0.5 ** (n - k)) / 0.5 for k, g in enumerate(gradients))
    assert parameters["w"][0] == expected


def test_sgd_decays_weights_by_its_rate():
    sgd, parameters = SGD(0.5, weight_decay=0.25), {"w": np.array([8.0])}
    parameters, _ = sgd.update(parameters, {"w": np.array([2.0])}, sgd.init(parameters))
    assert parameters["w"][0] == 8.0 - 0.5 * (2.0 + 0.25 * 8.0)


def test_adam_follows_its_equations():
    """Three updates, against the recurrences written with scalars."""
    adam = Adam(0.1, beta1=0.5, beta2=0.75, epsilon=0.125, weight_decay=0.5)
    parameters = {"w": np.array([1.0, -2.0])}
    state = adam.init(parameters)
    theta, m, v = np.array([1.0, -2.0]), 0.0, 0.0
    for t, gradient in enumerate(np.array([[1.0, -3.0], [0.5, 0.0], [-2.0, 4.0]]), start=1):
        parameters, state = adam.update(parameters, {"w": gradient}, state)
        m, v = 0.5 * m + 0.5 * gradient, 0.75 * v + 0.25 * gradient**2
        theta = theta * (1 - 0.1 * 0.5) - m / (1 - 0.5**t) / (np.sqrt(v / (1 - 0.75**t)) + 0.125) * 0.1
        assert state.n_updates == t
        np.testing.assert_array_equal(parameters["w"], theta)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_nothing_is_changed_in_place(optimiser):
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), rank=2, rng=0)
    parameters = layer.parameters()
    before = {name: array.copy() for name, array in parameters.items()}
    gradients = {name: np.ones_like(array) for name, array in parameters.items()}
    state = optimiser.init(parameters)
    first, first_state = optimiser.update(parameters, gradients, state)
    again, _ = optimiser.update(parameters, gradients, state)
    optimiser.update(first, gradients, first_state)
    for name, array in before.items():
        np.testing.assert_array_equal(parameters[name], array)
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.shares_memory(first[name], parameters[name])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_parameters_keep_their_dtype_and_shape(optimiser, dtype):
    parameters = {"a": np.ones((2, 3), dtype), "b": np.ones((), dtype)}
    state = optimiser.init(parameters)
    for _ in range(2):
        parameters, state = optimiser.update(parameters, {n: 2 * a for n, a in parameters.items()}, state)
    assert {name: (array.dtype, array.shape) for name, array in parameters.items()} == {
        "a": (np.dtype(dtype), (2, 3)),
        "b": (np.dtype(dtype), ()),
    }


def test_half_precision_parameters_survive_a_gradient_of_zero():
    """Adam's epsilon is 0 in float16; its state is kept in float32."""
    adam, parameters = Adam(0.5), {"w": np.ones(2, np.float16)}
    parameters, state = adam.update(parameters, {"w": np.array([0.0, 1.0], np.float16)}, adam.init(parameters))
    assert parameters["w"].tolist() == [1.0, 0.5]
    assert parameters["w"].dtype == np.float16
    assert state.square["w"].dtype == np.float32


@pytest.mark.parametrize("gradient", [1e-4, 300.0, 6e4])
def test_half_precision_gradients_neither_vanish_nor_overflow_when_squared(gradient):
    """The first step of Adam has the length of the learning rate, whatever the gradient's."""
    adam, parameters = Adam(0.5), {"w": np.ones(1, np.float16)}
    parameters, _ = adam.update(parameters, {"w": np.array([gradient], np.float16)}, adam.init(parameters))
    assert parameters["w"].tolist() == [0.5]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_cannot_be_trained_is_refused(optimiser):
    for parameter in ([1.0, 2.0], np.array([1, 2]), np.array([True])):
        with pytest.raises(DTypeError, match="cannot be trained"):
            optimiser.init({"w": parameter})
    parameters = {"w": np.ones(2)}
    state = optimiser.init(parameters)
    with pytest.raises(DTypeError, match="A gradient of dtype complex128 for a real parameter"):
        optimiser.update(parameters, {"w": 1j * np.ones(2)}, state)
    with pytest.raises(ParameterError, match="The gradients are of type Gradients, not a dict"):
        optimiser.update(parameters, tlinear.Gradients(np.ones(2), parameters), state)
    other = SGD(0.1) if isinstance(optimiser, Adam) else Adam(0.1)
    with pytest.raises(ParameterError, match=f"state is of type {type(other).__name__}State"):
        optimiser.update(parameters, parameters, other.init(parameters))


def test_adam_steps_along_a_complex_gradient():
    """The first step is the learning rate times the direction of the gradient, |g| being its modulus."""
    adam, parameters = Adam(0.5, epsilon=0.0), {"z": np.array([1.0 + 1.0j])}
    parameters, _ = adam.update(parameters, {"z": np.array([3.0 + 4.0j])}, adam.init(parameters))
    np.testing.assert_allclose(parameters["z"], 1.0 + 1.0j - 0.5 * (0.6 + 0.8j), rtol=8 * np.finfo(float).eps)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_a_layer_of_every_format_learns_a_layer_of_its_own_kind(factorization):
    """Least squares by Adam on the manual gradients: the loss falls below a hundredth of its start."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 16))
    target = tlinear.FactorizedLinear((4, 4), (2, 5), factorization=factorization, rank=2, rng=1)(x)
    layer = tlinear.FactorizedLinear(
        (4, 4), (2, 5), factorization=factorization, rank=3 if factorization == "cp" else 2, rng=2
    )
    adam = Adam(0.02)
    state = adam.init(layer.parameters())
    losses = []
    for _ in range(600):
        y, pullback = layer.vjp(x)
        losses.append(np.mean((y - target) ** 2))
        parameters, state = adam.update(layer.parameters(), pullback(2 * (y - target) / y.size).parameters, state)
        layer = layer.with_parameters(parameters)
    assert losses[-1] < 0.01 * losses[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGD(None), "learning_rate=None"),
        (lambda: SGD(True), "learning_rate=True"),
        (lambda: SGD(-1.0), "learning_rate=-1.0 must be at least 0"),
        (lambda: SGD(0.1, momentum=1.0), "momentum=1.0 must be at least 0 and below 1"),
        (lambda: SGD(float("nan")), "learning_rate=nan"),
        (lambda: Adam(0.1, beta1=1.0), "beta1=1.0"),
        (lambda: Adam(0.1, beta2=-0.1), "beta2=-0.1"),
        (lambda: Adam(0.1, weight_decay=-1), "weight_decay=-1"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(build, message):
    with pytest.raises(OptionError, match=message):
        build()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_gradients_that_do_not_belong_to_the_parameters_are_refused(optimiser):
    parameters = {"a": np.ones(2), "b": np.ones(3)}
    state = optimiser.init(parameters)
    with pytest.raises(ParameterError, match=r"The gradients do not match. Missing: \['b'\]; unknown: \['c'\]"):
        optimiser.update(parameters, {"a": np.ones(2), "c": np.ones(3)}, state)
    with pytest.raises(ShapeError, match=r"The gradients: b has shape \(2,\), but must have \(3,\)"):
        optimiser.update(parameters, {"a": np.ones(2), "b": np.ones(2)}, state)
    with pytest.raises(ParameterError, match=r"The state's arrays do not match. Missing: \['b'\]"):
        optimiser.update(parameters, parameters, optimiser.init({"a": np.ones(2)}))
