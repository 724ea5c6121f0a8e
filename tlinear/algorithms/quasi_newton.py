"""L-BFGS over several arrays at once, for an objective that a decomposition has no closed form for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlinear.algorithms.descent import EXACT, STOPPED, Callback, check_option
from tlinear.algorithms.report import Report
from tlinear.arrays import Array

__all__ = ["Objective", "evened_out", "quasi_newton"]

Objective = Callable[[dict[str, Array]], tuple[float, dict[str, Array]]]
"""From arrays by name to a squared relative error, and its gradient by the same names."""

_MEMORY = 10
"""Pairs of steps and changes of the gradient that are kept; with twice as many an iteration is slower and no better."""

_LINE_SEARCH = 20
"""Points that a line search may try."""

_WINDOW = 10
"""Iterations over which the fall of the error is judged: one of them may be short where the next is not."""


def quasi_newton(
    start: Mapping[str, Array],
    objective: Objective,
    *,
    max_iterations: int,
    stop_tolerance: float,
    callback: Callback | None = None,
) -> tuple[dict[str, Array], Report]:
    r"""The arrays that L-BFGS descends to from `start`, and its report.

    .. math:: x \leftarrow x - \alpha H \nabla f(x)

    with H the inverse of the Hessian as the last ten steps tell it, and :math:`\alpha` by a line search
    after Wolfe, so that no iteration raises f.  Of complex arrays the real and the imaginary parts are the unknowns.

    Parameters
    ----------
    start : dict of array
        In float64 or complex128.
    objective : callable
        The squared relative error f, and its gradient: with it, f changes by the real part of
        ``sum(conj(gradient) * change)`` to first order.
    max_iterations : int
    stop_tolerance : float
        Stop when the last ten iterations lowered the relative error, the root of f, by no more than this
        fraction of it each, in the mean.
    callback : callable, optional
        Called with the number of iterations and the relative error after each; what it is true for is the last.

    Raises
    ------
    OptionError
        When an option is out of its range.

    References
    ----------
    R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, A limited memory algorithm for bound constrained optimization,
    SIAM J. Sci. Comput. 16 (1995); the implementation is SciPy's.

    Examples
    --------
    >>> def objective(x):
    ...     return float(np.sum((x["a"] - 3.0) ** 2)), {"a": 2.0 * (x["a"] - 3.0)}
    >>> end, report = quasi_newton({"a": np.zeros(2)}, objective, max_iterations=9, stop_tolerance=1e-6)
    >>> end["a"].round(9).tolist(), report.converged
    ([3.0, 3.0], True)
    """
    check_option("max_iterations", max_iterations, 0, integer=True)
    check_option("stop_tolerance", stop_tolerance, 0.0)
    from scipy import optimize

    def evaluate(x: Array) -> tuple[float, Array]:
        value, gradient = objective(_apart(x, start))
        return value, _together({name: gradient[name] for name in start})

    x = _together(start)
    error = math.sqrt(evaluate(x)[0])
    if error <= EXACT or max_iterations == 0:
        return dict(start), Report(error <= EXACT, f"the start, of relative error {error:.3g}, is the end")
    errors, reasons = [error], list[tuple[bool, str]]()

    def after(intermediate_result: Any) -> None:
        errors.append(math.sqrt(max(0.0, float(intermediate_result.fun))))
        if errors[-1] <= EXACT:
            reasons.append((True, f"the relative error is at most {EXACT:g}"))
        elif callback is not None and callback(len(errors) - 1, errors[-1]):
            reasons.append((False, STOPPED))
        elif len(errors) > _WINDOW and errors[-1 - _WINDOW] - errors[-1] <= _WINDOW * stop_tolerance * errors[-1]:
            reasons.append(
                (True, f"{_WINDOW} iterations lowered the error by no more than {stop_tolerance:g} of it each")
            )
        if reasons:
            raise StopIteration

    limits = {"maxiter": max_iterations, "maxfun": _LINE_SEARCH * (max_iterations + 1), "maxls": _LINE_SEARCH}
    options = {**limits, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
    end = optimize.minimize(evaluate, x, jac=True, method="L-BFGS-B", callback=after, options=options)
    if not reasons:
        ran_out = f"{max_iterations} iterations were done" if len(errors) > max_iterations else None
        reasons.append((ran_out is None, ran_out or "no step lowers the error"))
    return _apart(end.x, start), Report(*reasons[0], len(errors) - 1, tuple(errors[1:]))


def evened_out(operands: Mapping[str, Array]) -> dict[str, Array]:
    """The operands of a product that is linear in each, all with the same norm.

    The product stays what it is, and the descent takes half of the iterations that it takes where one
    operand carries the norm.

    Examples
    --------
    >>> {name: float(array[0]) for name, array in evened_out({"a": np.array([8.0]), "b": np.array([2.0])}).items()}
    {'a': 4.0, 'b': 4.0}
    """
    norms = [float(np.linalg.norm(array)) for array in operands.values()]
    if not all(norms):
        return dict(operands)
    common = math.exp(math.fsum(map(math.log, norms)) / len(norms))
    return {name: array * (common / norm) for (name, array), norm in zip(operands.items(), norms, strict=True)}


def _together(arrays: Mapping[str, Array]) -> Array:
    """All entries in one real vector."""
    return np.concatenate([np.ascontiguousarray(array).reshape(-1).view(np.float64) for array in arrays.values()])


def _apart(vector: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of which this is the vector."""
    arrays, start = {}, 0
    for name, array in like.items():
        end = start + array.size * (2 if array.dtype.kind == "c" else 1)
        arrays[name] = vector[start:end].view(array.dtype).reshape(array.shape)
        start = end
    return arrays
