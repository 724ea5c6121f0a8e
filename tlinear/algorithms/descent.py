"""The loop of the iterative algorithms: sweep while that lowers the error, and say why it ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from tlinear.algorithms.report import Report
from tlinear.errors import OptionError
from tlinear.shapes import is_integer

__all__ = ["EXACT", "STOPPED", "Callback", "check_callback", "check_option", "descend"]

EXACT = 1e-12
"""A relative error of at most this is rounding: a double has 2e-16, and thousands of terms are summed."""


STOPPED = "the callback asked to stop"

Callback: TypeAlias = Callable[[int, float], Any]
"""Called with the number of iterations and the relative error; what it is true for is the last iteration."""


class _HasError(Protocol):
    @property
    def error(self) -> float: ...


State = TypeVar("State", bound=_HasError)


def descend(
    state: State,
    sweep: Callable[[State], State],
    *,
    max_iterations: int,
    stop_tolerance: float,
    history: Sequence[float] = (),
    callback: Callback | None = None,
) -> tuple[State, Report]:
    """The last state of ``state <- sweep(state)``, and its report.

    Stops when the relative error is at most :data:`EXACT`, when a sweep lowers it by no more
    than `stop_tolerance` times itself, when the sweeps run out, or when the callback says so;
    only in the last two cases `converged` is False.  A sweep that raises the error, which in exact
    arithmetic none does, is undone: the history never rises, and the last state is the best.

    Parameters
    ----------
    state : object
        Its attribute `error` is its relative error.
    sweep : callable
        From a state to the next.
    max_iterations : int
    stop_tolerance : float
    history : sequence of float
        What is continued; its sweeps count.
    callback : callable, optional
        Called with the number of sweeps and the relative error after each.

    Examples
    --------
    >>> from fractions import Fraction
    >>> class Half(Fraction):
    ...     error = property(float)
    >>> state, report = descend(Half(1), lambda half: Half(half / 2), max_iterations=3, stop_tolerance=0.1)
    >>> state.error, report
    (0.125, Report(converged=False, stop_reason='3 sweeps were done', n_iterations=3, history=(0.5, 0.25, 0.125)))
    """
    errors = list(history)

    def report(converged: bool, reason: str) -> Report:
        return Report(converged, reason, len(errors), tuple(errors))

    while not state.error <= EXACT:
        if len(errors) >= max_iterations:
            return state, report(False, f"{max_iterations} sweeps were done")
        before, swept = state, sweep(state)
        state = swept if swept.error < before.error else before
        errors.append(state.error)
        if before.error - state.error <= stop_tolerance * before.error:
            return state, report(True, f"a sweep lowered the relative error by no more than {stop_tolerance:g} of it")
        if callback is not None and callback(len(errors), state.error):
            return state, report(False, STOPPED)
    return state, report(True, f"the relative error is at most {EXACT:g}")


def check_callback(callback: Any) -> None:
    """Raise :class:`OptionError` unless `callback` can be called, or is None.

    Examples
    --------
    >>> check_callback(print)
    """
    if callback is not None and not callable(callback):
        raise OptionError(
            f"callback={callback!r} cannot be called. Pass a function of the number of iterations and the error."
        )


def check_option(name: str, value: Any, least: float, *, integer: bool = False) -> None:
    """Raise :class:`OptionError` unless `value` is a finite number (an integer, if so said) of at least `least`.

    Examples
    --------
    >>> check_option("ridge", -1.0, 0.0)
    Traceback (most recent call last):
        ...
    tlinear.errors.OptionError: ridge=-1.0 must be a finite number >= 0.
    """
    is_number = is_integer(value) or (not integer and isinstance(value, (float, np.floating)))
    if not (is_number and least <= value < math.inf):
        raise OptionError(f"{name}={value!r} must be {'an integer' if integer else 'a finite number'} >= {least:g}.")
