"""TT-SVD: a tensor train from one truncated singular value decomposition a bond."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlinear.algorithms.scaling import norm_of
from tlinear.algorithms.train_order import Direction, End, cutting_order
from tlinear.algorithms.truncated_svd import Method, leading_left, left_within
from tlinear.algorithms.unfolding import BLOCK, Unfolding
from tlinear.arrays import Array

__all__ = ["Remainder", "Site", "left_orthogonal", "train_halves", "tt_product", "tt_svd", "tt_svd_within"]

_ROWS = 64
"""Rows of an unfolding that are enough for the other matrix to be small beside it."""

_LITTLE = 4
"""A truncation that leaves more than the reciprocal of this is carried out together with the next one: to write so much
would take longer than to read the tensor again."""

Site = tuple[int, ...]
"""The axes of a tensor that one core carries."""


def tt_svd(
    tensor: Array,
    bonds: Sequence[int],
    *,
    sites: Sequence[Site] | None = None,
    direction: Direction = "left",
    svd: Method = "auto",
) -> list[Array]:
    r"""Cores of a tensor train of shape ``(R_k, s_k, R_{k+1})``, cut off one by one from either end.

    From the left, with the remainder :math:`C` of shape ``(R_k s_k, s_{k+1} .. s_l R_{l+1})``, at first the
    tensor, and its R_{k+1} leading left singular vectors :math:`U`,

    .. math:: \mathrm{core}_k = U, \qquad C \leftarrow U^H C ;

    from the right the same with the mirrored remainder; the one that is left at the end is the last
    core.  Where ``R_{k+1} = R_k s_k`` nothing is truncated, and U is the identity.  All cores but the last are then
    made isometries from their right bond, so that the last carries the norm.

    The truncations of the left side are nested projections, those of the right side too, and the
    two act on different modes: each error is orthogonal to all that follows, so the squared error is the sum over
    the bonds of the squared singular values that each truncation discards.  None of these is
    more than the best train of these ranks must lose there; in any order of the ends the error is at most
    ``sqrt(d - 1)`` times that of the best train.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        Real or complex, all entries finite, and of a size whose squares neither overflow nor vanish in double
        precision, in which it is read block by block.
    bonds : sequence of int
        ``(R_2, .., R_d)``, d - 1 realizable ranks: ``R_{k+1} <= R_k s_k`` and ``R_k <= s_k R_{k+1}``,
        with 1 at both ends.
    sites : sequence of tuple of int, optional
        The axes of `tensor` that the modes of the train are made of, each axis in one; one axis a mode unless
        given.  Nothing is transposed but what is left after a truncation.
    direction : {'left', 'right', 'cheapest', 'best'}
        From which end: the left; the right; step by step the one that takes less time; or all from the left
        and all from the right, and the train that is closer.
    svd : {'auto', 'qr', 'randomized'}
        See :func:`tlinear.algorithms.truncated_svd.leading_left`.

    Returns
    -------
    list of array
        d cores, the first with ``R_1 = 1`` and the last with ``R_{d+1} = 1``.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    I. V. Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33 (2011), Algorithm 1, Theorem 2.2.

    Examples
    --------
    The tensor ``i + j + k`` has ranks (2, 2) exactly:

    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> a, b, c = tt_svd(tensor, (2, 2))
    >>> bool(np.abs(np.einsum("xir,rjs,sky->ijk", a, b, c) - tensor).max() < 1e-13)
    True
    """
    whole = Remainder.of(tensor, sites)
    if direction == "best":
        trains = [tt_svd(tensor, bonds, sites=sites, direction=one, svd=svd) for one in ("left", "right")]
        return max(trains, key=lambda cores: float(np.linalg.norm(cores[-1])))

    def truncate(unfolding: Unfolding, bond: int) -> Array:
        return leading_left(unfolding, bonds[bond], svd)

    return _cut(whole, cutting_order(whole.sizes, bonds, direction), truncate, bonds)


def tt_svd_within(
    tensor: Array, tolerance: float, *, sites: Sequence[Site] | None = None, svd: Method = "auto"
) -> list[Array]:
    r"""Cores of a tensor train whose relative error is at most `tolerance`, by TT-SVD from the left.

    Each of the d - 1 truncations keeps as few singular values as it may with a discarded norm
    of at most

    .. math:: \delta = \frac{\mathrm{tolerance}}{\sqrt{d - 1}} \|T\|_F ,

    so that the squared error, the sum of the squares discarded, is at most
    :math:`(\mathrm{tolerance} \, \|T\|_F)^2`.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        As for :func:`tt_svd`.
    tolerance : float
    sites, svd : optional
        As for :func:`tt_svd`.

    Returns
    -------
    list of array
        d cores of realizable ranks, as from :func:`tt_svd`.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    I. V. Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33 (2011), Algorithm 1.

    Examples
    --------
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> [core.shape for core in tt_svd_within(tensor, 1e-9)]
    [(1, 3, 2), (2, 4, 2), (2, 5, 1)]
    """
    whole = Remainder.of(tensor, sites)
    d = len(whole.sizes)
    error = tolerance * norm_of(tensor) / math.sqrt(max(1, d - 1))
    cores = _cut(whole, ["left"] * (d - 1), lambda unfolding, _: left_within(unfolding, error, svd))
    # a bond that was truncated after its left neighbour may leave that with more than its core's other bond can need
    lowered = False
    for k in reversed(range(1, d)):
        rank, size, after = cores[k].shape
        if rank > size * after:
            q, r = np.linalg.qr(cores[k].reshape(rank, -1).conj().T)
            cores[k] = q.conj().T.reshape(-1, size, after)
            cores[k - 1] = cores[k - 1] @ r.conj().T
            lowered = True
    return left_orthogonal(cores) if lowered else cores


def tt_product(cores: Sequence[Array]) -> Array:
    """The tensor of a train.

    Examples
    --------
    >>> tt_product([np.array([[[1, 2]]]), np.array([[[3]], [[4]]])]).tolist()
    [[11]]
    """
    product = np.ones((1, 1), cores[0].dtype)
    for core in cores:
        product = product @ core.reshape(core.shape[0], -1)
        product = product.reshape(-1, core.shape[2])
    return product.reshape([core.shape[1] for core in cores])


def train_halves(cores: Sequence[Array], sites: Sequence[Site], shape: Sequence[int]) -> tuple[Site, Array, Array]:
    """Axes, and two matrices whose product is the unfolding of the train with these axes as its rows.

    Parameters
    ----------
    cores : sequence of array
        Of any number of axes between the bonds.
    sites : sequence of tuple of int
        The axes of the tensor that each core carries.
    shape : sequence of int
        That of the tensor.

    Returns
    -------
    rows : tuple of int
    left : array of shape (m, R)
    right : array of shape (R, n)
        Its columns are the axes that are not rows, in their order.

    Examples
    --------
    >>> rows, left, right = train_halves([np.ones((1, 4, 1)), np.full((1, 5, 1), 2.0)], [(0,), (1,)], (4, 5))
    >>> rows, (left @ right).tolist() == np.full((4, 5), 2.0).tolist()
    ((0,), True)
    """
    flat = [core.reshape(core.shape[0], -1, core.shape[-1]) for core in cores]
    if len(flat) == 1:
        return (), np.ones((1, 1), flat[0].dtype), flat[0].reshape(1, -1)

    n_rows = np.cumprod([core.shape[1] for core in flat[:-1]])
    k = min(1 + int(np.count_nonzero(n_rows < _ROWS)), len(flat) - 1)
    left = flat[0].reshape(-1, flat[0].shape[2])
    for core in flat[1:k]:
        left = (left @ core.reshape(len(core), -1)).reshape(-1, core.shape[2])
    right = flat[-1].reshape(-1, flat[-1].shape[1])
    for core in flat[-2 : k - 1 : -1]:
        right = (core.reshape(-1, core.shape[2]) @ right).reshape(len(core), -1)
    rows, columns = ([axis for site in part for axis in site] for part in (sites[:k], sites[k:]))
    left = left.reshape(*(shape[axis] for axis in rows), -1).transpose(*np.argsort(rows), len(rows))
    right = right.reshape(-1, *(shape[axis] for axis in columns)).transpose(0, *(1 + np.argsort(columns)))
    return tuple(sorted(rows)), left.reshape(-1, right.shape[0]), right.reshape(right.shape[0], -1)


def left_orthogonal(cores: Sequence[Array], first: int = 0) -> list[Array]:
    """The same train with all cores from the first on but the last isometries from their right bond.

    Examples
    --------
    >>> [core.ravel().tolist() for core in left_orthogonal([np.full((1, 1, 1), 2.0), np.full((1, 1, 1), 3.0)])]
    [[1.0], [6.0]]
    """
    cores = list(cores)
    for k in range(first, len(cores) - 1):
        rank, size, after = cores[k].shape
        q, r = np.linalg.qr(cores[k].reshape(-1, after))
        cores[k] = q.reshape(rank, size, -1)
        cores[k + 1] = (r @ cores[k + 1].reshape(after, -1)).reshape(-1, *cores[k + 1].shape[1:])
    return cores


# ------------------------------------------------------------ cutting


@dataclass(frozen=True)
class Remainder:
    """What is left of the tensor between the cores cut off so far.

    Attributes
    ----------
    array : array
    sites : tuple of tuple of int
        The axes of the modes that are left.
    left, right : tuple of int
        The axes that make the bond on either side, none at the ends of the train.
    basis : array, optional
        In coordinates of which the left bond is to be taken.
    """

    array: Array
    sites: tuple[Site, ...]
    left: Site = ()
    right: Site = ()
    basis: Array | None = None

    @classmethod
    def of(cls, tensor: Array, sites: Sequence[Site] | None) -> Remainder:
        tensor = np.ascontiguousarray(tensor)
        return cls(tensor, tuple((k,) for k in range(tensor.ndim)) if sites is None else tuple(sites))

    def size(self, axes: Site) -> int:
        return math.prod(self.array.shape[axis] for axis in axes)

    @property
    def left_rank(self) -> int:
        return self.size(self.left) if self.basis is None else self.basis.shape[1]

    @property
    def sizes(self) -> list[int]:
        return [self.size(site) for site in self.sites]

    def unfolding(self, end: End) -> Unfolding:
        """Its rows are the bond and the mode at this end, in the order that the core has them in."""
        if end == "left":
            return Unfolding.of(self.array, (*self.left, *self.sites[0]), self.basis)
        return (
            self.there().unfolding("right")
            if self.basis is not None
            else Unfolding.of(self.array, (*self.sites[-1], *self.right))
        )

    def whole(self, end: End) -> Remainder:
        """Without the mode at this end, which becomes a part of the bond as it is."""
        if end == "right":
            return replace(self, sites=self.sites[:-1], right=(*self.sites[-1], *self.right))
        here = self.there()
        return replace(here, sites=here.sites[1:], left=(*here.left, *here.sites[0]))

    def within(self, end: End, basis: Array) -> Remainder:
        """Without the mode at this end, in coordinates of `basis`, the columns of which are the new bond."""
        if end == "right":
            return self.there()._projected(basis)
        if self.basis is not None:
            rank = self.basis.shape[1]
            basis = (self.basis @ basis.reshape(rank, -1)).reshape(-1, basis.shape[1])
        rest = replace(self, sites=self.sites[1:], left=(*self.left, *self.sites[0]), basis=basis)
        later = len(rest.sites) > 1 and self.array.size > BLOCK and _LITTLE * basis.shape[1] >= basis.shape[0]
        if later:
            rows, columns = rest.unfolding("left").shape
            later = _LITTLE * rows <= columns
        return rest if later else rest.there()

    def there(self) -> Remainder:
        """The same with the left bond in its own coordinates."""
        if self.basis is None:
            return self
        array = Unfolding.of(self.array, self.left).project(self.basis)
        place = {axis: k + 1 for k, axis in enumerate(a for a in range(self.array.ndim) if a not in self.left)}
        sites = tuple(tuple(place[axis] for axis in site) for site in self.sites)
        return Remainder(array, sites, (0,), tuple(place[axis] for axis in self.right))

    def _projected(self, basis: Array) -> Remainder:
        rows = (*self.sites[-1], *self.right)
        place = {axis: k for k, axis in enumerate(a for a in range(self.array.ndim) if a not in rows)}
        array = Unfolding.of(self.array, rows).project(basis, last=True)
        sites = tuple(tuple(place[axis] for axis in site) for site in self.sites[:-1])
        return Remainder(array, sites, tuple(place[axis] for axis in self.left), (len(place),))

    def core(self) -> Array:
        """The last mode that is left, between its bonds."""
        here = self.there()
        array = here.array.transpose((*here.left, *here.sites[0], *here.right))
        dtype = np.complex128 if array.dtype.kind == "c" else np.float64
        return np.array(array, dtype).reshape(here.left_rank, -1, here.size(here.right))


def _cut(
    rest: Remainder,
    order: Sequence[End],
    truncate: Callable[[Unfolding, int], Array],
    bonds: Sequence[int] | None = None,
) -> list[Array]:
    """The cores, with ``truncate(unfolding, bond)`` the leading left singular vectors to keep."""
    left: list[Array] = []
    right: list[Array] = []
    for end in order:
        bond = len(left) if end == "left" else len(left) + len(rest.sites) - 2
        unfolding = rest.unfolding(end)
        m = unfolding.shape[0]
        before, size = rest.left_rank, rest.size(rest.right)
        if bonds is not None and bonds[bond] == m:
            basis, rest = np.eye(m, dtype=unfolding.dtype), rest.whole(end)
        else:
            basis = truncate(unfolding, bond)
            rest = rest.within(end, basis)
        if end == "left":
            left.append(basis.reshape(before, -1, basis.shape[1]))
        else:
            right.append(basis.T.reshape(basis.shape[1], -1, size))
    return left_orthogonal([*left, rest.core(), *right[::-1]], first=len(left))
