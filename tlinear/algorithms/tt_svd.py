"""TT-SVD: a tensor train from one truncated singular value decomposition a bond."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tlinear.algorithms.truncated_svd import leading_left, left_within
from tlinear.arrays import Array

__all__ = ["tt_product", "tt_svd", "tt_svd_within"]


def tt_svd(tensor: Array, bonds: Sequence[int]) -> list[Array]:
    r"""Cores of a tensor train of shape ``(R_k, s_k, R_{k+1})``, made from the left to the right.

    With the remainder :math:`C_k` of shape ``(R_k s_k, s_{k+1} .. s_d)``, :math:`C_1` being the
    tensor, and its R_{k+1} leading left singular vectors :math:`U_k`,

    .. math:: \mathrm{core}_k = U_k, \qquad C_{k+1} = U_k^H C_k, \qquad \mathrm{core}_d = C_d .

    All cores but the last are isometries from their right bond, so the last carries the norm.
    The remainders are nested projections of the tensor, so the squared error is the sum over
    the bonds of the squared singular values that each truncation discards.  None of these is
    more than the best train of these ranks must lose there; the error is at most
    ``sqrt(d - 1)`` times that of the best train.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    bonds : sequence of int
        ``(R_2, .., R_d)``, d - 1 realizable ranks: ``R_{k+1} <= R_k s_k`` and ``R_k <= s_k R_{k+1}``,
        with 1 at both ends.

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
    return _left_to_right(tensor, lambda bond, rest: leading_left(rest, bonds[bond]))


def tt_svd_within(tensor: Array, tolerance: float) -> list[Array]:
    r"""Cores of a tensor train whose relative error is at most `tolerance`, by TT-SVD.

    Each of the d - 1 truncations keeps as few singular values as it may with a discarded norm
    of at most

    .. math:: \delta = \frac{\mathrm{tolerance}}{\sqrt{d - 1}} \|T\|_F ,

    so that the squared error, the sum of the squares discarded, is at most
    :math:`(\mathrm{tolerance} \, \|T\|_F)^2`.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    tolerance : float

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
    error = tolerance * float(np.linalg.norm(tensor)) / math.sqrt(max(1, tensor.ndim - 1))
    cores = _left_to_right(tensor, lambda bond, rest: left_within(rest, error))
    # a bond that was truncated after its left neighbour may leave that with more than its unfolding can have
    bonds = [core.shape[2] for core in cores[:-1]]
    for k in reversed(range(len(bonds) - 1)):
        bonds[k] = min(bonds[k], tensor.shape[k + 1] * bonds[k + 1])
    realizable = all(core.shape[2] == bond for core, bond in zip(cores, bonds, strict=False))
    return cores if realizable else tt_svd(tt_product(cores), bonds)


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


def _left_to_right(tensor: Array, truncate: Callable[[int, Array], Array]) -> list[Array]:
    """The cores, with ``truncate(bond, remainder)`` the leading left singular vectors to keep."""
    cores = []
    rest, rank = np.ascontiguousarray(tensor), 1
    for bond, size in enumerate(tensor.shape[:-1]):
        rest = rest.reshape(rank * size, -1)
        left = truncate(bond, rest)
        cores.append(left.reshape(rank, size, left.shape[1]))
        rest, rank = left.conj().T @ rest, left.shape[1]
    cores.append(rest.reshape(rank, tensor.shape[-1], 1))
    return cores
