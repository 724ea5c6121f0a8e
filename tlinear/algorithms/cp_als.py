"""CP by alternating least squares with line search, over a two-node dimension tree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.algorithms.descent import check_option, descend
from tlinear.algorithms.hosvd import unfold
from tlinear.algorithms.report import Report, relative_error
from tlinear.algorithms.truncated_svd import leading_left
from tlinear.arrays import Array

__all__ = ["cp_als", "cp_product", "khatri_rao", "mttkrps"]

_FOUND = 1e-6
"""A start that ends with a relative error of at most this has found the tensor, and no further one is made."""


def khatri_rao(factors: Sequence[Array]) -> Array:
    """The columnwise Kronecker product: row ``(s_1, .., s_n)`` of column r is ``prod_k factors[k][s_k, r]``.

    Examples
    --------
    >>> khatri_rao([np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])]).tolist()
    [[5, 12], [7, 16], [15, 24], [21, 32]]
    """
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None, :] * factor).reshape(-1, product.shape[-1])
    return product


def cp_product(weights: Array, factors: Sequence[Array]) -> Array:
    """The tensor ``sum_r weights[r] factors[0][:, r] o .. o factors[d-1][:, r]``, o the outer product.

    Examples
    --------
    >>> cp_product(np.array([2, -1]), [np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])]).tolist()
    [[-2, -2], [6, 10]]
    """
    shape = tuple(len(factor) for factor in factors)
    cut = _balanced_cut(shape)
    first = khatri_rao([weights[None], *factors[:cut]])
    second = khatri_rao([np.ones_like(weights)[None], *factors[cut:]])
    return (first @ second.T).reshape(shape)


def mttkrps(tensor: Array, factors: Sequence[Array]) -> Iterator[tuple[int, Array]]:
    r"""For each mode k in turn, the pair of k and the Matricized Tensor Times Khatri-Rao Product.

    .. math:: M[s_k, r] = \sum_{s_j : j \ne k} T[s_1 .. s_d] \prod_{j \ne k} \overline{A_j[s_j, r]}

    The factors are read when a mode is asked for, so that a sweep may replace ``factors[k]`` in
    between and the modes after k see the new one.

    The modes are cut into two halves.  One product of the whole tensor with the Khatri-Rao
    product of one half serves every mode of the other, so that all modes together read the
    tensor twice.

    References
    ----------
    A.-H. Phan, P. Tichavsky, A. Cichocki, Fast alternating LS algorithms for high order
    CANDECOMP/PARAFAC tensor factorizations, IEEE Trans. Signal Process. 61 (2013), section III.

    Examples
    --------
    >>> a, b = np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])
    >>> [(mode, product.tolist()) for mode, product in mttkrps(np.eye(2, dtype=int), [a, b])]
    [(0, [[5, 6], [7, 8]]), (1, [[1, 2], [3, 4]])]
    """
    rank = factors[0].shape[1]
    cut = _balanced_cut(tensor.shape)
    matrix = tensor.reshape(math.prod(tensor.shape[:cut]), -1)
    first, second = range(cut), range(cut, tensor.ndim)
    for half, other, unfolded in ((first, second, matrix), (second, first, matrix.T)):
        joined = khatri_rao([np.ones((1, rank), tensor.dtype), *(factors[k] for k in other)])
        partial = (unfolded @ joined.conj()).reshape(*(tensor.shape[k] for k in half), rank)
        for place, mode in enumerate(half):
            product = partial
            # from the last mode to the first, so that the axes still to come keep their places
            for axis, k in reversed(list(enumerate(half))):
                if axis != place:
                    fibres = np.moveaxis(product, axis, -2)
                    product = np.einsum("...sr,sr->...r", fibres, factors[k].conj())
            yield mode, product


def cp_als(
    tensor: Array,
    rank: int,
    *,
    rng: np.random.Generator,
    max_iterations: int = 500,
    stop_tolerance: float = 1e-6,
    ridge: float = 1e-10,
    n_starts: int = 2,
) -> tuple[Array, list[Array], Report]:
    r"""Weights, factors of unit columns, and report: each factor in turn solves its least squares problem.

    With K the Khatri-Rao product of the other factors, the columns of :math:`A_k` scaled by
    the weights, one step of a sweep is

    .. math:: A_k \leftarrow \arg\min_A \| T_{(k)} - A K^T \|^2 + \lambda \| A - A_k \|^2,
              \qquad \text{so} \qquad
              A (V + \lambda I) = T_{(k)} \overline{K} + \lambda A_k, \quad V = K^T \overline{K},

    and V is the elementwise product of the other factors' Gram matrices.  As their columns
    have norm 1, so has the diagonal of V, and :math:`\lambda` = `ridge` is relative to the data
    by construction: scaling the tensor scales the weights and changes nothing else.  The
    ridge keeps the system regular when columns become collinear; being a proximal term, it
    vanishes at a fixed point, so nothing is biased and the error never rises.

    Each sweep is followed by a line search: the same step is taken once more, times a length
    that doubles when this lowers the error and halves when it does not, in which case it is
    undone.  It shortens the long crawl along collinear columns.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    rank : int
        The number R of components.
    rng : numpy.random.Generator
        For the columns that the singular vectors do not provide, and for further starts.
    max_iterations : int
        Sweeps over all modes, at most, for each start.
    stop_tolerance : float
        Stop when a sweep lowers the relative error by no more than this fraction of it.
    ridge : float
        Larger is slower and steadier; 0 is plain least squares.
    n_starts : int
        At most so many.  The first is from the leading singular vectors of the unfoldings, the
        others are random; the best end is kept.  A start that ends below a relative error of
        1e-6 is the last.  So is the first of a matrix, because its singular vectors are the best
        answer.

    Returns
    -------
    weights : array of shape (R,)
    factors : list of array
        d arrays of shape ``(s_k, R)``.
    report : Report
        Of the start that was kept.

    Raises
    ------
    OptionError
        When an option is out of its range.
    DecompositionError
        When LAPACK fails on a matrix.

    References
    ----------
    T. G. Kolda and B. W. Bader, Tensor Decompositions and Applications, SIAM Review 51 (2009),
    section 3.4.  The ridge: C. Navasca, L. De Lathauwer, S. Kindermann, Swamp reducing technique for
    tensor decomposition, EUSIPCO 2008.  The line search: R. A. Harshman, Foundations of the PARAFAC
    procedure, UCLA Working Papers in Phonetics 16 (1970).

    Examples
    --------
    >>> tensor = np.multiply.outer(np.outer([1.0, 2.0], [3.0, 4.0]), [5.0, 6.0])
    >>> weights, factors, report = cp_als(tensor, 1, rng=np.random.default_rng(0))
    >>> bool(np.abs(cp_product(weights, factors) - tensor).max() < 1e-13), report.converged
    (True, True)
    """
    check_option("max_iterations", max_iterations, 1, integer=True)
    check_option("stop_tolerance", stop_tolerance, 0.0)
    check_option("ridge", ridge, 0.0)
    check_option("n_starts", n_starts, 1, integer=True)
    tensor = np.ascontiguousarray(tensor)

    def run(start: int) -> tuple[_CP, Report]:
        factors = [_initial_factor(tensor, mode, rank, rng, spectral=start == 0) for mode in range(tensor.ndim)]
        return descend(
            _cp(tensor, np.zeros(rank), factors, step=1.0),
            lambda state: _sweep(tensor, state, ridge),
            max_iterations=max_iterations,
            stop_tolerance=stop_tolerance,
        )

    best, report = run(0)
    for start in range(1, n_starts if tensor.ndim > 2 else 1):
        if best.error <= _FOUND:
            break
        end, end_report = run(start)
        if end.error < best.error:
            best, report = end, end_report
    return best.weights.astype(tensor.dtype), best.factors, report


@dataclass(frozen=True)
class _CP:
    weights: Array
    factors: list[Array]
    step: float
    """How far the next line search goes beyond the sweep, in lengths of it."""
    error: float


def _cp(tensor: Array, weights: Array, factors: list[Array], step: float) -> _CP:
    return _CP(weights, factors, step, relative_error(tensor, cp_product(weights, factors)))


def _initial_factor(tensor: Array, mode: int, rank: int, rng: np.random.Generator, *, spectral: bool) -> Array:
    """Unit columns: as many singular vectors of the unfolding as there are, if `spectral`, and random ones."""
    size = tensor.shape[mode]
    factor = rng.standard_normal((size, rank))
    if tensor.dtype.kind == "c":
        factor = factor + 1j * rng.standard_normal((size, rank))
    factor /= np.linalg.norm(factor, axis=0)
    if spectral:
        unfolding = unfold(tensor, mode)
        leading = leading_left(unfolding, min(rank, *unfolding.shape))
        factor[:, : leading.shape[1]] = leading
    return factor


def _sweep(tensor: Array, before: _CP, ridge: float) -> _CP:
    """Every mode's least squares problem in turn, and a line search."""
    swept = _solve_each_mode(tensor, before, ridge)
    step = before.step
    weights = swept.weights + step * (swept.weights - before.weights)
    factors = []
    for old, new in zip(before.factors, swept.factors, strict=True):
        norms, factor = _normalize(new + step * (new - old), new)
        weights = weights * norms
        factors.append(factor)
    beyond = _cp(tensor, weights, factors, 2.0 * step)
    return beyond if beyond.error < swept.error else swept


def _solve_each_mode(tensor: Array, before: _CP, ridge: float) -> _CP:
    weights, factors = before.weights, list(before.factors)
    grams = [_gram(factor) for factor in factors]
    for mode, product in mttkrps(tensor, factors):
        gram = math.prod(grams[:mode] + grams[mode + 1 :], start=np.ones_like(grams[mode]))
        solution = _solve(gram, product, factors[mode] * weights, ridge)
        weights, factors[mode] = _normalize(solution, factors[mode])
        grams[mode] = _gram(factors[mode])
    return _cp(tensor, weights, factors, 0.5 * before.step)


def _gram(factor: Array) -> Array:
    return factor.T @ factor.conj()


def _solve(gram: Array, product: Array, previous: Array, ridge: float) -> Array:
    """A of ``A (V + lambda I) = M + lambda A_previous``; the A of least norm when the system is singular."""
    system = (gram + ridge * np.eye(len(gram))).T
    target = (product + ridge * previous).T
    try:
        return np.linalg.solve(system, target).T
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(system, target)[0].T


def _normalize(matrix: Array, otherwise: Array) -> tuple[Array, Array]:
    """The norms of the columns, and the columns of unit norm; where the norm is zero, the column `otherwise`."""
    norms = np.linalg.norm(matrix, axis=0)
    return norms, np.where(norms > 0.0, matrix / np.where(norms > 0.0, norms, 1.0), otherwise)


def _balanced_cut(shape: tuple[int, ...]) -> int:
    """Where to cut the modes, such that the larger of the two halves is smallest; 1 when there is only one mode."""
    return min(range(1, max(len(shape), 2)), key=lambda cut: max(math.prod(shape[:cut]), math.prod(shape[cut:])))
