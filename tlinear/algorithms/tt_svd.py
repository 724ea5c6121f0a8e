"""TT-SVD: a tensor train from one truncated singular value decomposition a bond."""

from __future__ import annotations

from collections.abc import Sequence

from tlinear.algorithms.truncated_svd import leading_left
from tlinear.arrays import Array

__all__ = ["tt_svd"]


def tt_svd(tensor: Array, bonds: Sequence[int]) -> list[Array]:
    """Cores of shape ``(R_k, s_k, R_{k+1})`` with ``(R_1, .., R_{d-1}) = bonds``, from the left to the right.

    With the remainder ``C_k`` of shape ``(R_k s_k, s_{k+1} .. s_d)`` and its leading left
    singular vectors U, the core is U and the next remainder is ``U^H C_k``.  The squared
    error is at most the sum over the bonds of the squared singular values discarded, so at
    most d - 1 times that of the best tensor train of these ranks.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
    bonds : sequence of int
        d - 1 realizable ranks: ``R_{k+1} <= R_k s_k`` and ``R_k <= s_k R_{k+1}``.

    References
    ----------
    I. V. Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33 (2011), Algorithm 1.

    Examples
    --------
    The tensor ``i + j + k`` has ranks (2, 2) exactly:

    >>> import numpy as np
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> a, b, c = tt_svd(tensor, (2, 2))
    >>> bool(np.abs(np.einsum("xir,rjs,sky->ijk", a, b, c) - tensor).max() < 1e-13)
    True
    """
    cores = []
    rest, rank = tensor, 1
    for size, next_rank in zip(tensor.shape, bonds, strict=False):
        rest = rest.reshape(rank * size, -1)
        left = leading_left(rest, next_rank)
        cores.append(left.reshape(rank, size, next_rank))
        rest, rank = left.conj().T @ rest, next_rank
    cores.append(rest.reshape(rank, tensor.shape[-1], 1))
    return cores
