"""The tensorized layer: parameters, and the calls that need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.arguments import check_bias, check_flag
from tlinear.arrays import Array, DType, check_finite, compute_dtype, inexact_dtype, parameter_dtype, to_inexact
from tlinear.contraction.plan import Implementation, Mode, Plan, check_implementation, plan
from tlinear.decomposition import Decomposition, decompose
from tlinear.errors import DTypeError, OptionError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.functional import (
    Gradients,
    Trace,
    check_weight,
    factorized_linear,
    linear_jvp,
    linear_trace,
    linear_vjp,
    named_parameters,
)
from tlinear.linear import Layer, Linear, uniform
from tlinear.named_arrays import check_same_names
from tlinear.ranks import Rank
from tlinear.shapes import as_shape, is_integer, resolve_shape

__all__ = ["FactorizedLinear"]


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
    FactorizedLinear(16 -> 10, tucker, in=(4, 4), out=(2, 5), rank=(3, 3, 1, 3), bias=True, implementation='auto',
                     parameters=78 of 170 dense, compression=2.18x, float64)
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
        check_flag("bias", bias)
        cls = find_format(factorization)
        in_shape = as_shape(in_tensorized_features, "in_tensorized_features")
        out_shape = as_shape(out_tensorized_features, "out_tensorized_features")
        generator = np.random.default_rng(rng)
        self.weight = cls.random(in_shape, out_shape, rank, dtype=dtype or np.float64, rng=generator)
        in_features = self.weight.in_features
        self.bias = uniform((self.weight.out_features,), in_features, dtype, generator) if bias else None
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
        check_weight(weight)
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
            See :func:`tlinear.resolve_rank`.  The default spends the whole budget, which for CP means ranks
            in the hundreds, whose alternating least squares take minutes on a large layer.
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
        >>> layer = FactorizedLinear.from_linear(linear, factorization="tt", rank=10)
        >>> layer.weight.shape, bool(np.allclose(layer(np.ones(16)), linear(np.ones(16))))
        ((4, 4, 2, 5), True)
        """
        check_implementation(implementation)
        check_flag("bias", bias)
        source = getattr(linear, "weight", None)
        if isinstance(source, FactorizedTensor):
            raise DTypeError(
                f"linear's weight is already factorized: {source!r}. Pass "
                "Linear.from_arrays(linear.weight.to_matrix(), linear.bias) to factorize it anew."
            )
        if source is None:
            raise DTypeError(
                f"linear of type {type(linear).__name__} has no attribute `weight`. Pass a dense layer, or wrap arrays "
                "with tlinear.Linear.from_arrays(weight, bias)."
            )
        dense = Linear.from_arrays(source, getattr(linear, "bias", None) if bias else None, transposed=transposed)
        n_in, n_out = _pair(n_tensorized_modes)
        in_shape = resolve_shape("in", dense.in_features, in_tensorized_features, n_in if auto_tensorize else None)
        out_shape = resolve_shape("out", dense.out_features, out_tensorized_features, n_out if auto_tensorize else None)
        for name, array in dense.parameters().items():
            check_finite(array, name)
        result = decompose(
            dense.weight.T.reshape(*in_shape, *out_shape).astype(_kept_dtype(dtype, dense.weight.dtype)),
            factorization,
            rank,
            n_in=len(in_shape),
            rng=rng,
            **_options(decomposition_options),
        )
        copied = None if dense.bias is None else dense.bias.astype(_kept_dtype(dtype, dense.bias.dtype))
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
        return named_parameters(self.weight, self.bias)

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Self:
        check_same_names(parameters, self.parameters(), "The parameters")
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
        """What will be computed for this many samples of the parameters' dtype; ``print`` it.

        Examples
        --------
        >>> print(FactorizedLinear((4,), (5,), factorization="tt", rank=2, implementation="factorized", rng=0).plan(1))
        Plan: factorized, forward, batch 1, float64
          x[b i1] cores.0[r1 i1 r2] cores.1[r2 o1 r3] -> [b o1]
          t1[b r2] = x[b i1] * cores.0[i1 r2]
              (1, 2), 16 FLOPs
          result[b o1] = t1[b r2] * cores.1[r2 o1]
              (1, 5), 20 FLOPs
          in all 36 FLOPs, 248 bytes moved, at most 56 bytes of intermediates alive; predicted 8 us
        """
        parameters = self.parameters().values()
        dtype = compute_dtype(inexact_dtype(*(array.dtype for array in parameters)))
        return plan(
            self.weight.layer_network, implementation=self.implementation, mode=mode, batch_size=batch_size, dtype=dtype
        )

    def __repr__(self) -> str:
        dense = self.in_features * self.out_features + (0 if self.bias is None else self.out_features)
        rank = "" if self.rank is None else f", rank={self.rank}"
        return (
            f"FactorizedLinear({self.in_features} -> {self.out_features}, {self.weight.factorization}, "
            f"in={self.in_tensorized_features}, out={self.out_tensorized_features}{rank}, "
            f"bias={self.bias is not None}, implementation={self.implementation!r},\n                 "
            f"parameters={self.n_parameters:,} of {dense:,} dense, compression={dense / self.n_parameters:.2f}x, "
            f"{self.weight.dtype})"
        )


def _options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    options = dict(given or {})
    taken = sorted({"tensor", "factorization", "rank", "n_in", "rng"} & set(options))
    if taken:
        raise OptionError(
            f"decomposition_options holds {taken}. Pass these to from_linear itself, or leave them to it."
        )
    return options


def _kept_dtype(dtype: DTypeLike | None, source: DType) -> DType:
    """`dtype` if it can hold the source; by default the source's own."""
    return source if dtype is None else parameter_dtype(dtype, source)


def _pair(n_tensorized_modes: int | tuple[int, int]) -> tuple[int, int]:
    """The numbers of input and output modes."""
    n = n_tensorized_modes
    counts = tuple(n) if isinstance(n, Sequence) else (n, n)
    if len(counts) != 2 or not all(is_integer(count) and count >= 1 for count in counts):
        raise ShapeError(f"n_tensorized_modes={n!r} must be an int >= 1, or a pair (n_in, n_out) of them.")
    return counts[0], counts[1]
