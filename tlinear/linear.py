"""What every layer can do, and the dense layer itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.arguments import check_bias, check_cotangent, check_flag, check_input, check_tangent
from tlinear.arrays import (
    Array,
    DType,
    Space,
    adopt_inexact,
    as_dtype,
    as_source,
    bring,
    find_space,
    parameter_dtype,
    space_of,
)
from tlinear.capacity import check_capacity
from tlinear.errors import ShapeError, StateError
from tlinear.functional import Gradients, Wrt, bias_gradient, gradients_asked_for
from tlinear.named_arrays import check_known_names, check_same_names, check_same_shapes
from tlinear.randomness import to_generator
from tlinear.shapes import is_integer

__all__ = ["Layer", "Linear", "uniform"]


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
        """Every array of the layer by name, C-contiguous; the arrays themselves, not copies.

        Examples
        --------
        >>> {name: array.shape for name, array in Linear(16, 10, rng=0).parameters().items()}
        {'weight': (10, 16), 'bias': (10,)}
        """

    @abstractmethod
    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Self:
        """The same layer with other numbers: every parameter must be there, in its shape.

        Arrays are held, not copied, unless they are not C-contiguous, as every parameter is.

        Raises
        ------
        ParameterError
            When a name is missing or unknown.
        ShapeError
            When an array has not the shape of the parameter.

        Examples
        --------
        >>> layer = Linear(2, 1, rng=0).with_parameters({"weight": [[1.0, 2.0]], "bias": [3.0]})
        >>> layer(np.ones(2))
        array([6.])
        """

    @abstractmethod
    def __call__(self, x: ArrayLike) -> Array:
        """``y`` of shape ``(..., out_features)`` for `x` of shape ``(..., in_features)``."""

    @abstractmethod
    def vjp(self, x: ArrayLike, wrt: Wrt = None) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        """``y``, and the pullback: it maps a cotangent ``dy`` to the :class:`Gradients` of x and the parameters.

        The adjoint of the derivative under ``<a, b> = sum conj(a) b``.

        Parameters
        ----------
        x : array of shape (..., in_features)
        wrt : iterable of str, optional
            ``"x"`` and names of parameters: only their gradients are computed.

        Returns
        -------
        y : array of shape (..., out_features)
        pullback : callable
            From dy of the shape of y to the gradients, each of the shape of what it belongs to.

        Raises
        ------
        ShapeError
            When the last axis of x is not in_features, or dy has not the shape of y.

        Examples
        --------
        >>> y, pullback = Linear(16, 10, rng=0).vjp(np.ones((3, 16)))
        >>> gradients = pullback(np.ones_like(y))
        >>> gradients.x.shape, gradients.parameters["weight"].shape, gradients.parameters["bias"][:2]
        ((3, 16), (10, 16), array([3., 3.]))
        """

    @abstractmethod
    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        """``y``, and its derivative along `dx` and the `tangents` of the parameters; what is not given is zero.

        Examples
        --------
        >>> layer = Linear.from_arrays([[1.0, 2.0]], [3.0])
        >>> layer.jvp(np.ones(2), dx=[1.0, 0.0], tangents={"bias": [10.0]})
        (array([6.]), array([11.]))
        """

    @property
    def space(self) -> Space:
        """The array library and device that the parameters live on, and that x must come from."""
        return space_of(next(iter(self.parameters().values())))

    def to(self, where: Any, device: Any = None) -> Self:
        """The same layer with every parameter copied to another array library or device.

        Parameters
        ----------
        where : module or device
            An array library, such as ``numpy``, ``cupy`` or ``torch``; or a device of the library that the parameters
            are of, as that names it.
        device : object, optional
            Of the library `where`; its default unless given.

        Raises
        ------
        DeviceError
            When there is no such library or device, or it has not the dtype of the parameters.

        Examples
        --------
        >>> layer = Linear(16, 10, rng=0)
        >>> bool(np.all(layer.to(np)(np.ones(16)) == layer(np.ones(16))))
        True
        """
        space = find_space(where, device, self.space)
        return self._rebuilt({name: bring(array, space) for name, array in self.parameters().items()})

    @abstractmethod
    def _rebuilt(self, parameters: Mapping[str, Array]) -> Self:
        """The same layer of these parameters, whose names and shapes are known to be right."""

    @property
    def n_parameters(self) -> int:
        """The number of entries of all parameters together, the bias included."""
        return sum(math.prod(array.shape) for array in self.parameters().values())

    def forward(self, x: ArrayLike) -> Array:
        """Like calling the layer, and remembers what :meth:`backward` needs.

        It is that of the last pass, whichever thread made it.  In several threads use :meth:`vjp`, or for each a
        ``copy.copy`` of the layer, which shares its arrays.
        """
        y, self._pullback = self.vjp(x)
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """The gradient of the input of the last :meth:`forward`; those of the parameters are then in :attr:`gradients`.

        Raises
        ------
        StateError
            When no forward pass is waiting: each is pulled back once, and then forgotten.

        Examples
        --------
        >>> layer = Linear.from_arrays([[1.0, 2.0]], [3.0])
        >>> layer.forward(np.ones(2)), layer.backward(np.array([10.0])), layer.gradients["weight"]
        (array([6.]), array([10., 20.]), array([[10., 10.]]))
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
        float64 unless given; ``"bfloat16"`` needs ml_dtypes.
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
        """The layer of a given weight ``(out_features, in_features)`` and bias.

        Arrays are held, not copied, unless their entries lie in another order than their axes', as those of a
        transposed array do.  `transposed` is for weights stored as ``(in_features, out_features)``: scikit-learn's
        ``coefs_``, the MatMul of ONNX, the Conv1D of GPT-2.

        Examples
        --------
        >>> Linear.from_arrays([[1.0, 2.0, 3.0]])([1.0, 1.0, 1.0])
        array([6.])
        """
        matrix = as_source(weight, "weight")
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ShapeError(
                f"weight has shape {tuple(matrix.shape)}, but must be a matrix (out_features, in_features). "
                "Reshape it, and pass transposed=True if it is stored as (in_features, out_features)."
            )
        layer = cls.__new__(cls)
        space = space_of(matrix)
        layer.weight = space.in_order(space.turned(matrix) if transposed else matrix)
        layer.bias = None if bias is None else check_bias(bias, layer.out_features, space)
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
        space, where = self.space, "the layer's parameters live"
        return self._rebuilt({name: adopt_inexact(array, space, name, where) for name, array in parameters.items()})

    def _rebuilt(self, parameters: Mapping[str, Array]) -> Self:
        return self.from_arrays(parameters["weight"], parameters.get("bias"))

    def __call__(self, x: ArrayLike) -> Array:
        return self._apply(*self._checked(x))

    def vjp(self, x: ArrayLike, wrt: Wrt = None) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        (array, dtype), space = self._checked(x), self.space
        wanted = ("x", "weight", "bias") if wrt is None else gradients_asked_for(wrt, self.parameters())
        weight, bias, work = self.weight, self.bias, space.compute_dtype(dtype)
        shape = (*array.shape[:-1], self.out_features)

        def pullback(dy: ArrayLike) -> Gradients:
            """``dx = dy conj(W)`` and ``dW = dy^T conj(x)``."""
            cotangent = check_cotangent(dy, shape, dtype, space)
            n_samples = math.prod(shape[:-1])
            flat_dy = space.astype(space.reshape(cotangent, (n_samples, shape[-1])), work)
            flat_x = space.astype(space.reshape(array, (n_samples, array.shape[-1])), work)
            dx, parameters = None, {}
            if "x" in wanted:
                pulled = flat_dy @ space.conj(space.astype(weight, work))
                dx = space.match_dtype(space.reshape(pulled, array.shape), space.inexact_dtype(array.dtype))
            if "weight" in wanted:
                parameters["weight"] = space.match_dtype(space.turned(flat_dy) @ space.conj(flat_x), weight.dtype)
            if bias is not None and "bias" in wanted:
                parameters["bias"] = bias_gradient(cotangent, bias, space)
            return Gradients(dx, parameters)

        return self._apply(array, dtype), pullback

    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        (array, dtype), space = self._checked(x), self.space
        primals, tangents = self.parameters(), tangents or {}
        check_known_names(tangents, primals, "The tangents")
        moved = {name: check_tangent(tangent, primals[name], name, space) for name, tangent in tangents.items()}
        work = space.compute_dtype(dtype)
        dy = space.zeros((*array.shape[:-1], self.out_features), work)
        if dx is not None:
            dy += self._product(check_tangent(dx, array, "dx", space), self.weight, work)
        if "weight" in moved:
            dy += self._product(array, moved["weight"], work)
        if "bias" in moved:
            dy += space.astype(moved["bias"], work)
        return self._apply(array, dtype), space.astype(dy, dtype)

    def _checked(self, x: ArrayLike) -> tuple[Array, DType]:
        space = self.space
        array = check_input(x, self.in_features, space=space)
        return array, space.inexact_dtype(array.dtype, *(parameter.dtype for parameter in self.parameters().values()))

    def _apply(self, x: Array, dtype: DType) -> Array:
        space = self.space
        work = space.compute_dtype(dtype)
        y = self._product(x, self.weight, work)
        if self.bias is not None:
            y += space.astype(self.bias, work)
        return space.astype(y, dtype)

    def _product(self, x: Array, matrix: Array, work: DType) -> Array:
        """``x matrix^T`` as one product of matrices, however many batch axes there are: BLAS takes no more than two."""
        space = self.space
        flat = x if x.ndim <= 2 else space.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
        y = space.astype(flat, work) @ space.turned(space.astype(matrix, work))
        return y if x.ndim <= 2 else space.reshape(y, (*x.shape[:-1], matrix.shape[0]))

    def __repr__(self) -> str:
        return (
            f"Linear({self.in_features} -> {self.out_features}, bias={self.bias is not None}, "
            f"parameters={self.n_parameters:,}, {self.weight.dtype})"
        )


def uniform(shape: tuple[int, ...], in_features: int, dtype: DTypeLike | None, rng: np.random.Generator) -> Array:
    """What ``torch.nn.Linear`` starts from; of a complex number, each part with half of the variance."""
    wanted, bound = parameter_dtype(dtype or np.float64), 1.0 / math.sqrt(in_features)
    check_capacity("A parameter of the layer", shape, wanted.itemsize, "Choose fewer features.")
    if wanted.kind == "c":
        real, imag = rng.uniform(-bound, bound, (2, *shape)) / math.sqrt(2.0)
        return as_dtype(np.asarray(real + 1j * imag), wanted)
    return as_dtype(rng.uniform(-bound, bound, shape), wanted)
