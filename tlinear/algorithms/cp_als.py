"""CP by alternating least squares over a two-node dimension tree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tlinear.algorithms.hosvd import unfold
from tlinear.algorithms.report import Report
from tlinear.algorithms.truncated_svd import leading_left
from tlinear.arrays import Array
from tlinear.errors import OptionError

__all__ = ["cp_als", "khatri_rao"]


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


def cp_als(
    tensor: Array,
    rank: int,
    *,
    rng: np.random.Generator,
    max_iterations: int = 200,
    stop_tolerance: float = 1e-6,
    ridge: float = 1e-10,
    n_starts: int = 2,
) -> tuple[Array, list[Array], Report]:
    r"""Weights, factors of unit columns, and report: each factor in turn solves its least squares problem.

    With :math:`K` the Khatri-Rao product of the other factors and :math:`V = K^H K` their
    Gram matrix, which is the elementwise product of theirs,

    .. math:: A_k \leftarrow \arg\min_A \| T_{(k)} - A K^T \|^2 + \lambda \| A - A_k \|^2

    where :math:`\lambda` = `ridge` times the mean diagonal of V.  It keeps the system regular
    when columns become collinear; being a proximal term, it vanishes at a fixed point, so
    nothing is biased, and the error never rises.  Scaling the tensor by a constant scales
    the weights and changes nothing else.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
    rank : int
        The number R of components.
    rng : numpy.random.Generator
        For the columns that the singular vectors do not provide, and for further starts.
    max_iterations : int
        Sweeps over all modes, for each start.
    stop_tolerance : float
        Stop when a sweep lowers the relative error by less than this fraction of it, or the
        relative error itself falls below 1e-8, where the residual is rounding.
    ridge : float
        Relative to the data, so that the result does not depend on the tensor's scale.
    n_starts : int
        The first start is from the leading singular vectors of the unfoldings, the others are random;
        the best end is kept.

    References
    ----------
    T. G. Kolda and B. W. Bader, Tensor Decompositions and Applications, SIAM Review 51 (2009),
    section 3.4.  A.-H. Phan, P. Tichavsky, A. Cichocki, Fast alternating LS algorithms for high
    order CANDECOMP/PARAFAC tensor factorizations, IEEE Trans. Signal Process. 61 (2013).
    """
    if max_iterations < 1 or n_starts < 1 or not stop_tolerance >= 0.0 or not ridge >= 0.0:
        raise OptionError(
            f"max_iterations={max_iterations} and n_starts={n_starts} must be at least 1, "
            f"stop_tolerance={stop_tolerance} and ridge={ridge} at least 0."
        )
    norm = float(np.linalg.norm(tensor))
    if norm == 0.0:
        factors = [np.full((size, rank), size**-0.5, tensor.dtype) for size in tensor.shape]
        return np.zeros(rank, tensor.dtype), factors, Report(stop_reason="the tensor is zero")


    def run(start: int) -> tuple[Array, list[Array], Report]:
        initial = [_initial_factor(tensor, mode, rank, rng, spectral=start == 0) for mode in range(tensor.ndim)]
        return _sweeps(tensor, norm, initial, max_iterations, stop_tolerance, ridge)

    best = run(0)
    for start in range(1, n_starts):
        if best[2].history[-1] < _EXACT:
            break
        best = min(best, run(start), key=lambda result: result[2].history[-1])
    weights, factors, report = best
    return weights.astype(tensor.dtype), factors, report


_EXACT = 1e-8
"""Below this the error that the norms give is rounding: it is the square root of a difference of squares."""


def _initial_factor(tensor: Array, mode: int, rank: int, rng: np.random.Generator, spectral: bool) -> Array:
    size = tensor.shape[mode]
    factor = rng.standard_normal((size, rank)).astype(tensor.dtype)
    if spectral:
        unfolding = unfold(tensor, mode)
        leading = leading_left(unfolding, min(rank, *unfolding.shape))
        factor[:, : leading.shape[1]] = leading
    return _normalize(factor)[1]


def _normalize(factor: Array) -> tuple[Array, Array]:
    """The norms of the columns, and the columns of unit norm; a zero column stays as it is."""
    norms = np.linalg.norm(factor, axis=0)
    return norms, factor / np.where(norms > 0.0, norms, 1.0)


def _sweeps(
    tensor: Array, norm: float, factors: list[Array], max_iterations: int, stop_tolerance: float, ridge: float
) -> tuple[Array, list[Array], Report]:
    grams = [factor.T @ factor.conj() for factor in factors]
    weights = np.ones(factors[0].shape[1])
    history: list[float] = []
    for _ in range(max_iterations):
        for mode, product in _mode_products(tensor, factors):
            others = math.prod(grams[:mode] + grams[mode + 1 :], start=np.ones_like(grams[mode]))
            scaled = _solve(others, product, factors[mode] * weights, ridge)
            weights, factors[mode] = _normalize(scaled)
            grams[mode] = factors[mode].T @ factors[mode].conj()
        history.append(_relative_error(norm, scaled, product, others))
        if history[-1] < _EXACT:
            return weights, factors, Report(True, f"the relative error fell below {_EXACT:g}", len(history), tuple(history))
        if len(history) > 1 and history[-2] - history[-1] <= stop_tolerance * history[-2]:
            reason = f"a sweep lowered the relative error by no more than {stop_tolerance:g} of it"
            return weights, factors, Report(True, reason, len(history), tuple(history))
    return weights, factors, Report(False, f"{max_iterations} sweeps were done", len(history), tuple(history))


def _mode_products(tensor: Array, factors: list[Array]) -> Iterator[tuple[int, Array]]:
    """Each mode with its ``T_(k) conj(K)``, K the Khatri-Rao product of the other factors as they then are.

    The modes are cut into two halves.  One product of the whole tensor with the Khatri-Rao
    product of one half serves every mode of the other, so that a sweep reads the tensor twice.
    """
    cut = _balanced_cut(tensor.shape)
    matrix = tensor.reshape(math.prod(tensor.shape[:cut]), -1)
    rank = factors[0].shape[1]
    for half, other, unfolded in (
        (range(cut), range(cut, tensor.ndim), matrix),
        (range(cut, tensor.ndim), range(cut), matrix.T),
    ):
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


def _balanced_cut(shape: tuple[int, ...]) -> int:
    """Where to cut the modes, such that the larger of the two halves is smallest; 1 when there is only one mode."""
    return min(range(1, max(len(shape), 2)), key=lambda cut: max(math.prod(shape[:cut]), math.prod(shape[cut:])))


def _solve(gram: Array, product: Array, previous: Array, ridge: float) -> Array:
    """A of ``A (V + lambda I) = M + lambda A_previous``, V Hermitian."""
    from scipy import linalg

    damping = ridge * float(np.mean(np.diag(gram).real))
    system = gram + damping * np.eye(len(gram))
    target = product + damping * previous
    try:
        solution = linalg.cho_solve(linalg.cho_factor(system.T, check_finite=False), target.T, check_finite=False)
    except linalg.LinAlgError:
        solution = linalg.lstsq(system.T, target.T, check_finite=False)[0]
    return np.asarray(solution).T


def _relative_error(norm: float, factor: Array, product: Array, gram: Array) -> float:
    """``|T - A K^T| / |T|`` from ``|T|^2 - 2 Re <A, T_(k) conj(K)> + <A, A V>``."""
    inner = float(np.vdot(factor, product).real)
    square = float(np.vdot(factor, factor @ gram).real)
    return math.sqrt(max(0.0, norm**2 - 2.0 * inner + square)) / norm
