"""Tucker by sequentially truncated HOSVD, refined by higher-order orthogonal iteration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlinear.algorithms.report import Report
from tlinear.algorithms.truncated_svd import leading_left
from tlinear.arrays import Array
from tlinear.errors import OptionError

__all__ = ["hooi", "mode_product", "st_hosvd", "unfold"]


def unfold(tensor: Array, mode: int) -> Array:
    """The matrix whose rows are the slices of `tensor` along `mode`.

    Examples
    --------
    >>> unfold(np.arange(6).reshape(2, 3), 1).tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def mode_product(tensor: Array, matrix: Array, mode: int) -> Array:
    """``matrix`` applied to the fibres of `tensor` along `mode`: ``Y_(mode) = matrix T_(mode)``.

    Examples
    --------
    >>> mode_product(np.ones((2, 3)), np.ones((4, 3)), 1).shape
    (2, 4)
    """
    return np.moveaxis(np.tensordot(matrix, tensor, axes=(1, mode)), 0, mode)


def st_hosvd(tensor: Array, ranks: Sequence[int]) -> tuple[Array, list[Array]]:
    """Core and isometric factors: each mode in turn keeps the leading singular vectors of what is left.

    The squared error is the sum over the modes of the squared singular values discarded, at
    most d times that of the best Tucker tensor of these ranks.

    References
    ----------
    N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, A new truncation strategy for the
    higher-order singular value decomposition, SIAM J. Sci. Comput. 34 (2012).

    Examples
    --------
    >>> core, factors = st_hosvd(np.ones((2, 3, 4)), (1, 1, 1))
    >>> round(abs(core.item()) ** 2, 12)
    24.0
    """
    core, factors = tensor, []
    for mode, rank in enumerate(ranks):
        left = leading_left(unfold(core, mode), rank)
        factors.append(left)
        core = mode_product(core, left.conj().T, mode)
    return core, factors


def hooi(
    tensor: Array, ranks: Sequence[int], *, max_iterations: int = 25, stop_tolerance: float = 1e-6
) -> tuple[Array, list[Array], Report]:
    """Core, isometric factors and report: alternately the best factor of each mode, the others fixed.

    Starts from :func:`st_hosvd`.  With isometric factors the squared error is
    ``|tensor|^2 - |core|^2``, and no step can make the core smaller.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
    ranks : sequence of int
        d realizable ranks: each at most s_k and at most the product of the others.
    max_iterations : int
        Sweeps over all modes; 0 gives the sequentially truncated HOSVD itself.
    stop_tolerance : float
        Stop when a sweep lowers the relative error by less than this.

    References
    ----------
    L. De Lathauwer, B. De Moor, J. Vandewalle, On the best rank-1 and rank-(R1, .., RN)
    approximation of higher-order tensors, SIAM J. Matrix Anal. Appl. 21 (2000).
    """
    if max_iterations < 0 or not stop_tolerance >= 0.0:
        raise OptionError(
            f"max_iterations={max_iterations} and stop_tolerance={stop_tolerance} must both be 0 or more."
        )
    core, factors = st_hosvd(tensor, ranks)
    norm = float(np.linalg.norm(tensor))
    history = [_relative_error(norm, core)]
    for _ in range(max_iterations):
        for mode, rank in enumerate(ranks):
            projected = tensor
            for other, factor in enumerate(factors):
                if other != mode:
                    projected = mode_product(projected, factor.conj().T, other)
            factors[mode] = leading_left(unfold(projected, mode), rank)
        core = mode_product(projected, factors[-1].conj().T, len(ranks) - 1)
        history.append(_relative_error(norm, core))
        if history[-2] - history[-1] <= stop_tolerance:
            reason = f"a sweep lowered the relative error by no more than {stop_tolerance:g}"
            return core, factors, Report(True, reason, len(history) - 1, tuple(history[1:]))
    reason = f"{max_iterations} sweeps were done"
    return core, factors, Report(max_iterations == 0, reason, len(history) - 1, tuple(history[1:]))


def _relative_error(norm: float, core: Array) -> float:
    if norm == 0.0:
        return 0.0
    kept = float(np.linalg.norm(core)) / norm
    return float(np.sqrt(max(0.0, (1.0 - kept) * (1.0 + kept))))
