"""L-BFGS: what it is told to minimise falls, from iteration to iteration, to where it can fall no further."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import EPS, generators, normal
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.quasi_newton import evened_out, quasi_newton
from tlinear.errors import OptionError


class Quadratic:
    """``|target - x|^2 / |target|^2`` in a metric: convex, so that there is one minimum, and it is known."""

    def __init__(self, rng, shapes, dtype):
        self.target = {name: normal(rng, shape, dtype) for name, shape in shapes.items()}
        self.weights = {name: np.exp(rng.uniform(-3, 3, shape)) for name, shape in shapes.items()}
        self.whole = sum(float(np.sum(self.weights[k] * np.abs(t) ** 2)) for k, t in self.target.items())
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        off = {name: x[name] - target for name, target in self.target.items()}
        value = sum(float(np.sum(self.weights[k] * np.abs(d) ** 2)) for k, d in off.items()) / self.whole
        return value, {name: 2.0 * self.weights[name] * d / self.whole for name, d in off.items()}

    def start(self):
        return {name: np.zeros_like(target) for name, target in self.target.items()}


problems = st.builds(
    Quadratic,
    generators,
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(1, 4), max_size=2).map(tuple), min_size=1),
    st.sampled_from(["float64", "complex128"]),
)


@given(problems, st.integers(0, 30))
def test_no_iteration_raises_the_error_and_the_end_is_the_last_of_them(problem, max_iterations):
    start = problem.start()
    end, report = quasi_newton(start, problem, max_iterations=max_iterations, stop_tolerance=0.0)
    history = [math.sqrt(problem(start)[0]), *report.history]
    assert all(after <= before for before, after in itertools.pairwise(history))
    assert math.sqrt(problem(end)[0]) == history[-1]
    assert report.n_iterations == len(report.history) <= max_iterations
    assert not any(np.any(array) for array in start.values())
    assert {name: (a.shape, a.dtype) for name, a in end.items()} == {k: (a.shape, a.dtype) for k, a in start.items()}
    if max_iterations and not report.converged:
        assert report.stop_reason == f"{max_iterations} iterations were done"
        assert report.n_iterations == max_iterations


@given(problems)
def test_the_minimum_of_a_quadratic_is_found(problem):
    """The relative error ends where its square has no digits left in the values that a line search compares."""
    end, report = quasi_newton(problem.start(), problem, max_iterations=1000, stop_tolerance=0.0)
    assert report.converged
    n = sum(array.size for array in end.values())
    assert math.sqrt(problem(end)[0]) <= math.sqrt(64.0 * n * EPS)


@pytest.mark.parametrize("last", [1, 3])
def test_a_callback_sees_every_iteration_and_ends_the_descent(last):
    problem, seen = Quadratic(np.random.default_rng(0), {"a": (4, 4)}, "float64"), []

    def callback(n, error):
        seen.append((n, error))
        return n == last

    _, report = quasi_newton(problem.start(), problem, max_iterations=50, stop_tolerance=0.0, callback=callback)
    assert (report.converged, report.stop_reason) == (False, "the callback asked to stop")
    assert seen == list(enumerate(report.history, start=1))
    assert report.n_iterations == last


def test_a_loose_tolerance_ends_sooner():
    problem = Quadratic(np.random.default_rng(0), {"a": (9, 9)}, "float64")
    loose, tight = (
        quasi_newton(problem.start(), problem, max_iterations=500, stop_tolerance=tolerance)[1]
        for tolerance in (0.5, 1e-9)
    )
    assert loose.converged
    assert loose.stop_reason == "10 iterations lowered the error by no more than 0.5 of it each"
    assert loose.n_iterations < tight.n_iterations


def test_the_minimum_itself_takes_no_iteration():
    problem = Quadratic(np.random.default_rng(0), {"a": (2, 3)}, "complex128")
    end, report = quasi_newton(problem.target, problem, max_iterations=9, stop_tolerance=0.0)
    np.testing.assert_array_equal(end["a"], problem.target["a"])
    assert (report.converged, report.n_iterations, problem.calls) == (True, 0, 1)


@given(generators, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_evened_out_operands_have_the_same_norm_and_product(rng, sizes):
    operands = {str(k): normal(rng, (n,)) * 10.0 ** rng.integers(-9, 9) for k, n in enumerate(sizes)}
    even = evened_out(operands)
    norms = [float(np.linalg.norm(array)) for array in even.values()]
    # each norm is the n-th root of a product, and each entry is rounded three times on the way
    slack = 8.0 * EPS * (len(sizes) + max(sizes)) * sum(abs(math.log(np.linalg.norm(a))) + 1 for a in operands.values())
    assert max(norms) <= min(norms) * (1.0 + slack)
    before, after = (math.prod(float(a[0]) for a in arrays.values()) for arrays in (operands, even))
    assert abs(after - before) <= slack * abs(before)


def test_a_product_with_a_zero_stays_as_it_is():
    operands = {"a": np.zeros(2), "b": np.ones(3)}
    assert evened_out(operands) == operands


@pytest.mark.parametrize("option", [{"max_iterations": -1}, {"max_iterations": 2.5}, {"stop_tolerance": math.nan}])
def test_options_out_of_range_are_refused(option):
    problem = Quadratic(np.random.default_rng(0), {"a": ()}, "float64")
    with pytest.raises(OptionError, match=next(iter(option))):
        quasi_newton(problem.start(), problem, **{"max_iterations": 1, "stop_tolerance": 0.0} | option)
