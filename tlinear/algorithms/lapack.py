"""LAPACK's iterative drivers behind one guard: given NaN or infinity, some of its builds never return.

Singular values and eigenvalues are found by iterations that end when entries become small, which NaN never does.
Whether these are bounded depends on the build: with the OpenBLAS of NumPy 2.0 and of SciPy 1.13 an infinite entry
can keep gesdd and gesvd busy for ever.  So every matrix is looked through first, which takes O(m n) operations before
O(m n min(m, n)).  Factorizations that take a fixed number of steps (QR, Cholesky, LU) always end, and are called
where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.arrays import Array
from tlinear.errors import DecompositionError, NonFiniteError

__all__ = ["FAILURES", "cholesky", "eig", "eigh", "least_squares", "refuse_non_finite", "singular_values", "svd"]


FAILURES = (np.linalg.LinAlgError, NonFiniteError, DecompositionError)
"""What an algorithm that has another way to its result is to catch."""


def refuse_non_finite(shape: tuple[int, ...], is_finite: Any) -> None:
    """Raise :class:`NonFiniteError` unless a matrix of this shape is finite.

    Examples
    --------
    >>> refuse_non_finite((2, 3), np.isfinite(np.inf))
    Traceback (most recent call last):
        ...
    tlinear.errors.NonFiniteError: A matrix of shape (2, 3) to be decomposed holds NaN or infinity. ...
    """
    if not is_finite:
        raise NonFiniteError(
            f"A matrix of shape {tuple(shape)} to be decomposed holds NaN or infinity. Repair the entries of the "
            "tensor that are not finite; if all of them are, rescale it, because numbers on the way overflow."
        )


def svd(matrix: Array) -> tuple[Array, Array, Array]:
    """``U, s, V^H`` of a matrix, reduced, the largest singular value first.

    By divide and conquer (gesdd), or should that fail, by QR iteration (gesvd), which is slower and surer.

    Raises
    ------
    NonFiniteError
        When an entry is NaN or infinite.
    DecompositionError
        When both fail to converge.

    Examples
    --------
    >>> left, values, right = svd(np.diag([3.0, 4.0]))
    >>> values.tolist(), (left * values @ right).tolist()
    ([4.0, 3.0], [[3.0, 0.0], [0.0, 4.0]])
    """
    left, values, right = _svd(matrix, full_matrices=False)
    return left, values, right


def singular_values(matrix: Array) -> Array:
    """Those of :func:`svd` alone, in less time.

    Examples
    --------
    >>> singular_values(np.diag([3.0, 4.0])).tolist()
    [4.0, 3.0]
    """
    return np.asarray(_svd(matrix, compute_uv=False))


def _svd(matrix: Array, **options: Any) -> Any:
    """Return what numpy.linalg.svd does, or should that fail, what LAPACK's gesvd does.

    SciPy is loaded for gesvd alone, because it may bring a BLAS of its own, whose threads compete with NumPy's.
    """
    refuse_non_finite(matrix.shape, np.isfinite(matrix).all())
    try:
        return np.linalg.svd(matrix, **options)
    except np.linalg.LinAlgError:
        from scipy import linalg

        fallback("a singular value decomposition by gesvd, after gesdd had failed")
    try:
        return linalg.svd(matrix, lapack_driver="gesvd", check_finite=False, **options)
    except linalg.LinAlgError as error:
        raise DecompositionError(
            f"LAPACK's gesdd and gesvd both failed on a matrix of shape {matrix.shape}, "
            f"norm {np.linalg.norm(matrix):.3g}. Rescale or perturb the weight slightly, and report the matrix: "
            "this should not happen."
        ) from error


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues of a Hermitian matrix, ascending, and orthonormal eigenvectors as columns.

    Raises
    ------
    NonFiniteError
        When an entry is NaN or infinite.
    DecompositionError
        When LAPACK fails to converge.

    Examples
    --------
    >>> eigh(np.diag([4.0, 3.0]))[0].tolist()
    [3.0, 4.0]
    """
    values, vectors = _guarded(np.linalg.eigh, matrix)
    return values, vectors


def eig(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues of a square matrix, and eigenvectors as columns, all complex; raises what :func:`eigh` does.

    Examples
    --------
    >>> eig(np.diag([4.0, 3.0]))[0].tolist()
    [(4+0j), (3+0j)]
    """
    # up to NumPy 2.4 those of a real matrix are real if all of its eigenvalues are
    values, vectors = _guarded(np.linalg.eig, matrix)
    return values.astype(np.complex128, copy=False), vectors.astype(np.complex128, copy=False)


def cholesky(matrix: Array) -> Array:
    """The lower triangular L of ``L L^H``, a positive definite matrix; raises what :func:`eigh` does.

    Examples
    --------
    >>> cholesky(np.diag([4.0, 9.0])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return np.asarray(_guarded(np.linalg.cholesky, matrix))


def least_squares(matrix: Array, target: Array, rank_tolerance: float | None = None) -> Array:
    """Return the X of least norm that minimizes ``|matrix X - target|``, by singular values.

    Those of at most `rank_tolerance` times the largest count as zero; by default, those that rounding may have made.

    Raises
    ------
    NonFiniteError, DecompositionError
        As :func:`eigh`.

    Examples
    --------
    >>> least_squares(np.array([[2.0], [0.0]]), np.array([[6.0], [1.0]])).round(12).tolist()
    [[3.0]]
    """
    refuse_non_finite(target.shape, np.isfinite(target).all())
    return np.asarray(_guarded(partial(np.linalg.lstsq, rcond=rank_tolerance), matrix, target)[0])


def _guarded(driver: Callable[..., Any], matrix: Array, *others: Array) -> Any:
    refuse_non_finite(matrix.shape, np.isfinite(matrix).all())
    try:
        return driver(matrix, *others)
    except np.linalg.LinAlgError as error:
        raise DecompositionError(
            f"LAPACK failed on a matrix of shape {matrix.shape}: {error}. Rescale or perturb the weight slightly."
        ) from error
