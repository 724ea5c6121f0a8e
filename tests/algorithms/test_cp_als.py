"""Sweeps of alternating least squares: each mode's problem is solved, no sweep goes uphill, extrapolation is safe."""

import itertools

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, generators, kinds, normal, shapes
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.cp_als import _CG_TOLERANCE, _MOST_DIRECT, Extrapolated, als_sweep, extrapolated_sweep
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, khatri_rao, normalized

ranks = st.integers(1, 5)


def start(rng, target, rank, dtype="float64"):
    factors = [normal(rng, (size, rank), dtype) for size in target.tensor.shape]
    units = [normalized(factor, np.ones_like(factor))[1] for factor in factors]
    weights = np.zeros(rank)
    return Kruskal(weights, units, target.error(weights, units))


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_the_last_mode_of_a_sweep_solves_its_least_squares_problem(dtype, rng, shape, rank):
    """Plain, without a ridge: the residual is orthogonal to the Khatri-Rao product of the other factors.

    What it is not is rounding, amplified by the condition of the normal equations.
    """
    target = Target.of(kinds(rng, shape, dtype))
    swept = als_sweep(target, start(rng, target, rank, dtype), 0.0)
    others = khatri_rao([np.ones((1, rank), dtype), *swept.factors[:-1]])
    residual = (target.tensor - cp_product(swept.weights, swept.factors)).reshape(-1, shape[-1])
    values = np.linalg.svd(others, compute_uv=False)
    if len(others) < rank or values[-1] < 1e-3:
        return
    condition = (values[0] / values[-1]) ** 2
    norm = np.linalg.norm(target.tensor) + np.sum(swept.weights)
    slack = 64 * EPS * target.tensor.size * rank * condition * norm * np.linalg.norm(others)
    assert np.linalg.norm(others.conj().T @ residual) <= slack


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks, ridge=st.sampled_from([1e-10, 1e-3]))
def test_no_sweep_raises_the_error_by_more_than_rounding(dtype, rng, shape, rank, ridge):
    """The error comes from the normal equations, of condition at most R / ridge, and from products of weights."""
    target = Target.of(kinds(rng, shape, dtype))
    point = start(rng, target, rank, dtype)
    state = Extrapolated(point, point.factors)
    for _ in range(5):
        after, further = als_sweep(target, point, ridge), extrapolated_sweep(target, state, ridge)
        for before, now in ((point, after), (state.point, further.point)):
            scale = max(1.0, float(np.sum(now.weights)) / (np.sqrt(target.square) or 1.0))
            assert now.error <= before.error + 1e-6 * scale
        point, state = after, further


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_system_too_large_for_elimination_is_approached_from_the_factor_before(dtype):
    """The same minimum, nearly: the error of a sweep lies between those of the start and of the exact solution."""
    rng = np.random.default_rng(0)
    target = Target.of(normal(rng, (8, 9, 30), dtype))
    rank = _MOST_DIRECT + 1
    point = start(rng, target, rank, dtype)
    errors = [point.error]
    for _ in range(4):
        point = als_sweep(target, point, 1e-10)
        errors.append(point.error)
        assert abs(target.error(point.weights, point.factors) - point.error) <= 1e-7
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    # more components than the product of two modes: every tensor is within reach
    assert errors[-1] <= _CG_TOLERANCE


def test_an_extrapolation_that_fails_is_taken_back():
    """A start far beyond the point is worse than the point: the sweep is the plain one, and the next one starts nearer."""
    rng = np.random.default_rng(0)
    target = Target.of(cp_product(np.ones(3), [rng.standard_normal((6, 3)) for _ in range(3)]))
    before = start(rng, target, 3)
    point = before
    for _ in range(10):
        before, point = point, als_sweep(target, point, 1e-10)
    state = Extrapolated(point, start(rng, target, 3).factors, length=1.0)
    after = extrapolated_sweep(target, state, 1e-10)
    plain = als_sweep(target, point, 1e-10)
    assert after.error == plain.error < point.error
    assert after.length < state.length
    assert after.cap == state.length


def test_extrapolation_saves_sweeps_in_a_swamp():
    gram = np.full((4, 4), 0.9) + 0.1 * np.eye(4)
    upper = np.linalg.cholesky(gram).T
    rng = np.random.default_rng(0)
    target = Target.of(cp_product(np.ones(4), [np.linalg.qr(rng.standard_normal((6, 4)))[0] @ upper for _ in range(3)]))
    point = start(rng, target, 4)
    state = Extrapolated(point, point.factors)
    for _ in range(100):
        point, state = als_sweep(target, point, 1e-10), extrapolated_sweep(target, state, 1e-10)
    assert state.error < point.error / 2
