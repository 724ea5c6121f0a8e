"""Decompose a dense tensor, and say how good the result is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tlinear.arrays import Array, check_finite, to_inexact
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
        ``|source - result| / |source|`` in the Frobenius norm, of the result as it is returned;
        0 when both are zero.
    converged : bool
        False when the iterations ran out first.
    stop_reason : str
        Why the algorithm stopped.
    n_iterations : int
        0 for a direct algorithm.
    history : tuple of float
        The relative error after each iteration.
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
    """Factorize a dense tensor.

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
        Computed in float64 or complex128 and cast back to the dtype of `tensor` (float64 for integers).

    Raises
    ------
    ShapeError
        For a 0-d or empty tensor, or an `n_in` that does not split its modes.
    NonFiniteError
        When an entry is NaN or infinite.
    RankError, FactorizationError, OptionError
        When the respective argument is none of the above.

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
        raise ShapeError(f"A tensor of shape {source.shape} has nothing to factorize. Pass one with at least one entry.")
    check_finite(source, "tensor")
    _check_split(cls, source.shape, n_in)
    _check_options(cls, options)

    # a power of two takes the entries near 1, so that no square overflows or vanishes, and is exact
    exponent = int(np.frexp(np.max(np.abs(source)).astype(np.float64))[1])
    scaled = _times_power_of_two(source.astype(np.complex128 if source.dtype.kind == "c" else np.float64), -exponent)
    n_first = source.ndim if n_in is None else n_in
    bonds = cls.resolve_bonds(source.shape[:n_first], source.shape[n_first:], rank)
    operands, report = cls.fit(scaled, n_first, bonds, rng=np.random.default_rng(rng), **options)

    # the tensor is linear in each operand, so that scaling the first scales it
    first = next(iter(operands))
    operands = {**operands, first: _times_power_of_two(operands[first], exponent)}
    cast = {name: operand.astype(source.dtype) for name, operand in operands.items()}
    result = cls.from_operands(cast, n_in, None if n_in is None else source.ndim - n_in)
    error = _relative_error(scaled, _times_power_of_two(result.astype(scaled.dtype).to_tensor(), -exponent))
    return Decomposition(result, error, report.converged, report.stop_reason, report.n_iterations, report.history)


def _times_power_of_two(array: Array, exponent: int) -> Array:
    if array.dtype.kind == "c":
        return np.ldexp(array.real, exponent) + 1j * np.ldexp(array.imag, exponent)
    return np.asarray(np.ldexp(array, exponent))


def _relative_error(source: Array, result: Array) -> float:
    error, norm = float(np.linalg.norm(source - result)), float(np.linalg.norm(source))
    return error / norm if norm > 0.0 else error


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
