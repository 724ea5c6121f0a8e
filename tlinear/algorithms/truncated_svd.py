"""The leading left singular vectors of a matrix, which is all that HOSVD and TT-SVD need: one place for how."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.lapack import FAILURES, eigh, svd
from tlinear.algorithms.unfolding import Unfolding
from tlinear.arrays import Array
from tlinear.errors import OptionError

__all__ = ["Method", "check_method", "leading_left", "leading_of_gram", "leading_subspace", "left_within"]

Method: TypeAlias = Literal["auto", "qr", "randomized"]

_EPS = float(np.finfo(np.float64).eps)

_FLOOR = 3e3 * _EPS
"""The least eigenvalue of a Gram matrix that is trusted, over the largest and the root of the terms of its entries."""

_NEGLIGIBLE = 1e-9
"""What rounding of a Gram matrix may add to the squared error, as a fraction of it."""

_NEARLY = 1e-6
"""The least eigenvalue of a Gram matrix, over the largest, that leaves quotients by its root nearly orthonormal."""

_SMALL = 2**10
"""Entries of a matrix that an SVD takes no longer for than all else."""

_KRYLOV_SIZE, _KRYLOV_SHARE = 512, 40
"""The least size of a Gram matrix, and how many times the rank that has to be, for a part of its eigenvectors to be
found sooner than all of them."""


def check_method(svd: str, tolerance: float | None = None) -> None:
    """Raise :class:`OptionError` unless `svd` is a method of :func:`leading_left`, or of :func:`left_within`.

    Examples
    --------
    >>> check_method("qr")
    """
    if svd not in ("auto", "qr", "randomized"):
        raise OptionError(f"svd={svd!r} is not known. Choose 'auto', 'qr' or 'randomized'.")
    if svd == "randomized" and tolerance is not None:
        raise OptionError(
            f"svd='randomized' finds as many singular vectors as it is told, and tolerance={tolerance:g} has to see "
            "all singular values. Pass a rank instead of the tolerance, or choose 'auto' or 'qr'."
        )


def leading_left(matrix: Array | Unfolding, rank: int, method: Method = "auto") -> Array:
    r"""The `rank` leading left singular vectors of `matrix`, as the columns of an isometry.

    With U these columns, ``U U^H A`` is the best approximation of this rank: the squared
    error is the sum of the squared singular values left out (Eckart and Young).

    =============  ==================================================  ===================================
    method         how                                                 of a matrix m x n, m <= n, rank r
    =============  ==================================================  ===================================
    'auto'         eigenvectors of ``A A^H`` where that is safe,       ``m^2 n`` FLOPs and ``O(m^3)``
                   polished or replaced by 'qr' where it is not
    'qr'           SVD of the small triangle of ``A^H = Q R``          ``2 m^2 n`` and ``O(m^3)``
    'randomized'   eigenvectors within the range of ``(A A^H)^2 X``,   ``8 (r + 8) m n``
                   X being random numbers of a fixed seed
    =============  ==================================================  ===================================

    Of a tall matrix, the same is done with its columns.  Randomized vectors are not the best: with no gap after
    the r-th singular value, the error may be a percent above the least.

    **Where a Gram matrix is safe.**  Its eigenvalues :math:`\lambda_i`, the squared singular values, are off by up
    to :math:`\delta = O(\varepsilon) \lambda_1`, whatever their size.  The squared error then exceeds the least by

    .. math:: \min\Big( 2 r \delta, \; \frac{r \delta^2}{\lambda_r - \lambda_{r+1}} \Big)

    at most (Ky Fan; the second term by perturbation to second order).  This has to be a fraction of
    1e-9 of the squared error, or beneath all rounding; if not, one step of subspace iteration,
    ``U <- orth(A (A^H U))``, makes the error of each vector relative to its own singular value.  And
    :math:`\lambda_r` has to be well above its own rounding, :math:`3 \cdot 10^3 \varepsilon \sqrt{n} \lambda_1`;
    if it is not, the triangle is taken.

    Parameters
    ----------
    matrix : array of shape (m, n), or Unfolding
        All entries finite, and of a size whose squares neither overflow nor vanish.
    rank : int
        At most ``min(m, n)``.
    method : {'auto', 'qr', 'randomized'}

    Returns
    -------
    array of shape (m, rank)
        In double precision.  Its columns are orthonormal, also those that belong to singular values of zero.

    Raises
    ------
    DecompositionError
        When both of LAPACK's algorithms fail to converge.

    References
    ----------
    C. Eckart and G. Young, The approximation of one matrix by another of lower rank, Psychometrika 1 (1936).
    K. Fan, On a theorem of Weyl concerning eigenvalues of linear transformations, PNAS 35 (1949).
    Z. Li, Q. Fang, G. Ballard, Parallel Tucker decomposition with numerically accurate SVD, ICPP 2021, for QR.
    N. Halko, P.-G. Martinsson, J. Tropp, Finding structure with randomness, SIAM Review 53 (2011).

    Examples
    --------
    >>> u = leading_left(np.outer([3.0, 4.0], np.ones(7)), 1)
    >>> np.abs(u).round(12).tolist()
    [[0.6], [0.8]]
    """
    unfolding = _unfolding(matrix)
    if method == "randomized":
        return _randomized(unfolding, rank)
    found = _by_gram(unfolding, rank) if method == "auto" and math.prod(unfolding.shape) > _SMALL else None
    return _left_svd(unfolding)[0][:, :rank] if found is None else found[0]


def leading_subspace(matrix: Array | Unfolding, rank: int) -> tuple[Array, float]:
    """As :func:`leading_left`, with the squared norm of what is outside of the subspace, the squared error.

    Examples
    --------
    >>> basis, outside = leading_subspace(np.diag([5.0, 4.0, 3.0]), 2)
    >>> basis.shape, round(outside, 12)
    ((3, 2), 9.0)
    """
    unfolding = _unfolding(matrix)
    found = _by_gram(unfolding, rank) if math.prod(unfolding.shape) > _SMALL else None
    if found is not None:
        return found
    left, values = _left_svd(unfolding)
    return left[:, :rank], float(np.sum(values[rank:] ** 2))


def leading_of_gram(gram: Array, rank: int, n_terms: int) -> Array | None:
    """As :func:`leading_left` of an A with ``A A^H = gram``, or None where A itself has to be looked at.

    Parameters
    ----------
    gram : array of shape (m, m)
    rank : int
    n_terms : int
        The number of columns of A.

    Examples
    --------
    >>> np.abs(leading_of_gram(np.diag([4.0, 9.0]), 1, 2)).tolist(), leading_of_gram(np.diag([1.0, 0.0]), 2, 2)
    ([[0.0], [1.0]], None)
    """
    with _OrByAnSVD():
        values, vectors = _leading_eigenvectors(gram, rank)
        if _is_trusted(values, rank, n_terms) and _is_safe(values, rank, gram):
            return vectors
    return None


def left_within(matrix: Array | Unfolding, error: float, method: Method = "auto") -> Array:
    r"""As few leading left singular vectors as leave an error of at most `error`, and at least one.

    With U these columns, ``|A - U U^H A| <= error`` in the Frobenius norm: the squares of
    the singular values left out sum to at most ``error^2``.  How many these are is read off the eigenvalues of the
    Gram matrix only where their rounding, :math:`30 \varepsilon m \sqrt{n} \lambda_1` at most, cannot change it,
    which is never so for an error below 1e-7 of the norm or so.

    Parameters
    ----------
    matrix : array of shape (m, n), or Unfolding
        As for :func:`leading_left`.
    error : float
    method : {'auto', 'qr'}

    Raises
    ------
    DecompositionError
        When both of LAPACK's algorithms fail to converge.

    Examples
    --------
    >>> left_within(np.diag([5.0, 4.0, 3.0]), 5.0).shape, left_within(np.diag([5.0, 4.0, 3.0]), 4.9).shape
    ((3, 1), (3, 2))
    """
    unfolding = _unfolding(matrix)
    m, n = unfolding.shape
    if method == "auto" and m * n > _SMALL and m <= n:
        with _OrByAnSVD():
            values, vectors = eigh(unfolding.gram())
            tails = np.cumsum(np.maximum(values, 0.0))[::-1]
            margin = 30.0 * _EPS * m * math.sqrt(n) * float(values[-1])
            surely, perhaps = (int(np.count_nonzero(tails > error**2 + by)) for by in (margin, -margin))
            if surely == perhaps:
                return np.ascontiguousarray(vectors[:, ::-1][:, : max(1, surely)])
    left, values = _left_svd(unfolding)
    tails = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])
    return left[:, : max(1, int(np.count_nonzero(tails > error)))]


def _unfolding(matrix: Array | Unfolding) -> Unfolding:
    return matrix if isinstance(matrix, Unfolding) else Unfolding(matrix, 1)


# ------------------------------------------------------------ by the Gram matrix


class _OrByAnSVD(suppress):
    """Go on after what is inside, where LAPACK fails in it."""

    def __init__(self) -> None:
        super().__init__(*FAILURES)

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> bool:
        fails = super().__exit__(kind, *rest)
        if fails:
            fallback("a singular value decomposition, after that of the Gram matrix had failed")
        return fails


def _by_gram(unfolding: Unfolding, rank: int) -> tuple[Array, float] | None:
    """The vectors and the squared error, or None where they would not be safe."""
    m, n = unfolding.shape
    short = unfolding if m <= n else unfolding.transposed
    gram = short.gram()
    with _OrByAnSVD():
        values, vectors = _leading_eigenvectors(gram, rank)
        if not _is_trusted(values, rank, max(m, n)):
            return None
        outside = _outside(values, rank, gram)
        if m > n:
            left = _times(unfolding, vectors.conj())  # these are eigenvectors of A^T conj(A)
            if not values[rank - 1] > _NEARLY * values[0]:
                return np.linalg.qr(left)[0], outside
            # the columns of A V, divided by the singular values, are orthonormal up to eps / _NEARLY, and after
            # one step of Newton's iteration up to rounding
            scale = 1.0 / np.sqrt(values[:rank])
            products = left.conj().T @ left * np.multiply.outer(scale, scale)
            return left @ (scale[:, None] * (1.5 * np.eye(rank) - 0.5 * products)), outside
        if _is_safe(values, rank, gram):
            return vectors, outside
        basis = np.linalg.qr(_times(unfolding, unfolding.project(vectors).reshape(rank, -1).conj().T))[0]
        inside = float(np.linalg.norm(unfolding.project(basis))) ** 2
        return basis, max(0.0, float(np.trace(gram).real) - inside)
    return None


def _is_trusted(values: Array, rank: int, n_terms: int) -> bool:
    """Whether the least of the leading eigenvalues is well above the rounding of a Gram matrix of sums of so many."""
    return bool(values[rank - 1] > _FLOOR * math.sqrt(n_terms) * values[0])


def _outside(values: Array, rank: int, gram: Array) -> float:
    """The sum of the eigenvalues that do not lead."""
    return max(0.0, float(np.trace(gram).real) - float(np.sum(values[:rank])))


def _is_safe(values: Array, rank: int, gram: Array) -> bool:
    """Whether rounding of the Gram matrix adds next to nothing to the squared error."""
    negligible = max(_NEGLIGIBLE * _outside(values, rank, gram), (4.0 * _EPS) ** 2 * float(values[0]))
    return _excess(values, rank, len(gram)) <= negligible


def _times(unfolding: Unfolding, matrix: Array) -> Array:
    """``A matrix``, for a matrix of few columns."""
    return unfolding.transposed.project(matrix.conj()).reshape(matrix.shape[1], -1).T


def _excess(values: Array, rank: int, size: int) -> float:
    """How much the rounding of a Gram matrix of this size may add to the squared error."""
    if rank == size:
        return 0.0
    delta = _EPS * (16.0 + math.sqrt(size)) * float(values[0])
    gap = float(values[rank - 1] - values[rank]) if len(values) > rank else 0.0
    return min(2.0 * rank * delta, rank * delta**2 / gap if gap > 0.0 else math.inf)


def _leading_eigenvectors(gram: Array, rank: int) -> tuple[Array, Array]:
    """At least `rank` eigenvalues of a Gram matrix, descending, and the eigenvectors of the first `rank`."""
    size = len(gram)
    found = _krylov(gram, rank) if size >= _KRYLOV_SIZE and _KRYLOV_SHARE * rank <= size else None
    values, vectors = eigh(gram) if found is None else found
    return values[::-1], np.ascontiguousarray(vectors[:, : -rank - 1 : -1])


def _krylov(gram: Array, rank: int, *, tolerance: float = 1e-8) -> tuple[Array, Array] | None:
    r"""Eigenvalues and vectors of a Gram matrix within a block Krylov space, ascending; None if these do not settle.

    The space of :math:`X, G X, G^2 X, ..` with random X of a fixed seed grows by a block of `rank` columns at a
    time, until two more blocks raise the sum of the leading eigenvalues by no more than `tolerance` of what is
    outside.  They approach from below, each step gaining a fraction of the last.

    References
    ----------
    C. Musco and C. Musco, Randomized block Krylov methods for stronger and faster approximate singular value
    decomposition, NIPS 2015.
    """
    size, width = len(gram), max(8, rank)
    most = max(2, size // (2 * width))
    total = float(np.trace(gram).real)
    basis, image = (np.empty((size, most * width), gram.dtype, order="F") for _ in range(2))
    block = gram @ np.random.default_rng(0).standard_normal((size, width))
    before = 0.0
    for n in range(0, most * width, width):
        for _ in range(2 if n else 0):
            block = block - basis[:, :n] @ (basis[:, :n].conj().T @ block)
        basis[:, n : n + width] = np.linalg.qr(block)[0]
        block = gram @ basis[:, n : n + width]
        image[:, n : n + width] = block
        end = n + width
        if (end // width) % 2 == 0 and end > 8 * width:
            values, vectors = eigh(basis[:, :end].conj().T @ image[:, :end])
            inside = float(np.sum(values[-rank:]))
            if inside - before <= tolerance * (total - inside):
                return values, basis[:, :end] @ vectors[:, -rank:]
            before = inside
    return None


def _randomized(unfolding: Unfolding, rank: int) -> Array:
    """The best within the range of ``(A A^H)^2 X``, X being a few columns more than asked of random numbers."""
    m, n = unfolding.shape
    width = min(rank + 8, m, n)
    basis = np.random.default_rng(0).standard_normal((m, width))
    for _ in range(2):
        half = unfolding.project(np.linalg.qr(basis)[0]).reshape(width, n)
        basis = _times(unfolding, np.linalg.qr(half.conj().T)[0])
    left, _, _ = svd(basis)
    return np.ascontiguousarray(left[:, :rank])


# ------------------------------------------------------------ by the triangle


def _left_svd(unfolding: Unfolding) -> tuple[Array, Array]:
    """Left singular vectors and singular values; of a wide matrix by way of its small triangle."""
    m, n = unfolding.shape
    left, values, _ = svd(unfolding.triangle().conj().T if n > m else unfolding.matrix())
    return left, values
