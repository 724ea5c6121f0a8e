"""Operands whose error is small in the outputs of a layer, rather than in its weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tlinear.algorithms.descent import Callback
from tlinear.algorithms.hosvd import mode_product
from tlinear.algorithms.lapack import eigh
from tlinear.algorithms.quasi_newton import evened_out, quasi_newton
from tlinear.algorithms.scaling import times_power_of_two
from tlinear.arrays import Array
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import cached_plan
from tlinear.contraction.tape import contract_with_tape
from tlinear.decomposition.calibration import Calibration
from tlinear.decomposition.fitting import Fit, Fitting
from tlinear.decomposition.result import Decomposition
from tlinear.ranks.rules import Bonds

__all__ = ["Weighed", "fit_calibrated"]


_TRIAL = 10
"""Iterations after which ranks are compared: by then those that are worth it are ahead."""


def fit_calibrated(work: Fitting, calibration: Calibration, bonds: Bonds, limit: int | None = None) -> Decomposition:
    r"""The decomposition whose layer's outputs are close to those of the dense one.

    .. math:: \min_{\mathrm{operands}} \; \mathrm{tr} \, (M - \hat M)^H (C + \lambda I) (M - \hat M)

    with M the matrix (in, out) of the tensor.  In this metric no format but one of a single input mode has an
    orthogonal projection to offer, since :math:`(C + \lambda I)^{-1/2}` would have to be a Kronecker product over the
    input modes.  So all operands descend together, by L-BFGS from the plain fit; the gradient
    :math:`-2 (C + \lambda I)(M - \hat M)` is pulled back to them as the layer's own backward pass does.

    Where the input is one mode, :math:`C + \lambda I = L L^H` turns the problem into the plain one of
    :math:`L^H M`, and :math:`L^{-H}` goes into the operand that has this mode.  For a matrix that is
    the best there is; for TT and Tucker the descent starts there.

    With a `limit` of the parameters, these are shared out from `bonds` twice: by the singular values of the weight,
    and by those of the weight whitened mode by mode.  The latter is not the metric, and no way to find operands, but
    tells which bonds are worth their parameters in it.  Both descend for a few iterations, and the better one goes on.

    Whichever has the smaller error on the calibration itself is returned, so that this is never larger than that of the
    plain fit of the bonds that are shared out by the weight alone.
    """
    weighed = Weighed(work, calibration)
    shared = [bonds] if limit is None else [work.allocate(bonds, limit)]
    plain = work.fit(shared[0])
    if calibration.is_zero:
        return weighed.decomposition(plain)
    if limit is not None:
        shared = list(dict.fromkeys([*shared, weighed.whitened().allocate(bonds, limit)]))
    starts = [min((work.fit(each), *weighed.closed_form(each)), key=weighed.square_error)[0] for each in shared]
    if len(starts) > 1:
        few = min(_TRIAL, calibration.max_iterations)
        ends = [weighed.descend(start, few, None) for start in starts]
        starts = [min(ends, key=weighed.square_error)[0]]
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
        metric = self.calibration.metric()
        # of a real error, a Hermitian metric sees the real part alone
        return metric if self.work.dtype.kind == "c" else metric.real

    @cached_property
    def square(self) -> float:
        """The squared norm of the weight in the metric, or 1 where that is zero."""
        return float(np.vdot(self.matrix, self.metric @ self.matrix).real) or 1.0

    def objective(self, operands: Mapping[str, Array]) -> tuple[float, dict[str, Array]]:
        """The squared relative error in the metric, and its gradient."""
        tensor = self.work.cls.from_operands(operands, *self.work.split)
        arrays = [np.asarray(array, self.work.dtype) for array in tensor.operands.values()]
        plan = cached_plan(tensor.network, PlanOptions("factorized"), "training", 1, self.work.dtype)
        result, tape = contract_with_tape(plan, arrays)
        difference = result.reshape(self.matrix.shape) - self.matrix
        weighed = self.metric @ difference
        value = max(0.0, float(np.vdot(difference, weighed).real) / self.square)
        weighed *= 2.0 / self.square
        gradients = tape.pull_back(weighed.reshape(self.work.scaled.shape))
        return value, {name: gradients[k] for k, name in enumerate(tensor.operands)}

    def square_error(self, fit: Fit) -> float:
        return self.objective(fit[0])[0]

    def descend(self, operands: Mapping[str, Array], max_iterations: int, callback: Callback | None) -> Fit:
        """Where L-BFGS comes to from these operands."""
        return quasi_newton(
            evened_out(operands),
            self.objective,
            max_iterations=max_iterations,
            stop_tolerance=self.calibration.stop_tolerance,
            callback=callback,
        )

    def whitened(self) -> Fitting:
        r"""The tensor multiplied, along each input mode k, by the root of what the metric is in that mode alone,

        .. math:: C_k[i, i'] = \sum_{i_j : j \ne k} (C + \lambda I)[i_1 .. i .. i_n, i_1 .. i' .. i_n] .
        """
        tensor, n_in = self.work.scaled, self.work.n_first
        sides = tensor.shape[:n_in]
        metric = self.metric.reshape(*sides, *sides)
        for k in range(n_in):
            both = [n_in if axis == k else axis for axis in range(n_in)]
            values, vectors = eigh(np.einsum(metric, [*range(n_in), *both], [k, n_in]))
            root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T
            tensor = mode_product(tensor, root, k)
        return self.work.of(np.ascontiguousarray(tensor))

    def closed_form(self, bonds: Bonds) -> list[Fit]:
        """The fit of ``L^H M``, taken back by ``L^-H`` in the operand of the input mode; none if there are more."""
        if self.work.n_in != 1:
            return []
        root = np.linalg.cholesky(self.metric).conj().T
        work = self.work.of((root @ self.matrix).reshape(self.work.scaled.shape))
        operands, report = work.fit(bonds)
        carrier = next(iter(operands))
        found = {**operands, carrier: times_power_of_two(operands[carrier], work.exponent, work.dtype)}
        n_out = self.work.scaled.ndim - 1
        name, axis = next(
            (name, labels.index(0)) for name, labels in self.work.cls.labels(1, n_out).items() if 0 in labels
        )
        moved = np.moveaxis(found[name], axis, 0)
        solved = np.linalg.solve(root, moved.reshape(len(moved), -1)).reshape(moved.shape)
        return [({**found, name: np.moveaxis(solved, 0, axis)}, report)]

    def decomposition(self, fit: Fit) -> Decomposition:
        """The result, and what its error comes to in the outputs."""
        result = self.work.decomposition(fit)
        again = self.work.reconstruct(self.work.rounded(fit[0])[1]).reshape(self.matrix.shape)
        return replace(result, relative_output_error=self.calibration.relative_output_error(self.matrix, again))
