"""Which bonds of a tensor train are worth their parameters: ranks from the data, within a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from tlinear.algorithms.descent import EXACT
from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.lapack import FAILURES, eigh
from tlinear.arrays import Array
from tlinear.ranks.rules import Bonds

__all__ = ["allocate_chain"]

_PROBES = 8
"""How many bonds are tried beside the start.  Of 12 trained weights at 3 budgets, none gained from more than 5."""


def allocate_chain(
    tensor: Array,
    start: Bonds,
    limit: int,
    error: Callable[[Bonds], float],
    *,
    largest: Sequence[int] | None = None,
) -> Bonds:
    r"""The bonds of a tensor train that lose less than `start`, and cost at most `limit` parameters.

    TT-SVD loses :math:`|T|^2 - K` with K the squared norm of the train.  How K depends on the
    bonds is read off the train at the present ones.  Every bond k has a basis, the singular
    vectors of its truncation, in which the train's norm is a sum over directions:

    .. math:: K(R) = \sum_{i \le R_k} e_{ki}, \qquad
              K(R') \approx K(R) \prod_k \frac{\sum_{i \le R'_k} e_{ki}}{\sum_{i \le R_k} e_{ki}}

    The first is exact for each k.  A direction not kept so far has a squared singular value; of
    this the later truncations are taken to leave the same fraction as of the last one kept.
    The product is made as large as :math:`\sum_k R_k s_k R_{k+1} \le` `limit` allows by
    exchange: for two bonds at a time, all values of the one, with the largest of the other that
    can be paid.  The bonds so found are tried on the tensor.  If they lose less, the product is
    set up anew there; if not, the next exchange may go half as far.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
        For BlockTT, with the pairs of modes as its modes.
    start : tuple of int
        ``(R_2, .., R_d)``, realizable, within the limit and at most `largest`.
    limit : int
        The largest number of parameters.
    error : callable
        The relative error of the train that will be made of given bonds.  It is called for
        `start` and, later, for at most one more, so that the caller may keep what it made.
    largest : sequence of int, optional
        What each bond may be at most; by default what some tensor of this shape needs.

    Returns
    -------
    tuple of int
        Realizable, within the limit, at most `largest` and, by `error`, better than `start`, or
        `start` itself.  The same input gives the same bonds.

    Notes
    -----
    A trial is a TT-SVD by eigenvalues of Gram matrices, which loses half of the digits; this is
    enough to rank bonds, and `error` decides.  Truncations that the bonds before leave unchanged
    are not repeated.  On trained weights all trials together take about as long as one TT-SVD.

    Choosing the bonds that minimize the sum of the tails of the unfoldings' singular values
    would be simpler.  It is worse than ranks in proportion to the sizes: what one truncation
    discards is no longer there for the next, so that the tails count it twice.

    References
    ----------
    I. V. Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33 (2011), for TT-SVD.  The
    exchange is of this package.

    Examples
    --------
    Here the last two modes hold a matrix of full rank, and the first two are a factor each:

    >>> from tlinear.algorithms.tt_svd import tt_svd
    >>> tensor = np.multiply.outer(np.ones((4, 4)), np.eye(4))
    >>> def error(bonds):
    ...     return float(np.linalg.norm(tensor - np.einsum("xir,rjs,skt,tly->ijkl", *tt_svd(tensor, bonds))))
    >>> allocate_chain(tensor, (2, 2, 2), 48, error)
    (1, 1, 4)
    """
    useful = [min(math.prod(tensor.shape[:k]), math.prod(tensor.shape[k:])) for k in range(1, tensor.ndim)]
    most = tuple(useful) if largest is None else tuple(min(pair) for pair in zip(useful, largest, strict=True))
    least = error(start)
    if least <= EXACT:
        return start
    try:
        found = _search(tensor, start, min(limit, _cost(tensor.shape, (1, *most, 1))), most)
    except FAILURES:  # what cannot be tried is not proposed
        fallback("ranks in proportion to the sizes, after the eigenvectors of a trial had failed")
        return start
    return found if found != start and error(found) < least else start


@dataclass(frozen=True)
class _Truncation:
    """A matrix of a TT-SVD before it is cut: ``left @ right``, the rows of `right` being orthogonal and descending."""

    left: Array
    right: Array
    squares: Array
    """The squared singular values, which are the squared norms of the rows of `right`."""


def _truncation(matrix: Array) -> _Truncation:
    """From the eigenvectors of the smaller Gram matrix; the norms are those of the rows themselves."""
    m, n = matrix.shape
    if m <= n:
        left = eigh(matrix @ matrix.conj().T)[1][:, ::-1]
        right = left.conj().T @ matrix
        return _Truncation(left, right, np.square(np.linalg.norm(right, axis=1)))
    rows = eigh(matrix.conj().T @ matrix)[1][:, ::-1]
    left = matrix @ rows
    norms = np.linalg.norm(left, axis=0)
    return _Truncation(left / np.where(norms > 0.0, norms, 1.0), (rows * norms).conj().T, np.square(norms))


@dataclass(frozen=True)
class _Trial:
    """What TT-SVD does to a tensor at these bonds."""

    bonds: Bonds
    truncations: list[_Truncation]

    @property
    def lost(self) -> float:
        """The squared error: the sum of what the truncations discard."""
        return float(sum(cut.squares[rank:].sum() for cut, rank in zip(self.truncations, self.bonds, strict=True)))

    def energies(self) -> list[Array]:
        """For each bond, the squared norm that each of its directions has in the train.

        With ``M_k[r, r']`` the inner products of the train's right part over bond k, from the last
        bond, whose right part are the orthogonal rows kept, to the first:
        ``M_k = sum_s core[:, s, :] M_{k+1} core[:, s, :]^H``.
        """
        if not self.bonds:
            return []
        products = np.diag(self.truncations[-1].squares[: self.bonds[-1]])
        energies = [np.diag(products)]
        for rank, next_rank, cut in zip(self.bonds[-2::-1], self.bonds[:0:-1], self.truncations[:0:-1], strict=True):
            core = cut.left[:, :next_rank]
            products = (core @ products).reshape(rank, -1) @ core.reshape(rank, -1).conj().T
            energies.append(np.diag(products).real)
        return energies[::-1]

    def gains(self, largest: Bonds) -> list[Array]:
        """``gains[k][r]``: the logarithm of the train's squared norm if bond k alone had rank r, up to `largest`.

        Directions that the truncation does not have are worth nothing.
        """
        gains = []
        for kept, cut, top in zip(self.energies(), self.truncations, largest, strict=True):
            rank, squares = len(kept), cut.squares
            fraction = min(1.0, kept[-1] / squares[rank - 1]) if squares[rank - 1] > 0.0 else 1.0
            sums = np.cumsum(np.concatenate((kept, fraction * squares[rank:])))
            sums = np.concatenate(([0.0], sums, np.full(max(0, top + 1 - len(sums)), sums[-1])))[: top + 1]
            with np.errstate(divide="ignore"):
                gains.append(np.log(sums))
        return gains


def _trial(tensor: Array, bonds: Bonds, before: _Trial | None) -> _Trial:
    """TT-SVD at these bonds, with the truncations of the trial `before` as far as the bonds to their left agree."""
    truncations: list[_Truncation] = []
    for k, size in enumerate(tensor.shape[:-1]):
        if before is not None and before.bonds[:k] == bonds[:k]:
            truncations.append(before.truncations[k])
        else:
            rest = truncations[-1].right[: bonds[k - 1]] if k else tensor
            truncations.append(_truncation(rest.reshape((bonds[k - 1] if k else 1) * size, -1)))
    return _Trial(bonds, truncations)


def _search(tensor: Array, start: Bonds, limit: int, largest: Bonds) -> Bonds:
    """The best of the bonds tried, by a trust region: a box around the best, as wide as the last step."""
    if len(start) == 1:  # one truncation, of which the largest rank is the best
        return (min(largest[0], limit // sum(tensor.shape)),)
    best = _trial(tensor, start, None)
    tried, radius = {start}, max(largest, default=0)
    while radius > 0 and len(tried) <= _PROBES:
        box = [range(max(1, r - radius), min(r + radius, top) + 1) for r, top in zip(best.bonds, largest, strict=True)]
        bonds = _exchange(tensor.shape, best.bonds, limit, best.gains(largest), box)
        step = max(abs(new - old) for new, old in zip(bonds, best.bonds, strict=True))
        if bonds in tried:
            radius = step // 2
            continue
        tried.add(bonds)
        trial = _trial(tensor, bonds, best)
        if trial.lost < best.lost:
            best, radius = trial, step
        else:
            radius = step // 2
    return best.bonds


def _cost(sizes: Sequence[int], ranks: Sequence[Any]) -> Any:
    """``sum_k R_k s_k R_{k+1}``, the number of parameters; of many trains at once, where ranks are arrays."""
    return sum(left * size * right for size, (left, right) in zip(sizes, pairwise(ranks), strict=True))


def _exchange(sizes: Sequence[int], bonds: Bonds, limit: int, gains: list[Array], box: list[range]) -> Bonds:
    """Bonds in the box from which no change of two at a time raises ``sum_k gains[k][R_k]``.

    The gains do not fall with the rank, so beside each value of bond i the best of bond j is the
    largest that can be paid and realized.  The sum of floats is monotone: what is larger as
    computed is larger, so that this ends.
    """
    ranks = [1, *bonds, 1]
    improved = True
    while improved:
        improved = False
        for i, j in combinations(range(1, len(sizes)), 2):
            values = np.arange(box[i - 1].start, box[i - 1].stop)
            trial: list[Any] = [*ranks]
            trial[i], trial[j] = values, 0
            each = trial[j - 1] * sizes[j - 1] + sizes[j] * trial[j + 1]
            others = (limit - _cost(sizes, trial)) // each
            for bound in (box[j - 1].stop - 1, trial[j - 1] * sizes[j - 1], sizes[j] * trial[j + 1]):
                others = np.minimum(others, bound)
            trial[j] = others
            allowed = others >= box[j - 1].start
            for k in {i - 1, i, j - 1, j}:
                allowed &= (trial[k] <= sizes[k] * trial[k + 1]) & (trial[k + 1] <= trial[k] * sizes[k])
            sums = np.where(allowed, gains[i - 1][values] + gains[j - 1][np.maximum(others, 0)], -np.inf)
            at = int(np.argmax(sums))
            if sums[at] > gains[i - 1][ranks[i]] + gains[j - 1][ranks[j]]:
                ranks[i], ranks[j] = int(values[at]), int(others[at])
                improved = True
    return tuple(ranks[1:-1])
