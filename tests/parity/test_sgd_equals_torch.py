"""tlinear.optim.SGD against torch.optim.SGD, over many steps of the same gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlinear.optim import SGD, Adam

from .autograd import as_torch
from .bounds import gamma
from .cases import generators, integers, normals

SHAPES = {"weight.core": (2, 3), "bias": (4,)}
DTYPES = ("float32", "float64", "complex64", "complex128")


def draw_all(draw):
    return {name: draw(shape) for name, shape in SHAPES.items()}


def torch_trajectory(make_optimizer, parameters, gradients):
    """The parameters after every step of a torch optimiser that is handed these gradients."""
    tensors = {name: as_torch(array).requires_grad_() for name, array in parameters.items()}
    optimizer = make_optimizer(list(tensors.values()))
    for gradient in gradients:
        for name, tensor in tensors.items():
            tensor.grad = as_torch(gradient[name])
        optimizer.step()
        yield {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def trajectory(optimizer, parameters, gradients):
    """The parameters after every step of an optimiser of tlinear."""
    state = optimizer.init(parameters)
    for gradient in gradients:
        parameters, state = optimizer.update(parameters, gradient, state)
        yield parameters


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("momentum", "weight_decay", "n_steps"), [(0.0, 0.0, 40), (0.5, 0.0, 30), (0.5, 0.25, 5)])
@given(rng=generators)
def test_dyadic_numbers_give_the_same_parameters_to_the_last_bit(dtype, momentum, weight_decay, n_steps, rng):
    """Steps of powers of two add a few binary digits each, and n_steps of them stay within 53: nothing is rounded."""
    draw = integers(rng, dtype, high=8)
    parameters, gradients = draw_all(draw), [draw_all(draw) for _ in range(n_steps)]
    ours = trajectory(SGD(0.125, momentum, weight_decay), parameters, gradients)
    theirs = torch_trajectory(
        lambda tensors: torch.optim.SGD(tensors, lr=0.125, momentum=momentum, weight_decay=weight_decay),
        parameters,
        gradients,
    )
    for mine, their in zip(ours, theirs, strict=True):
        for name, array in their.items():
            np.testing.assert_array_equal(mine[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rng=generators,
    learning_rate=st.floats(1e-4, 0.5),
    momentum=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    weight_decay=st.sampled_from([0.0, 1e-4, 0.1]),
)
def test_any_numbers_give_the_same_parameters_within_rounding(dtype, rng, learning_rate, momentum, weight_decay):
    """Every parameter is a sum of products of the inputs, each rounded at most 6 times a step.

    So it is within gamma_6t of the truth, times the same sum with all signs positive, which
    the recurrences of `velocity` and `magnitude` accumulate.  A scalar is rounded to the dtype once more.
    """
    draw = normals(rng, dtype)
    parameters, gradients = draw_all(draw), [draw_all(draw) for _ in range(40)]
    ours = trajectory(SGD(learning_rate, momentum, weight_decay), parameters, gradients)
    theirs = torch_trajectory(
        lambda tensors: torch.optim.SGD(tensors, lr=learning_rate, momentum=momentum, weight_decay=weight_decay),
        parameters,
        gradients,
    )
    magnitude = {name: np.abs(array) for name, array in parameters.items()}
    velocity = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step, (gradient, mine, their) in enumerate(zip(gradients, ours, theirs, strict=True), start=1):
        for name, array in their.items():
            decayed = np.abs(gradient[name]) + weight_decay * magnitude[name]
            velocity[name] = momentum * velocity[name] + decayed
            magnitude[name] = magnitude[name] + learning_rate * velocity[name]
            assert mine[name].dtype == array.dtype
            assert np.all(np.abs(mine[name] - array) <= gamma(2 * 9 * step, dtype) * magnitude[name]), (name, step)


@pytest.mark.parametrize("optimiser", [SGD(0.1, momentum=0.9, weight_decay=0.1), Adam(0.1, weight_decay=0.1)])
def test_updates_of_parameters_that_require_a_gradient_have_no_history(optimiser):
    """Else every update would hold the one before it alive."""
    parameters = {"w": torch.nn.Parameter(torch.ones(3))}
    state = optimiser.init(parameters)
    for _ in range(2):
        parameters, state = optimiser.update(parameters, {"w": torch.ones(3)}, state)
        assert not parameters["w"].requires_grad
