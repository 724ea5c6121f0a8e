"""Gauss-Newton steps for CP: the system is that of the Jacobian, and a step never goes uphill."""

import math

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, generators, integers, kinds, normal
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.cp_gauss_newton import _CG_TOLERANCE, Damped, _Model, gauss_newton_step
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, normalized

shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def kruskal(target, weights, factors):
    units = [normalized(factor, np.ones_like(factor))[1] for factor in factors]
    return Kruskal(weights, units, target.error(weights, units))


def jacobian(factors):
    """Of the tensor of the factors: a column for each entry, by the definition of a multilinear function."""
    columns = []
    for k, factor in enumerate(factors):
        for i, r in np.ndindex(factor.shape):
            unit = np.zeros_like(factor)
            unit[i, r] = 1.0
            replaced = [*factors[:k], unit, *factors[k + 1 :]]
            columns.append(cp_product(np.ones(factor.shape[1]), replaced).ravel())
    return np.array(columns).T


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=st.integers(1, 3), damping=st.sampled_from([1e-6, 1e-3, 1.0]))
def test_a_step_solves_the_damped_normal_equations_of_the_jacobian(dtype, rng, shape, rank, damping):
    """To the tolerance of the conjugate gradients, if these get there; and the foretold decrease is that of the model."""
    tensor = normal(rng, shape, dtype)
    target = Target.of(tensor)
    point = kruskal(target, 1.0 + rng.random(rank), [normal(rng, (size, rank), dtype) for size in shape])
    model = _Model.at(target, point)
    factors = [factor[:size] for factor, size in zip(model.factors, shape, strict=True)]
    derivative = jacobian(factors)
    residual = (tensor / model.unit - cp_product(np.ones(rank), factors)).ravel()
    after, foretold = model.step(damping)
    step = np.concatenate([(new - old).ravel() for new, old in zip(after, factors, strict=True)])
    normal_matrix = derivative.conj().T @ derivative
    damped = damping * np.max(normal_matrix.diagonal().real)
    gradient = derivative.conj().T @ residual
    # each of the two is a sum of as many products as the tensor has entries, of entries up to the largest
    scale = np.linalg.norm(normal_matrix) * np.linalg.norm(step) + np.linalg.norm(gradient)
    rounding = 64 * EPS * tensor.size * len(step) * (scale + np.linalg.norm(residual) * np.linalg.norm(derivative))
    left = np.linalg.norm(normal_matrix @ step + damped * step - gradient)
    assert left <= _CG_TOLERANCE * np.linalg.norm(gradient) + rounding or left < np.linalg.norm(gradient)
    expected = np.linalg.norm(residual) ** 2 - np.linalg.norm(residual - derivative @ step) ** 2
    scale = np.linalg.norm(residual) ** 2 + np.linalg.norm(derivative @ step) ** 2 + np.linalg.norm(step) ** 2
    assert abs(foretold - expected) <= 64 * EPS * tensor.size * len(step) * (scale + damped * np.vdot(step, step).real)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=st.integers(1, 4), lost=st.sampled_from([0.0, 1.0]))
def test_no_step_raises_the_error_and_the_error_is_that_of_the_point(dtype, rng, shape, rank, lost):
    tensor = kinds(rng, shape, dtype)
    target = Target.of(tensor, lost)
    state = Damped(kruskal(target, np.ones(rank), [integers(rng, (size, rank), dtype) for size in shape]))
    for _ in range(4):
        after = gauss_newton_step(target, state, 1e-6)
        assert after.error <= state.error
        assert after.error == target.error(after.point.weights, after.point.factors)
        for factor in after.point.factors:
            assert np.max(np.abs(np.linalg.norm(factor, axis=0) - 1.0)) <= 8 * (len(factor) + 3) * EPS
        state = after


def test_convergence_to_an_exact_tensor_is_faster_than_linear():
    """Near it each step squares the error but for the accuracy of its system, and for the damping."""
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((5, 3)) for _ in range(3)]
    target = Target.of(cp_product(np.ones(3), factors))
    state = Damped(kruskal(target, np.full(3, 20.0), [f + 1e-2 * rng.standard_normal(f.shape) for f in factors]))
    for _ in range(12):
        state = gauss_newton_step(target, state, 1e-6)
    assert state.error <= 1e-13


@pytest.mark.parametrize("step", [1 / 4000, 1 / 4096, 1 / 4200])
def test_a_short_step_is_no_minimum_where_an_undamped_one_goes_far(step):
    """Two components at an angle 2 t, which is to be 2.5 t: along t the tensor is t^2 times another, the residual.

    The curvature along t is 8 t^2 of the largest, which is half of a damping by 1e-6, so that the first step is a third
    of an undamped one.  That one takes t to 41/32 of it, and leaves (41^2 - 40^2) / (40^2 - 32^2), a seventh, of the
    residual.
    """

    def pair(step):
        return np.full(2, 0.5), [np.array([[1.0, 1.0], [step, -step]])] * 3

    target = Target.of(cp_product(*pair(1.25 * step)))
    point = kruskal(target, np.full(2, (1.0 + step**2) ** 1.5 / 2.0), pair(step)[1])
    after = gauss_newton_step(target, Damped(point), 0.5)
    assert after.error < 0.5 * point.error


def test_a_minimum_is_left_at_once_and_as_it_is():
    """The best approximation of a diagonal matrix by rank one; no step is foretold to lower the error."""
    target = Target.of(np.diag([3.0, 1.0]))
    point = kruskal(target, np.array([3.0]), [np.array([[1.0], [0.0]])] * 2)
    assert gauss_newton_step(target, Damped(point), 1e-6).point is point


@pytest.mark.parametrize("exponent", [-200, 3, 200])
def test_a_power_of_two_scales_the_weights_and_changes_no_other_bit(exponent):
    rng = np.random.default_rng(0)
    tensor, factors = rng.standard_normal((4, 5, 6)), [rng.standard_normal((size, 3)) for size in (4, 5, 6)]
    states = []
    for scale in (1.0, 2.0**exponent):
        target = Target.of(scale * tensor)
        states.append(gauss_newton_step(target, Damped(kruskal(target, np.full(3, scale), factors)), 1e-6))
    plain, scaled = states
    assert plain.error == scaled.error
    np.testing.assert_array_equal(scaled.point.weights, math.ldexp(1.0, exponent) * plain.point.weights)
    for first, second in zip(plain.point.factors, scaled.point.factors, strict=True):
        np.testing.assert_array_equal(first, second)
