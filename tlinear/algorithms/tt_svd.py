"""TT-SVD: a tensor train from one truncated singular value decomposition a bond."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlinear.algorithms.truncated_svd import leading_left
from tlinear.arrays import Array

__all__ = ["tt_svd"]


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
    cores = []
    rest, rank = np.ascontiguousarray(tensor), 1
    for size, next_rank in zip(tensor.shape[:-1], bonds, strict=True):
        rest = rest.reshape(rank * size, -1)
        left = leading_left(rest, next_rank)
        cores.append(left.reshape(rank, size, next_rank))
        rest, rank = left.conj().T @ rest, next_rank
    cores.append(rest.reshape(rank, tensor.shape[-1], 1))
    return cores
