"""Tucker by sequentially truncated HOSVD, refined by higher-order orthogonal iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.algorithms.descent import Callback, check_option, descend
from tlinear.algorithms.report import Report, relative_error
from tlinear.algorithms.truncated_svd import leading_left, left_within
from tlinear.arrays import Array

__all__ = ["hooi", "mode_product", "st_hosvd", "st_hosvd_within", "tucker_product", "unfold"]


def unfold(tensor: Array, mode: int) -> Array:
    """The matrix ``T_(mode)`` whose rows are the slices of `tensor` along `mode`.

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


def tucker_product(core: Array, factors: Sequence[Array]) -> Array:
    """The tensor of a core and its factors: a mode product along every mode.

    Examples
    --------
    >>> tucker_product(np.array([[2]]), [np.array([[1], [3]]), np.array([[5], [7]])]).tolist()
    [[10, 14], [30, 42]]
    """
    for mode, factor in enumerate(factors):
        core = mode_product(core, factor, mode)
    return core


def st_hosvd(tensor: Array, ranks: Sequence[int]) -> tuple[Array, list[Array]]:
    """Core and isometric factors: each mode in turn keeps the leading singular vectors of what is left.

    The projections commute and each acts on what the others have left, so the squared error is
    the sum over the modes of the squared singular values that each truncation discards.  None of
    these is more than the best Tucker tensor of these ranks must lose there; the error is at
    most ``sqrt(d)`` times that of the best.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    ranks : sequence of int
        d realizable ranks: each at most s_k and at most the product of the others.

    Returns
    -------
    core : array of shape (R_1, .., R_d)
    factors : list of array
        d arrays of shape ``(s_k, R_k)``.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

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
    return _mode_by_mode(tensor, lambda mode, unfolding: leading_left(unfolding, ranks[mode]))


def st_hosvd_within(tensor: Array, tolerance: float, *, fixed: Sequence[int] = ()) -> tuple[Array, list[Array]]:
    r"""Core and isometric factors whose relative error is at most `tolerance`.

    Each of the truncations keeps as few singular values as it may with a discarded norm of at most

    .. math:: \delta = \frac{\mathrm{tolerance}}{\sqrt{\text{number of truncations}}} \|T\|_F ,

    so that the squared error, the sum of the squares discarded, is at most
    :math:`(\mathrm{tolerance} \, \|T\|_F)^2`.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    tolerance : float
    fixed : sequence of int
        The modes that are not truncated: their rank is their size, or that of all others together.

    Returns
    -------
    core : array of shape (R_1, .., R_d)
        Its ranks are realizable.
    factors : list of array
        d arrays of shape ``(s_k, R_k)``.

    Raises
    ------
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, A new truncation strategy for the
    higher-order singular value decomposition, SIAM J. Sci. Comput. 34 (2012), section 6.

    Examples
    --------
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> st_hosvd_within(tensor, 1e-9)[0].shape, st_hosvd_within(tensor, 1e-9, fixed=(0,))[0].shape
    ((2, 2, 2), (3, 2, 2))
    """
    error = tolerance * float(np.linalg.norm(tensor)) / math.sqrt(max(1, tensor.ndim - len(fixed)))

    def truncate(mode: int, unfolding: Array) -> Array:
        return leading_left(unfolding, min(unfolding.shape)) if mode in fixed else left_within(unfolding, error)

    core, factors = _mode_by_mode(tensor, truncate)
    # a mode that was truncated after another may leave that with more than its unfolding can have
    ranks = [min(rank, core.size // rank) for rank in core.shape]
    if tuple(ranks) == core.shape:
        return core, factors
    core, rotations = st_hosvd(core, ranks)
    return core, [factor @ rotation for factor, rotation in zip(factors, rotations, strict=True)]


def _mode_by_mode(tensor: Array, truncate: Callable[[int, Array], Array]) -> tuple[Array, list[Array]]:
    """Core and factors, with ``truncate(mode, unfolding)`` the leading left singular vectors to keep."""
    core, factors = tensor, []
    for mode in range(tensor.ndim):
        left = truncate(mode, unfold(core, mode))
        factors.append(left)
        core = mode_product(core, left.conj().T, mode)
    return core, factors


def hooi(
    tensor: Array,
    ranks: Sequence[int],
    *,
    start: tuple[Array, list[Array]] | None = None,
    max_iterations: int = 25,
    stop_tolerance: float = 1e-6,
    callback: Callback | None = None,
) -> tuple[Array, list[Array], Report]:
    r"""Core, isometric factors and report: the best factor of each mode in turn, the others fixed.

    Starts from :func:`st_hosvd` unless told otherwise.  With isometric factors the best core is the projection
    :math:`T \times_1 A_1^H \cdots \times_d A_d^H`, and the squared error is
    :math:`\|T\|^2 - \|\mathrm{core}\|^2`.  The factor of mode k that makes the core largest is

    .. math:: A_k \leftarrow \text{the } R_k \text{ leading left singular vectors of }
              \big( T \times_{j \ne k} A_j^H \big)_{(k)}

    so no sweep raises the error.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    ranks : sequence of int
        d realizable ranks: each at most s_k and at most the product of the others.
    start : (core, factors), optional
        Of these ranks, the factors isometric and the core the projection onto them.
    max_iterations : int
        Sweeps over all modes; 0 gives the start itself.
    stop_tolerance : float
        Stop when a sweep lowers the relative error by no more than this fraction of it.
    callback : callable, optional
        Called with the number of sweeps and the relative error after each.  What it is true for is the last.

    Returns
    -------
    core : array of shape (R_1, .., R_d)
    factors : list of array
        d arrays of shape ``(s_k, R_k)``.
    report : Report

    Raises
    ------
    OptionError
        When an option is out of its range.
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    L. De Lathauwer, B. De Moor, J. Vandewalle, On the best rank-1 and rank-(R1, .., RN)
    approximation of higher-order tensors, SIAM J. Matrix Anal. Appl. 21 (2000).

    Examples
    --------
    >>> tensor = np.random.default_rng(0).standard_normal((4, 5, 6))
    >>> core, factors, report = hooi(tensor, (2, 2, 2))
    >>> core.shape, report.converged
    ((2, 2, 2), True)
    """
    check_option("max_iterations", max_iterations, 0, integer=True)
    check_option("stop_tolerance", stop_tolerance, 0.0)
    core, factors = start or st_hosvd(tensor, ranks)
    if max_iterations == 0:
        return core, factors, Report()
    first = _Tucker(core, factors, relative_error(tensor, tucker_product(core, factors)))
    end, report = descend(
        first,
        lambda state: _sweep(tensor, state),
        max_iterations=max_iterations,
        stop_tolerance=stop_tolerance,
        callback=callback,
    )
    return end.core, end.factors, report


@dataclass(frozen=True)
class _Tucker:
    core: Array
    factors: list[Array]
    error: float


def _sweep(tensor: Array, state: _Tucker) -> _Tucker:
    factors, core = list(state.factors), state.core
    for mode, rank in enumerate(core.shape):
        projected = tensor
        for other, factor in enumerate(factors):
            if other != mode:
                projected = mode_product(projected, factor.conj().T, other)
        factors[mode] = leading_left(unfold(projected, mode), rank)
        core = mode_product(projected, factors[mode].conj().T, mode)
    return _Tucker(core, factors, relative_error(tensor, tucker_product(core, factors)))
