"""Calibration: the error of the outputs is what falls, it is reported as it is, and what is no calibration is refused."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
from algorithms.tensors import EPS, generators, kinds, normal, rounding, tail
from hypothesis import given, settings
from hypothesis import strategies as st
from own_formats import TensorRing

from tlinear import Calibration, FactorizedLinear, Linear, decompose
from tlinear.algorithms.quasi_newton import evened_out
from tlinear.arrays import largest_part
from tlinear.decomposition import low_rank_baseline
from tlinear.decomposition.calibrated import Weighed
from tlinear.decomposition.fitting import Fitting
from tlinear.errors import (
    CalibrationError,
    DTypeError,
    InfeasibleRankError,
    NonFiniteError,
    OptionError,
    ShapeError,
    TLinearError,
)
from tlinear.formats import FORMATS, Fitted, find_format
from tlinear.formats.rank_rules import rank_rules

FACTORIZATIONS = tuple(FORMATS)
LOW_RANK = tuple(name for name in FACTORIZATIONS if name != "dense")
sides = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
dtypes = st.sampled_from(["float64", "complex128"])
QUICK = {"max_iterations": 15}


def rank_for(factorization, rank):
    return "same" if factorization == "dense" else rank


def options_for(factorization):
    return QUICK if factorization in ("cp", "tucker") else {}


def inputs(rng, n_features, dtype="float64"):
    """Samples of a layer: more or fewer than its features, of few dimensions, of any scales, or with dead ones."""
    n = int(rng.integers(1, 3 * n_features + 2))
    x = normal(rng, (n, n_features), dtype)
    match rng.integers(5):
        case 0:
            return x
        case 1:
            return x * 10.0 ** rng.integers(-6, 6, n_features)
        case 2:
            return x[:, :1] @ normal(rng, (1, n_features), dtype)
        case 3:
            is_dead = rng.random(n_features) < 0.5
            is_dead[rng.integers(n_features)] = False
            return np.where(is_dead, 0.0, x)
        case _:
            return np.ldexp(x.real, int(rng.integers(-300, 300)))


def as_matrix(tensor, n_in):
    return tensor.reshape(math.prod(tensor.shape[:n_in]), -1)


def widened(tensor):
    wide = np.complex128 if tensor.dtype.kind == "c" else np.float64
    return tensor.with_operands({name: a.astype(wide) for name, a in tensor.operands.items()}).to_tensor()


def measured(x, matrix, result):
    """The norms ``|X (M - M')|`` and ``|X M|`` of samples near 1."""
    return np.linalg.norm(x @ (matrix - result)), np.linalg.norm(x @ matrix)


def problem(factorization, tensor, n_in, calibration):
    cls = find_format(factorization)
    rules = rank_rules(cls, tensor.shape[:n_in], tensor.shape[n_in:])
    work = Fitting(cls, tensor, n_in, rules, np.random.default_rng(0), {}, largest_part(tensor), tensor.dtype)
    return work, Weighed(work, calibration)


# ------------------------------------------------------------ laws


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@given(rng=generators, in_shape=sides, out_shape=sides, rank=st.integers(1, 4), dtype=dtypes, real=st.booleans())
@settings(max_examples=25)
def test_no_calibration_is_worse_on_itself_than_the_plain_result(
    factorization, rng, in_shape, out_shape, rank, dtype, real
):
    """To the bit, also where it says next to nothing: of one sample, or of a few dimensions."""
    tensor, n_in = kinds(rng, in_shape + out_shape, dtype), len(in_shape)
    x = inputs(rng, math.prod(in_shape), "float64" if real else dtype)
    calibration = Calibration(samples=x, max_iterations=20)
    asked = {"n_in": n_in, **options_for(factorization)}
    plain = decompose(tensor, factorization, rank_for(factorization, rank), **asked)
    result = decompose(tensor, factorization, rank_for(factorization, rank), calibration=calibration, **asked)
    before = calibration.relative_output_error(as_matrix(tensor, n_in), as_matrix(plain.tensor.to_tensor(), n_in))
    after = calibration.relative_output_error(as_matrix(tensor, n_in), as_matrix(result.tensor.to_tensor(), n_in))
    assert result.relative_output_error == after
    assert after <= before
    assert result.rank == plain.rank
    assert result.tensor.dtype == plain.tensor.dtype
    assert plain.relative_output_error is None
    assert all(late <= early for early, late in itertools.pairwise(result.history))


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@given(rng=generators, in_shape=sides, out_shape=sides, budget=st.sampled_from([0.3, 0.6, 0.9]), dtype=dtypes)
@settings(max_examples=12)
def test_a_budget_that_is_shared_out_by_the_inputs_is_kept_and_no_worse(
    factorization, rng, in_shape, out_shape, budget, dtype
):
    tensor, n_in = kinds(rng, in_shape + out_shape, dtype), len(in_shape)
    calibration = Calibration(samples=inputs(rng, math.prod(in_shape), dtype), max_iterations=12)
    asked = {"n_in": n_in, **options_for(factorization)}
    try:
        plain = decompose(tensor, factorization, budget, **asked)
    except InfeasibleRankError:
        return
    result = decompose(tensor, factorization, budget, calibration=calibration, **asked)
    before = calibration.relative_output_error(as_matrix(tensor, n_in), as_matrix(plain.tensor.to_tensor(), n_in))
    assert result.relative_output_error <= before
    assert result.n_parameters <= budget * tensor.size


@pytest.mark.parametrize("factorization", ["tucker", "tt"])
def test_ranks_go_where_the_inputs_are(factorization):
    """Of the first mode all but one place are nearly 0 in every input, so that it needs few ranks: no weight tells that."""
    rng = np.random.default_rng(0)
    tensor = normal(rng, (6, 4, 6, 4))
    x = (normal(rng, (300, 6, 4)) * np.array([1.0, *[1e-3] * 5])[:, np.newaxis]).reshape(300, 24)
    plain, result = (decompose(tensor, factorization, 0.3, n_in=2, calibration=c) for c in (None, x))
    same_ranks = decompose(tensor, factorization, plain.rank, n_in=2, calibration=x)
    assert result.relative_output_error < 0.01 < 0.3 < same_ranks.relative_output_error


@given(generators, sides, sides, st.integers(1, 3), dtypes)
@settings(max_examples=25)
def test_the_output_error_is_that_of_the_samples(rng, in_shape, out_shape, rank, dtype):
    r"""C is a sum of N products an entry, and the trace one of n more: its rounding is at most
    ``gamma (|X| |D|)^2`` with ``gamma = 8 (N + n) eps``, 8 eps covering a complex product and sum.
    """
    tensor, n_in = kinds(rng, in_shape + out_shape, dtype), len(in_shape)
    x = inputs(rng, math.prod(in_shape), dtype)
    x = np.ldexp(x.real, -math.frexp(np.max(np.abs(x)) or 1.0)[1]) if x.dtype.kind != "c" else x
    result = decompose(tensor, "tt", rank, n_in=n_in, calibration=Calibration(samples=x, max_iterations=10))
    matrix, found = as_matrix(tensor, n_in), as_matrix(result.tensor.to_tensor(), n_in)
    error, whole = measured(x, matrix, found)
    gamma = 8.0 * sum(x.shape) * EPS * np.linalg.norm(x) ** 2
    slack = gamma * (
        np.linalg.norm(matrix - found) ** 2 + result.relative_output_error**2 * np.linalg.norm(matrix) ** 2
    )
    if gamma * np.linalg.norm(matrix) ** 2 < whole**2:
        assert abs(result.relative_output_error**2 * whole**2 - error**2) <= slack


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@given(rng=generators, in_shape=sides, out_shape=sides, dtype=dtypes)
@settings(max_examples=15)
def test_the_gradient_is_that_of_the_objective(factorization, rng, in_shape, out_shape, dtype):
    """Along one operand the objective is a parabola, whose slope is a difference of two values: exact but for rounding."""
    tensor, n_in = kinds(rng, in_shape + out_shape, dtype), len(in_shape)
    x = normal(rng, (5, math.prod(in_shape)), dtype)
    if not np.any(tensor):
        return
    work, weighed = problem(factorization, tensor, n_in, Calibration(samples=x))
    random = work.cls.random(in_shape, out_shape, rank_for(factorization, 2), std=1.0, dtype=dtype, rng=rng)
    operands = evened_out({name: np.asarray(array, dtype) for name, array in random.operands.items()})
    value, gradient = weighed.objective(operands)
    for name, operand in operands.items():
        step = normal(rng, operand.shape, dtype)
        ahead, behind = (weighed.objective({**operands, name: operand + sign * step})[0] for sign in (1.0, -1.0))
        slope = float(np.vdot(gradient[name], step).real)
        n_terms = tensor.size * sum(a.size for a in operands.values())
        assert abs((ahead - behind) / 2.0 - slope) <= 16.0 * n_terms * EPS * (ahead + behind + value + 1.0)


@pytest.mark.parametrize("factorization", ["tt", "tucker"])
@given(rng=generators, n_in=st.integers(1, 6), n_out=st.integers(1, 6), dtype=dtypes, data=st.data())
@settings(max_examples=25)
def test_of_a_matrix_the_start_is_the_best_of_its_rank(factorization, rng, n_in, n_out, dtype, data):
    r"""By Eckart and Young in the metric: ``|L^H (M - M')|`` is the norm of the singular values of ``L^H M`` left out.

    The truncation is good to ``rounding``; a product with L^H and a system with it, which are undone by each other, come to
    a relative n^2 eps (Higham, section 9.3, for a matrix of n columns) times the condition of L.
    """
    matrix, rank = kinds(rng, (n_in, n_out), dtype), data.draw(st.integers(1, min(n_in, n_out)))
    work, weighed = problem(factorization, matrix, 1, Calibration(samples=inputs(rng, n_in, dtype), ridge=1e-3))
    root = np.linalg.cholesky(weighed.metric).conj().T
    values = np.linalg.svd(root @ work.scaled, compute_uv=False)
    bonds = (rank,) * work.rules.n_bonds
    (fit,) = weighed.closed_form(bonds)
    error = np.linalg.norm(root @ (work.scaled - work.reconstruct(fit.operands)))
    slack = (rounding((n_in, n_out)) + 8.0 * max(n_in, n_out) ** 2 * EPS) * np.linalg.cond(root)
    assert abs(error - tail(values, rank)) <= slack * np.linalg.norm(values)


@pytest.mark.parametrize("factorization", ["tt", "tucker", "cp"])
@given(rng=generators, n_in=st.integers(1, 6), n_out=st.integers(1, 6), dtype=dtypes, data=st.data())
@settings(max_examples=15)
def test_a_matrix_is_near_the_best_on_features_of_any_scale(factorization, rng, n_in, n_out, dtype, data):
    r"""Without the ridge the best of rank R leaves the singular values of X M after the first R.  Its own ridge is

    .. math:: \lambda \sum_j \|X_j\|^2 \|(M - \hat M)_j\|^2 \le \lambda \sum_j \|X_j\|^2 \|M_j\|^2,

    as it is a projection of the rows of M, and the one found, ridge included, is no worse.
    """
    matrix, rank = kinds(rng, (n_in, n_out), dtype), data.draw(st.integers(1, min(n_in, n_out)))
    x = inputs(rng, n_in, dtype) * 10.0 ** rng.integers(-30, 30, n_in)
    x /= np.max(np.abs(x))
    calibration = Calibration(samples=x)
    result = decompose(matrix, factorization, rank, n_in=1, calibration=calibration)
    outputs = x @ matrix
    size = float(np.linalg.norm(x, axis=0) ** 2 @ np.linalg.norm(matrix, axis=1) ** 2)
    best = tail(np.linalg.svd(outputs, compute_uv=False), rank)
    slack = (calibration.ridge + 8.0 * sum(x.shape) ** 2 * n_out * EPS) * size
    for found in (result, low_rank_baseline(matrix.T, rank * (n_in + n_out), calibration=calibration)):
        assert (found.relative_output_error * np.linalg.norm(outputs)) ** 2 <= best**2 + slack


def test_a_massive_activation_does_not_drown_the_other_features():
    """The best of rank R leaves the singular values of X M after the first R; the others' error is that of all but the one."""
    rng = np.random.default_rng(0)
    x = normal(rng, (500, 64)) / np.arange(1, 65)
    x[:, 7] = 1e4 * normal(rng, (500,))
    matrix = normal(rng, (64, 48))
    result = decompose(matrix, "tt", 8, n_in=1, calibration=x)
    values = np.linalg.svd(x @ matrix, compute_uv=False)
    assert result.relative_output_error < 1.001 * tail(values, 8) / np.linalg.norm(values)
    x[:, 7] = 0.0
    others = measured(x, matrix, as_matrix(result.tensor.to_tensor(), 1))
    assert others[0] < 0.25 * others[1]


@pytest.mark.parametrize("factorization", LOW_RANK)
@given(rng=generators, n_in=st.integers(1, 6), out_shape=sides, dtype=dtypes, rank=st.integers(1, 3))
@settings(max_examples=8)
def test_a_feature_in_other_units_changes_no_bit_of_the_outputs(factorization, rng, n_in, out_shape, dtype, rank):
    """Its samples times 2^e, its weights times 2^-e: the operand of the input mode has them, and the others are the same."""
    tensor, x = kinds(rng, (n_in, *out_shape), dtype), inputs(rng, n_in, dtype)
    exponents = rng.integers(-40, 40, n_in)
    fits = []
    for e in (0 * exponents, exponents):
        scale = np.ldexp(1.0, e)
        scaled = tensor / scale.reshape(-1, *[1] * len(out_shape))
        work, weighed = problem(factorization, scaled, 1, Calibration(samples=x * scale, max_iterations=5))
        bonds = work.cls.resolve_rank((n_in,), out_shape, rank)
        bonds = work.cls.random((n_in,), out_shape, bonds, rng=0).bonds
        (start,) = weighed.closed_form(bonds)
        operands = weighed.descend(start, 5, None).operands
        name, axis = weighed.in_operand
        back = np.moveaxis(operands[name], axis, -1) * scale
        fits.append({**operands, name: np.ldexp(back.real, work.exponent) + 1j * np.ldexp(back.imag, work.exponent)})
    for name, array in fits[0].items():
        np.testing.assert_array_equal(array, fits[1][name])


@given(generators, st.integers(2, 6), sides, st.integers(1, 3), dtypes)
@settings(max_examples=15)
def test_samples_and_their_second_moment_say_the_same(rng, n_features, out_shape, rank, dtype):
    """Of integers X^H X is exact, and so is its quotient by a power of two: the same bits come of it."""
    x = rng.integers(-4, 5, (8, n_features)).astype(dtype)
    if dtype == "complex128":
        x += 1j * rng.integers(-4, 5, x.shape)
    tensor = kinds(rng, (n_features, *out_shape), dtype)
    by_samples, by_moment = Calibration(samples=x), Calibration(second_moment=x.conj().T @ x)
    assert by_samples.n_samples == 8
    assert by_moment.n_samples is None
    largest = np.max(np.abs(by_samples.second_moment)) or 1.0
    ratio = by_moment.second_moment / (np.max(np.abs(by_moment.second_moment)) or 1.0)
    np.testing.assert_allclose(by_samples.second_moment / largest, ratio, rtol=4 * EPS, atol=0)
    errors = [
        decompose(tensor, "tt", rank, n_in=1, calibration=c).relative_output_error for c in (by_samples, by_moment)
    ]
    assert abs(errors[0] - errors[1]) <= 1e-5 * (1.0 + errors[0])  # stop_tolerance


@pytest.mark.parametrize("exponent", [-500, -3, 500])
def test_the_scale_of_the_samples_changes_no_bit(exponent):
    rng = np.random.default_rng(0)
    tensor, x = normal(rng, (3, 4, 5)), normal(rng, (40, 12))
    results = [decompose(tensor, "tt", 2, n_in=2, calibration=np.ldexp(x, e)) for e in (0, exponent)]
    assert results[0].relative_output_error == results[1].relative_output_error
    for name, array in results[0].tensor.operands.items():
        np.testing.assert_array_equal(array, results[1].tensor.operands[name])


@pytest.mark.parametrize("factorization", LOW_RANK)
@pytest.mark.parametrize("shape", [(12, 3, 5), (3, 4, 3, 5)], ids=["one input mode", "two"])
@pytest.mark.parametrize("exponent", [-600, 600])
def test_the_scale_of_the_weight_changes_no_bit(factorization, shape, exponent):
    """Not the ranks that the inputs are worth, either."""
    n_in, rng = len(shape) - 2, np.random.default_rng(0)
    tensor, x = normal(rng, shape), normal(rng, (40, 12)) / np.arange(1, 13)
    plain, scaled = (
        decompose(np.ldexp(tensor, e), factorization, 0.6, n_in=n_in, calibration=x) for e in (0, exponent)
    )
    assert plain.rank == scaled.rank
    assert plain.relative_output_error == scaled.relative_output_error
    np.testing.assert_array_equal(np.ldexp(plain.tensor.to_tensor(), exponent), scaled.tensor.to_tensor())


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_it_is_deterministic_and_changes_no_argument(factorization):
    rng = np.random.default_rng(0)
    tensor, x = normal(rng, (3, 4, 2, 5)), normal(rng, (40, 12))
    before = tensor.copy(), x.copy()
    first, second = (decompose(tensor, factorization, 2, n_in=2, calibration=x) for _ in range(2))
    for name, array in first.tensor.operands.items():
        np.testing.assert_array_equal(array, second.tensor.operands[name])
    assert first.history == second.history
    np.testing.assert_array_equal(tensor, before[0])
    np.testing.assert_array_equal(x, before[1])


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_real_samples_with_unlike_features_are_worth_it(factorization):
    """Where half of the features are a hundredth of the others, what is spent on them is wasted."""
    rng = np.random.default_rng(1)
    tensor = normal(rng, (4, 4, 4, 4))
    x = normal(rng, (200, 16)) * np.repeat([1.0, 0.01], 8)
    plain, result = (decompose(tensor, factorization, 0.5, n_in=2, calibration=c) for c in (None, x))
    matrix = as_matrix(tensor, 2)
    errors = [measured(x, matrix, as_matrix(r.tensor.to_tensor(), 2))[0] for r in (plain, result)]
    assert errors[1] < errors[0]
    assert result.relative_error > plain.relative_error


def test_a_format_from_outside_is_calibrated_too():
    class Ring(TensorRing):
        @classmethod
        def fit(cls, tensor, n_in, bonds, *, rng, tolerance=None):
            random = cls.random(tensor.shape[:n_in], tensor.shape[n_in:], bonds, std=1.0, rng=rng)
            return Fitted(random.operands, "cores.0")

    rng = np.random.default_rng(0)
    tensor, x = normal(rng, (4, 3, 5)), normal(rng, (50, 12))
    plain, result = (decompose(tensor, Ring, (2, 2, 2), n_in=2, calibration=c) for c in (None, x))
    assert result.relative_output_error < 0.9 < plain.relative_error


# ------------------------------------------------------------ the layer


@pytest.mark.parametrize("factorization", LOW_RANK)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_a_padded_layer_is_calibrated_by_the_features_it_has(factorization, dtype):
    rng = np.random.default_rng(0)
    linear = Linear.from_arrays(normal(rng, (11, 13), dtype).astype(dtype))
    x = (normal(rng, (60, 13), dtype) * np.linspace(0.1, 2.0, 13)).astype(dtype)
    asked = {"factorization": factorization, "pad": 0.3, "rank": 2}
    plain, layer = (FactorizedLinear.from_linear(linear, calibration=c, **asked) for c in (None, x))
    assert layer.in_features == 13 < math.prod(layer.in_tensorized_features)
    assert layer.weight.dtype == dtype
    dense = linear.weight.T.astype(np.result_type(dtype, np.float64))
    errors = [
        measured(x, dense, as_matrix(widened(each.weight), len(each.in_tensorized_features))[:13, :11])
        for each in (plain, layer)
    ]
    assert errors[1][0] < errors[0][0]
    # what is cropped from the outputs was an error, too
    assert errors[1][0] / errors[1][1] <= layer.decomposition.relative_output_error * (1.0 + 1e-6)


@pytest.mark.parametrize("corner", [0.0, 1e-20, -1e-20])
def test_a_moment_that_is_rounded_as_a_whole_is_taken(corner):
    """Feature by feature it is not semidefinite, but by less than the rounding of its largest entry."""
    moment = np.array([[1.0, 1e-9], [1e-9, corner]])
    tensor = normal(np.random.default_rng(0), (2, 2, 3))
    result = decompose(tensor[0], "tt", 1, n_in=1, calibration=Calibration(second_moment=moment))
    assert result.relative_output_error < 0.01
    both = Calibration(second_moment=np.kron(moment, np.eye(2)))
    assert decompose(tensor, "tt", 1, n_in=2, calibration=both).relative_output_error < 1.0


def test_leading_axes_of_samples_are_a_batch():
    x = np.random.default_rng(0).standard_normal((2, 7, 6))
    together = Calibration(samples=x)
    np.testing.assert_array_equal(together.second_moment, Calibration(samples=x.reshape(14, 6)).second_moment)
    assert Calibration(samples=x[0, 0]).n_samples == 1


def test_a_callback_ends_the_descent_and_no_iteration_is_the_better_start():
    rng = np.random.default_rng(0)
    tensor, x = normal(rng, (3, 4, 2, 5)), normal(rng, (40, 12))
    calibration = Calibration(samples=x, callback=lambda n, error: n == 2)
    result = decompose(tensor, "blocktt", 2, n_in=2, calibration=calibration)
    assert (result.converged, result.n_iterations, len(result.history)) == (False, 2, 2)
    assert result.stop_reason == "the callback asked to stop"
    none = decompose(tensor, "blocktt", 2, n_in=2, calibration=Calibration(samples=x, max_iterations=0))
    plain = decompose(tensor, "blocktt", 2, n_in=2)
    assert none.relative_error == plain.relative_error


def test_a_calibration_is_printed_pickled_and_copied():
    x = np.random.default_rng(0).standard_normal((40, 12))
    calibration = Calibration(samples=x, ridge=1e-3)
    for other in (pickle.loads(pickle.dumps(calibration)), copy.deepcopy(calibration)):
        np.testing.assert_array_equal(other.metric(), calibration.metric())
    assert repr(calibration) == "Calibration(12 features, 40 samples, ridge=0.001)"
    with pytest.raises(AttributeError):
        calibration.ridge = 1.0


def test_the_baseline_is_the_whitened_matrix_of_as_many_parameters():
    rng = np.random.default_rng(0)
    weight, x = normal(rng, (8, 12)), normal(rng, (60, 12)) * np.linspace(0.1, 2, 12)
    baseline = low_rank_baseline(weight, 45, calibration=x)
    assert (baseline.rank, baseline.n_parameters) == (2, 40)
    matrix = decompose(weight.T, "tt", 2, n_in=1, calibration=x)
    assert abs(baseline.relative_output_error - matrix.relative_output_error) <= 1e-5
    assert matrix.baseline.relative_output_error == pytest.approx(baseline.relative_output_error, rel=1e-12)
    assert baseline.relative_error < matrix.relative_error


# ------------------------------------------------------------ what is refused


X = np.random.default_rng(0).standard_normal((20, 6))
BAD_CALIBRATIONS = {
    "nothing": ({}, CalibrationError, "Neither samples nor second_moment is given"),
    "both": ({"samples": X, "second_moment": X.T @ X}, CalibrationError, "Both samples and second_moment are given"),
    "no sample": ({"samples": X[:0]}, CalibrationError, r"samples of shape \(0, 6\) hold no input"),
    "zeros": ({"samples": 0 * X}, CalibrationError, r"samples of shape \(20, 6\): all entries are zero"),
    "moment of zeros": (
        {"second_moment": np.zeros((6, 6))},
        CalibrationError,
        "second_moment of shape .*: all entries are zero",
    ),
    "a number": ({"samples": 3.0}, CalibrationError, r"samples of shape \(\) hold no input"),
    "NaN": ({"samples": np.where(X > 1, np.nan, X)}, NonFiniteError, "samples of shape .* NaN or infinite"),
    "infinite moment": ({"second_moment": np.diag([1.0, np.inf])}, NonFiniteError, "second_moment of shape"),
    "text": ({"samples": [["a"]]}, DTypeError, "samples has dtype .* not numeric"),
    "not square": ({"second_moment": X}, ShapeError, r"second_moment has shape \(20, 6\), but must be"),
    "not Hermitian": ({"second_moment": X[:6]}, CalibrationError, "is not Hermitian"),
    "transposed complex": ({"second_moment": np.array([[2, 1j], [1j, 2]])}, CalibrationError, "is not Hermitian"),
    "not semidefinite": ({"second_moment": np.array([[1.0, 2.0], [2.0, 1.0]])}, CalibrationError, "from -0.333 to 1"),
    "negative": ({"second_moment": -np.eye(2), "ridge": 1.0}, CalibrationError, "not positive semidefinite"),
    "ridge": ({"samples": X, "ridge": -1.0}, OptionError, "ridge=-1.0 must be"),
    "iterations": ({"samples": X, "max_iterations": 1.5}, OptionError, "max_iterations=1.5 must be"),
    "stop": ({"samples": X, "stop_tolerance": math.nan}, OptionError, "stop_tolerance=nan must be"),
    "callback": ({"samples": X, "callback": 3}, OptionError, "callback=3 cannot be called"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_CALIBRATIONS.values(), ids=BAD_CALIBRATIONS.keys())
def test_what_is_no_calibration_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        Calibration(**arguments)
    assert isinstance(caught.value, TLinearError)


MISUSES = {
    "no split": ({}, {}, ShapeError, "pass n_in, the number of input modes among the 3 modes"),
    "tolerance": ({"rank": None, "tolerance": 0.1}, {"n_in": 2}, OptionError, "bounds the error of the weight"),
    "features": ({"calibration": X}, {"n_in": 2}, ShapeError, r"has 6 features, but the input modes \(3, 4\) hold 12"),
    "moment": ({"calibration": np.ones((12, 12))}, {"n_in": 2}, CalibrationError, "is symmetric .* Say which it is"),
    "complex moment": (
        {"calibration": np.ones((12, 12), complex)},
        {"n_in": 2},
        CalibrationError,
        r"is Hermitian .*Calibration\(second_moment=C\)",
    ),
}


@pytest.mark.parametrize(("arguments", "split", "error", "message"), MISUSES.values(), ids=MISUSES.keys())
def test_a_calibration_that_does_not_go_with_the_rest_is_refused(arguments, split, error, message):
    arguments = {"rank": 2, "calibration": np.ones((7, 12)), **arguments, **split}
    with pytest.raises(error, match=message):
        decompose(np.ones((3, 4, 5)), "tt", **arguments)


def test_a_layer_refuses_samples_of_another():
    with pytest.raises(ShapeError, match="has 6 features, but the layer has in_features=12"):
        FactorizedLinear.from_linear(Linear(12, 10, rng=0), factorization="tt", rank=2, calibration=X)
    with pytest.raises(OptionError, match=r"holds \['calibration'\]"):
        FactorizedLinear.from_linear(
            Linear(6, 10, rng=0), factorization="tt", rank=2, decomposition_options={"calibration": X}
        )


def test_a_square_array_is_samples_unless_it_might_be_a_second_moment():
    square = np.random.default_rng(0).standard_normal((12, 12))
    assert Calibration.of(square).n_samples == 12
    assert Calibration.of(np.eye(12)).n_samples == 12  # by either reading all features count alike
    with pytest.raises(CalibrationError, match="Say which it is"):
        Calibration.of((square.T @ square).astype(np.float32))
    named = Calibration(samples=square.T @ square)
    assert Calibration.of(named) is named
