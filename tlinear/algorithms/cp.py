"""CP of a tensor: compression, starts, a descent from each within the core, and a last one in the whole tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlinear.algorithms.cp_als import Extrapolated, als_sweep, extrapolated_sweep
from tlinear.algorithms.cp_cancellation import SETTLED, foretold_change
from tlinear.algorithms.cp_compression import compress
from tlinear.algorithms.cp_gauss_newton import Damped, gauss_newton_step
from tlinear.algorithms.cp_gevd import cp_gevd
from tlinear.algorithms.descent import EXACT, STOPPED, Callback, check_callback, check_option, descend
from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.hosvd import unfold
from tlinear.algorithms.kruskal import Kruskal, Target
from tlinear.algorithms.report import Report
from tlinear.algorithms.truncated_svd import leading_subspace
from tlinear.arrays import Array

__all__ = ["cp"]

_FOUND = 1e-6
"""A start that ends with a relative error of at most this has found the tensor, and no further one is made."""

_NEAR_BOUND = 2.0
"""Nor is one after a start that ends within this factor of a lower bound of the error, which no other can halve."""

_FAR = 0.5
"""With a larger relative error, descents end alike wherever they start, and Gauss-Newton steps, whose model leaves out
what is in proportion to the error, are no match for sweeps."""

_FEW_UNKNOWNS, _MANY_UNKNOWNS = 800, 8000
"""Entries of factors up to which a further start costs little, and up to which a Gauss-Newton step does."""

_FIRST_SWEEPS, _PATIENCE = 5, 20
"""Sweeps before they may be said to creep: when this many more would be needed, Gauss-Newton steps are made instead."""

_ROUNDING = float(np.finfo(np.float64).eps)

_WORTH_NARROWING = 1 << 15
"""Entries from which on single precision is noticeably faster."""

_SEEN_IN_SINGLE = 1e-6
"""What a sweep in single precision is to lower the error by at least, relative to it."""

_IN_DOUBT, _FINER = (0.05, 1.0), 4
"""Between these foretold changes it is in doubt whether components settle; by how many powers of ten the stop tolerance
is then lowered, at most."""

_UNSETTLED = "but components that cancel each other had not settled"
"""The end of the reason why a descent stopped whose error hardly falls, but whose components may grow without end."""


def cp(
    tensor: Array,
    rank: int,
    *,
    rng: np.random.Generator,
    max_iterations: int = 500,
    stop_tolerance: float = 1e-6,
    ridge: float = 1e-10,
    n_starts: int | None = None,
    callback: Callback | None = None,
) -> tuple[Array, list[Array], Report]:
    r"""Weights, factors of unit columns, and report: a sum of R outer products that is close to a tensor.

    .. math:: T \approx \sum_{r=1}^R w_r \, a_r^{(1)} \circ \cdots \circ a_r^{(d)}

    1. :func:`~tlinear.algorithms.cp_compression.compress` replaces a tensor whose modes are longer than R by its core.
    2. The first start is the better of two, after one sweep from each: the leading singular vectors of the
       unfoldings, and where the modes are long enough, :func:`~tlinear.algorithms.cp_gevd.cp_gevd`.
    3. :func:`~tlinear.algorithms.cp_als.extrapolated_sweep` descends, as long as this is fast.
    4. Where the sweeps creep, as they do along collinear columns, or have come to an end, and the error is
       less than a half, :func:`~tlinear.algorithms.cp_gauss_newton.gauss_newton_step` goes on.
    5. If the core is not the whole tensor, the descent ends with sweeps over all of it.
    6. Where components cancel, that the error hardly falls does not tell a minimum from an infimum which is
       approached with components that grow without end.  There the descent has only converged if an undamped
       step would hardly change their sizes either: :func:`~tlinear.algorithms.cp_cancellation.foretold_change`.
       Where that is in doubt, it goes on, to a smaller stop tolerance.

    A tensor whose entries are numbers of single precision, as those of trained weights are, is read in
    it where it is not replaced by a core, while the error is above a half and each sweep lowers it by more than 1e-6 of
    it.  These sweeps differ from those in double precision by less than they leave to be done, in half the time; what
    ends the descent is a sweep in double precision.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        Real or complex, all entries finite, and of a size whose squares neither overflow nor vanish in double
        precision, in which it is computed.
    rank : int
        The number R of components.
    rng : numpy.random.Generator
        For the columns that the singular vectors do not provide, and for further starts.
    max_iterations : int
        Sweeps and Gauss-Newton steps, at most, for each start.
    stop_tolerance : float
        Stop when one of these lowers the relative error by no more than this fraction of it.
    ridge : float
        Of the sweeps, see :func:`~tlinear.algorithms.cp_als.als_sweep`.  Larger is slower and steadier; 0 is plain
        least squares.
    n_starts : int, optional
        At most so many, of which all but the first are random; the best end is kept.  A start that
        ends below a relative error of 1e-6 is the last, and so is one that ends below a half and twice a
        lower bound of the error, and the first of a matrix, because its singular vectors are the best
        answer.  The default is 2, or 1 where this would take long and bring little: if the factors
        have more than 8000 entries, or more than 800 and the error of the first stays above a half.
    callback : callable, optional
        Called with the number of iterations, counted for each start, and the relative error after
        each.  What it is true for is the last.

    Returns
    -------
    weights : array of shape (R,)
    factors : list of array
        d arrays of shape ``(s_k, R)``.
    report : Report
        Of the start that was kept.

    Raises
    ------
    OptionError
        When an option is out of its range.
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    T. G. Kolda and B. W. Bader, Tensor Decompositions and Applications, SIAM Review 51 (2009), section 3.  Tensors
    without a best approximation: V. de Silva and L.-H. Lim, SIAM J. Matrix Anal. Appl. 30 (2008).

    Examples
    --------
    >>> from tlinear.algorithms.kruskal import cp_product
    >>> tensor = np.multiply.outer(np.outer([1.0, 2.0], [3.0, 4.0]), [5.0, 6.0])
    >>> weights, factors, report = cp(tensor, 1, rng=np.random.default_rng(0))
    >>> bool(np.abs(cp_product(weights, factors) - tensor).max() < 1e-13), report.converged
    (True, True)
    """
    check_option("max_iterations", max_iterations, 1, integer=True)
    check_option("stop_tolerance", stop_tolerance, 0.0)
    check_option("ridge", ridge, 0.0)
    check_callback(callback)
    if n_starts is not None:
        check_option("n_starts", n_starts, 1, integer=True)
    tensor = np.ascontiguousarray(tensor, np.complex128 if tensor.dtype.kind == "c" else np.float64)
    compression = compress(tensor, rank)
    # the last sweep is one of the whole tensor
    within = _Descent(compression.target, ridge, max_iterations - compression.loses, stop_tolerance, callback)
    if compression.bases is None and tensor.size >= _WORTH_NARROWING:
        within = replace(within, single=compression.target.in_single())
    enough = max(_FOUND, min(_FAR, _NEAR_BOUND * compression.bound))
    best, report = within.run(_first_start(within, rank, rng, enough))
    if n_starts is None:
        n_starts = 2 if within.unknowns(rank) <= (_FEW_UNKNOWNS if best.error > _FAR else _MANY_UNKNOWNS) else 1
    for _ in range(n_starts - 1 if tensor.ndim > 2 else 0):
        if best.error <= enough or report.stop_reason == STOPPED:
            break
        end, end_report = within.run(
            within.from_zero(_initial_factors(within.target.tensor, rank, rng, spectral=False))
        )
        if end.error < best.error:
            best, report = end, end_report
        elif end_report.stop_reason == STOPPED:
            report = replace(report, converged=False, stop_reason=STOPPED)
    last = within
    if compression.loses:
        best = replace(best, factors=compression.expand(best.factors))
        last = _Descent(Target.of(tensor), ridge, max_iterations, stop_tolerance, callback)
    if compression.loses and report.stop_reason != STOPPED:
        converged = report.converged
        best, report = last.run(best, report)
        if report.converged and not converged and best.error > EXACT:
            # one sweep of the whole tensor does not tell that the core had come to an end
            report = replace(report, converged=False, stop_reason=f"{max_iterations} sweeps were done")
    best, report = last.settle(best, report)
    factors = best.factors if compression.loses else compression.expand(best.factors)
    return best.weights.astype(tensor.dtype), factors, replace(report, error=best.error)


@dataclass(frozen=True)
class _Descent:
    """A target, and how to get near it."""

    target: Target
    ridge: float
    max_iterations: int
    stop_tolerance: float
    callback: Callback | None
    single: Target | None = None
    """The target in single precision, to read while it is far."""

    def from_zero(self, factors: list[Array]) -> Kruskal:
        """These factors with weights of zero, which the first sweep replaces."""
        return Kruskal(np.zeros(factors[0].shape[1]), factors, self.target.relative(self.target.square))

    def unknowns(self, rank: int) -> int:
        """The number of entries of the factors."""
        return rank * sum(self.target.tensor.shape)

    def swept(self, start: Kruskal) -> Kruskal:
        return als_sweep(self.target, start, self.ridge)

    def run(self, start: Kruskal, after: Report | None = None) -> tuple[Kruskal, Report]:
        """The end of the descent from there, and its report; it continues another."""
        settled, history = after is not None and after.converged, after.history if after else ()
        errors, single = [start.error], self.single
        may_solve = self.unknowns(len(start.weights)) <= _MANY_UNKNOWNS

        def step(state: Extrapolated | Damped) -> Extrapolated | Damped:
            nonlocal single
            if isinstance(state, Damped):
                return gauss_newton_step(self.target, state, self.stop_tolerance)
            if single is not None:
                swept = self._swept_beyond(single, state)
                if swept.error > _FAR and state.error - swept.error > _SEEN_IN_SINGLE * state.error:
                    errors.append(swept.error)
                    return swept
                single = None
            swept = self._swept_beyond(self.target, state)
            errors.append(swept.error)
            if settled and self._stalls(state.error, swept.error):
                # where it started was the end of a descent already, which a swamp has not held up
                return swept
            if not (may_solve and swept.error <= _FAR and self._creeps(errors)):
                return swept
            best = swept.point if swept.error < state.error else state.point
            return gauss_newton_step(self.target, Damped(best), self.stop_tolerance)

        state: Extrapolated | Damped = Extrapolated(start, start.factors)
        end, report = descend(
            state,
            step,
            max_iterations=self.max_iterations,
            stop_tolerance=self.stop_tolerance,
            history=history,
            callback=self.callback,
        )
        point = end.point
        if single is not None:
            point = replace(point, error=self.target.error(point.weights, point.factors))
        return point, report

    def settle(self, point: Kruskal, report: Report) -> tuple[Kruskal, Report]:
        """Judge whether components that cancel have settled; where that is in doubt, go on first."""
        finer, change = replace(self, single=None), self._unsettled(point, report)
        for _ in range(_FINER):
            if not _IN_DOUBT[0] < change <= _IN_DOUBT[1]:
                break
            finer = replace(finer, stop_tolerance=0.1 * finer.stop_tolerance)
            point, report = finer.run(point, replace(report, converged=False))
            change = self._unsettled(point, report)
        if change > SETTLED:
            report = replace(report, converged=False, stop_reason=f"{report.stop_reason}, {_UNSETTLED}")
        return point, report

    def _unsettled(self, point: Kruskal, report: Report) -> float:
        """Relative change that components that cancel have ahead; 0 where the descent ran out, or found the tensor."""
        return foretold_change(self.target, point) if report.converged and point.error > EXACT else 0.0

    def _swept_beyond(self, target: Target, state: Extrapolated) -> Extrapolated:
        swept = extrapolated_sweep(target, state, self.ridge)
        if swept.length < state.length and self._stalls(state.error, swept.error):
            # it went back, and from the point itself a sweep is short
            swept = extrapolated_sweep(target, swept, self.ridge)
        return swept

    def _stalls(self, before: float, after: float) -> bool:
        return not before - after > self.stop_tolerance * before

    def _creeps(self, errors: Sequence[float]) -> bool:
        """Whether sweeps have come to an end, or at the rate at which they get shorter, are too far from it."""
        if self._stalls(*errors[-2:]):
            return True
        if len(errors) <= _FIRST_SWEEPS:
            return False
        before, last = errors[-3] - errors[-2], errors[-2] - errors[-1]
        if last >= before:
            return len(errors) > _PATIENCE
        # a geometric series, and how many terms it takes to fall to what is left at the end
        rate = last / before
        limit = max(EXACT, errors[-1] - last * rate / (1.0 - rate))
        return math.log(max(self.stop_tolerance, _ROUNDING) * limit / last) < _PATIENCE * math.log(rate)


def _first_start(within: _Descent, rank: int, rng: np.random.Generator, enough: float) -> Kruskal:
    """The best of the starts that are computed, by the error after one sweep."""
    best = within.from_zero(_initial_factors(within.target.tensor, rank, rng, spectral=True))
    error, spectral = None, best.factors
    for factors in cp_gevd(within.target.tensor, rank):
        if error is None:
            error = within.swept(best).error
        start = within.from_zero(factors)
        reached = within.swept(start).error
        if reached < error:
            best, error = start, reached
        elif best.factors is not factors and error > _FAR:
            break
        if error <= enough:
            break
    if error is not None and best.factors is spectral:
        fallback("singular vectors as a start, which were better after a sweep than the algebraic one")
    return best


def _initial_factors(tensor: Array, rank: int, rng: np.random.Generator, *, spectral: bool) -> list[Array]:
    """Unit columns: as many singular vectors of the unfoldings as there are, if `spectral`, and random ones."""
    factors = []
    for mode, size in enumerate(tensor.shape):
        factor = rng.standard_normal((size, rank))
        if tensor.dtype.kind == "c":
            factor = factor + 1j * rng.standard_normal((size, rank))
        factor /= np.linalg.norm(factor, axis=0)
        if spectral:
            unfolding = unfold(tensor, mode)
            leading, _ = leading_subspace(unfolding, min(rank, *unfolding.shape))
            factor[:, : leading.shape[1]] = leading
        factors.append(factor)
    return factors
