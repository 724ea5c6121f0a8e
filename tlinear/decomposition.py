"""Decompose a dense tensor, and say how good the result is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tlinear.algorithms.report import Report, relative_error
from tlinear.algorithms.scaling import exponent_of, share_exponent, times_power_of_two
from tlinear.arrays import Array, DType, check_finite, to_inexact
from tlinear.errors import DecompositionError, FactorizationError, OptionError, RankError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.formats.rank_rules import rank_rules
from tlinear.ranks.budget import parameter_limit
from tlinear.ranks.resolve import as_budget, resolve_bonds
from tlinear.ranks.rules import Bonds, Rank, RankRules
from tlinear.shapes import is_integer

__all__ = ["Allocation", "Decomposition", "decompose"]

Allocation: TypeAlias = Literal["spectrum", "proportional"]


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
        False when the iterations ran out first, or a callback ended them; the result is then the best that was found.
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
    rank: Any = None,
    *,
    tolerance: float | None = None,
    allocation: Allocation = "spectrum",
    n_in: int | None = None,
    max_rank: Any = None,
    fixed_modes: Sequence[int] = (),
    dense_parameters: int | None = None,
    rng: np.random.Generator | int | None = 0,
    **options: Any,
) -> Decomposition:
    r"""Factorize a dense tensor: find operands whose reconstruction W is close to T.

    .. math:: \mathrm{relative\ error} = \|T - W\|_F / \|T\|_F

    ============  =======================================  ========================================
    format        algorithm                                error, compared with the best of this rank
    ============  =======================================  ========================================
    CP            least squares, alternating and damped    no bound; a matrix: the best
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
        See :func:`tlinear.resolve_rank`.  May be left out where a tolerance is given; where both
        are, the rank is a limit to what the tolerance may take.  Where a budget is too little for the
        ranks of the guarantee, those that share it out are tried.
    tolerance : float in (0, 1), optional
        The largest relative error.  The ranks are those at which TT-SVD or the sequentially truncated
        HOSVD discards at most ``tolerance / sqrt(number of truncations)`` of the norm in each
        truncation, which guarantees the error; smaller ranks may do, above all where the tolerance is
        large.  For CP the rank is searched by trying, which takes as many fits as it has binary digits, twice.
    allocation : {'spectrum', 'proportional'}
        How a budget is shared among the ranks of Tucker, TT and BlockTT: so that the error is small,
        as the tensor's singular values tell, or in proportion to the sizes of the modes, as
        :func:`tlinear.resolve_rank` does without a tensor.  The former is never worse than the latter.
    n_in : int, optional
        How many of the modes are the input's.  BlockTT needs it, and so does ``to_matrix``.
    max_rank, fixed_modes : optional
        Limits of the ranks, see :func:`tlinear.resolve_rank`.
    dense_parameters : int, optional
        What a budget is a fraction of; the number of entries of the tensor unless given.
    rng : int, Generator or None
        Passed to :func:`numpy.random.default_rng`.  The default gives the same result every time.
    **options
        The algorithm's own: for CP `max_iterations`, `stop_tolerance`, `ridge`, `n_starts` and
        `callback`, see :func:`tlinear.algorithms.cp.cp`; for Tucker `max_iterations` and `stop_tolerance`;
        none for the others.

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
        When the respective argument is none of the above, or a tolerance takes more than the rank allows.
    DecompositionError
        When LAPACK fails on a matrix, or the tolerance is not reached.

    Examples
    --------
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> result = decompose(tensor, "tt", 2)
    >>> result.rank, result.relative_error < 1e-14
    ((1, 2, 2, 1), True)
    >>> decompose(tensor, "tt", tolerance=0.1).rank, decompose(tensor, "tt", tolerance=0.05).rank
    ((1, 1, 1, 1), (1, 2, 2, 1))
    """
    cls = find_format(factorization)
    source = to_inexact(tensor, "tensor")
    if source.ndim == 0 or source.size == 0:
        raise ShapeError(f"A tensor of shape {source.shape} has nothing to factorize. Pass one with modes and entries.")
    check_finite(source, "tensor")
    _check_split(cls, source.shape, n_in)
    _check_options(cls, options, tolerance)
    if allocation not in ("spectrum", "proportional"):
        raise OptionError(f"allocation={allocation!r} is not known. Choose 'spectrum' or 'proportional'.")
    if dense_parameters is not None and not (is_integer(dense_parameters) and dense_parameters >= 1):
        raise OptionError(f"dense_parameters={dense_parameters!r} is not a number of parameters. Pass an int >= 1.")
    n_first = source.ndim if n_in is None else n_in
    rules = rank_rules(
        cls,
        source.shape[:n_first],
        source.shape[n_first:],
        dense_parameters=dense_parameters,
        max_rank=max_rank,
        fixed_modes=fixed_modes,
    )
    work = _Work(cls, source, n_in, rules, np.random.default_rng(rng), options)
    if tolerance is not None:
        return _within(work, _tolerance(tolerance), rank)
    if rank is None and rules.form(()) is not None:
        raise RankError("Neither rank nor tolerance is given. Pass one of them, such as rank=0.1 or tolerance=1e-2.")
    bonds, fraction = resolve_bonds(rules, rank), as_budget(rules, rank)
    if fraction is not None and allocation == "spectrum":
        bonds = work.allocate(bonds, parameter_limit(rules, fraction))
    return work.decomposition(work.fit(bonds))


Fit: TypeAlias = tuple[dict[str, Array], Report]


@dataclass(frozen=True)
class _Work:
    """A tensor to be decomposed, and how."""

    cls: type[FactorizedTensor]
    source: Array
    n_in: int | None
    rules: RankRules
    rng: np.random.Generator
    options: Mapping[str, Any]
    fits: dict[Bonds, Fit] = field(default_factory=dict)

    @cached_property
    def dtype(self) -> DType:
        return np.dtype(np.complex128 if self.source.dtype.kind == "c" else np.float64)

    @cached_property
    def exponent(self) -> int:
        return exponent_of(self.source)

    @cached_property
    def scaled(self) -> Array:
        """The tensor with its entries near 1: a power of two takes them there, so that no square overflows or vanishes,
        and is exact."""
        return np.ascontiguousarray(times_power_of_two(self.source, -self.exponent, self.dtype))

    @property
    def n_first(self) -> int:
        """How many modes stand on the left of the split."""
        return self.source.ndim if self.n_in is None else self.n_in

    @property
    def split(self) -> tuple[int | None, int | None]:
        return self.n_in, None if self.n_in is None else self.source.ndim - self.n_in

    def fit(self, bonds: Bonds) -> Fit:
        """The operands of these bonds; found once."""
        if bonds not in self.fits:
            self.fits[bonds] = self.cls.fit(self.scaled, self.n_first, bonds, rng=self.rng, **self.options)
        return self.fits[bonds]

    def fit_within(self, tolerance: float, largest: Bonds) -> Fit:
        """The operands of the smallest bonds that keep the tolerance."""
        options = {**self.options, **({"fixed": self.rules.fixed} if self.rules.fixed else {})}
        return self.cls.fit(self.scaled, self.n_first, largest, rng=self.rng, tolerance=tolerance, **options)

    def allocate(self, start: Bonds, limit: int) -> Bonds:
        """The bonds of the least error that the format finds within the limit; `start` where it does not search."""
        if not hasattr(self.cls, "allocate") or len(start) < 2:
            return start

        def error(bonds: Bonds) -> float:
            return self.relative_error(self.fit(bonds)[0])

        largest, fixed = self.rules.largest, self.rules.fixed
        return self.cls.allocate(self.scaled, self.n_first, start, limit, error, largest=largest, fixed=fixed)

    def relative_error(self, operands: Mapping[str, Array]) -> float:
        """Of operands of the scaled tensor."""
        return relative_error(self.scaled, self.reconstruct(operands))

    def reconstruct(self, operands: Mapping[str, Array]) -> Array:
        return self.cls.from_operands(operands, *self.split).to_tensor()

    def rounded(self, fitted: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The operands in the source's scale and dtype, and these same numbers in the scale of :attr:`scaled`.

        The tensor is linear in each operand, so that the exponents of all operands together are the tensor's.
        """
        exponents = share_exponent(fitted, self.exponent, self.source.dtype)
        operands = {
            name: times_power_of_two(array, exponents[name], self.source.dtype) for name, array in fitted.items()
        }
        again = {name: times_power_of_two(a, -exponents[name], self.dtype) for name, a in operands.items()}
        return operands, again

    def decomposition(self, fit: Fit) -> Decomposition:
        fitted, report = fit
        operands, again = self.rounded(fitted)
        result = self.cls.from_operands(operands, *self.split)
        error = self.relative_error(again)
        return Decomposition(result, error, report.converged, report.stop_reason, report.n_iterations, report.history)


def _within(work: _Work, tolerance: float, rank: Any) -> Decomposition:
    """The smallest ranks that keep the tolerance.

    Rounding the operands to the source's dtype adds to the error.  If that is too much, the
    fit is repeated with what rounding has left of the tolerance.
    """
    allowed, target = _Allowed.by(rank, work.rules), tolerance
    for _ in range(2):
        fit = work.fit_within(target, allowed.bonds)
        found = work.cls.from_operands(fit[0], *work.split)
        if allowed.n_parameters is not None and found.n_parameters > allowed.n_parameters:
            return _within_budget(work, tolerance, found, allowed)
        allowed.check(found, tolerance)
        result = work.decomposition(fit)
        if result.relative_error <= tolerance:
            return result
        fitted = work.reconstruct(fit[0])
        rounding = relative_error(fitted, work.reconstruct(work.rounded(fit[0])[1]))
        excess = max(0.0, relative_error(work.scaled, fitted) - target)
        target = tolerance - (1.0 + tolerance) * rounding - excess - 8.0 * float(np.finfo(np.float64).eps)
        if target <= 0.0:
            break
    raise DecompositionError(
        f"tolerance={tolerance:g} is not reached: the relative error is {result.relative_error:.3g}, of which rounding "
        f"to {work.source.dtype} is {rounding:.3g}. Pass a tensor of a wider dtype, or a larger tolerance."
    )


def _within_budget(work: _Work, tolerance: float, found: FactorizedTensor, allowed: _Allowed) -> Decomposition:
    """What shares out the budget, if that keeps the tolerance; `found` does, but takes more."""
    limit = allowed.n_parameters or 0
    result = work.decomposition(work.fit(work.allocate(resolve_bonds(work.rules, allowed.rank), limit)))
    if result.relative_error <= tolerance:
        return result
    raise RankError(
        f"tolerance={tolerance:g} takes rank {found.rank}, {found.n_parameters} parameters, but rank={allowed.rank!r} "
        f"allows {limit}, of which rank {result.rank} has relative error {result.relative_error:.3g}. "
        "Raise the budget or the tolerance."
    )


@dataclass(frozen=True)
class _Allowed:
    """What a tolerance may take: the largest bonds, and where the rank is a budget, the parameters."""

    rank: Any
    rules: RankRules
    bonds: Bonds
    n_parameters: int | None

    @classmethod
    def by(cls, rank: Any, rules: RankRules) -> _Allowed:
        fraction = None if rank is None else as_budget(rules, rank)
        if fraction is None:
            bonds = rules.largest if rank is None else resolve_bonds(rules, rank)
            return cls(rank, rules, bonds, None)
        # a budget says how large a single bond may be, and of several how large all together
        bonds = resolve_bonds(rules, rank) if rules.n_bonds == 1 else rules.largest
        return cls(rank, rules, bonds, parameter_limit(rules, fraction))

    def check(self, found: FactorizedTensor, tolerance: float) -> None:
        """Raise :class:`RankError` when what was found is more than what is allowed."""
        takes = f"tolerance={tolerance:g} takes rank {found.rank}, {found.n_parameters} parameters"
        if any(bond > most for bond, most in zip(found.bonds, self.bonds, strict=True)):
            by = "max_rank" if self.rank is None else f"rank={self.rank!r} and max_rank"
            raise RankError(
                f"{takes}, but {by} allow no more than {self.rules.form(self.bonds)}. Raise these or the tolerance."
            )
        for k in self.rules.fixed:
            if found.bonds[k] < self.rules.largest[k]:
                raise RankError(
                    f"{takes}: the other ranks cannot keep mode {k} at its full size {self.rules.largest[k]}. "
                    "Lower the tolerance, or leave the mode out of fixed_modes."
                )


def _tolerance(tolerance: Any) -> float:
    is_number = isinstance(tolerance, (float, np.floating)) or is_integer(tolerance)
    if not is_number or not 0.0 < tolerance < 1.0:
        raise OptionError(
            f"tolerance={tolerance!r} must be a number between 0 and 1, both excluded: the largest relative error."
        )
    return float(tolerance)


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


def _check_options(cls: type[FactorizedTensor], options: dict[str, Any], tolerance: Any) -> None:
    if not hasattr(cls, "fit"):
        raise FactorizationError(f"{cls.__name__} states no algorithm. Give it a class method `fit`, as CPTensor has.")
    parameters = inspect.signature(cls.fit).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    keywords = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if tolerance is not None and "tolerance" not in keywords:
        raise OptionError(f"The decomposition {cls.factorization!r} takes no tolerance. Pass a rank.")
    known = [name for name in keywords if name not in ("rng", "tolerance", "fixed")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = f"Its options are {known}." if known else "It takes none."
        raise OptionError(f"The decomposition {cls.factorization!r} has no option {', '.join(unknown)}. {takes}")
