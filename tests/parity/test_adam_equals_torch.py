"""tlinear.optim.Adam against torch.optim.Adam, and with weight decay against torch.optim.AdamW."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlinear.optim import Adam

from .autograd import as_torch
from .bounds import gamma
from .cases import generators, normals

SHAPE = (3, 4)
ROUNDINGS = 16
"""More than either program makes in one update of a moment, of a direction, or of a parameter."""


class Drift:
    """How far two roundings of the same run of Adam may have drifted apart, entry by entry.

    A forward error analysis: each exact update maps the drift before it to the drift after it,
    and both programs add at most gamma_16 of the magnitudes that they add up.
    """

    def __init__(self, adam: Adam, theta: np.ndarray) -> None:
        self.adam, self.dtype, self.n_updates = adam, theta.dtype, 0
        self.mean, self.square = np.zeros(theta.shape, theta.dtype), np.zeros(theta.shape)
        self.of_mean, self.of_square, self.of_theta = (np.zeros(theta.shape) for _ in range(3))

    def update(self, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        adam, rounding = self.adam, gamma(4 * ROUNDINGS, self.dtype)
        self.n_updates += 1
        size = np.abs(gradient).astype(float)
        self.of_mean = adam.beta1 * self.of_mean + rounding * (np.abs(self.mean) + size)
        self.of_square = adam.beta2 * self.of_square + rounding * (self.square + size**2)
        self.mean = adam.beta1 * self.mean + (1 - adam.beta1) * gradient
        self.square = adam.beta2 * self.square + (1 - adam.beta2) * size**2
        bias1, bias2 = 1 - adam.beta1**self.n_updates, 1 - adam.beta2**self.n_updates
        root = np.sqrt(self.square / bias2)
        below = root + adam.epsilon
        # |sqrt a - sqrt b| <= |a - b| / sqrt a, and a quotient drifts with both of its parts
        of_root = np.divide(self.of_square / bias2, root, out=np.zeros(root.shape), where=root > 0.0)
        direction = np.abs(self.mean) / bias1 / below
        of_direction = self.of_mean / bias1 / below + direction * of_root / below + rounding * direction
        decay = 1 - adam.learning_rate * adam.weight_decay
        step = adam.learning_rate * direction
        self.of_theta = decay * self.of_theta + adam.learning_rate * of_direction + rounding * (np.abs(theta) + step)
        return 2.0 * self.of_theta


def assert_same_trajectory(adam: Adam, make_torch, theta: np.ndarray, gradients: list[np.ndarray]) -> None:
    tensor = as_torch(theta).requires_grad_()
    optimizer = make_torch([tensor])
    parameters = {"w": theta}
    state, drift = adam.init(parameters), Drift(adam, theta)
    for step, gradient in enumerate(gradients, start=1):
        bound = drift.update(parameters["w"], gradient)
        parameters, state = adam.update(parameters, {"w": gradient}, state)
        tensor.grad = as_torch(gradient)
        optimizer.step()
        theirs = tensor.detach().numpy()
        assert parameters["w"].dtype == theirs.dtype
        excess = np.abs(parameters["w"] - theirs) - bound
        assert np.all(excess <= 0.0), f"step {step} is beyond its bound by {np.max(excess)}"


hyperparameters = {
    "learning_rate": st.floats(1e-4, 0.5),
    "beta1": st.sampled_from([0.0, 0.5, 0.9]),
    "beta2": st.sampled_from([0.5, 0.9, 0.999]),
    "epsilon": st.sampled_from([1e-8, 1e-3]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(rng=generators, options=st.fixed_dictionaries(hyperparameters))
def test_adam_gives_the_parameters_of_torch_within_rounding(dtype, rng, options):
    adam, draw = Adam(**options), normals(rng, dtype)
    assert_same_trajectory(
        adam,
        lambda tensors: torch.optim.Adam(
            tensors, lr=adam.learning_rate, betas=(adam.beta1, adam.beta2), eps=adam.epsilon
        ),
        draw(SHAPE),
        [draw(SHAPE) for _ in range(40)],
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(rng=generators, options=st.fixed_dictionaries(hyperparameters), weight_decay=st.floats(1e-3, 0.5))
def test_weight_decay_gives_the_parameters_of_torch_adamw_within_rounding(dtype, rng, options, weight_decay):
    adam, draw = Adam(**options, weight_decay=weight_decay), normals(rng, dtype)
    assert_same_trajectory(
        adam,
        lambda tensors: torch.optim.AdamW(
            tensors,
            lr=adam.learning_rate,
            betas=(adam.beta1, adam.beta2),
            eps=adam.epsilon,
            weight_decay=adam.weight_decay,
        ),
        draw(SHAPE),
        [draw(SHAPE) for _ in range(40)],
    )


@pytest.mark.parametrize("phase", [1.0, 1j])
@given(rng=generators)
def test_complex_gradients_along_one_axis_give_the_parameters_of_torch_within_rounding(phase, rng):
    """torch adapts both parts each by itself, tlinear both by their modulus: along either axis that is the same."""
    adam = Adam(0.1)
    gradients = [phase * rng.standard_normal(SHAPE) + 0j for _ in range(40)]
    assert_same_trajectory(
        adam, lambda tensors: torch.optim.Adam(tensors, lr=0.1), normals(rng, "complex128")(SHAPE), gradients
    )


def first_step_of_torch(gradient: complex) -> complex:
    tensor = torch.zeros(1, dtype=torch.complex128, requires_grad=True)
    tensor.grad = torch.tensor([gradient], dtype=torch.complex128)
    torch.optim.Adam([tensor], lr=1.0, eps=0.0).step()
    return tensor.item()


def test_the_first_step_along_a_complex_gradient_is_that_gradient_made_of_length_one():
    """Where the definitions part: torch steps along the signs of both parts, so that turning the gradient by
    a phase does not turn the step.  tlinear's step turns with it."""
    parameters = {"w": np.zeros(1, complex)}
    adam = Adam(1.0, epsilon=0.0)
    for gradient in (3 + 4j, -4 + 3j):
        updated, _ = adam.update(parameters, {"w": np.array([gradient])}, adam.init(parameters))
        assert abs(updated["w"].item() + gradient / 5) <= gamma(ROUNDINGS, "complex128")
        signs = complex(np.sign(gradient.real), np.sign(gradient.imag))
        assert abs(first_step_of_torch(gradient) + signs) <= gamma(ROUNDINGS, "complex128") * abs(signs)
