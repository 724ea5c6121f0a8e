"""The layers: parameters, and the three calls that need them (forward, pullback, pushforward)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.arrays import Array, DType, check_finite, compute_dtype, inexact_dtype, match_dtype, to_inexact
from tlinear.contraction.plan import Implementation, Mode, Plan, check_implementation, plan
from tlinear.decomposition import Decomposition, decompose
from tlinear.errors import DTypeError, FactorizationError, ShapeError, StateError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.formats.base import check_known_names, check_same_names
from tlinear.functional import (
    Gradients,
    Trace,
    bias_gradient,
    check_bias,
    check_cotangent,
    check_input,
    check_tangent,
    factorized_linear,
    linear_jvp,
    linear_trace,
    linear_vjp,
)
from tlinear.ranks import Rank
from tlinear.shapes import as_shape, is_integer, tensorize_shape

__all__ = ["FactorizedLinear", "Layer", "Linear"]


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
        """The same layer with other numbers: every parameter must be there, in its shape.  Arrays are held, not copied."""

    @abstractmethod
    def __call__(self, x: ArrayLike) -> Array:
        """``y`` of shape ``(..., out_features)`` for `x` of shape ``(..., in_features)``."""

    @abstractmethod
    def vjp(self, x: ArrayLike) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        """``y``, and the pullback: it maps a cotangent ``dy`` to the :class:`Gradients` of x and the parameters."""

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
        return gradients.x

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
        generator = np.random.default_rng(rng)
        self.weight = _uniform((int(out_features), int(in_features)), in_features, dtype, generator)
        self.bias = _uniform((int(out_features),), in_features, dtype, generator) if bias else None

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
        check_same_names(parameters, self.parameters())
        layer = self.from_arrays(parameters["weight"], parameters.get("bias"))
        if layer.weight.shape != self.weight.shape:
            raise ShapeError(
                f"weight has shape {layer.weight.shape}, but this layer's has {self.weight.shape}. "
                "Build a new layer with Linear.from_arrays for another shape."
            )
        return layer

    def __call__(self, x: ArrayLike) -> Array:
        array, dtype = self._checked(x)
        work = compute_dtype(dtype)
        y = array.astype(work, copy=False) @ self.weight.astype(work, copy=False).T
        return np.asarray(y if self.bias is None else y + self.bias).astype(dtype, copy=False)

    def vjp(self, x: ArrayLike) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        array, dtype = self._checked(x)
        weight, bias, work = self.weight, self.bias, compute_dtype(dtype)
        shape = (*array.shape[:-1], self.out_features)

        def pullback(dy: ArrayLike) -> Gradients:
            """``dx = dy conj(W)`` and ``dW = dy^T conj(x)``."""
            cotangent = check_cotangent(dy, shape, dtype)
            n_samples = math.prod(shape[:-1])
            flat_dy = cotangent.reshape(n_samples, shape[-1]).astype(work, copy=False)
            flat_x = array.reshape(n_samples, array.shape[-1]).astype(work, copy=False)
            dx = (flat_dy @ weight.conj()).reshape(array.shape)
            parameters = {"weight": match_dtype(flat_dy.T @ flat_x.conj(), weight.dtype)}
            if bias is not None:
                parameters["bias"] = bias_gradient(cotangent, bias)
            return Gradients(match_dtype(dx, inexact_dtype(array.dtype)), parameters)

        return self(array), pullback

    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        array, _ = self._checked(x)
        primals, tangents = self.parameters(), tangents or {}
        check_known_names(tangents, primals)
        y = self(array)
        dy = np.zeros_like(y)
        if dx is not None:
            dy = dy + check_tangent(dx, array, "dx") @ self.weight.T
        if "weight" in tangents:
            dy = dy + array @ check_tangent(tangents["weight"], self.weight, "weight").T
        if "bias" in tangents:
            dy = dy + check_tangent(tangents["bias"], primals["bias"], "bias")
        return y, dy.astype(y.dtype, copy=False)

    def _checked(self, x: ArrayLike) -> tuple[Array, DType]:
        array = check_input(x, self.in_features)
        return array, inexact_dtype(array.dtype, *(parameter.dtype for parameter in self.parameters().values()))

    def __repr__(self) -> str:
        return (
            f"Linear({self.in_features} -> {self.out_features}, bias={self.bias is not None}, "
            f"parameters={self.n_parameters:,}, {self.weight.dtype})"
        )


class FactorizedLinear(Layer):
    """The tensorized layer: its weight is a low-rank factorization of a higher-order tensor.

    ``y[b, o1..om] = sum_{i1..in} x[b, i1..in] W[i1..in, o1..om] + bias[o1..om]``, all axes row-major.

    Parameters
    ----------
    in_tensorized_features, out_tensorized_features : sequence of int
        The sizes of the modes; their products are the layer's in and out features.
    bias : bool
    factorization : {'cp', 'tucker', 'tt', 'blocktt', 'dense'} or a format class
    rank : int, tuple of int, float in (0, 1], or 'same'
        See :func:`tlinear.resolve_rank`.
    implementation : {'auto', 'factorized', 'reconstructed'}
        Contract the input with the operands in a planned order, rebuild the dense weight first, or
        whichever the cost model predicts to be faster for the batch at hand.
    dtype : dtype
        float64 unless given.
    rng : None, int or numpy.random.Generator
        The entries of the reconstructed weight have the standard deviation that those of
        ``torch.nn.Linear`` have, ``1 / sqrt(3 in_features)``, and the bias its distribution.

    Attributes
    ----------
    weight : FactorizedTensor
        Of shape ``(*in_tensorized_features, *out_tensorized_features)``.
    bias : array of shape (out_features,), or None
    implementation : str
    decomposition : Decomposition, or None
        How :meth:`from_linear` came by the weight, its relative error among it; None for any other layer.

    Raises
    ------
    ShapeError, RankError, FactorizationError, ImplementationError
        When the respective argument is none of the above.

    Examples
    --------
    >>> layer = FactorizedLinear((4, 4), (2, 5), factorization="tucker", rank=0.5, rng=0)
    >>> layer
    FactorizedLinear(16 -> 10, tucker, in=(4, 4), out=(2, 5), rank=(2, 3, 2, 3), bias=True, implementation='auto',
                     parameters=85 of 170 dense, compression=2.00x, float64)
    >>> layer(np.ones((3, 16))).shape
    (3, 10)
    """

    decomposition: Decomposition | None = None

    def __init__(
        self,
        in_tensorized_features: Sequence[int],
        out_tensorized_features: Sequence[int],
        *,
        bias: bool = True,
        factorization: str | type[FactorizedTensor] = "cp",
        rank: Any = "same",
        implementation: Implementation = "auto",
        dtype: DTypeLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        check_implementation(implementation)
        cls = find_format(factorization)
        in_shape = as_shape(in_tensorized_features, "in_tensorized_features")
        out_shape = as_shape(out_tensorized_features, "out_tensorized_features")
        generator = np.random.default_rng(rng)
        self.weight = cls.random(in_shape, out_shape, rank, dtype=dtype or np.float64, rng=generator)
        in_features = self.weight.in_features
        self.bias = _uniform((self.weight.out_features,), in_features, dtype, generator) if bias else None
        self.implementation: Implementation = implementation

    @classmethod
    def from_weight(
        cls, weight: FactorizedTensor, bias: ArrayLike | None = None, *, implementation: Implementation = "auto"
    ) -> Self:
        """The layer of a given factorized weight and bias; arrays are held, not copied.

        Examples
        --------
        >>> import tlinear
        >>> weight = tlinear.BlockTTTensor.random((4, 4), (2, 5), rank=2, rng=0)
        >>> FactorizedLinear.from_weight(weight).out_features
        10
        """
        check_implementation(implementation)
        if not isinstance(weight, FactorizedTensor):
            raise FactorizationError(
                f"weight is of type {type(weight).__name__}, not a FactorizedTensor. Use from_linear to factorize a dense one."
            )
        _ = weight.layer_network
        layer = cls.__new__(cls)
        layer.weight = weight
        layer.bias = None if bias is None else check_bias(bias, weight.out_features)
        layer.implementation = implementation
        return layer

    @classmethod
    def from_linear(
        cls,
        linear: Any,
        *,
        rank: Any = "same",
        auto_tensorize: bool = True,
        n_tensorized_modes: int | tuple[int, int] = 2,
        in_tensorized_features: Sequence[int] | None = None,
        out_tensorized_features: Sequence[int] | None = None,
        bias: bool = True,
        factorization: str | type[FactorizedTensor] = "cp",
        implementation: Implementation = "auto",
        dtype: DTypeLike | None = None,
        transposed: bool = False,
        rng: np.random.Generator | int | None = 0,
        decomposition_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Compress a dense layer: reshape its weight to a tensor and factorize that.

        Parameters
        ----------
        linear : object with `weight` and `bias`
            :class:`Linear`, a ``torch.nn.Linear``, or anything with a `weight` of shape (out_features,
            in_features) and a `bias` of shape (out_features,) or None.  Its arrays are copied.
        rank : int, tuple of int, float in (0, 1], or 'same'
            See :func:`tlinear.resolve_rank`.
        auto_tensorize : bool
            Choose the shape of a side that is not given; when False, both must be given.
        n_tensorized_modes : int or (int, int)
            How many modes to choose, on both sides or on the input's and the output's.
        in_tensorized_features, out_tensorized_features : sequence of int, optional
            The modes of a side; a shape that is given is always used.
        bias : bool
            True keeps the bias of the source, if it has one; False drops it.
        factorization, implementation
            As for :class:`FactorizedLinear`.
        dtype : dtype, optional
            That of the source unless given.
        transposed : bool
            Whether the source's weight is stored as (in_features, out_features).
        rng : int, Generator or None
            For CP; the default gives the same result every time.
        decomposition_options : dict, optional
            Passed to :func:`tlinear.decompose`.

        Raises
        ------
        ShapeError
            When a shape's product is not the number of features, or a side has no shape.
        NonFiniteError
            When the weight or the bias holds NaN or infinity.

        Examples
        --------
        >>> linear = Linear(16, 10, rng=0)
        >>> layer = FactorizedLinear.from_linear(linear, factorization="tt", rank=8)
        >>> layer.weight.shape, bool(np.allclose(layer(np.ones(16)), linear(np.ones(16))))
        ((4, 4, 2, 5), True)
        """
        check_implementation(implementation)
        source = getattr(linear, "weight", None)
        if source is None:
            raise DTypeError(
                f"linear of type {type(linear).__name__} has no attribute `weight`. Pass a dense layer, or wrap arrays "
                "with tlinear.Linear.from_arrays(weight, bias)."
            )
        dense = Linear.from_arrays(source, getattr(linear, "bias", None) if bias else None, transposed=transposed)
        in_shape, out_shape = _resolve_shapes(
            (dense.in_features, dense.out_features),
            (in_tensorized_features, out_tensorized_features),
            auto_tensorize,
            n_tensorized_modes,
        )
        if dense.bias is not None:
            check_finite(dense.bias, "bias")
        result = decompose(
            dense.weight.T.reshape(*in_shape, *out_shape).astype(dtype or dense.weight.dtype),
            factorization,
            rank,
            n_in=len(in_shape),
            rng=rng,
            **(decomposition_options or {}),
        )
        copied = None if dense.bias is None else dense.bias.astype(dtype or dense.bias.dtype)
        layer = cls.from_weight(result.tensor, copied, implementation=implementation)
        layer.decomposition = result
        return layer

    @property
    def in_features(self) -> int:
        return self.weight.in_features

    @property
    def out_features(self) -> int:
        return self.weight.out_features

    @property
    def in_tensorized_features(self) -> tuple[int, ...]:
        """The sizes of the input modes."""
        return self.weight.in_shape

    @property
    def out_tensorized_features(self) -> tuple[int, ...]:
        """The sizes of the output modes."""
        return self.weight.out_shape

    @property
    def rank(self) -> Rank:
        """The rank of the weight."""
        return self.weight.rank

    def parameters(self) -> dict[str, Array]:
        named = {f"weight.{name}": array for name, array in self.weight.operands.items()}
        return named | ({} if self.bias is None else {"bias": self.bias})

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Self:
        check_same_names(parameters, self.parameters())
        arrays = {name: to_inexact(array, name) for name, array in parameters.items()}
        weight = self.weight.with_operands({name: arrays[f"weight.{name}"] for name in self.weight.operands})
        return self.from_weight(weight, arrays.get("bias"), implementation=self.implementation)

    def __call__(self, x: ArrayLike) -> Array:
        return factorized_linear(x, self.weight, self.bias, implementation=self.implementation)

    def vjp(self, x: ArrayLike) -> tuple[Array, Callable[[ArrayLike], Gradients]]:
        return linear_vjp(x, self.weight, self.bias, implementation=self.implementation)

    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        return linear_jvp(x, self.weight, self.bias, dx, tangents or {}, implementation=self.implementation)

    def trace(self, x: ArrayLike) -> Trace:
        """Every intermediate of the plan for this input, named, with the equation that made it."""
        return linear_trace(x, self.weight, self.bias, implementation=self.implementation)

    def plan(self, batch_size: int, mode: Mode = "forward") -> Plan:
        """What will be computed for this many samples; ``print`` it.

        Examples
        --------
        >>> print(FactorizedLinear((4, 4), (2, 5), rank=2, implementation="reconstructed", rng=0).plan(1))
        """
        dtype = compute_dtype(self.weight.dtype)
        return plan(
            self.weight.layer_network, implementation=self.implementation, mode=mode, batch_size=batch_size, dtype=dtype
        )

    def __repr__(self) -> str:
        dense = self.in_features * self.out_features + (0 if self.bias is None else self.out_features)
        rank = "" if self.rank is None else f", rank={self.rank}"
        return (
            f"FactorizedLinear({self.in_features} -> {self.out_features}, {self.weight.factorization}, "
            f"in={self.in_tensorized_features}, out={self.out_tensorized_features}{rank}, bias={self.bias is not None}, "
            f"implementation={self.implementation!r},\n                 "
            f"parameters={self.n_parameters:,} of {dense:,} dense, compression={dense / self.n_parameters:.2f}x, "
            f"{self.weight.dtype})"
        )


def _uniform(shape: tuple[int, ...], in_features: int, dtype: DTypeLike | None, rng: np.random.Generator) -> Array:
    """What ``torch.nn.Linear`` starts from; of a complex number, each part with half of the variance."""
    wanted, bound = np.dtype(dtype or np.float64), 1.0 / math.sqrt(in_features)
    if wanted.kind == "c":
        real, imag = rng.uniform(-bound, bound, (2, *shape)) / math.sqrt(2.0)
        return np.asarray(real + 1j * imag).astype(wanted)
    if wanted.kind != "f":
        raise DTypeError(f"dtype={wanted} cannot hold parameters. Pass a real or complex floating dtype.")
    return rng.uniform(-bound, bound, shape).astype(wanted)


def _resolve_shapes(
    features: tuple[int, int],
    given: tuple[Sequence[int] | None, Sequence[int] | None],
    auto_tensorize: bool,
    n_tensorized_modes: int | tuple[int, int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The modes of both sides: as given, or where that is None, chosen."""
    both = isinstance(n_tensorized_modes, (tuple, list))
    counts = tuple(n_tensorized_modes) if both else (n_tensorized_modes,) * 2  # type: ignore[arg-type]
    if len(counts) != 2:
        raise ShapeError(f"n_tensorized_modes={n_tensorized_modes!r} must be an int, or a pair (n_in, n_out).")
    shapes = []
    for side, n, shape, count in zip(("in", "out"), features, given, counts, strict=True):
        name = f"{side}_tensorized_features"
        if shape is not None:
            modes = as_shape(shape, name)
            if math.prod(modes) != n:
                try:
                    hint = f", such as {tensorize_shape(n, len(modes))}"
                except ShapeError:
                    hint = ""
                raise ShapeError(
                    f"{name}={modes} has the product {math.prod(modes)}, but the linear layer has {side}_features={n}. "
                    f"Pass modes whose product is {n}{hint}."
                )
        elif auto_tensorize:
            modes = tensorize_shape(n, count)
        else:
            raise ShapeError(
                f"auto_tensorize=False, but {name} is not given. Pass modes whose product is {n}, or auto_tensorize=True."
            )
        shapes.append(modes)
    return shapes[0], shapes[1]
