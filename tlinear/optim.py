"""Gradient descent over plain dicts of arrays.

An optimiser is a frozen set of hyper-parameters.  Its state is a value handed along::

    state = optimizer.init(parameters)
    parameters, state = optimizer.update(parameters, gradients, state)

Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tlinear.arrays import Array, Space, adopt, common_space, space_of
from tlinear.errors import DTypeError, OptionError, ParameterError
from tlinear.named_arrays import check_same_names, check_same_shapes

__all__ = ["SGD", "Adam", "AdamState", "SGDState"]

Arrays = Mapping[str, Array]


class SGDState(NamedTuple):
    """The running sum of gradients, by parameter."""

    velocity: dict[str, Array]


class AdamState(NamedTuple):
    """How many updates were made, and the running first and second moments, by parameter."""

    n_updates: int
    mean: dict[str, Array]
    square: dict[str, Array]


@dataclass(frozen=True)
class SGD:
    r"""Stochastic gradient descent with momentum.

    .. math:: v \leftarrow \mu v + g, \qquad \theta \leftarrow \theta - \eta v

    as ``torch.optim.SGD`` without dampening; `weight_decay` adds ``weight_decay * theta`` to g.

    Raises
    ------
    OptionError
        When a hyper-parameter is out of range.

    Examples
    --------
    >>> sgd, parameters = SGD(0.1), {"w": np.array([1.0, 2.0])}
    >>> parameters, state = sgd.update(parameters, {"w": np.array([10.0, 0.0])}, sgd.init(parameters))
    >>> parameters["w"]
    array([0., 2.])
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _keep_as_floats(self, {"learning_rate": np.inf, "momentum": 1.0, "weight_decay": np.inf})

    def init(self, parameters: Arrays) -> SGDState:
        """The state before the first update."""
        return SGDState({name: _zeros(array) for name, array in parameters.items()})

    def update(self, parameters: Arrays, gradients: Arrays, state: SGDState) -> tuple[dict[str, Array], SGDState]:
        """New parameters, and the state for the next update."""
        if not isinstance(state, SGDState):
            raise ParameterError(f"state is of type {type(state).__name__}, not SGDState. Pass one from SGD.init.")
        _check_match(parameters, gradients, state.velocity)
        updated, velocity, space = {}, {}, common_space(parameters.items(), "The parameters")
        for name, array in parameters.items():
            theta = adopt(array, space, name, "the parameters live")  # without what autograd knows of it
            gradient = _like(gradients[name], state.velocity[name], space)
            if self.weight_decay:
                gradient = gradient + self.weight_decay * space.astype(theta, gradient.dtype)
            v = self.momentum * state.velocity[name] + gradient
            velocity[name] = v
            moved = space.astype(theta, v.dtype) - self.learning_rate * v
            updated[name] = space.match_dtype(moved, theta.dtype)
        return updated, SGDState(velocity)


@dataclass(frozen=True)
class Adam:
    r"""Adam, with decoupled weight decay (AdamW) when `weight_decay` is not 0.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) |g|^2, \quad
        \theta \leftarrow (1 - \eta \lambda) \theta
        - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    A complex parameter moves along its gradient, ``|g|`` being the modulus; ``torch.optim.Adam`` instead
    adapts the real and the imaginary part each by itself.

    Raises
    ------
    OptionError
        When a hyper-parameter is out of range.

    References
    ----------
    D. P. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.
    I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, ICLR 2019.

    Examples
    --------
    The first step has the length of the learning rate in every entry:

    >>> adam, parameters = Adam(0.5), {"w": np.array([1.0, 2.0])}
    >>> parameters, state = adam.update(parameters, {"w": np.array([10.0, -0.1])}, adam.init(parameters))
    >>> parameters["w"].round(6)
    array([0.5, 2.5])
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        limits = {"learning_rate": np.inf, "beta1": 1.0, "beta2": 1.0, "epsilon": np.inf, "weight_decay": np.inf}
        _keep_as_floats(self, limits)

    def init(self, parameters: Arrays) -> AdamState:
        """The state before the first update."""
        return AdamState(
            0,
            {name: _zeros(array) for name, array in parameters.items()},
            {name: _zeros(array, real=True) for name, array in parameters.items()},
        )

    def update(self, parameters: Arrays, gradients: Arrays, state: AdamState) -> tuple[dict[str, Array], AdamState]:
        """New parameters, and the state for the next update."""
        if not isinstance(state, AdamState):
            raise ParameterError(f"state is of type {type(state).__name__}, not AdamState. Pass one from Adam.init.")
        _check_match(parameters, gradients, state.mean, state.square)
        t = state.n_updates + 1
        updated, mean, square, space = {}, {}, {}, common_space(parameters.items(), "The parameters")
        for name, array in parameters.items():
            theta = adopt(array, space, name, "the parameters live")  # without what autograd knows of it
            gradient = _like(gradients[name], state.mean[name], space)
            m = self.beta1 * state.mean[name]
            m += (1.0 - self.beta1) * gradient
            v = self.beta2 * state.square[name]
            v += (1.0 - self.beta2) * space.squared(gradient)
            root = space.xp.sqrt(v / (1.0 - self.beta2**t))
            root += self.epsilon
            step = m / (1.0 - self.beta1**t)
            step /= root
            step *= self.learning_rate
            decayed = space.astype(theta, step.dtype)
            if self.weight_decay:
                decayed = decayed * (1.0 - self.learning_rate * self.weight_decay)
            mean[name], square[name], updated[name] = m, v, space.match_dtype(decayed - step, theta.dtype)
        return updated, AdamState(t, mean, square)


def _zeros(array: Array, *, real: bool = False) -> Array:
    """The state of one parameter: of half precision in float32, where neither epsilon nor a small square vanishes."""
    if not hasattr(array, "shape") or not space_of(array).is_inexact(array.dtype):
        raise DTypeError(
            f"A parameter of type {type(array).__name__} and dtype {getattr(array, 'dtype', 'unknown')} cannot be "
            "trained. Pass arrays of a real or complex floating dtype."
        )
    space = space_of(array)
    return space.zeros(array.shape, space.single_dtype(space.real_dtype(array.dtype) if real else array.dtype))


def _like(gradient: Array, state: Array, space: Space) -> Array:
    """A gradient in the dtype that its state is kept in."""
    own = adopt(gradient, space, "A gradient", "its parameter lives")
    if space.is_complex(own.dtype) and not space.is_complex(state.dtype):
        raise DTypeError(f"A gradient of dtype {own.dtype} for a real parameter. Pass its real part.")
    return space.astype(own, state.dtype)


def _keep_as_floats(optimiser: SGD | Adam, limits: Mapping[str, float]) -> None:
    """Check each hyper-parameter, and keep it as Python's float.

    A number of NumPy's would make the products with arrays NumPy's affair: of its own arrays in double precision, of
    those of another library by reading them, which nobody asked for.
    """
    for name, below in limits.items():
        value = getattr(optimiser, name)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0.0 <= value < below:
            raise OptionError(f"{name}={value!r} must be at least 0 and below {below:g}.")
        object.__setattr__(optimiser, name, float(value))


def _check_match(parameters: Arrays, gradients: Arrays, *state: Arrays) -> None:
    remedy = "Pass the gradient of each parameter, and a state from init(parameters)."
    for what, other in (("The gradients", gradients), *(("The state's arrays", arrays) for arrays in state)):
        if not isinstance(other, Mapping):
            raise ParameterError(
                f"{what} are of type {type(other).__name__}, not a dict. Pass a dict by the parameters' names, "
                "such as `gradients.parameters` of a pullback."
            )
        check_same_names(other, parameters, what)
        check_same_shapes(other, parameters, what, remedy)
