"""The loop of the iterative algorithms tells the truth about how it ended, whatever the sweep does."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.descent import EXACT, STOPPED, descend
from tlinear.algorithms.report import relative_error

errors = st.floats(0.0, 1.0) | st.just(math.nan) | st.sampled_from([0.0, EXACT, 2 * EXACT])


@dataclass(frozen=True)
class Script:
    """A state that knows the errors still to come."""

    error: float
    to_come: tuple[float, ...]

    @property
    def next(self):
        return Script(self.to_come[0], self.to_come[1:])


@given(
    script=st.lists(errors, min_size=1, max_size=20), max_iterations=st.integers(0, 19), tolerance=st.floats(0.0, 1.0)
)
def test_history_never_rises_and_the_last_state_is_the_best_of_all(script, max_iterations, tolerance):
    seen = []

    def sweep(state):
        # what is undone is not tried again, as no algorithm here would find anything else there
        seen.append(state.next.error)
        return state.next

    padded = (*script, *(script[-1] for _ in range(20)))
    end, report = descend(Script(padded[0], padded[1:]), sweep, max_iterations=max_iterations, stop_tolerance=tolerance)
    history = report.history
    assert report.n_iterations == len(history) == len(seen) <= max_iterations
    visited = [script[0], *history]
    assert all(not later > earlier for earlier, later in itertools.pairwise(visited))
    assert all(not error < end.error for error in [script[0], *seen])
    if not report.converged:
        assert report.stop_reason == f"{max_iterations} sweeps were done"
        assert len(history) == max_iterations
        assert not end.error <= EXACT
    elif "at most 1e-12" in report.stop_reason:
        assert end.error <= EXACT
    else:
        assert visited[-2] - visited[-1] <= tolerance * visited[-2]


def test_relative_error_of_nothing():
    assert relative_error(np.zeros(3), np.zeros(3)) == 0.0
    assert relative_error(np.zeros(2), np.array([3.0, 4.0])) == 5.0
    assert relative_error(np.array([3.0, 4.0]), np.zeros(2)) == 1.0


@pytest.mark.parametrize("exponent", [-500, -3, 0, 500])
def test_relative_error_does_not_depend_on_the_scale(exponent):
    source, result = np.array([3.0, 4.0, 1.0]), np.array([3.0, 3.5, 0.75])
    assert relative_error(np.ldexp(source, exponent), np.ldexp(result, exponent)) == relative_error(source, result)


@given(script=st.lists(errors, min_size=1, max_size=20), before=st.lists(errors, max_size=3), stop=st.integers(1, 20))
def test_a_callback_ends_it_and_a_history_is_continued(script, before, stop):
    padded = (*script, *(0.5 * script[-1] for _ in range(30)))

    def run(**options):
        start = Script(padded[0], padded[1:])
        return descend(start, lambda state: state.next, max_iterations=20, stop_tolerance=0.0, **options)

    _, plain = run()
    seen = []
    _, continued = run(history=before, callback=lambda n, error: seen.append((n, error)))
    most = 20 - len(before)
    assert continued.history == (*before, *plain.history[:most])
    assert seen == list(enumerate(continued.history, 1))[len(before) :][: len(seen)]
    end, stopped = run(callback=lambda n, error: n == stop)
    if stop < plain.n_iterations:
        assert (stopped.converged, stopped.stop_reason, stopped.history) == (False, STOPPED, plain.history[:stop])
        assert not end.error > stopped.history[-1]
    else:
        assert stopped.history == plain.history
