"""Tucker by higher-order orthogonal iteration, from the sequentially truncated HOSVD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from tlinear.algorithms.descent import EXACT, STOPPED, Callback, check_callback, check_option, descend
from tlinear.algorithms.hosvd import MOST_TOGETHER, Partial, factor_matrix, st_hosvd, truncation_order, tucker_halves
from tlinear.algorithms.report import CANCELS, Report, product_error
from tlinear.algorithms.scaling import norm_of
from tlinear.algorithms.truncated_svd import Method, check_method, leading_left, leading_of_gram
from tlinear.algorithms.unfolding import BLOCK
from tlinear.arrays import Array

__all__ = ["hooi"]

_OFTEN_READ = 2**21
"""Entries of a tensor of which a copy in double precision, or another HOSVD, is no burden."""


def hooi(
    tensor: Array,
    ranks: Sequence[int],
    *,
    start: tuple[Array, list[Array]] | None = None,
    max_iterations: int = 25,
    stop_tolerance: float | None = None,
    svd: Method = "auto",
    callback: Callback | None = None,
) -> tuple[Array, list[Array], Report]:
    r"""Core, isometric factors and report: the best factor of each mode in turn, the others fixed.

    Starts from :func:`tlinear.algorithms.hosvd.st_hosvd` unless told otherwise, from the first mode on or from the
    last, whichever is closer or, of a large tensor, cheaper, and sweeps in the same order.  A tensor that takes little
    time starts from both, and from the singular vectors of its own modes: of noise, each may end lower than the others.

    With isometric factors the best core is the projection
    :math:`T \times_1 A_1^H \cdots \times_d A_d^H`, and the squared error is
    :math:`\|T\|^2 - \|\mathrm{core}\|^2`.  The factor of mode k that makes the core largest is

    .. math:: A_k \leftarrow \text{the } R_k \text{ leading left singular vectors of }
              \big( T \times_{j \ne k} A_j^H \big)_{(k)}

    so no sweep raises the error.  The projections onto the factors of one half of the modes are shared by all modes of
    the other half, and so on within the halves: the tensor itself is read twice a sweep.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        As for :func:`tlinear.algorithms.hosvd.st_hosvd`.
    ranks : sequence of int
        d realizable ranks: each at most s_k and at most the product of the others.
    start : (core, factors), optional
        Of these ranks, the factors isometric and the core the projection onto them.
    max_iterations : int
        Sweeps over all modes; 0 gives the start itself.
    stop_tolerance : float
        Stop when a sweep lowers the relative error by no more than this fraction of it; unless given, 1e-4, or 1e-6
        for a tensor of at most 2^17 entries, which takes little time.
    svd : {'auto', 'qr', 'randomized'}
        See :func:`tlinear.algorithms.truncated_svd.leading_left`.
    callback : callable, optional
        Called with the number of sweeps from a start and the relative error, after each.  What it is true for is the
        last, and no other start is tried.

    Returns
    -------
    core : array of shape (R_1, .., R_d)
    factors : list of array
        d arrays of shape ``(s_k, R_k)``.
    report : Report

    Raises
    ------
    OptionError
        When an option is out of its range.
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    L. De Lathauwer, B. De Moor, J. Vandewalle, On the best rank-1 and rank-(R1, .., RN)
    approximation of higher-order tensors, SIAM J. Matrix Anal. Appl. 21 (2000).

    Examples
    --------
    >>> tensor = np.random.default_rng(0).standard_normal((4, 5, 6))
    >>> core, factors, report = hooi(tensor, (2, 2, 2))
    >>> core.shape, report.converged
    ((2, 2, 2), True)
    """
    check_option("max_iterations", max_iterations, 0, integer=True)
    stop_tolerance = (1e-6 if tensor.size <= BLOCK else 1e-4) if stop_tolerance is None else stop_tolerance
    check_option("stop_tolerance", stop_tolerance, 0.0)
    check_callback(callback)
    check_method(svd)
    order, wide = range(tensor.ndim), np.result_type(tensor.dtype, np.float64)
    tensor = np.ascontiguousarray(tensor, wide if tensor.size <= _OFTEN_READ else tensor.dtype)
    if start is not None:
        starts = [(start, order)]
    else:
        # either end may be the better one to start from, by more than a sweep of the other gains
        cheapest = truncation_order(tensor.shape, ranks)
        orders = (order, order[::-1]) if tensor.size <= _OFTEN_READ else (cheapest,)
        starts = [(st_hosvd(tensor, ranks, svd=svd, skips_whole=True, order=one), one) for one in orders]
        starts.sort(key=lambda found: -norm_of(found[0][0]))
    if max_iterations == 0:
        return *starts[0][0], Report(is_projection=True)
    is_small = start is None and tensor.size <= BLOCK
    target = _Target(tensor, norm_of(tensor) ** 2, svd, order)
    if is_small:
        starts.append((target.hosvd(ranks), order))
    best: tuple[_Tucker, Report] | None = None
    for (core, factors), one in starts if is_small else starts[:1]:
        found = descend(
            _Tucker(core, factors, target.error(core, factors)),
            replace(target, order=one).sweep,
            max_iterations=max_iterations,
            stop_tolerance=stop_tolerance,
            callback=callback,
        )
        if best is None or found[0].error < best[0].error:
            best = found
        if best[0].error <= EXACT or found[1].stop_reason == STOPPED:
            break
    end, report = cast(tuple[_Tucker, Report], best)
    return end.core, end.factors, replace(report, is_projection=True)


@dataclass(frozen=True)
class _Tucker:
    core: Array
    factors: list[Array]
    error: float


@dataclass(frozen=True)
class _Target:
    """What is approximated, and its squared norm."""

    tensor: Array
    square: float
    svd: Method
    order: range
    """Of the modes in a sweep: that of the start, whose last factor is already the best for the others."""

    def error(self, core: Array, factors: list[Array]) -> float:
        """The relative error where the core is the projection: from squares, unless too many of their digits cancel."""
        lost = self.square - norm_of(core) ** 2
        if lost > CANCELS * self.square:
            return math.sqrt(lost / self.square)
        return product_error(self.tensor, *tucker_halves(core, factors))

    def hosvd(self, ranks: Sequence[int]) -> tuple[Array, list[Array]]:
        """The leading singular vectors of every mode of the tensor itself."""
        whole = Partial(self.tensor, tuple(range(self.tensor.ndim)))
        factors = [leading_left(whole.unfolding(mode), rank, self.svd) for mode, rank in enumerate(ranks)]
        core = whole.projected(dict(enumerate(factors))).in_order()
        return core, factors

    def sweep(self, state: _Tucker) -> _Tucker:
        factors: list[Array | None] = [None if f.shape[0] == f.shape[1] else f for f in state.factors]
        ranks = state.core.shape

        def update(partial: Partial, modes: Sequence[int]) -> tuple[Partial, Sequence[int]]:
            """All factors of these modes of what is projected onto the others; where the last were found, and these."""
            if len(modes) == 1:
                (mode,) = modes
                if factors[mode] is not None:
                    factors[mode] = leading_left(partial.unfolding(mode), ranks[mode], self.svd)
                return partial, modes
            if len(modes) == 2 and self._update_pair(partial, modes, factors, ranks):
                return partial, modes
            half = (len(modes) + 1) // 2
            for these, others in ((modes[:half], modes[half:]), (modes[half:], modes[:half])):
                rest = update(partial.projected({mode: factors[mode] for mode in others}), these)
            return rest

        rest, last = update(Partial(self.tensor, tuple(range(self.tensor.ndim))), self.order)
        core = rest.projected({mode: factors[mode] for mode in last}).in_order()
        matrices = [factor_matrix(factor, size, core) for factor, size in zip(factors, self.tensor.shape, strict=True)]
        return _Tucker(core, matrices, self.error(core, matrices))

    def _update_pair(
        self, partial: Partial, modes: Sequence[int], factors: list[Array | None], ranks: Sequence[int]
    ) -> bool:
        """Both factors from the one Gram matrix of the two modes, where that is small and safe; whether it was.

        What a projection onto the factor of the one leaves for the other is a contraction of that matrix.
        """
        sizes = [self.tensor.shape[mode] for mode in modes]
        if self.svd != "auto" or math.prod(sizes) > MOST_TOGETHER:
            return False
        whole = partial.unfolding(*modes)
        gram, found = whole.gram().reshape(*sizes, *sizes), [factors[mode] for mode in modes]
        for k, mode in enumerate(modes):
            if found[k] is None:
                continue
            other = found[1 - k]
            projector = np.eye(sizes[1 - k]) if other is None else other.conj() @ other.T
            contracted = np.einsum("iajb,ab->ij" if k == 0 else "aibj,ab->ij", gram, projector)
            found[k] = leading_of_gram(contracted, ranks[mode], whole.shape[1] * ranks[modes[1 - k]])
            if found[k] is None:
                return False
        for mode, factor in zip(modes, found, strict=True):
            factors[mode] = factor
        return True
