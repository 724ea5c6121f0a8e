"""Decompose a dense tensor, and say how good the result is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tlinear.algorithms.report import relative_error
from tlinear.arrays import Array, DType, check_finite, to_inexact
from tlinear.errors import FactorizationError, OptionError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.ranks import Rank
from tlinear.shapes import is_integer

__all__ = ["Decomposition", "decompose"]


@dataclass(frozen=True)
class Decomposition:
    """A factorized tensor, and how it was come by.

    Attributes
    ----------
    tensor : FactorizedTensor
        The result, in the dtype of the source.
    relative_error : float
        ``|source - result| / |source|`` in the Frobenius norm, of the result as it is returned,
        rounded to its dtype; 0 when both are zero.
    converged : bool
        False when the iterations ran out first; the result is then the best that was found.
    stop_reason : str
        Why the algorithm stopped.
    n_iterations : int
        0 for a direct algorithm.
    history : tuple of float
        The relative error after each iteration, before the result was rounded to its dtype;
        it never rises.  Empty for a direct algorithm.
    """

    tensor: FactorizedTensor
    relative_error: float
    converged: bool
    stop_reason: str
    n_iterations: int
    history: tuple[float, ...]

    @property
    def rank(self) -> Rank:
        """The rank of the result."""
        return self.tensor.rank

    @property
    def n_parameters(self) -> int:
        """The number of parameters of the result."""
        return self.tensor.n_parameters

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        return (
            f"Decomposition({self.tensor!r},\n"
            f"              relative_error={self.relative_error:.6g}, {state} after {self.n_iterations} iterations: "
            f"{self.stop_reason})"
        )


def decompose(
    tensor: ArrayLike,
    factorization: str | type[FactorizedTensor],
    rank: Any,
    *,
    n_in: int | None = None,
    rng: np.random.Generator | int | None = 0,
    **options: Any,
) -> Decomposition:
    r"""Factorize a dense tensor: find operands whose reconstruction W is close to T.

    .. math:: \mathrm{relative\ error} = \|T - W\|_F / \|T\|_F

    ============  =======================================  ========================================
    format        algorithm                                error, compared with the best of this rank
    ============  =======================================  ========================================
    CP            alternating least squares                no bound; a matrix: the best
    Tucker        sequentially truncated HOSVD, then HOOI  at most ``sqrt(d)`` times; a matrix: the best
    TT            TT-SVD                                   at most ``sqrt(d - 1)`` times
    BlockTT       TT-SVD over the d pairs of modes         at most ``sqrt(d - 1)`` times
    ============  =======================================  ========================================

    Multiplying the tensor by a power of two multiplies the result by it and changes nothing else,
    not even a bit, unless numbers leave the range of the dtype.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        Real or complex, all entries finite.  It is not changed.
    factorization : {'cp', 'tucker', 'tt', 'blocktt', 'dense'} or a format class
    rank : int, tuple of int, float in (0, 1], or 'same'
        See :func:`tlinear.resolve_rank`.
    n_in : int, optional
        How many of the modes are the input's.  BlockTT needs it, and so does ``to_matrix``.
    rng : int, Generator or None
        Passed to :func:`numpy.random.default_rng`.  The default gives the same result every time.
    **options
        The algorithm's own: for CP `max_iterations`, `stop_tolerance`, `ridge` and `n_starts`; for
        Tucker `max_iterations` and `stop_tolerance`; none for the others.

    Returns
    -------
    Decomposition
        Computed in float64 or complex128 and cast back to the dtype of `tensor` (float64 for
        integers).  The rank is the one that was asked for, with zeros or redundant components
        where the tensor needs less; it shares no memory with `tensor`.

    Raises
    ------
    ShapeError
        For a 0-d or empty tensor, or an `n_in` that does not split its modes.
    NonFiniteError
        When an entry is NaN or infinite.
    RankError, FactorizationError, OptionError
        When the respective argument is none of the above.
    DecompositionError
        When LAPACK fails on a matrix.

    Examples
    --------
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> result = decompose(tensor, "tt", 2)
    >>> result.rank, result.relative_error < 1e-14
    ((1, 2, 2, 1), True)
    """
    cls = find_format(factorization)
    source = to_inexact(tensor, "tensor")
    if source.ndim == 0 or source.size == 0:
        raise ShapeError(f"A tensor of shape {source.shape} has nothing to factorize. Pass one with modes and entries.")
    check_finite(source, "tensor")
    _check_split(cls, source.shape, n_in)
    _check_options(cls, options)

    # a power of two takes the entries near 1, so that no square overflows or vanishes, and is exact
    dtype = source.dtype
    work = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    exponent = _exponent(source)
    scaled = np.ascontiguousarray(_times_power_of_two(source, -exponent, work))
    n_first = source.ndim if n_in is None else n_in
    bonds = cls.resolve_bonds(source.shape[:n_first], source.shape[n_first:], rank)
    fitted, report = cls.fit(scaled, n_first, bonds, rng=np.random.default_rng(rng), **options)

    # the tensor is linear in each operand, so that the exponents of all operands together are the tensor's
    split = (n_in, None if n_in is None else source.ndim - n_in)
    exponents = _share_exponent(fitted, exponent, dtype)
    operands = {name: _times_power_of_two(array, exponents[name], dtype) for name, array in fitted.items()}
    rounded = {name: _times_power_of_two(array, -exponents[name], work) for name, array in operands.items()}
    error = relative_error(scaled, cls.from_operands(rounded, *split).to_tensor())
    result = cls.from_operands(operands, *split)
    return Decomposition(result, error, report.converged, report.stop_reason, report.n_iterations, report.history)


def _exponent(array: Array) -> int:
    """The least e with ``|x| < 2^e`` for the real and imaginary parts x of all entries; 0 for zeros."""
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    return int(np.frexp(max(np.max(np.abs(part)) for part in parts))[1])


def _times_power_of_two(array: Array, exponent: int, dtype: DType) -> Array:
    """``2^exponent array`` in `dtype`, rounded only once: the product is taken in the wider of both dtypes."""
    wide = array.astype(np.result_type(array.dtype, dtype))
    if wide.dtype.kind == "c":
        return np.asarray(np.ldexp(wide.real, exponent) + 1j * np.ldexp(wide.imag, exponent)).astype(dtype)
    return np.asarray(np.ldexp(wide, exponent)).astype(dtype)


def _share_exponent(operands: Mapping[str, Array], exponent: int, dtype: DType) -> dict[str, int]:
    """The powers of two that the operands are multiplied by, `exponent` in all.

    The first takes everything, unless its entries would overflow in `dtype`, or lose digits
    because they become subnormal; what is too much for it goes to the next.
    """
    limits, shares = np.finfo(dtype), dict.fromkeys(operands, 0)
    for name, operand in operands.items():
        size = _exponent(operand)
        most, least = limits.maxexp - 1 - size, min(0, limits.minexp + limits.nmant - size)
        shares[name] = min(max(exponent, least), most)
        exponent -= shares[name]
    shares[name] += exponent
    return shares


def _check_split(cls: type[FactorizedTensor], shape: Sequence[int], n_in: int | None) -> None:
    if n_in is None and cls.needs_split:
        raise ShapeError(
            f"A {cls.factorization} tensor pairs input with output modes: pass n_in, the number of input modes among "
            f"the {len(shape)} modes of shape {tuple(shape)}."
        )
    if n_in is not None and not (is_integer(n_in) and 1 <= n_in < len(shape)):
        raise ShapeError(
            f"n_in={n_in!r} does not split the {len(shape)} modes of shape {tuple(shape)} into input and output. "
            f"Pass 1 <= n_in < {len(shape)}, or None where no split is needed."
        )


def _check_options(cls: type[FactorizedTensor], options: dict[str, Any]) -> None:
    if not hasattr(cls, "fit"):
        raise FactorizationError(f"{cls.__name__} states no algorithm. Give it a class method `fit`, as CPTensor has.")
    parameters = inspect.signature(cls.fit).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name != "rng"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = f"Its options are {known}." if known else "It takes none."
        raise OptionError(f"The decomposition {cls.factorization!r} has no option {', '.join(unknown)}. {takes}")
