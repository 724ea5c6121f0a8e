"""Tensor trains and Tucker tensors of the arrays of any library that has a singular value decomposition.

The plain algorithms: TT-SVD from the left, and the sequentially truncated HOSVD refined by HOOI.  Those for
NumPy, in ``tt_svd`` and ``hooi``, find the same tensors faster, and choose ranks as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlinear.algorithms.lapack import refuse_non_finite
from tlinear.algorithms.report import Report
from tlinear.arrays import Array, Space
from tlinear.errors import DecompositionError, DeviceError

__all__ = ["portable_train", "portable_tucker"]

_SWEEPS, _STOP = 25, 1e-6


def portable_train(tensor: Array, bonds: Sequence[int], sites: Sequence[Sequence[int]], space: Space) -> list[Array]:
    """The cores ``(R_k, *modes, R_{k+1})`` of TT-SVD; `sites` are the axes of the tensor that each core carries.

    Examples
    --------
    >>> import numpy as np
    >>> from tlinear.arrays import NUMPY
    >>> [core.shape for core in portable_train(np.ones((2, 3, 4)), (1, 1), ((0,), (1,), (2,)), NUMPY)]
    [(1, 2, 1), (1, 3, 1), (1, 4, 1)]
    """
    shape, cores, left = tensor.shape, [], 1
    rest = space.transpose(tensor, tuple(axis for site in sites for axis in site))
    for site, rank in zip(sites[:-1], bonds, strict=True):
        modes = tuple(shape[axis] for axis in site)
        rows = left * math.prod(modes)
        u, values, vh = _svd(space.reshape(rest, (rows, math.prod(rest.shape) // rows)), space)
        u, rest = _columns(u, rank, space), _rows(space.reshape(values, (-1, 1)) * vh, rank, space)
        cores.append(space.reshape(u, (left, *modes, rank)))
        left = rank
    return [*cores, space.reshape(rest, (left, *(shape[axis] for axis in sites[-1]), 1))]


def portable_tucker(tensor: Array, ranks: Sequence[int], space: Space) -> tuple[Array, list[Array], Report]:
    """Core and isometric factors: each mode is truncated in turn, and then the best one for the others.

    Examples
    --------
    >>> import numpy as np
    >>> from tlinear.arrays import NUMPY
    >>> core, factors, report = portable_tucker(np.random.default_rng(0).standard_normal((3, 4, 5)), (2, 2, 2), NUMPY)
    >>> core.shape, [factor.shape for factor in factors], report.converged
    ((2, 2, 2), [(3, 2), (4, 2), (5, 2)], True)
    """
    core, factors = tensor, []
    for mode, rank in enumerate(ranks):
        factors.append(_leading(core, mode, rank, space))
        core = _projected(core, factors[mode], mode, space)
    square, history = space.norm(tensor) ** 2, [math.inf]
    while len(history) <= _SWEEPS:
        for mode, rank in enumerate(ranks):
            rest = tensor
            for other, factor in enumerate(factors):
                rest = rest if other == mode else _projected(rest, factor, other, space)
            factors[mode] = _leading(rest, mode, rank, space)
            core = _projected(rest, factors[mode], mode, space)
        # by Pythagoras, the core being a projection; what rounding makes negative is zero
        history.append(math.sqrt(max(square - space.norm(core) ** 2, 0.0) / square) if square else 0.0)
        if history[-2] - history[-1] <= _STOP * history[-1]:
            reason = f"a sweep lowered the relative error by no more than {_STOP:g} of it"
            return core, factors, Report(True, reason, len(history) - 1, tuple(history[1:]))
    return core, factors, Report(False, f"{_SWEEPS} sweeps were done", _SWEEPS, tuple(history[1:]))


def _leading(tensor: Array, mode: int, rank: int, space: Space) -> Array:
    """The leading left singular vectors of an unfolding."""
    first = (mode, *(k for k in range(tensor.ndim) if k != mode))
    rows = tensor.shape[mode]
    matrix = space.reshape(space.transpose(tensor, first), (rows, math.prod(tensor.shape) // rows))
    return _columns(_svd(matrix, space)[0], rank, space)


def _projected(tensor: Array, factor: Array, mode: int, space: Space) -> Array:
    """The tensor times ``factor^H`` along a mode."""
    before, after = tensor.shape[:mode], tensor.shape[mode + 1 :]
    matrices = space.reshape(tensor, (math.prod(before), tensor.shape[mode], math.prod(after)))
    return space.reshape(space.turned(space.conj(factor)) @ matrices, (*before, factor.shape[1], *after))


def _svd(matrix: Array, space: Space) -> tuple[Array, Array, Array]:
    svd = getattr(getattr(space.xp, "linalg", None), "svd", None)
    if svd is None:
        raise DeviceError(
            f"{space.library} has no singular value decomposition. Cross explicitly with tlinear.arrays.to_numpy, and "
            "with `.to(...)` of the result."
        )
    refuse_non_finite(matrix.shape, bool(space.xp.all(space.xp.isfinite(matrix))))
    try:
        u, values, vh = svd(matrix, full_matrices=False)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise DecompositionError(
            f"The singular value decomposition of a matrix of shape {tuple(matrix.shape)} failed on {space}: {error}. "
            "Rescale or perturb the weight slightly."
        ) from error
    return u, space.astype(values, u.dtype), vh


def _columns(matrix: Array, rank: int, space: Space) -> Array:
    """The first columns of a matrix, and of zeros what it has too few."""
    return matrix[:, :rank] if matrix.shape[1] >= rank else space.padded(matrix, rank, matrix.dtype)


def _rows(matrix: Array, rank: int, space: Space) -> Array:
    if matrix.shape[0] >= rank:
        return matrix[:rank, :]
    return space.turned(space.padded(space.turned(matrix), rank, matrix.dtype))
