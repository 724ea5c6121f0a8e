"""What a plain low-rank matrix of as many parameters would keep: the honest thing to stand beside a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tlinear.algorithms import lapack
from tlinear.algorithms.report import relative_error
from tlinear.algorithms.scaling import exponent_of, times_power_of_two
from tlinear.arrays import Array, check_finite, to_inexact
from tlinear.decomposition.calibration import Calibration
from tlinear.errors import OptionError, ShapeError
from tlinear.shapes import is_integer

__all__ = ["LowRank", "is_quick", "low_rank_baseline", "singular_values", "truncation_error"]

_QUICK = 2**28
"""Of a matrix, the product of both sizes and the smaller: its singular values take less than a tenth of a second."""


@dataclass(frozen=True)
class LowRank:
    """The best product of two matrices, (in, R) and (R, out), that has no more parameters than it may.

    Attributes
    ----------
    rank : int
        R; 0 where even rank 1 has more.
    n_parameters : int
        ``R (in + out)``.
    relative_error : float
        ``|M - M'| / |M|`` in the Frobenius norm, of the truncated singular value decomposition M'.
    relative_output_error : float or None
        ``|X (M - M'')| / |X M|`` of the M'' for which this is least, where there is a calibration.
    """

    rank: int
    n_parameters: int
    relative_error: float
    relative_output_error: float | None = None


def low_rank_baseline(matrix: ArrayLike, n_parameters: int, *, calibration: Any = None) -> LowRank:
    r"""How good a plain low-rank matrix of at most so many parameters is.

    .. math:: \min_{M' \text{ of rank } R} \| M - M' \|_F^2 = \sum_{i > R} \sigma_i^2, \qquad
              R = \lfloor n / (\mathrm{in} + \mathrm{out}) \rfloor

    On trained weights it often has a smaller error than every tensor format.  The layer of it is the one with a
    TT tensor of one mode on each side, ``n_tensorized_modes=1``.

    Parameters
    ----------
    matrix : array of shape (m, n)
        The weight, either way round; with a calibration ``(out, in)``, as layers keep it.
    n_parameters : int
        What the tensor to compare with has: ``layer.weight.n_parameters``.
    calibration : array or Calibration, optional
        As for :func:`tlinear.decompose`.

    Raises
    ------
    ShapeError, OptionError, DTypeError, NonFiniteError
        When the matrix is none; when `n_parameters` is not positive; when an entry is NaN or infinite.
    DecompositionError
        When LAPACK fails on the matrix.

    Examples
    --------
    >>> low_rank_baseline(np.diag([4.0, 3.0]), 5)
    LowRank(rank=1, n_parameters=4, relative_error=0.6, relative_output_error=None)
    """
    m = to_inexact(matrix, "matrix")
    if m.ndim != 2 or m.size == 0:
        raise ShapeError(f"matrix has shape {m.shape}, but must be a matrix with entries. Pass linear.weight.")
    if not is_integer(n_parameters) or n_parameters < 1:
        raise OptionError(f"n_parameters={n_parameters!r} is not a number of parameters. Pass an int >= 1.")
    check_finite(m, "matrix")
    wide = np.dtype(np.complex128 if m.dtype.kind == "c" else np.float64)
    m = times_power_of_two(m, -exponent_of(m), wide)
    rank = min(int(n_parameters) // sum(m.shape), *m.shape)
    lost = truncation_error(singular_values(m), rank)
    output_error = None if calibration is None else _output_error(m, rank, Calibration.of(calibration))
    return LowRank(rank, rank * sum(m.shape), lost, output_error)


def singular_values(matrix: Array) -> Array:
    """Those of a matrix times a power of two that takes its entries near 1, the largest first."""
    wide = np.dtype(np.complex128 if matrix.dtype.kind == "c" else np.float64)
    return lapack.singular_values(times_power_of_two(matrix, -exponent_of(matrix), wide))


def truncation_error(values: Array, rank: int) -> float:
    """The relative error of the best matrix of this rank, from the singular values; 0 of a matrix of zeros."""
    norm = float(np.linalg.norm(values))
    return float(np.linalg.norm(values[rank:])) / norm if norm > 0.0 else 0.0


def _output_error(weight: Array, rank: int, calibration: Calibration) -> float:
    """Of M projected on the leading right singular vectors of ``L^H M``, with ``C + Lambda = L L^H``."""
    if calibration.in_features != weight.shape[1]:
        raise ShapeError(
            f"calibration has {calibration.in_features} features, but the matrix of shape {weight.shape} has "
            f"{weight.shape[1]} of the input. Pass the weight as (out, in), and samples of shape (..., in)."
        )
    m, dtype = weight.T, np.result_type(weight.dtype, calibration.second_moment.dtype)
    root = lapack.cholesky(calibration.metric(m)).conj().T
    right = lapack.svd(root @ m)[2][:rank]
    return calibration.relative_output_error(m.astype(dtype), m @ right.conj().T @ right)


def is_quick(shape: tuple[int, ...], patience: int = 1) -> bool:
    """Whether the singular values of such a matrix may be computed without being asked for."""
    return math.prod(shape) * min(shape) <= patience * _QUICK


def agrees(source: Array, result: Array, error: float) -> bool:
    """Whether a result has this relative error still, or one of them has been written to since."""
    wide = np.dtype(np.complex128 if source.dtype.kind == "c" else np.float64)
    exponent = exponent_of(source)
    scaled = (times_power_of_two(array, -exponent, wide) for array in (source, result))
    return math.isclose(relative_error(*scaled), error, rel_tol=1e-3, abs_tol=1e-3)
