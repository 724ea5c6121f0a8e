"""Compression before CP: a tensor is replaced by its core in the subspaces that components of this rank can span."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.algorithms.descent import EXACT
from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.hosvd import tucker_product
from tlinear.algorithms.kruskal import Target
from tlinear.algorithms.truncated_svd import leading_left
from tlinear.arrays import Array

__all__ = ["Compression", "compress", "leading_subspace"]

_WORTH = 0.5
"""A core that is no smaller than this fraction of the tensor is not worth the projection."""

_FAR = 0.5
"""A core with a larger relative error says little about where in the tensor the best components are."""

_SAFE = 3e3 * float(np.finfo(np.float64).eps)
"""The least eigenvalue of a Gram matrix that is kept, over the largest and the root of the terms of its entries."""

_BLOCK = 2048
"""Columns of a matrix that are multiplied by themselves at a time: of a long one it takes two thirds of the time."""

_EXPLICIT = 1e-12
"""A squared relative error below this is taken from the difference itself."""


@dataclass(frozen=True)
class Compression:
    """A core, and isometries that take it back.

    Attributes
    ----------
    target : Target
        The core.
    bases : tuple of array, or None
        d isometries of shape ``(s_k, c_k)``; None where the core is the tensor itself.
    bound : float
        No CP tensor of this rank has a relative error below it.
    """

    target: Target
    bases: tuple[Array, ...] | None
    bound: float

    @property
    def loses(self) -> bool:
        """Whether the best approximation may lie outside the subspaces."""
        return self.target.lost > 0.0

    def expand(self, factors: Sequence[Array]) -> list[Array]:
        """The factors in the modes of the tensor; columns of norm one keep it."""
        if self.bases is None:
            return list(factors)
        return [basis @ factor for basis, factor in zip(self.bases, factors, strict=True)]


def compress(tensor: Array, rank: int) -> Compression:
    r"""The core of a sequentially truncated HOSVD of ranks ``min(s_k, rank)``, where it is half as large and near.

    A core of more than half the entries is not worth it, and one that loses more than half of the norm no
    guide; then the core is the tensor itself.

    The mode-k vectors of a CP tensor of R components lie in a subspace of dimension R.  An exact
    one is found in its core as well as in itself, and the best approximation of another is close to
    the subspaces of its leading singular vectors: what it has outside is left to a last descent in
    the whole tensor.  The squared error is that within the core plus what was lost.

    Each unfolding of the approximation has rank R at most, so that every truncation discards no
    more than any approximation must: the largest discarded is a lower bound of the error.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    rank : int

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    R. Bro and C. A. Andersson, Improving the speed of multiway algorithms, part II: Compression,
    Chemometr. Intell. Lab. Syst. 42 (1998).  The HOSVD: :func:`tlinear.algorithms.hosvd.st_hosvd`.

    Examples
    --------
    >>> tensor = np.multiply.outer(np.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> compression = compress(tensor, 2)
    >>> compression.target.tensor.shape, compression.loses
    ((2, 2, 2), False)
    """
    whole = Target.of(tensor)
    if whole.square == 0.0 or math.prod(min(size, rank) for size in tensor.shape) > _WORTH * tensor.size:
        return Compression(whole, None, 0.0)
    core, bases, bound = tensor, [], 0.0
    for size in tensor.shape:
        # the first axis moves to the end, so that after all of them the axes are in order again
        unfolding = core.reshape(size, -1)
        kept = min(rank, *unfolding.shape)
        if kept < size:
            basis, discarded = leading_subspace(unfolding, kept)
            bound = max(bound, discarded)
            unfolding = basis.conj().T @ unfolding
        else:
            basis = np.eye(size, dtype=tensor.dtype)
        bases.append(basis)
        core = np.ascontiguousarray(unfolding.T).reshape(*core.shape[1:], kept)
    lost = max(0.0, whole.square - float(np.linalg.norm(core)) ** 2)
    if lost > _FAR**2 * whole.square:
        return Compression(whole, None, math.sqrt(bound / whole.square))
    if lost <= _EXPLICIT * whole.square:
        lost = float(np.linalg.norm(tensor - tucker_product(core, bases))) ** 2
    if lost <= EXACT**2 * whole.square:
        lost = 0.0
    return Compression(Target.of(core, lost), tuple(bases), math.sqrt(bound / whole.square))


def leading_subspace(matrix: Array, rank: int) -> tuple[Array, float]:
    """An isometry onto the `rank` leading left singular vectors, and the squared norm of what is outside.

    From the eigenvectors of ``A A^H`` where these are safe, which takes a fraction of the time:
    the eigenvalues, the squares of the singular values, are wrong by up to the rounding of the
    largest, so that the least that is kept has to be well above that.

    Parameters
    ----------
    matrix : array of shape (m, n)
    rank : int
        At most ``min(m, n)``.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    Examples
    --------
    >>> basis, outside = leading_subspace(np.diag([5.0, 4.0, 3.0]), 2)
    >>> basis.shape, outside
    ((3, 2), 9.0)
    """
    rows, columns = matrix.shape
    if rows <= columns:
        try:
            blocks = (matrix[:, start : start + _BLOCK] for start in range(0, columns, _BLOCK))
            values, vectors = np.linalg.eigh(sum(block @ block.conj().T for block in blocks))
            if values[-rank] > _SAFE * math.sqrt(columns) * values[-1]:
                return vectors[:, : -rank - 1 : -1], max(0.0, float(np.sum(values[:-rank])))
        except np.linalg.LinAlgError:
            fallback("a singular value decomposition, after that of the Gram matrix had failed")
    basis = leading_left(matrix, rank)
    inside = float(np.linalg.norm(basis.conj().T @ matrix)) ** 2
    return basis, max(0.0, float(np.linalg.norm(matrix)) ** 2 - inside)
