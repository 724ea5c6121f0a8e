"""Tucker by sequentially truncated HOSVD."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tlinear.algorithms.scaling import norm_of
from tlinear.algorithms.truncated_svd import Method, leading_left, left_within
from tlinear.algorithms.unfolding import Unfolding
from tlinear.arrays import Array

__all__ = [
    "MOST_TOGETHER",
    "Partial",
    "factor_matrix",
    "mode_product",
    "st_hosvd",
    "st_hosvd_within",
    "truncation_order",
    "tucker_halves",
    "tucker_product",
    "unfold",
]

MOST_TOGETHER = 100
"""The most rows of a Kronecker product of factors, and of the Gram matrix of several modes."""


def unfold(tensor: Array, mode: int) -> Array:
    """The matrix ``T_(mode)`` whose rows are the slices of `tensor` along `mode`.

    Examples
    --------
    >>> unfold(np.arange(6).reshape(2, 3), 1).tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def mode_product(tensor: Array, matrix: Array, mode: int) -> Array:
    """``matrix`` applied to the fibres of `tensor` along `mode`: ``Y_(mode) = matrix T_(mode)``.

    Examples
    --------
    >>> mode_product(np.ones((2, 3)), np.ones((4, 3)), 1).shape
    (2, 4)
    """
    before, after = tensor.shape[:mode], tensor.shape[mode + 1 :]
    if math.prod(after) == 1:
        product = tensor.reshape(-1, tensor.shape[mode]) @ matrix.T
    else:
        product = matrix @ tensor.reshape(-1, tensor.shape[mode], math.prod(after))
    return product.reshape(*before, len(matrix), *after)


def tucker_product(core: Array, factors: Sequence[Array]) -> Array:
    """The tensor of a core and its factors: a mode product along every mode.

    Examples
    --------
    >>> tucker_product(np.array([[2]]), [np.array([[1], [3]]), np.array([[5], [7]])]).tolist()
    [[10, 14], [30, 42]]
    """
    for mode, factor in enumerate(factors):
        core = mode_product(core, factor, mode)
    return core


def tucker_halves(core: Array, factors: Sequence[Array]) -> tuple[tuple[int, ...], Array, Array]:
    """Axes, and two matrices whose product is the unfolding of the tensor with these axes as its rows.

    That is the mode that is larger than its rank by the largest factor, which makes the second matrix the smallest.

    Examples
    --------
    >>> rows, left, right = tucker_halves(np.ones((1, 1)), [np.ones((3, 1)), np.ones((4, 1))])
    >>> rows, left.shape, right.shape
    ((1,), (4, 1), (1, 3))
    """
    first = max(range(core.ndim), key=lambda mode: factors[mode].shape[0] / factors[mode].shape[1])
    right = core
    for mode in reversed(range(core.ndim)):
        if mode != first:
            right = mode_product(right, factors[mode], mode)
    right = np.moveaxis(right, first, 0)
    return (first,), factors[first], right.reshape(len(right), -1)


def truncation_order(shape: Sequence[int], ranks: Sequence[int]) -> range:
    """The modes from the first to the last, or the other way where that costs less.

    Each truncation costs ``entries (s_k + 2 R_k + 40)`` FLOPs, where 40 stands for the time that an entry takes to
    be read, and what comes after it has a fraction R_k / s_k of the entries.

    Examples
    --------
    >>> truncation_order((8, 40), (8, 4)), truncation_order((40, 8), (4, 8))
    (range(1, -1, -1), range(0, 2))
    """

    def cost(order: range) -> float:
        total, entries = 0.0, float(math.prod(shape))
        for mode in order:
            total += entries * (shape[mode] + 2 * ranks[mode] + 40)
            entries *= ranks[mode] / shape[mode]
        return total

    d = len(shape)
    return min(range(d), range(d - 1, -1, -1), key=cost)


def st_hosvd(
    tensor: Array,
    ranks: Sequence[int],
    *,
    svd: Method = "auto",
    skips_whole: bool = False,
    order: Sequence[int] | None = None,
) -> tuple[Array, list[Array]]:
    """Core and isometric factors: each mode in turn keeps the leading singular vectors of what is left.

    In the order of :func:`truncation_order` unless told otherwise.  A truncation is the Gram matrix of an unfolding and
    one product with it, which leaves the mode at the other end, so that the next one is at this: nothing is transposed.

    The projections commute and each acts on what the others have left, so the squared error is
    the sum over the modes of the squared singular values that each truncation discards.  None of
    these is more than the best Tucker tensor of these ranks must lose there; the error is at
    most ``sqrt(d)`` times that of the best.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        Real or complex, all entries finite, and of a size whose squares neither overflow nor vanish in double
        precision, in which it is read block by block.
    ranks : sequence of int
        d realizable ranks: each at most s_k and at most the product of the others.
    svd : {'auto', 'qr', 'randomized'}
        See :func:`tlinear.algorithms.truncated_svd.leading_left`.
    skips_whole : bool
        Whether modes that keep their size are left as they are; their factor is then the identity, and otherwise
        all of their singular vectors.
    order : sequence of int, optional
        Of the modes; that of the least cost unless given.

    Returns
    -------
    core : array of shape (R_1, .., R_d)
    factors : list of array
        d arrays of shape ``(s_k, R_k)``.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, A new truncation strategy for the
    higher-order singular value decomposition, SIAM J. Sci. Comput. 34 (2012).

    Examples
    --------
    >>> core, factors = st_hosvd(np.ones((2, 3, 4)), (1, 1, 1))
    >>> round(abs(core.item()) ** 2, 12)
    24.0
    """

    def truncate(mode: int, unfolding: Unfolding) -> Array | None:
        if skips_whole and ranks[mode] == unfolding.shape[0]:
            return None
        return leading_left(unfolding, ranks[mode], svd)

    return _mode_by_mode(tensor, truncation_order(tensor.shape, ranks) if order is None else order, truncate)


def st_hosvd_within(
    tensor: Array, tolerance: float, *, fixed: Sequence[int] = (), svd: Method = "auto"
) -> tuple[Array, list[Array]]:
    r"""Core and isometric factors whose relative error is at most `tolerance`.

    Each of the truncations keeps as few singular values as it may with a discarded norm of at most

    .. math:: \delta = \frac{\mathrm{tolerance}}{\sqrt{\text{number of truncations}}} \|T\|_F ,

    so that the squared error, the sum of the squares discarded, is at most
    :math:`(\mathrm{tolerance} \, \|T\|_F)^2`.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    tolerance : float
    fixed : sequence of int
        The modes that are not truncated: their rank is their size, or that of all others together.
    svd : {'auto', 'qr'}
        See :func:`tlinear.algorithms.truncated_svd.left_within`.

    Returns
    -------
    core : array of shape (R_1, .., R_d)
        Its ranks are realizable.
    factors : list of array
        d arrays of shape ``(s_k, R_k)``.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, A new truncation strategy for the
    higher-order singular value decomposition, SIAM J. Sci. Comput. 34 (2012), section 6.

    Examples
    --------
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> st_hosvd_within(tensor, 1e-9)[0].shape, st_hosvd_within(tensor, 1e-9, fixed=(0,))[0].shape
    ((2, 2, 2), (3, 2, 2))
    """
    error = tolerance * norm_of(tensor) / math.sqrt(max(1, tensor.ndim - len(fixed)))

    def truncate(mode: int, unfolding: Unfolding) -> Array:
        if mode in fixed:
            return leading_left(unfolding, min(unfolding.shape), svd)
        return left_within(unfolding, error, svd)

    core, factors = _mode_by_mode(tensor, range(tensor.ndim), truncate)
    # a mode that was truncated after another may leave that with more than its unfolding can have
    ranks = [min(rank, core.size // rank) for rank in core.shape]
    if tuple(ranks) == core.shape:
        return core, factors
    core, rotations = st_hosvd(core, ranks, svd=svd)
    return core, [factor @ rotation for factor, rotation in zip(factors, rotations, strict=True)]


@dataclass(frozen=True)
class Partial:
    """A tensor of which some modes have been projected, its axes in any order.

    Attributes
    ----------
    array : array
    modes : tuple of int
        The mode of each axis.
    """

    array: Array
    modes: tuple[int, ...]

    def unfolding(self, *modes: int) -> Unfolding:
        return Unfolding.of(self.array, [self.modes.index(mode) for mode in modes])

    def projected(self, factors: Mapping[int, Array | None]) -> Partial:
        """Modes at the front then come to stand at the end, those at the end at the front.

        Those of a factor None are left as they are.  Small ones that are neighbours are projected together, by the
        Kronecker product of their factors: to read and write the tensor takes longer than the products.
        """
        modes = [mode for mode in self.modes if factors.get(mode) is not None]
        if not modes:
            return self
        is_first = modes[0] == self.modes[0]
        group: list[int] = []
        product: Array = np.ones((1, 1))
        for mode in modes if is_first else reversed(modes):
            factor = cast(Array, factors[mode])
            if group and len(product) * len(factor) > MOST_TOGETHER:
                break
            group = [*group, mode] if is_first else [mode, *group]
            if len(group) == 1:
                product = factor
            else:
                product = _kronecker(product, factor) if is_first else _kronecker(factor, product)
        axes, others = [self.modes.index(mode) for mode in group], [mode for mode in self.modes if mode not in group]
        new = [cast(Array, factors[mode]).shape[1] for mode in group]
        before, after = self.array.shape[: axes[0]], self.array.shape[axes[-1] + 1 :]
        if before and after and len(before) + len(group) + len(after) == self.array.ndim and self._is_wide:
            # between others they stay where they are, so that nothing is transposed
            stack = self.array.reshape(math.prod(before), len(product), math.prod(after))
            rest = Partial((product.conj().T @ stack).reshape(*before, *new, *after), self.modes)
        else:
            array = Unfolding.of(self.array, axes).project(product, last=is_first)
            shape = (*array.shape[:-1], *new) if is_first else (*new, *array.shape[1:])
            rest = Partial(array.reshape(shape), (*others, *group) if is_first else (*group, *others))
        return rest.projected({mode: factors[mode] for mode in modes if mode not in group})

    @property
    def _is_wide(self) -> bool:
        """Whether it lies in order, and in double precision."""
        return self.array.flags.c_contiguous and self.array.dtype.char in "dD"

    def in_order(self) -> Array:
        array = self.array.transpose(np.argsort(self.modes))
        return np.array(array, np.complex128 if array.dtype.kind == "c" else np.float64, order="C")


def _kronecker(first: Array, second: Array) -> Array:
    """Of small matrices, for which :func:`numpy.kron` takes longer than what it does."""
    product = first[:, None, :, None] * second[:, None, :]
    return product.reshape(len(first) * len(second), -1)


def _mode_by_mode(
    tensor: Array, order: Sequence[int], truncate: Callable[[int, Unfolding], Array | None]
) -> tuple[Array, list[Array]]:
    """Core and factors, with ``truncate(mode, unfolding)`` the leading left singular vectors to keep; None for all."""
    rest = Partial(np.ascontiguousarray(tensor), tuple(range(tensor.ndim)))
    factors: dict[int, Array | None] = {}
    for mode in order:
        factors[mode] = truncate(mode, rest.unfolding(mode))
        rest = rest.projected({mode: factors[mode]})
    core = rest.in_order()
    return core, [factor_matrix(factors[mode], size, core) for mode, size in enumerate(tensor.shape)]


def factor_matrix(factor: Array | None, size: int, core: Array) -> Array:
    """The factor, or the identity where it is None.

    Examples
    --------
    >>> factor_matrix(None, 2, np.ones(1)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.eye(size, dtype=core.dtype) if factor is None else factor
