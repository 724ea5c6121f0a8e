"""Tensors as sums of outer products: their products, the products of a tensor with them, and their distance from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlinear.arrays import Array

__all__ = ["Kruskal", "Target", "cp_halves", "cp_product", "gram", "khatri_rao", "mttkrps", "normalized"]

_CHUNK = 1 << 17
"""Entries of a residual that are formed at a time: they stay in the cache."""

_DIGITS = 1e8
"""How far above its rounding a squared error is to lie: then a change of the error by 1e-7 of it is still seen."""

_HIDDEN = 1e-4
"""The largest part of a squared error that may be allowance for the rounding of single precision."""


def khatri_rao(factors: Sequence[Array]) -> Array:
    """The columnwise Kronecker product: row ``(s_1, .., s_n)`` of column r is ``prod_k factors[k][s_k, r]``.

    Examples
    --------
    >>> khatri_rao([np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])]).tolist()
    [[5, 12], [7, 16], [15, 24], [21, 32]]
    """
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None, :] * factor).reshape(-1, product.shape[-1])
    return product


def cp_product(weights: Array, factors: Sequence[Array]) -> Array:
    """The tensor ``sum_r weights[r] factors[0][:, r] o .. o factors[d-1][:, r]``, o the outer product.

    Examples
    --------
    >>> cp_product(np.array([2, -1]), [np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])]).tolist()
    [[-2, -2], [6, 10]]
    """
    _, left, right = cp_halves(weights, factors)
    return (left @ right).reshape([len(factor) for factor in factors])


def cp_halves(weights: Array, factors: Sequence[Array]) -> tuple[tuple[int, ...], Array, Array]:
    """Axes, and two matrices whose product is the unfolding of the tensor with these axes as its rows.

    They are the Khatri-Rao products of the modes on either side of the most balanced cut, the weights in the first.

    Examples
    --------
    >>> rows, left, right = cp_halves(np.array([2.0]), [np.ones((3, 1)), np.ones((4, 1))])
    >>> rows, left.tolist(), right.shape
    ((0,), [[2.0], [2.0], [2.0]], (1, 4))
    """
    cut = _balanced_cut([len(factor) for factor in factors])
    left = khatri_rao([weights[None], *factors[:cut]])
    right = khatri_rao([np.ones_like(weights)[None], *factors[cut:]])
    return tuple(range(cut)), left, right.T


def mttkrps(tensor: Array, factors: Sequence[Array]) -> Iterator[tuple[int, Array]]:
    r"""For each mode k in turn, the pair of k and the Matricized Tensor Times Khatri-Rao Product.

    .. math:: M[s_k, r] = \sum_{s_j : j \ne k} T[s_1 .. s_d] \prod_{j \ne k} \overline{A_j[s_j, r]}

    A tensor in single precision is multiplied in it, and all else is computed in the precision of the factors.

    The factors are read when a mode is asked for, so that a sweep may replace ``factors[k]`` in
    between and the modes after k see the new one.

    The modes form a binary tree.  At its root they are cut into two halves, and one product of the
    whole tensor with the Khatri-Rao product of either half serves every mode of the other, so that
    all modes together read the tensor twice.  Below, what is left is cut in the same way, and each
    cut contracts the one half or the other, component by component.

    References
    ----------
    A.-H. Phan, P. Tichavsky, A. Cichocki, Fast alternating LS algorithms for high order
    CANDECOMP/PARAFAC tensor factorizations, IEEE Trans. Signal Process. 61 (2013), section III.

    Examples
    --------
    >>> a, b = np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])
    >>> [(mode, product.tolist()) for mode, product in mttkrps(np.eye(2, dtype=int), [a, b])]
    [(0, [[5, 6], [7, 8]]), (1, [[1, 2], [3, 4]])]
    """
    shape, rank = tensor.shape, factors[0].shape[1]
    if tensor.ndim == 1:
        yield 0, tensor[:, None] * np.ones((1, rank), factors[0].dtype)
        return
    cut = _balanced_cut(shape)
    matrix = tensor.reshape(math.prod(shape[:cut]), -1)
    yield from _below(_read(matrix, factors[cut:]), range(cut), factors)
    yield from _below(_read(matrix.T, factors[:cut]), range(cut, len(shape)), factors)


def _read(matrix: Array, factors: Sequence[Array]) -> Array:
    """The product with the conjugate Khatri-Rao product, in the precision of the matrix; an array of the factors'."""
    product = matrix @ khatri_rao([factor.astype(matrix.dtype, copy=False) for factor in factors]).conj()
    return product.astype(factors[0].dtype, copy=False)


def _below(partial: Array, modes: Sequence[int], factors: Sequence[Array]) -> Iterator[tuple[int, Array]]:
    """The products of these modes, of what all others have been contracted with already."""
    if len(modes) == 1:
        yield modes[0], partial
        return
    cut = _balanced_cut([len(factors[k]) for k in modes])
    left, right = modes[:cut], modes[cut:]
    cube = partial.reshape(math.prod(len(factors[k]) for k in left), -1, partial.shape[-1])
    joined = khatri_rao([factors[k] for k in right]).conj()
    yield from _below(np.einsum("lsr,sr->lr", cube, joined), left, factors)
    joined = khatri_rao([factors[k] for k in left]).conj()
    yield from _below(np.einsum("lsr,lr->sr", cube, joined), right, factors)


def gram(factor: Array) -> Array:
    """``A^T conj(A)``: the products of all pairs of columns."""
    return factor.T @ factor.conj()


def normalized(matrix: Array, otherwise: Array) -> tuple[Array, Array]:
    """The norms of the columns, and the columns of unit norm; where the norm is zero, the column `otherwise`."""
    norms = np.linalg.norm(matrix, axis=0)
    return norms, np.where(norms > 0.0, matrix / np.where(norms > 0.0, norms, 1.0), otherwise)


@dataclass(frozen=True)
class Kruskal:
    """A sum of outer products, after J. B. Kruskal, and its relative error.

    Attributes
    ----------
    weights : array of shape (R,)
        Not negative.
    factors : list of array
        d arrays of shape ``(s_k, R)``, of unit columns.
    error : float
    """

    weights: Array
    factors: list[Array]
    error: float


@dataclass(frozen=True)
class Target:
    """A tensor to approximate, or the part of a larger one that lies in a subspace which the approximation stays in.

    Attributes
    ----------
    tensor : array
    square : float
        ``|tensor|^2``.
    lost : float
        The squared norm of the part outside.
    """

    tensor: Array
    square: float
    lost: float = 0.0

    @classmethod
    def of(cls, tensor: Array, lost: float = 0.0) -> Target:
        return cls(tensor, float(np.linalg.norm(tensor)) ** 2, lost)

    @property
    def is_single(self) -> bool:
        """Whether the tensor is in single precision."""
        return self.tensor.dtype.char in "fF"

    def in_single(self) -> Target | None:
        """The same tensor in single precision, half as many bytes and twice as fast to multiply, if that changes no
        entry."""
        with np.errstate(over="ignore", under="ignore"):
            single = self.tensor.astype(np.complex64 if self.tensor.dtype.kind == "c" else np.float32)
        return replace(self, tensor=single) if np.array_equal(single, self.tensor) else None

    def relative(self, square: float) -> float:
        """The relative error of a squared distance within the subspace; its root where all is zero."""
        whole = self.square + self.lost
        return math.sqrt((square + self.lost) / whole) if whole > 0.0 else math.sqrt(square)

    def error(self, weights: Array, factors: Sequence[Array]) -> float:
        """The relative error, from the difference itself."""
        _, left, right = cp_halves(weights, factors)
        matrix = self.tensor.reshape(len(left), -1)
        square, rows = 0.0, max(1, _CHUNK // right.shape[1])
        for start in range(0, len(left), rows):
            residual = matrix[start : start + rows] - left[start : start + rows] @ right
            square += float(np.linalg.norm(residual)) ** 2
        return self.relative(square)

    def error_by_identity(self, weights: Array, factors: Sequence[Array], inner: float, own: float) -> float:
        r"""The relative error from products that a sweep has made, if these tell it, and else from the difference.

        .. math:: |T - X|^2 = |T|^2 - 2 \mathrm{Re} \langle T, X \rangle + |X|^2

        All terms are of double precision, but for the product that a tensor in single precision was read with.  A
        column of d factors is rounded 2 d times there, and the roundings of the sums, which are many and random, come
        to less.  Along each component that is at most :math:`2 d u` of the norms of both; the squared error is said
        to be larger by what all of them may hide, so that a sweep in double precision finds it smaller.

        Parameters
        ----------
        weights, factors
            Of X.
        inner : float
            The real part of the inner product of T and X.
        own : float
            ``|X|^2``, the sum of ``R^2`` products of components, whose rounding is that of the largest.
        """
        square = self.square - 2.0 * inner + own
        total = float(np.sum(weights))
        if self.is_single:
            product_rounding = len(factors) * float(np.finfo(np.float32).eps) * math.sqrt(self.square) * total
            hidden = 2.0 * product_rounding
            # a comparison with NaN is false
            return self.relative(square + hidden) if _HIDDEN * square > hidden else self.error(weights, factors)
        rounding = float(np.finfo(np.float64).eps) * max(self.square, total * total)
        return self.relative(square) if square > _DIGITS * rounding else self.error(weights, factors)


def _balanced_cut(shape: Sequence[int]) -> int:
    """Where to cut the modes, such that the larger of the two halves is smallest; 1 when there is only one mode."""
    return min(range(1, max(len(shape), 2)), key=lambda cut: max(math.prod(shape[:cut]), math.prod(shape[cut:])))
