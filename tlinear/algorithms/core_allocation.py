"""Which ranks of a Tucker tensor are worth their parameters: ranks from the data, within a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tlinear.algorithms.descent import EXACT
from tlinear.algorithms.hosvd import st_hosvd
from tlinear.arrays import Array
from tlinear.ranks.rules import Bonds

__all__ = ["allocate_core", "kept_energies"]

_BLOCK = 2**18
"""How many tuples of ranks are compared at once, about."""


def kept_energies(tensor: Array, largest: Sequence[int]) -> Array:
    r"""The squared norm that truncation to any ranks keeps: entry ``[R_1 - 1, .., R_d - 1]`` is K(R).

    In the bases of the HOSVD, truncation cuts a box from the core, so that all squared norms
    together are the cumulated sums of its squared entries:

    .. math:: K(R) = \sum_{r_1 \le R_1} \cdots \sum_{r_d \le R_d} | \mathrm{core}[r_1 .. r_d] |^2,
              \qquad | T - W(R) |^2 = | T |^2 - K(R)

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    largest : sequence of int
        The largest ranks to consider.  Where one is less than s_k, the tensor is first truncated
        to it, so that the later modes' bases are those of what is left.

    Returns
    -------
    array of float64
        With one entry for each tuple of ranks.  None is more than `largest`, nor than the product of
        the others.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    L. De Lathauwer, B. De Moor, J. Vandewalle, A multilinear singular value decomposition, SIAM J.
    Matrix Anal. Appl. 21 (2000).

    Examples
    --------
    >>> kept_energies(np.diag([3.0, 2.0, 1.0]), (3, 3)).round(12).diagonal().tolist()
    [9.0, 13.0, 14.0]
    """
    core, _ = st_hosvd(tensor, largest)
    kept: Array = np.square(np.abs(core))
    for axis in range(kept.ndim):
        np.cumsum(kept, axis=axis, out=kept)
    return kept


def allocate_core(
    tensor: Array,
    start: Bonds,
    limit: int,
    error: Callable[[Bonds], float],
    *,
    largest: Sequence[int] | None = None,
    fixed: Collection[int] = (),
) -> Bonds:
    r"""The ranks of a Tucker tensor that lose less than `start`, and cost at most `limit` parameters.

    Of all realizable ranks with :math:`\prod_k R_k + \sum_k s_k R_k \le` `limit`, those whose
    truncated HOSVD keeps most: the optimum of :func:`kept_energies`, found by comparing all.  As
    the algorithm that follows improves on truncation by more at some ranks than at others,
    `error` has the last word.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    start : tuple of int
        ``(R_1, .., R_d)``, realizable, within the limit and at most `largest`.
    limit : int
        The largest number of parameters.
    error : callable
        The relative error of the tensor that will be made of given ranks.  It is called for
        `start` and, later, for at most one more, so that the caller may keep what it made.
    largest : sequence of int, optional
        What each rank may be at most; by default the size of its mode.
    fixed : collection of int
        The modes whose rank stays what it is in `start`.

    Returns
    -------
    tuple of int
        Realizable, within the limit, at most `largest` and, by `error`, better than `start`, or
        `start` itself.  The same input gives the same ranks.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    Notes
    -----
    Besides `error`, one HOSVD: less than a sweep of HOOI.  Memory for three tensors.

    References
    ----------
    M. Ghadiri, M. Fahrbach, G. Fu, V. Mirrokni, Approximately Optimal Core Shapes for Tensor
    Decompositions, ICML 2023: the problem, and that it is hard for many modes.

    Examples
    --------
    The first two modes hold a matrix of full rank, and the third is a factor of its own:

    >>> from tlinear.algorithms.hooi import hooi
    >>> from tlinear.algorithms.hosvd import tucker_product
    >>> tensor = np.multiply.outer(np.eye(4), np.ones(4))
    >>> def error(ranks):
    ...     return float(np.linalg.norm(tensor - tucker_product(*hooi(tensor, ranks)[:2])))
    >>> allocate_core(tensor, (2, 2, 2), 52, error)
    (4, 4, 1)
    """
    least = error(start)
    if least <= EXACT:
        return start
    most = [min(pair) for pair in zip(tensor.shape, tensor.shape if largest is None else largest, strict=True)]
    for mode in fixed:
        most[mode] = start[mode]
    found = _best(kept_energies(tensor, most), tensor.shape, start, limit, fixed)
    return found if found != start and error(found) < least else start


def _best(kept: Array, sizes: Sequence[int], start: Bonds, limit: int, fixed: Collection[int]) -> Bonds:
    """The first of the realizable ranks within the limit that keep most; `start` unless they keep more than it."""
    best, most = start, kept[tuple(rank - 1 for rank in start)]
    least = [start[k] if k in fixed else 1 for k in range(kept.ndim)]
    ranks = [np.arange(low, top + 1) for low, top in zip(least, kept.shape, strict=True)]
    kept = kept[tuple(slice(low - 1, None) for low in least)]
    # no realizable ranks cost more than d + 1 times the tensor, so that the counts fit in 64 bits
    limit = min(limit, (1 + kept.ndim) * math.prod(sizes))
    n_outer = next(k for k in range(kept.ndim) if k == kept.ndim - 1 or math.prod(kept.shape[k:]) <= _BLOCK)
    inner = np.ix_(*ranks[n_outer:])
    for outer in np.ndindex(kept.shape[:n_outer]):
        block: list[Any] = [*(int(values[at]) for values, at in zip(ranks, outer, strict=False)), *inner]
        volume = math.prod(block)
        allowed = volume + sum(size * rank for size, rank in zip(sizes, block, strict=True)) <= limit
        for rank in block:
            allowed = allowed & (rank * rank <= volume)
        candidates = np.where(allowed, kept[outer], -1.0)
        place = np.unravel_index(np.argmax(candidates), candidates.shape)
        if candidates[place] > most:
            best, most = (
                tuple(low + int(at) for low, at in zip(least, (*outer, *place), strict=True)),
                candidates[place],
            )
    return best
