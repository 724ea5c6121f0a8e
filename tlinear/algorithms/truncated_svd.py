"""The leading left singular vectors of a matrix, which is all that HOSVD and TT-SVD need."""

from __future__ import annotations

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.arrays import Array
from tlinear.errors import DecompositionError

__all__ = ["leading_left", "left_within"]


def leading_left(matrix: Array, rank: int) -> Array:
    """The `rank` leading left singular vectors of `matrix`, as the columns of an isometry.

    With U these columns, ``U U^H matrix`` is the best approximation of this rank: the squared
    error is the sum of the squared singular values left out (Eckart and Young).

    A wide matrix is first reduced by ``A^H = Q R``: then ``A = R^H Q^H`` has the left
    singular vectors of the small ``R^H``, and Q is never formed.

    Parameters
    ----------
    matrix : array of shape (m, n)
        In float64 or complex128, all entries finite.
    rank : int
        At most ``min(m, n)``.

    Returns
    -------
    array of shape (m, rank)
        Its columns are orthonormal, also those that belong to singular values of zero.

    Raises
    ------
    DecompositionError
        When both of LAPACK's algorithms fail to converge.

    References
    ----------
    C. Eckart and G. Young, The approximation of one matrix by another of lower rank,
    Psychometrika 1 (1936).  G. H. Golub and C. F. Van Loan, Matrix Computations, section 5.4.9 (R-SVD).

    Examples
    --------
    >>> u = leading_left(np.outer([3.0, 4.0], np.ones(7)), 1)
    >>> np.abs(u).round(12).tolist()
    [[0.6], [0.8]]
    """
    return _left_svd(matrix)[0][:, :rank]


def left_within(matrix: Array, error: float) -> Array:
    """As few leading left singular vectors as leave an error of at most `error`, and at least one.

    With U these columns, ``|matrix - U U^H matrix| <= error`` in the Frobenius norm: the squares of
    the singular values left out sum to at most ``error^2``.

    Examples
    --------
    >>> left_within(np.diag([5.0, 4.0, 3.0]), 5.0).shape, left_within(np.diag([5.0, 4.0, 3.0]), 4.9).shape
    ((3, 1), (3, 2))
    """
    left, values = _left_svd(matrix)
    tails = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])
    return left[:, : max(1, int(np.count_nonzero(tails > error)))]


def _left_svd(matrix: Array) -> tuple[Array, Array]:
    """Left singular vectors and singular values; of a wide matrix by way of its small triangle."""
    m, n = matrix.shape
    return _svd(np.asarray(np.linalg.qr(matrix.conj().T, mode="r")).conj().T if n > m else matrix)


def _svd(matrix: Array) -> tuple[Array, Array]:
    """By divide and conquer (gesdd), or should that fail, by QR iteration (gesvd), which is slower and surer.

    SciPy is loaded for the second only: it may bring a BLAS of its own, and where two thread
    pools take turns, each waits for the other's idle threads.
    """
    try:
        left, values, _ = np.linalg.svd(matrix, full_matrices=False)
        return left, values
    except np.linalg.LinAlgError:
        from scipy import linalg

        fallback("a singular value decomposition by gesvd, after gesdd had failed")
    try:
        left, values, _ = linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd", check_finite=False)
        return left, values
    except linalg.LinAlgError as error:
        raise DecompositionError(
            f"LAPACK's gesdd and gesvd both failed on a matrix of shape {matrix.shape}, "
            f"norm {np.linalg.norm(matrix):.3g}. Rescale or perturb the weight slightly, and report the matrix: "
            "this should not happen."
        ) from error
