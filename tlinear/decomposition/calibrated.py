"""Operands whose error is small in the outputs of a layer, rather than in its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import cast

import numpy as np

from tlinear.algorithms.descent import Callback
from tlinear.algorithms.hosvd import mode_product
from tlinear.algorithms.lapack import cholesky, least_squares
from tlinear.algorithms.quasi_newton import evened_out, quasi_newton
from tlinear.algorithms.scaling import norm_of, times_power_of_two
from tlinear.arrays import Array
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import cached_plan
from tlinear.contraction.tape import contract_with_tape
from tlinear.decomposition.calibration import Calibration
from tlinear.decomposition.fitting import Fitting
from tlinear.decomposition.result import Decomposition
from tlinear.formats import Fitted
from tlinear.ranks.rules import Bonds

__all__ = ["Weighed", "fit_calibrated"]


_TRIAL = 10
"""Iterations after which ranks are compared: by then those that are worth it are ahead."""


def fit_calibrated(work: Fitting, calibration: Calibration, bonds: Bonds, limit: int | None = None) -> Decomposition:
    r"""The decomposition whose layer's outputs are close to those of the dense one.

    .. math:: \min_{\mathrm{operands}} \; \mathrm{tr} \, (M - \hat M)^H (C + \Lambda) (M - \hat M)

    with M the matrix (in, out) of the tensor.  In this metric no format but one of a single input mode has an
    orthogonal projection to offer, since :math:`(C + \Lambda)^{-1/2}` would have to be a Kronecker product over the
    input modes.  So all operands descend together, by L-BFGS from the plain fit; the gradient
    :math:`-2 (C + \Lambda)(M - \hat M)` is pulled back to them as the layer's own backward pass does.

    Where the input is one mode, :math:`C + \Lambda = L L^H` turns the problem into the plain one of
    :math:`L^H M`.  Its fit is where the descent starts, in the same coordinates; for a matrix that is the best there
    is.  The way back is to project M on what the other operands span, which needs no :math:`L^{-H}`, and so is as good
    for a feature that hardly counts as for any other.  All of it is the same if a feature comes in other units.

    With a `limit` of the parameters, these are shared out from `bonds` twice: by the singular values of the weight,
    and by those of the weight whitened mode by mode.  The latter is not the metric, and no way to find operands, but
    tells which bonds are worth their parameters in it.  Both descend for a few iterations, and the better one goes on.

    Whichever has the smaller error on the calibration itself is returned, so that this is never larger than that of the
    plain fit of the bonds that are shared out by the weight alone.
    """
    weighed = Weighed(work, calibration)
    shared = [bonds] if limit is None else [work.allocate(bonds, limit)]
    plain = work.fit(shared[0])
    if limit is not None:
        shared = list(dict.fromkeys([*shared, weighed.whitened.allocate(bonds, limit)]))
    starts = [min((work.fit(each), *weighed.closed_form(each)), key=weighed.square_error) for each in shared]
    if len(starts) > 1:
        few = min(_TRIAL, calibration.max_iterations)
        ends = [weighed.descend(start, few, None) for start in starts]
        starts = [min(ends, key=weighed.square_error)]
    found = weighed.descend(starts[0], calibration.max_iterations, calibration.callback)
    results = [weighed.decomposition(fit) for fit in (plain, found)]
    return min(results, key=lambda result: result.relative_output_error or 0.0)


@dataclass(frozen=True)
class Weighed:
    """A tensor to be decomposed, and what its errors do to the outputs."""

    work: Fitting
    calibration: Calibration

    @cached_property
    def matrix(self) -> Array:
        """M, of shape (in, out)."""
        return self.work.scaled.reshape(self.calibration.in_features, -1)

    @cached_property
    def metric(self) -> Array:
        metric = self.calibration.metric(self.matrix if self.work.n_in == 1 else None)
        # of a real error, a Hermitian metric sees the real part alone
        return metric if self.work.dtype.kind == "c" else metric.real

    @cached_property
    def square(self) -> float:
        """The squared norm of the weight in the metric, or 1 where that is zero."""
        return float(np.vdot(self.matrix, self.metric @ self.matrix).real) or 1.0

    @cached_property
    def whitened(self) -> Fitting:
        r"""The tensor multiplied, along each input mode k, by the root ``L_k^H`` of the metric in that mode alone,

        .. math:: L_k L_k^H [i, i'] = \sum_{i_j : j \ne k} (C + \Lambda)[i_1 .. i .. i_n, i_1 .. i' .. i_n] .

        Where the input is one mode, its norm is that of M in the metric.
        """
        tensor, n_in = self.work.scaled, self.work.n_first
        sides = tensor.shape[:n_in]
        metric = self.metric.reshape(*sides, *sides)
        for k in range(n_in):
            both = [n_in if axis == k else axis for axis in range(n_in)]
            own = np.einsum(metric, [*range(n_in), *both], [k, n_in])
            tensor = mode_product(tensor, cholesky(own).conj().T, k)
        return self.work.of(np.ascontiguousarray(tensor))

    @cached_property
    def root(self) -> Array:
        """The upper triangular ``L^H`` with ``C + Lambda = L L^H``."""
        return cholesky(self.metric).conj().T

    @cached_property
    def in_operand(self) -> tuple[str, int] | None:
        """The operand that has the input mode, and its axis there, where there is one of each."""
        labels = self.work.cls.labels(1, self.work.scaled.ndim - 1).items() if self.work.n_in == 1 else ()
        found = [(name, axes.index(0)) for name, axes in labels if 0 in axes]
        return found[0] if len(found) == 1 else None

    def objective(self, operands: Mapping[str, Array]) -> tuple[float, dict[str, Array]]:
        """The squared relative error in the metric, and its gradient."""
        return self._objective(operands, self.matrix, self.metric, self.square)

    def _objective(
        self, operands: Mapping[str, Array], matrix: Array, metric: Array | None, square: float
    ) -> tuple[float, dict[str, Array]]:
        tensor = self.work.cls.from_operands(operands, *self.work.split)
        arrays = [np.asarray(array, self.work.dtype) for array in tensor.operands.values()]
        plan = cached_plan(tensor.network, PlanOptions("factorized"), "training", 1, self.work.dtype)
        result, tape = contract_with_tape(plan, arrays)
        difference = result.reshape(matrix.shape) - matrix
        weighed = difference if metric is None else metric @ difference
        value = max(0.0, float(np.vdot(difference, weighed).real) / square)
        weighed *= 2.0 / square
        gradients = tape.pull_back(weighed.reshape(self.work.scaled.shape))
        return value, {name: gradients[k] for k, name in enumerate(tensor.operands)}

    def square_error(self, fit: Fitted) -> float:
        return self.objective(fit.operands)[0]

    def descend(self, fit: Fitted, max_iterations: int, callback: Callback | None) -> Fitted:
        """Where L-BFGS comes to from these operands; with one input mode, in the coordinates of ``L^H M``."""
        objective, operands = self.objective, fit.operands
        start = operands
        if self.in_operand is not None:
            name, axis = self.in_operand
            root = times_power_of_two(self.root, -self.whitened.exponent, self.root.dtype)
            start = {**operands, name: mode_product(operands[name], root, axis)}
            matrix = self.whitened.scaled.reshape(self.matrix.shape)
            square = norm_of(matrix) ** 2 or 1.0
            objective = partial(self._objective, matrix=matrix, metric=None, square=square)
        found, report = quasi_newton(
            evened_out(start),
            objective,
            max_iterations=max_iterations,
            stop_tolerance=self.calibration.stop_tolerance,
            callback=callback,
        )
        return Fitted(found if self.in_operand is None else self.projected(found), fit.carrier, report)

    def closed_form(self, bonds: Bonds) -> list[Fitted]:
        """The fit of ``L^H M``, and M projected on it, where the input is one mode."""
        if self.in_operand is None:
            return []
        fit = self.whitened.fit(bonds)
        report = replace(fit.report, is_projection=False, error=None)
        return [Fitted(self.projected(fit.operands), fit.carrier, report)]

    def projected(self, operands: Mapping[str, Array]) -> dict[str, Array]:
        r"""The operands with the best one of the input mode that there is beside the others.

        With Q what the others make of it, row by row a least squares problem, and so the same in every metric:

        .. math:: M \approx X Q, \qquad X = M Q^+
        """
        cls, tensor, (name, axis) = self.work.cls, self.work.scaled, cast(tuple[str, int], self.in_operand)
        labels, n_out = cls.labels(1, tensor.ndim - 1)[name], tensor.ndim - 1
        own = [k for k, label in enumerate(labels) if 0 < label <= n_out]
        bonds = [k for k in range(len(labels)) if k != axis and k not in own]
        sizes = [operands[name].shape[k] for k in bonds]
        order = [axis, *own, *bonds]
        # of an operand that is the identity, with one entry of each output mode that it has itself, Q is the tensor
        one = np.eye(math.prod(sizes)).reshape(-1, *[1] * len(own), *sizes).transpose(np.argsort(order))
        others = cls.from_operands({**operands, name: one}, *self.work.split).to_tensor().reshape(one.shape[axis], -1)
        sides = [labels[k] for k in (axis, *own)]
        rows = np.moveaxis(tensor, sides, range(len(sides)))
        norms = np.linalg.norm(others, axis=1, keepdims=True)
        norms[norms == 0.0] = 1.0
        best = (least_squares((others / norms).T, rows.reshape(-1, others.shape[1]).T) / norms).T
        best = best.reshape(*rows.shape[: len(sides)], *sizes).transpose(np.argsort(order))
        return {**operands, name: best}

    def decomposition(self, fit: Fitted) -> Decomposition:
        """The result, and what its error comes to in the outputs."""
        result = self.work.decomposition(fit)
        again = self.work.reconstruct(self.work.rounded(fit)[1]).reshape(self.matrix.shape)
        return replace(result, relative_output_error=self.calibration.relative_output_error(self.matrix, again))
