"""CP by damped Gauss-Newton steps, which get on where alternating least squares creep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, mttkrps, normalized
from tlinear.arrays import Array

__all__ = ["Damped", "gauss_newton_step"]

_LEAST_DAMPING = 1e-14
"""It keeps the system regular, whose matrix is singular."""

_UNDAMPED = 1e-6
"""With a damping of at most this a step is hardly shorter than it would be without."""

_TRIALS = 12
"""Steps that are tried before what they have reached is taken for a minimum."""

_CG_STEPS, _CG_TOLERANCE = 100, 1e-3
"""Of a system, and the norm of its residual over that of the right-hand side; more would not shorten the descent."""


@dataclass(frozen=True)
class Damped:
    """A point of a descent by damped Gauss-Newton steps.

    Attributes
    ----------
    point : Kruskal
    damping : float
        The mu of the next step.
    """

    point: Kruskal
    damping: float = _UNDAMPED

    @property
    def error(self) -> float:
        """The relative error of the point."""
        return self.point.error


def gauss_newton_step(target: Target, state: Damped, stop_tolerance: float) -> Damped:
    r"""A step of all factors together, as long as the error lets it be.

    With X the tensor of the factors, J its derivative and E = T - X,

    .. math:: (J^H J + \mu \delta I) \, p = J^H E

    where :math:`\delta` is the largest entry on the diagonal of :math:`J^H J`, which without the damping is
    singular: scaling a column of one factor up and that of another down changes nothing.  The
    damping :math:`\mu` falls as the error agrees with what J foretold, and rises with every step that
    fails.  The system is solved by conjugate gradients, preconditioned by its diagonal blocks, with products

    .. math:: (J^H J \, p)_k = p_k V_k + A_k \sum_{l \ne k} W_{kl} \circ (p_l^T \overline{A_l}), \qquad
              V_k = \prod_{j \ne k} A_j^T \overline{A_j}, \quad W_{kl} = \prod_{j \ne k, l} A_j^T \overline{A_j},

    so that only E and :math:`J^H E`, the :func:`~tlinear.algorithms.kruskal.mttkrps` of E, read the tensor.

    The point stays where it is when even an undamped step is foretold to lower the error by no more
    than `stop_tolerance` of it: unlike a short step of a sweep, that tells a minimum from a swamp.

    References
    ----------
    L. Sorber, M. Van Barel, L. De Lathauwer, Optimization-based algorithms for tensor decompositions,
    SIAM J. Optim. 23 (2013), section 4.  A.-H. Phan, P. Tichavsky, A. Cichocki, Low complexity damped
    Gauss-Newton algorithms for CANDECOMP/PARAFAC, SIAM J. Matrix Anal. Appl. 34 (2013).

    Examples
    --------
    >>> tensor = np.multiply.outer(np.outer([3.0, 4.0], [5.0, 12.0]), [8.0, 15.0])
    >>> state = Damped(Kruskal(np.full(1, 1100.0), [np.array([[0.5], [0.5]])] * 3, 1.0))
    >>> for _ in range(6):
    ...     state = gauss_newton_step(Target.of(tensor), state, 1e-6)
    >>> state.error < 1e-15
    True
    """
    point, damping, growth, model = state.point, state.damping, 2.0, _Model.at(target, state.point)
    for _ in range(_TRIALS):
        factors, foretold = model.step(damping)
        squared_error = point.error**2 * (target.square + target.lost) / model.unit**2
        if foretold <= (stop_tolerance * squared_error if damping <= _UNDAMPED else 0.0):
            if not _LEAST_DAMPING < damping <= _UNDAMPED:
                break
            # along columns that grow and cancel, even so little damping is what keeps the step short
            damping = _LEAST_DAMPING
            continue
        tried = _kruskal(target, factors, point, model.unit)
        if tried.error < point.error:
            gain = min(2.0, (1.0 - (tried.error / point.error) ** 2) * squared_error / foretold)
            damping = max(_LEAST_DAMPING, damping * max(0.1, 1.0 - (2.0 * gain - 1.0) ** 3))
            point, growth = tried, 2.0
            if state.error - point.error > stop_tolerance * state.error or damping <= _LEAST_DAMPING:
                break
            # that a short step lowers the error by little says nothing: an undamped one has to be foretold to
            model = _Model.at(target, point)
            if damping <= _UNDAMPED:
                damping = _LEAST_DAMPING
        else:
            damping, growth = damping * growth, 2.0 * growth
    return Damped(point, damping)


@dataclass(frozen=True)
class _Model:
    """The tensor of the factors as a linear function of a step: what a Gauss-Newton step minimizes.

    The factors are rows of zeros longer than they are, so that they all have the same shape.

    Attributes
    ----------
    unit : float
        A power of two near the norm of the tensor, which is divided by it: no other scale is of consequence.
    sizes : list of int
        The factors' true numbers of rows.
    factors : array of shape (d, n, R)
    gradient : array of shape (d, n, R)
        ``J^H E``.
    own : array of shape (d, R, R)
        ``V_k``.
    joint : array of shape (d, d, R, R)
        ``W_kl``; 0 where k = l.
    """

    unit: float
    sizes: list[int]
    factors: Array
    gradient: Array
    own: Array
    joint: Array

    @classmethod
    def at(cls, target: Target, point: Kruskal) -> _Model:
        unit = 2.0 ** float(np.frexp(np.sqrt(target.square))[1])
        # the weight is shared among the modes
        root = (point.weights / unit) ** (1.0 / len(point.factors))
        factors = [factor * root for factor in point.factors]
        residual = target.tensor / unit - cp_product(np.ones_like(root), factors)
        gradient = [product for _, product in mttkrps(residual, factors)]
        stacked = _stacked(factors)
        grams = stacked.swapaxes(1, 2) @ stacked.conj()
        own, joint = np.ones_like(grams), np.ones((len(factors), *grams.shape), grams.dtype)
        for j, gram in enumerate(grams):
            rest = [k for k in range(len(grams)) if k != j]
            own[rest] *= gram
            joint[np.ix_(rest, rest)] *= gram
        for k in range(len(grams)):
            joint[k, k] = 0.0
        return cls(unit, [len(factor) for factor in factors], stacked, _stacked(gradient), own, joint)

    def step(self, damping: float) -> tuple[list[Array], float]:
        """The factors after a step, and by how much the squared error would fall if it were quadratic."""
        damped = damping * float(np.max(np.einsum("krr->kr", self.own).real))
        identity = np.eye(self.own.shape[1])
        # conjugate gradients need a preconditioner that is definite, as the damping makes it
        try:
            inverse = np.linalg.inv(self.own + damped * identity)
        except np.linalg.LinAlgError:
            fallback("a Gauss-Newton step without a preconditioner, whose blocks were singular")
            inverse = np.broadcast_to(identity, self.own.shape)
        conjugate = self.factors.conj()

        def normal(p: Array) -> Array:
            crossed = np.einsum("klrs,lrs->krs", self.joint, p.swapaxes(1, 2) @ conjugate)
            image: Array = p @ self.own + self.factors @ crossed + damped * p
            return image

        step, residual = np.zeros_like(self.gradient), self.gradient
        direction = residual @ inverse
        square = _inner(residual, direction)
        enough = _CG_TOLERANCE * np.linalg.norm(residual)
        for _ in range(_CG_STEPS):
            image = normal(direction)
            curvature = _inner(direction, image)
            if not curvature > 0.0:
                break
            step = step + square / curvature * direction
            residual = residual - square / curvature * image
            if np.linalg.norm(residual) <= enough:
                break
            preconditioned = residual @ inverse
            square, before = _inner(residual, preconditioned), square
            direction = preconditioned + square / before * direction
        foretold = _inner(step, self.gradient + residual + damped * step)
        moved = self.factors + step
        return [factor[:size] for factor, size in zip(moved, self.sizes, strict=True)], foretold


def _stacked(matrices: Sequence[Array]) -> Array:
    size = max(len(matrix) for matrix in matrices)
    stacked = np.zeros((len(matrices), size, matrices[0].shape[1]), matrices[0].dtype)
    for place, matrix in zip(stacked, matrices, strict=True):
        place[: len(matrix)] = matrix
    return stacked


def _inner(first: Array, second: Array) -> float:
    return float(np.vdot(first, second).real)


def _kruskal(target: Target, factors: Sequence[Array], otherwise: Kruskal, unit: float) -> Kruskal:
    weights, units = np.full(factors[0].shape[1], unit), []
    for factor, before in zip(factors, otherwise.factors, strict=True):
        norms, columns = normalized(factor, before)
        weights = weights * norms
        units.append(columns)
    return Kruskal(weights, units, target.error(weights, units))
