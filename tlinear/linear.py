"""What every layer can do, and the dense layer itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.arguments import check_bias, check_cotangent, check_flag, check_input, check_tangent
from tlinear.arrays import Array, DType, compute_dtype, inexact_dtype, match_dtype, parameter_dtype, to_inexact
from tlinear.errors import DTypeError, ShapeError, StateError
from tlinear.formats import FactorizedTensor
from tlinear.functional import Gradients, Wrt, bias_gradient, gradients_asked_for
from tlinear.named_arrays import check_known_names, check_same_names, check_same_shapes
from tlinear.randomness import to_generator
from tlinear.shapes import is_integer

__all__ = ["Layer", "Linear", "as_linear", "uniform"]


class Layer(ABC):
    """What a dense and a factorized layer have in common: ``y = x W^T + bias`` and its derivatives."""

    bias: Array | None
    _pullback: Callable[[ArrayLike], Gradients] | None = None
    _gradients: dict[str, Array] | None = None

    @property
    @abstractmethod
    def in_features(self) -> int:
        """The size of the last axis of the input."""

    @property
    @abstractmethod
    def out_features(self) -> int:
        """The size of the last axis of the output."""

    @abstractmethod
    def parameters(self) -> dict[str, Array]:
        """Every array of the layer by name; the arrays themselves, not copies."""

    @abstractmethod
    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Self:
        """The same layer with other numbers: every parameter must be there, in its shape; held, not copied."""

    @abstractmethod
    def __call__(self, x: ArrayLike) -> Array:
        """``y`` of shape ``(..., out_features)`` for `x` of shape ``(..., in_features)``."""

    @abstractmethod
    def vjp(self, x: ArrayLike, wrt: Wrt = None) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        """``y``, and the pullback: it maps a cotangent ``dy`` to the :class:`Gradients` of x and the parameters.

        With `wrt`, an iterable of ``"x"`` and names of parameters, only of these.
        """

    @abstractmethod
    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        """``y``, and its derivative along `dx` and the `tangents` of the parameters; what is not given is zero."""

    @property
    def n_parameters(self) -> int:
        """The number of entries of all parameters together, the bias included."""
        return sum(array.size for array in self.parameters().values())

    def forward(self, x: ArrayLike) -> Array:
        """Like calling the layer, and remembers what :meth:`backward` needs."""
        y, self._pullback = self.vjp(x)
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """The gradient of the input of the last :meth:`forward`; those of the parameters are then in :attr:`gradients`.

        Raises
        ------
        StateError
            When no forward pass is waiting: each is pulled back once, and then forgotten.
        """
        if self._pullback is None:
            raise StateError(
                "backward was called, but no forward pass is waiting. Call layer.forward(x) before each "
                "layer.backward(dy); layer(x) does not remember its input."
            )
        gradients = self._pullback(dy)
        self._pullback, self._gradients = None, gradients.parameters
        return cast(Array, gradients.x)

    @property
    def gradients(self) -> dict[str, Array]:
        """The gradients of the parameters that the last :meth:`backward` found, by the parameters' names."""
        if self._gradients is None:
            raise StateError("No gradients yet. Call layer.forward(x) and then layer.backward(dy).")
        return self._gradients

    def __getstate__(self) -> dict[str, Any]:
        passing = ("_pullback", "_gradients")
        return {name: value for name, value in self.__dict__.items() if name not in passing}


class Linear(Layer):
    """The dense layer ``y = x weight^T + bias``, initialised as ``torch.nn.Linear`` is.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : dtype
        float64 unless given.
    rng : None, int or numpy.random.Generator
        Every entry is drawn uniformly from ``+- 1 / sqrt(in_features)``.

    Attributes
    ----------
    weight : array of shape (out_features, in_features)
    bias : array of shape (out_features,), or None

    Examples
    --------
    >>> layer = Linear(16, 10, rng=0)
    >>> layer(np.ones((4, 16))).shape
    (4, 10)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        for name, n in (("in_features", in_features), ("out_features", out_features)):
            if not is_integer(n) or n < 1:
                raise ShapeError(f"{name}={n!r} is not a positive integer. Pass one, such as Linear(16, 10).")
        check_flag("bias", bias)
        generator = to_generator(rng)
        self.weight = uniform((int(out_features), int(in_features)), in_features, dtype, generator)
        self.bias = uniform((int(out_features),), in_features, dtype, generator) if bias else None

    @classmethod
    def from_arrays(cls, weight: ArrayLike, bias: ArrayLike | None = None, *, transposed: bool = False) -> Self:
        """The layer of a given weight ``(out_features, in_features)`` and bias; arrays are held, not copied.

        `transposed` is for weights stored as ``(in_features, out_features)``: scikit-learn's
        ``coefs_``, the MatMul of ONNX, the Conv1D of GPT-2.

        Examples
        --------
        >>> Linear.from_arrays([[1.0, 2.0, 3.0]])([1.0, 1.0, 1.0])
        array([6.])
        """
        matrix = to_inexact(weight, "weight")
        if matrix.ndim != 2 or matrix.size == 0:
            raise ShapeError(
                f"weight has shape {matrix.shape}, but must be a matrix (out_features, in_features). "
                "Reshape it, and pass transposed=True if it is stored as (in_features, out_features)."
            )
        layer = cls.__new__(cls)
        layer.weight = matrix.T if transposed else matrix
        layer.bias = None if bias is None else check_bias(bias, layer.out_features)
        return layer

    @property
    def in_features(self) -> int:
        return int(self.weight.shape[1])

    @property
    def out_features(self) -> int:
        return int(self.weight.shape[0])

    def parameters(self) -> dict[str, Array]:
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Self:
        check_same_names(parameters, self.parameters(), "The parameters")
        check_same_shapes(parameters, self.parameters(), "Linear", "Use Linear.from_arrays for another shape.")
        return self.from_arrays(parameters["weight"], parameters.get("bias"))

    def __call__(self, x: ArrayLike) -> Array:
        return self._apply(*self._checked(x))

    def vjp(self, x: ArrayLike, wrt: Wrt = None) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        array, dtype = self._checked(x)
        wanted = ("x", "weight", "bias") if wrt is None else gradients_asked_for(wrt, self.parameters())
        weight, bias, work = self.weight, self.bias, compute_dtype(dtype)
        shape = (*array.shape[:-1], self.out_features)

        def pullback(dy: ArrayLike) -> Gradients:
            """``dx = dy conj(W)`` and ``dW = dy^T conj(x)``."""
            cotangent = check_cotangent(dy, shape, dtype)
            n_samples = math.prod(shape[:-1])
            flat_dy = cotangent.reshape(n_samples, shape[-1]).astype(work, copy=False)
            flat_x = array.reshape(n_samples, array.shape[-1]).astype(work, copy=False)
            dx, parameters = None, {}
            if "x" in wanted:
                dx = match_dtype((flat_dy @ weight.conj()).reshape(array.shape), inexact_dtype(array.dtype))
            if "weight" in wanted:
                parameters["weight"] = match_dtype(flat_dy.T @ flat_x.conj(), weight.dtype)
            if bias is not None and "bias" in wanted:
                parameters["bias"] = bias_gradient(cotangent, bias)
            return Gradients(dx, parameters)

        return self._apply(array, dtype), pullback

    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        array, dtype = self._checked(x)
        primals, tangents = self.parameters(), tangents or {}
        check_known_names(tangents, primals, "The tangents")
        moved = {name: check_tangent(tangent, primals[name], name) for name, tangent in tangents.items()}
        work = compute_dtype(dtype)
        dy = np.zeros((*array.shape[:-1], self.out_features), work)
        if dx is not None:
            dy += check_tangent(dx, array, "dx").astype(work) @ self.weight.T
        if "weight" in moved:
            dy += array.astype(work) @ moved["weight"].T
        if "bias" in moved:
            dy += moved["bias"]
        return self._apply(array, dtype), dy.astype(dtype, copy=False)

    def _checked(self, x: ArrayLike) -> tuple[Array, DType]:
        array = check_input(x, self.in_features)
        return array, inexact_dtype(array.dtype, *(parameter.dtype for parameter in self.parameters().values()))

    def _apply(self, x: Array, dtype: DType) -> Array:
        work = compute_dtype(dtype)
        y = x.astype(work, copy=False) @ self.weight.astype(work, copy=False).T
        return np.asarray(y if self.bias is None else y + self.bias).astype(dtype, copy=False)

    def __repr__(self) -> str:
        return (
            f"Linear({self.in_features} -> {self.out_features}, bias={self.bias is not None}, "
            f"parameters={self.n_parameters:,}, {self.weight.dtype})"
        )


def as_linear(linear: Any, *, bias: bool = True, transposed: bool = False) -> Linear:
    """The dense layer in anything that has a `weight` (out_features, in_features) and a `bias`; arrays are held.

    Raises
    ------
    DTypeError
        When it has no weight, or one that is factorized.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> as_linear(SimpleNamespace(weight=[[1.0, 2.0, 3.0]], bias=None)).in_features
    3
    """
    weight = getattr(linear, "weight", None)
    if isinstance(weight, FactorizedTensor):
        raise DTypeError(
            f"linear's weight is already factorized: {weight!r}. Pass linear.to_linear() to factorize it anew."
        )
    if weight is None:
        raise DTypeError(
            f"linear of type {type(linear).__name__} has no attribute `weight`. Pass a dense layer, or wrap arrays "
            "with tlinear.Linear.from_arrays(weight, bias)."
        )
    return Linear.from_arrays(weight, getattr(linear, "bias", None) if bias else None, transposed=transposed)


def uniform(shape: tuple[int, ...], in_features: int, dtype: DTypeLike | None, rng: np.random.Generator) -> Array:
    """What ``torch.nn.Linear`` starts from; of a complex number, each part with half of the variance."""
    wanted, bound = parameter_dtype(dtype or np.float64), 1.0 / math.sqrt(in_features)
    if wanted.kind == "c":
        real, imag = rng.uniform(-bound, bound, (2, *shape)) / math.sqrt(2.0)
        return np.asarray(real + 1j * imag).astype(wanted)
    return rng.uniform(-bound, bound, shape).astype(wanted)
