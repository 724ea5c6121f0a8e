"""The tensorized layer: parameters, and the calls that need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.arguments import check_bias, check_features, check_flag
from tlinear.arrays import Array
from tlinear.call import check_weight, named_parameters, planned, rebuilt, weight_and_bias
from tlinear.contraction.options import Implementation, Mode, Options, PlanOptions
from tlinear.contraction.plan import Plan
from tlinear.conversion import copied_bias, factorize, inputs_of
from tlinear.decomposition import Allocation, Calibration, Decomposition
from tlinear.formats import FactorizedTensor, find_format
from tlinear.formats.initialization import linear_std
from tlinear.frozen import FrozenLinear
from tlinear.functional import Pullback, Trace, Wrt, linear_forward, linear_jvp, linear_trace, linear_vjp
from tlinear.linear import Layer, Linear, uniform
from tlinear.modules import as_linear
from tlinear.randomness import to_generator
from tlinear.ranks.rules import Rank
from tlinear.shapes import as_shape, format_modes, mode_counts
from tlinear.tensorization import Tensorization

__all__ = ["FactorizedLinear"]


class FactorizedLinear(Layer):
    """The tensorized layer: its weight is a low-rank factorization of a higher-order tensor.

    ``y[b, o1..om] = sum_{i1..in} x[b, i1..in] W[i1..in, o1..om] + bias[o1..om]``, all axes row-major.

    Parameters
    ----------
    in_tensorized_features, out_tensorized_features : sequence of int
        The sizes of the modes; their products are the layer's in and out features, unless those are given.
    in_features, out_features : int, optional
        Fewer than the products: x is then padded with zeros behind its last feature and y is
        cropped, so that the dense weight is ``weight.to_matrix()[:out_features, :in_features]``.
    bias : bool
    factorization : {'cp', 'tucker', 'tt', 'blocktt', 'dense'} or a format class
    rank : int, tuple of int, float in (0, 1], or 'same', optional
        See :func:`tlinear.resolve_rank`; a budget is a fraction of ``in_features * out_features``, by default a tenth.
    implementation : {'auto', 'factorized', 'reconstructed'}
        Contract the input with the operands in a planned order, rebuild the dense weight first, or whichever the cost
        model predicts to be faster for the batch at hand.
    dtype : dtype
        float64 unless given; ``"bfloat16"`` needs ml_dtypes.
    rng : None, int or numpy.random.Generator
        The entries of the reconstructed weight have the standard deviation that those of ``torch.nn.Linear`` have,
        ``1 / sqrt(3 in_features)``, and the bias its distribution.

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
    ShapeError, RankError, FactorizationError, ImplementationError, OptionError
        When the respective argument is none of the above.

    Examples
    --------
    >>> layer = FactorizedLinear((4, 4), (2, 5), factorization="tucker", rank=2, rng=0)
    >>> layer
    FactorizedLinear(16 -> 10, tucker, in=(4, 4), out=(2, 5), rank=(2, 2, 2, 2), bias=True, implementation='auto',
                     parameters=56 of 170 dense, compression=3.04x, float64)
    >>> layer(np.ones((3, 16))).shape
    (3, 10)
    >>> FactorizedLinear((7, 14), (2, 5), in_features=97, factorization="tt", rank=2, rng=0)
    FactorizedLinear(97 -> 10, tt, in=(7, 14) padded from 97, out=(2, 5), rank=(1, 2, 2, 2, 1), bias=True,
                     ...
    """

    decomposition: Decomposition | None = None

    def __init__(
        self,
        in_tensorized_features: Sequence[int],
        out_tensorized_features: Sequence[int],
        *,
        in_features: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
        factorization: str | type[FactorizedTensor] = "cp",
        rank: Any = None,
        implementation: Implementation = "auto",
        dtype: DTypeLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        self.options = PlanOptions(implementation)
        check_flag("bias", bias)
        cls = find_format(factorization)
        in_shape = as_shape(in_tensorized_features, "in_tensorized_features")
        out_shape = as_shape(out_tensorized_features, "out_tensorized_features")
        n_in, n_out = check_features("in", in_features, in_shape), check_features("out", out_features, out_shape)
        resolved = cls.resolve_rank(in_shape, out_shape, rank, in_features=n_in, out_features=n_out)
        generator, std = to_generator(rng), linear_std(n_in)
        self.weight = cls.random(in_shape, out_shape, resolved, std=std, dtype=dtype or np.float64, rng=generator)
        self.bias = uniform((n_out,), n_in, dtype, generator) if bias else None
        self._in_features, self._out_features = n_in, n_out

    @classmethod
    def from_weight(
        cls,
        weight: FactorizedTensor,
        bias: ArrayLike | None = None,
        *,
        in_features: int | None = None,
        out_features: int | None = None,
        implementation: Implementation = "auto",
    ) -> Self:
        """The layer of a given factorized weight and bias; C-contiguous arrays are held, others copied.

        The features are all that the modes of the weight hold, unless fewer are given.

        Examples
        --------
        >>> import tlinear
        >>> weight = tlinear.BlockTTTensor.random((4, 4), (2, 5), rank=2, rng=0)
        >>> FactorizedLinear.from_weight(weight).out_features
        10
        """
        check_weight(weight)
        _ = weight.layer_network
        layer = cls.__new__(cls)
        layer.options = PlanOptions(implementation)
        layer.weight = weight
        layer._in_features = check_features("in", in_features, weight.in_shape)
        layer._out_features = check_features("out", out_features, weight.out_shape)
        layer.bias = None if bias is None else check_bias(bias, layer.out_features, weight.space)
        return layer

    @classmethod
    def from_linear(
        cls,
        linear: Any,
        *,
        rank: Any = None,
        tolerance: float | None = None,
        allocation: Allocation = "spectrum",
        calibration: ArrayLike | Calibration | None = None,
        auto_tensorize: bool = True,
        tensorization: Tensorization = "balanced",
        n_tensorized_modes: int | tuple[int, int] = 2,
        in_tensorized_features: Sequence[int] | None = None,
        out_tensorized_features: Sequence[int] | None = None,
        pad: bool | float = False,
        bias: bool = True,
        factorization: str | type[FactorizedTensor] = "cp",
        implementation: Implementation = "auto",
        dtype: DTypeLike | None = None,
        transposed: bool = False,
        rng: np.random.Generator | int | None = 0,
        decomposition_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Compress a dense layer: reshape its weight to a tensor and factorize that.

        Where a side's modes hold more than its features, the weight gets rows or columns of zeros first.  They
        leave its norm as it is: the relative error of the layer's matrix is at most ``decomposition.relative_error``.

        Parameters
        ----------
        linear : object with `weight` and `bias`
            :class:`Linear`, a ``torch.nn.Linear``, or anything with a `weight` of shape (out_features, in_features) and
            a `bias` of shape (out_features,) or None, which computes with these and nothing else.  They are copied.
        rank : int, tuple of int, float in (0, 1], or 'same', optional
            See :func:`tlinear.resolve_rank`.  By default the tolerance rules, or else a tenth of the parameters.
        tolerance : float in (0, 1), optional
            The largest relative error of the weight; a rank beside it is a limit.  See :func:`tlinear.decompose`.
        allocation : {'spectrum', 'proportional'}
            How a budget is shared: by the weight's singular values, which makes the error small, or by the modes,
            as in a new layer, which is better for fine-tuning at a small budget.
        calibration : array of shape (..., in_features) or Calibration, optional
            Inputs of the layer: the error of its outputs on them is made small, instead of that of its weight.
            It goes with a rank, not with a tolerance.  See :class:`Calibration`.
        auto_tensorize : bool
            Choose the shape of a side that is not given; when False, both must be given.
        tensorization : {'balanced', 'search'}
            Which modes are chosen: the most balanced ones; or those, in size and order, that lose least of the weight
            at the budget, or take the fewest parameters within the tolerance, of at most 128 shapes that are tried.
        n_tensorized_modes : int or (int, int)
            How many modes to choose, on both sides or on the input's and the output's.
        in_tensorized_features, out_tensorized_features : sequence of int, optional
            The modes of a side; a shape that is given is always used.
        pad : bool or float
            How many more features than the source's the modes of each side may hold, as a fraction; True is 2 %.
            See :func:`tlinear.tensorize_shape`; a side with an exact shape, but no balanced one near enough, keeps it.
        bias : bool
            True keeps the bias of the source, if it has one; False drops it.
        factorization, implementation
            As for :class:`FactorizedLinear`.
        dtype : dtype, optional
            That of the source unless given.  Errors are those of the result in it, compared with the source as it is.
        transposed : bool
            Whether the source's weight is stored as (in_features, out_features).
        rng : int, Generator or None
            For CP; the default gives the same result every time.
        decomposition_options : dict, optional
            Passed to :func:`tlinear.decompose`: `max_rank`, `fixed_modes`, and options of the algorithm.

        Raises
        ------
        ShapeError
            When a side has no shape, or one whose product is not its features nor larger by what `pad` allows.
        DTypeError
            When `weight` is not the matrix that the module computes with: codes, a method, the base of an adapter.
        NonFiniteError, RangeError, DecompositionError
            When the weight or the bias holds NaN or infinity, or what `dtype` cannot; when a tolerance is not met.

        Examples
        --------
        >>> linear = Linear(16, 10, rng=0)
        >>> layer = FactorizedLinear.from_linear(linear, factorization="tt", rank=10)
        >>> layer.weight.shape, bool(np.allclose(layer(np.ones(16)), linear(np.ones(16))))
        ((4, 4, 2, 5), True)
        >>> layer = FactorizedLinear.from_linear(linear, factorization="tt", tolerance=0.3)
        >>> layer.rank, layer.decomposition.relative_error < 0.3
        ((1, 4, 9, 5, 1), True)

        97 is prime, but 98 = 7 x 14:

        >>> layer = FactorizedLinear.from_linear(Linear(97, 128, rng=0), pad=True, factorization="tt", rank=2)
        >>> layer.in_features, layer.in_tensorized_features
        (97, (7, 14))
        """
        PlanOptions(implementation)
        check_flag("bias", bias)
        check_flag("auto_tensorize", auto_tensorize)
        dense = as_linear(linear, bias=bool(bias), transposed=transposed)
        inputs = inputs_of(dense, calibration)
        result = factorize(
            dense,
            (in_tensorized_features, out_tensorized_features),
            mode_counts(n_tensorized_modes) if auto_tensorize else (None, None),
            pad,
            dtype,
            factorization=factorization,
            rank=rank,
            tolerance=tolerance,
            allocation=allocation,
            calibration=inputs,
            tensorization=tensorization,
            rng=rng,
            options=decomposition_options,
        )
        features = {"in_features": dense.in_features, "out_features": dense.out_features}
        bias_copy = copied_bias(dense, dtype)
        layer = cls.from_weight(result.tensor, bias_copy, implementation=implementation, **features)
        layer.decomposition = result.freed(dense.weight, inputs)
        return layer

    def to_linear(self) -> Linear:
        """The dense layer that computes the same function; it shares no memory with this one.

        Its weight is ``weight.to_matrix()[:out_features, :in_features]``, without the padding.

        Examples
        --------
        >>> layer = FactorizedLinear((7, 14), (2, 5), in_features=97, factorization="tt", rank=2, rng=0)
        >>> layer.to_linear()
        Linear(97 -> 10, bias=True, parameters=980, float64)
        >>> bool(np.allclose(layer.to_linear()(np.ones(97)), layer(np.ones(97))))
        True
        """
        space = self.space
        matrix = space.contiguous(self.weight.to_matrix()[: self.out_features, : self.in_features])
        return Linear.from_arrays(matrix, None if self.bias is None else space.copy(self.bias))

    @property
    def in_features(self) -> int:
        return self._in_features

    @property
    def out_features(self) -> int:
        return self._out_features

    @property
    def in_tensorized_features(self) -> tuple[int, ...]:
        """The sizes of the input modes; their product exceeds the features by the padding."""
        return self.weight.in_shape

    @property
    def out_tensorized_features(self) -> tuple[int, ...]:
        """The sizes of the output modes; their product exceeds the features by the padding."""
        return self.weight.out_shape

    @property
    def rank(self) -> Rank:
        """The rank of the weight."""
        return self.weight.rank

    def parameters(self) -> dict[str, Array]:
        return named_parameters(self.weight, self.bias)

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Self:
        return self._like(*weight_and_bias(parameters, self.weight, self.bias), self.options)

    def _rebuilt(self, parameters: Mapping[str, Array]) -> Self:
        return self._like(*rebuilt(parameters, self.weight), self.options)

    def with_options(self, **changed: Unpack[Options]) -> Self:
        """The same layer, its arrays shared, whose plans are searched under other options.

        Parameters
        ----------
        implementation : {'auto', 'factorized', 'reconstructed'}
        optimize : None, str, sequence of pairs, or callable
            The order of contraction: as the cost model finds, or whatever opt_einsum takes.
        memory : {'auto', 'store', 'recompute'}
        memory_limit : int or None
            The most bytes alive at once beside the arguments.  See :class:`~tlinear.contraction.options.PlanOptions`.

        Examples
        --------
        >>> layer = FactorizedLinear((8, 8), (8, 8), factorization="tt", rank=8, rng=0)
        >>> frugal = layer.with_options(optimize="dp", memory_limit=2**21)
        >>> frugal.plan(1024, "training").peak_bytes <= 2**21
        True
        """
        return self._like(self.weight, self.bias, self.options.changed(changed))

    def freeze(self) -> FrozenLinear:
        """The layer for inference, its parameters copied: what has no batch is contracted once and kept.

        Examples
        --------
        >>> layer = FactorizedLinear((8, 8), (8, 8), factorization="cp", rank=8, rng=0)
        >>> bool(np.allclose(layer.freeze()(np.ones(64)), layer(np.ones(64))))
        True
        """
        return FrozenLinear(self.weight, self.bias, self._features, self.options)

    @property
    def implementation(self) -> Implementation:
        """What of the `implementation` was asked for."""
        return self.options.implementation

    @property
    def _features(self) -> tuple[int, int]:
        return self.in_features, self.out_features

    def _like(self, weight: FactorizedTensor, bias: ArrayLike | None, options: PlanOptions) -> Self:
        layer = self.from_weight(weight, bias, in_features=self.in_features, out_features=self.out_features)
        layer.options = options
        return layer

    def __call__(self, x: ArrayLike) -> Array:
        return linear_forward(x, self.weight, self.bias, features=self._features, options=self.options)

    def vjp(self, x: ArrayLike, wrt: Wrt = None) -> tuple[Array, Pullback]:
        return linear_vjp(x, self.weight, self.bias, wrt=wrt, features=self._features, options=self.options)

    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        moving = dx, tangents or {}
        return linear_jvp(x, self.weight, self.bias, *moving, features=self._features, options=self.options)

    def trace(self, x: ArrayLike) -> Trace:
        """Every intermediate of the plan for this input, named, with the equation that made it."""
        return linear_trace(x, self.weight, self.bias, features=self._features, options=self.options)

    def plan(self, batch_size: int, mode: Mode = "forward") -> Plan:
        """What will be computed for this many samples of the parameters' dtype; ``print`` it.

        Examples
        --------
        >>> print(FactorizedLinear((4,), (5,), factorization="dense", implementation="factorized", rng=0).plan(1))
        Plan: factorized, forward, batch 1, float64
          x[b i1] tensor[i1 o1] -> [b o1]
          step    shape  FLOPs  bytes   us  contraction
          result    1x5     40    232  2.1  x[b i1] * tensor[i1 o1]
          all               40    232  2.1
          at most 40 bytes alive; predicted 2.1 us, dense 2.1 us
        """
        return planned(self.weight, self.bias, self.options, mode, batch_size)

    def __repr__(self) -> str:
        dense = self.in_features * self.out_features + (0 if self.bias is None else self.out_features)
        rank = "" if self.rank is None else f", rank={self.rank}"
        return (
            f"FactorizedLinear({self.in_features} -> {self.out_features}, {self.weight.factorization}, "
            f"in={format_modes(self.in_tensorized_features, self.in_features)}, "
            f"out={format_modes(self.out_tensorized_features, self.out_features)}{rank}, "
            f"bias={self.bias is not None}, implementation={self.implementation!r},\n                 "
            f"parameters={self.n_parameters:,} of {dense:,} dense, "
            f"compression={dense / self.n_parameters:.2f}x, {self.weight.dtype})"
        )
