"""CP by alternating least squares: each factor in turn, and extrapolation from sweep to sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.kruskal import Kruskal, Target, gram, mttkrps, normalized
from tlinear.arrays import Array

__all__ = ["Extrapolated", "als_sweep", "extrapolated_sweep"]

_MOST_DIRECT = 300
"""The largest rank for which the systems are solved by elimination, whose cost grows as its cube."""

_CG_STEPS, _CG_TOLERANCE = 20, 0.1
"""Of a larger system, and the norm of its residual over that at the start: solving better does not save sweeps."""

_GROWTH, _CAP_GROWTH, _SHRINKAGE = 1.05, 1.01, 1.5
"""What the length of the extrapolation is multiplied by after a success, and its limit; what it is divided by after a
failure."""


def als_sweep(target: Target, start: Kruskal, ridge: float) -> Kruskal:
    r"""Every mode's least squares problem in turn.

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

    References
    ----------
    T. G. Kolda and B. W. Bader, Tensor Decompositions and Applications, SIAM Review 51 (2009),
    section 3.4.  The ridge: C. Navasca, L. De Lathauwer, S. Kindermann, Swamp reducing technique for
    tensor decomposition, EUSIPCO 2008.

    Examples
    --------
    >>> tensor = np.multiply.outer(np.outer([3.0, 4.0], [5.0, 12.0]), [8.0, 15.0])
    >>> start = Kruskal(np.ones(1), [np.full((2, 1), 0.5**0.5)] * 3, 1.0)
    >>> swept = als_sweep(Target.of(tensor), start, 0.0)
    >>> swept.weights.round(9).tolist(), swept.factors[0].round(9).tolist(), swept.error < 1e-15
    ([1105.0], [[0.6], [0.8]], True)
    """
    weights, factors = start.weights, list(start.factors)
    # after[k]: the product of the Gram matrices of the modes after k, none of which is replaced before k is
    before = np.ones((len(weights), len(weights)), factors[0].dtype)
    after = [np.ones_like(before)]
    for factor in factors[:0:-1]:
        after.append(gram(factor))
        after[-1] *= after[-2]
    for mode, product in mttkrps(target.tensor, factors):
        others = after.pop()
        others *= before
        solution = _solve(others, product, factors[mode] * weights, ridge)
        weights, factors[mode] = normalized(solution, factors[mode])
        if after:
            before *= gram(factors[mode])
    inner = float(np.vdot(solution, product).real)
    own = float(np.vdot(solution, solution @ others).real)
    return Kruskal(weights, factors, target.error_by_identity(weights, factors, inner, own))


def _solve(gram: Array, product: Array, previous: Array, ridge: float) -> Array:
    """A of ``A (V + lambda I) = M + lambda A_previous``; nearly that when the system is singular."""
    if len(gram) > _MOST_DIRECT:
        return _approach(gram, product, previous, ridge)
    system = (gram + ridge * np.eye(len(gram))).T
    target = (product + ridge * previous).T
    try:
        return np.linalg.solve(system, target).T
    except np.linalg.LinAlgError:
        fallback("the singular system of a sweep solved by conjugate gradients")
        return _approach(gram, product, previous, ridge)


def _approach(gram: Array, product: Array, previous: Array, ridge: float) -> Array:
    """Nearly that A, by a few conjugate gradient steps from the previous one, each row on its own.

    Each step lowers the error that is to be minimized, so that no sweep raises it, and the
    next sweep goes on where this one ends.
    """
    solution = previous
    residual = product - previous @ gram
    direction, square = residual, _squares(residual)
    enough = _CG_TOLERANCE**2 * np.sum(square)
    for _ in range(_CG_STEPS):
        if not np.sum(square) > enough:
            break
        image = direction @ gram + ridge * direction
        curvature = np.sum((direction * image.conj()).real, axis=1, keepdims=True)
        length = _quotient(square, curvature)
        solution = solution + length * direction
        residual = residual - length * image
        square, before = _squares(residual), square
        direction = residual + _quotient(square, before) * direction
    return solution


def _squares(rows: Array) -> Array:
    return np.asarray(np.sum((rows * rows.conj()).real, axis=1, keepdims=True))


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Zero where the denominator is, as it is for rows that are solved."""
    return np.where(denominator > 0.0, numerator / np.where(denominator > 0.0, denominator, 1.0), 0.0)


@dataclass(frozen=True)
class Extrapolated:
    """A point of a descent by extrapolated sweeps.

    Attributes
    ----------
    point : Kruskal
    before : list of array
        The factors of the point before; at first, those of the point itself.
    length : float
        How far the next sweep's start lies beyond the point, in steps from the one before.
    cap : float
        What `length` may grow to.
    """

    point: Kruskal
    before: list[Array]
    length: float = 0.7
    cap: float = 1.0

    @property
    def error(self) -> float:
        """The relative error of the point."""
        return self.point.error


def extrapolated_sweep(target: Target, state: Extrapolated, ridge: float) -> Extrapolated:
    r"""A sweep that starts beyond the last point, or if that raises the error, from the point itself.

    .. math:: A_k \leftarrow A_k + \beta (A_k - A_k^{\mathrm{before}}), \qquad \text{and then a sweep}

    Where sweeps creep along a valley, each a little shorter than the last, this is many of them in one.
    The length :math:`\beta` grows while it succeeds; a failure shortens it, and its limit becomes the
    length that failed.

    References
    ----------
    A. M. S. Ang, J. E. Cohen, L. T. K. Hien, N. Gillis, Extrapolated alternating algorithms for
    approximate canonical polyadic decomposition, ICASSP 2020.  D. Mitchell, N. Ye, H. De Sterck, Nesterov
    acceleration of alternating least squares for canonical tensor decomposition, Numer. Linear Algebra
    Appl. 27 (2020).
    """
    point, beta = state.point, state.length
    if state.before is point.factors:
        return replace(state, point=als_sweep(target, point, ridge))
    beyond = [
        normalized(new + beta * (new - old), new)[1] for new, old in zip(point.factors, state.before, strict=True)
    ]
    swept = als_sweep(target, replace(point, factors=beyond), ridge)
    if swept.error < point.error:
        cap = min(1.0, _CAP_GROWTH * state.cap)
        return Extrapolated(swept, point.factors, min(cap, _GROWTH * beta), cap)
    swept = als_sweep(target, point, ridge)
    return Extrapolated(swept, point.factors, beta / _SHRINKAGE, beta)
