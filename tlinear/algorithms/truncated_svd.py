"""The leading left singular vectors of a matrix, which is all that HOSVD and TT-SVD need."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import DecompositionError

__all__ = ["leading_left"]


def leading_left(matrix: Array, rank: int) -> Array:
    """The `rank` leading left singular vectors of `matrix`, as the columns of an isometry.

    A wide matrix is first reduced by ``A^H = Q R``: then ``A = R^H Q^H`` has the left
    singular vectors of the small ``R^H``, and Q is never formed.

    Parameters
    ----------
    matrix : array of shape (m, n)
        In float64 or complex128, all entries finite.
    rank : int
        At most ``min(m, n)``.

    Raises
    ------
    DecompositionError
        When both of LAPACK's algorithms fail to converge.

    References
    ----------
    G. H. Golub and C. F. Van Loan, Matrix Computations, section 5.4.9 (R-SVD).

    Examples
    --------
    >>> u = leading_left(np.outer([3.0, 4.0], np.ones(7)), 1)
    >>> np.abs(u).round(12).tolist()
    [[0.6], [0.8]]
    """
    from scipy import linalg

    m, n = matrix.shape
    small: Any = linalg.qr(matrix.conj().T, mode="r", check_finite=False)[0][:m].conj().T if n > m else matrix
    for driver in ("gesdd", "gesvd"):
        try:
            left, _, _ = linalg.svd(small, full_matrices=False, lapack_driver=driver, check_finite=False)
        except linalg.LinAlgError:
            continue
        return np.asarray(left)[:, :rank]
    raise DecompositionError(
        f"LAPACK's gesdd and gesvd both failed on a matrix of shape {matrix.shape}, norm {linalg.norm(small):.3g}. "
        "Rescale or perturb the weight slightly, and report the matrix: this should not happen."
    )
