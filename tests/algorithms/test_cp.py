"""CP: it never goes uphill, it tells how it ended, and it finds what is there to be found."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import (
    DTYPES,
    EPS,
    generators,
    kinds,
    normal,
    rounding,
    shapes,
    singular_values,
    tail,
)
from hypothesis import given
from hypothesis import strategies as st

from tlinear import decompose
from tlinear.algorithms.cp import cp
from tlinear.algorithms.cp_als import als_sweep, extrapolated_sweep
from tlinear.algorithms.cp_compression import compress
from tlinear.algorithms.cp_gauss_newton import Damped, gauss_newton_step
from tlinear.algorithms.descent import EXACT, STOPPED
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, khatri_rao
from tlinear.algorithms.report import relative_error
from tlinear.errors import OptionError

ranks = st.integers(1, 5)

UNSETTLED = "but components that cancel each other had not settled"


def fit(tensor, rank, seed=0, **options):
    return cp(tensor, rank, rng=np.random.default_rng(seed), **options)


def uniform(rng, shape, rank):
    """Positive factors, whose columns have cosines near 3/4."""
    return cp_product(np.ones(rank), [rng.uniform(size=(size, rank)) for size in shape])


def gaussian(rng, shape, rank, dtype="float64"):
    return cp_product(np.ones(rank), [normal(rng, (size, rank), dtype) for size in shape])


def collinear(rng, shape, rank):
    """Factors whose columns all have the cosine 9/10."""
    gram = np.full((rank, rank), 0.9) + 0.1 * np.eye(rank)
    upper = np.linalg.cholesky(gram).T
    return cp_product(np.ones(rank), [np.linalg.qr(rng.standard_normal((size, rank)))[0] @ upper for size in shape])


def history_rounding(tensor, weights):
    """How far the squares of the errors in the history may be from the true ones, over these.

    They are taken from the difference unless the identity ``|T|^2 - 2 <T, X> + |X|^2`` tells
    them to within 1e-8 for every rounding of an entry, of which there are at most N + R^2 in the longest sum.
    """
    return 1e-8 * (tensor.size + len(weights) ** 2)


# ------------------------------------------------------------ what it returns, for any tensor


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_history_never_rises_and_ends_with_the_error_of_the_result(dtype, rng, shape, rank):
    tensor = kinds(rng, shape, dtype)
    weights, factors, report = fit(tensor, rank, max_iterations=20)
    assert [weights.shape, *(factor.shape for factor in factors)] == [(rank,), *((size, rank) for size in shape)]
    assert {weights.dtype, *(factor.dtype for factor in factors)} == {np.dtype(dtype)}
    errors = [1.0, *report.history]
    assert all(later <= earlier for earlier, later in itertools.pairwise(errors))
    error = relative_error(tensor, cp_product(weights, factors))
    if report.history and error > EXACT:
        assert abs(error**2 - errors[-1] ** 2) <= history_rounding(tensor, weights) * error**2
    else:
        assert not report.history or errors[-1] <= EXACT + rounding(shape)
    assert report.n_iterations == len(report.history) <= 20
    if report.stop_reason.startswith("the relative error is at most"):
        assert report.converged
        assert not report.history or errors[-1] <= EXACT
    elif report.stop_reason.startswith("a sweep lowered"):
        assert report.converged != report.stop_reason.endswith(UNSETTLED)
        assert errors[-2] - errors[-1] <= 1e-6 * errors[-2]
    else:
        assert (report.converged, report.stop_reason, len(report.history)) == (False, "20 sweeps were done", 20)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_columns_have_norm_one_whatever_becomes_of_their_weights(dtype, rng, shape, rank):
    """A norm of s terms and a quotient: s + 3 roundings and as many in checking, a complex product counting as three."""
    _, factors, _ = fit(kinds(rng, shape, dtype), rank, max_iterations=5)
    for factor in factors:
        assert np.max(np.abs(np.linalg.norm(factor, axis=0) - 1.0)) <= 3 * (len(factor) + 3) * EPS


@pytest.mark.parametrize("exponent", [-200, -37, 1, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_power_of_two_scales_the_weights_and_changes_no_other_bit(dtype, exponent):
    """Every step is a product, a quotient or a comparison of sizes, so that no rounding changes: no constant is absolute."""
    tensor = normal(np.random.default_rng(0), (4, 5, 6), dtype)
    weights, factors, report = fit(tensor, 7, max_iterations=40)
    scaled_weights, scaled_factors, scaled_report = fit(tensor * 2.0**exponent, 7, max_iterations=40)
    np.testing.assert_array_equal(scaled_weights, weights * 2.0**exponent)
    for scaled, factor in zip(scaled_factors, factors, strict=True):
        np.testing.assert_array_equal(scaled, factor)
    assert scaled_report == report


def test_input_is_not_written_to_and_equal_seeds_agree_to_the_bit():
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    before = tensor.copy()
    tensor.flags.writeable = False
    (weights, factors, report), (again, factors_again, report_again) = (fit(tensor, 6, seed=3) for _ in range(2))
    np.testing.assert_array_equal(weights, again)
    for factor, factor_again in zip(factors, factors_again, strict=True):
        np.testing.assert_array_equal(factor, factor_again)
    assert report == report_again
    np.testing.assert_array_equal(tensor, before)


def test_memory_layout_changes_no_bit():
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    weights, factors, report = fit(tensor, 3)
    fortran_weights, fortran_factors, fortran_report = fit(np.asfortranarray(tensor), 3)
    np.testing.assert_array_equal(fortran_weights, weights)
    for fortran, factor in zip(fortran_factors, factors, strict=True):
        np.testing.assert_array_equal(fortran, factor)
    assert fortran_report == report


# ------------------------------------------------------------ what it finds


@pytest.mark.parametrize(
    ("draw", "shape", "rank"),
    [
        (gaussian, (8, 8, 8, 8), 4),
        (uniform, (8, 8, 8, 8), 4),
        (collinear, (8, 8, 8, 8), 4),
        (gaussian, (6, 7, 8), 5),
        (gaussian, (5, 5, 5), 6),
        (gaussian, (4, 4, 2, 5), 3),
        (gaussian, (3, 3, 3, 3, 3), 4),
    ],
    ids=["64 x 64", "positive", "collinear", "three modes", "more columns than rows", "the seed's layer", "five modes"],
)
def test_exact_rank_is_recovered_by_default_in_nine_of_ten_cases(draw, shape, rank):
    """Among them swamps, where plain alternating least squares still has an error of 1e-4 after 200 sweeps."""
    errors = [fit(draw(np.random.default_rng(seed), shape, rank), rank)[2].history[-1] for seed in range(10)]
    assert sum(error < 1e-6 for error in errors) >= 9, errors


@pytest.mark.parametrize("seed", range(3))
def test_a_complex_tensor_is_recovered(seed):
    tensor = gaussian(np.random.default_rng(seed), (5, 6, 7), 4, "complex128")
    _, _, report = fit(tensor, 4)
    assert report.history[-1] < 1e-6


def test_complex_components_of_a_real_tensor_are_found_when_it_is_given_as_complex():
    """Quaternion-like slices: of rank 3 over the reals, and 2 over the complex numbers, which a real start never leaves."""
    tensor = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
    _, _, real = fit(tensor, 2)
    _, _, complex_report = fit(tensor.astype(complex), 2)
    assert complex_report.history[-1] < 1e-6 < real.history[-1]


@pytest.mark.parametrize("ridge", [0.0, 1e-10, 1e-3])
def test_the_ridge_biases_nothing(ridge):
    """It is a proximal term: at the solution it is zero, so even a large one only costs sweeps."""
    _, _, report = fit(gaussian(np.random.default_rng(0), (8, 8, 8), 3), 3, ridge=ridge)
    assert report.history[-1] <= EXACT


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), data=st.data())
def test_of_a_matrix_it_is_the_truncated_svd(dtype, rng, shape, data):
    """The start from the singular vectors is the answer, and the iteration ends where EXACT allows it to."""
    matrix = kinds(rng, shape, dtype)
    rank = data.draw(st.integers(1, min(shape)))
    weights, factors, report = fit(matrix, rank)
    error = np.linalg.norm(matrix - cp_product(weights, factors))
    slack = EXACT + rounding(shape)
    assert abs(error - tail(singular_values(matrix, 1), rank)) <= slack * np.linalg.norm(matrix)
    assert report.converged


def test_a_callback_sees_the_history_and_may_end_it():
    """In every phase: compressed or not, sweeps or Gauss-Newton steps, of the core or of the whole tensor."""
    rng = np.random.default_rng(0)
    noisy = gaussian(rng, (12, 12, 12), 3) + 1e-3 * normal(rng, (12, 12, 12))
    swamp = collinear(rng, (5, 5, 5), 4) + 1e-4 * normal(rng, (5, 5, 5))
    for tensor, rank in ((noisy, 3), (swamp, 4)):
        seen = []
        _, _, full = fit(tensor, rank, n_starts=1, callback=lambda n, error, seen=seen: seen.append((n, error)))
        # the last iteration of a phase is what ended it, and nothing is left to ask
        assert set(seen) <= set(enumerate(full.history, 1))
        assert len(seen) >= full.n_iterations - 2
        assert full.converged
        for stop, _ in seen:
            weights, factors, report = fit(tensor, rank, callback=lambda n, error, stop=stop: n == stop)
            assert (report.converged, report.stop_reason) == (False, STOPPED)
            assert report.history == full.history[:stop]
            assert relative_error(tensor, cp_product(weights, factors)) < 1.0


def test_a_callback_that_ends_a_further_start_leaves_the_better_one():
    """The counter starts anew with every start, and the second is ended at once."""
    tensor, seen = normal(np.random.default_rng(0), (4, 5, 6)), []

    def second_start(n, error):
        seen.append(n)
        return seen.count(1) == 2

    _, _, first = fit(tensor, 4, n_starts=1)
    weights, factors, report = fit(tensor, 4, n_starts=3, callback=second_start)
    assert seen[-1] == 1
    assert (report.converged, report.stop_reason, report.history) == (False, STOPPED, first.history)
    error = relative_error(tensor, cp_product(weights, factors))
    assert abs(error**2 - report.history[-1] ** 2) <= history_rounding(tensor, weights) * error**2


def test_the_iterations_of_core_and_whole_are_limited_together():
    rng = np.random.default_rng(0)
    tensor = gaussian(rng, (12, 12, 12), 3) + 0.5 * normal(rng, (12, 12, 12))
    assert compress(tensor, 3).loses
    for most in (1, 2, 3, 7):
        _, _, report = fit(tensor, 3, max_iterations=most, stop_tolerance=0.0)
        assert (report.converged, report.n_iterations) == (False, most)
        assert report.stop_reason == f"{most} sweeps were done"
        assert len(report.history) == most


def test_the_last_sweeps_are_of_the_whole_tensor():
    """What lies outside of the subspaces of the core is not lost: no further sweep of the tensor lowers the error."""
    rng = np.random.default_rng(0)
    tensor = gaussian(rng, (15, 16, 17), 3) + 0.5 * normal(rng, (15, 16, 17))
    assert compress(tensor, 3).loses
    weights, factors, report = fit(tensor, 3)
    target = Target.of(tensor)
    point = Kruskal(weights, factors, target.error(weights, factors))
    swept = als_sweep(target, point, 0.0)
    assert report.converged
    assert point.error - swept.error <= 1e-6 * point.error
    core = [basis @ (basis.T @ factor) for basis, factor in zip(compress(tensor, 3).bases, factors, strict=True)]
    assert max(np.linalg.norm(inside - factor) for inside, factor in zip(core, factors, strict=True)) > 1e-3


# ------------------------------------------------------------ reading in single precision


SINGLE = {"float64": "float32", "complex128": "complex64"}


def large(rng, rank, noise, dtype="float64"):
    """Numbers of single precision: of a rank above half of the modes, so that no core is worth it, and noise."""
    tensor = gaussian(rng, (32, 32, 32), rank, dtype)
    disturbance = normal(rng, tensor.shape, dtype)
    tensor = tensor + noise * np.linalg.norm(tensor) / np.linalg.norm(disturbance) * disturbance
    return tensor.astype(SINGLE[dtype]).astype(dtype)


@pytest.fixture
def precisions(monkeypatch):
    """Those in which the sweeps of a descent read the tensor, in turn."""
    seen = []

    def swept(target, *arguments):
        seen.append(target.tensor.dtype.name)
        return extrapolated_sweep(target, *arguments)

    monkeypatch.setattr("tlinear.algorithms.cp.extrapolated_sweep", swept)
    return seen


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_far_is_read_in_single_precision_until_sweeps_end_and_then_in_double(dtype, precisions):
    tensor = large(np.random.default_rng(0), 28, 9.0, dtype)
    weights, factors, report = fit(tensor, 28, n_starts=1)
    n_single = precisions.count(SINGLE[dtype])
    assert precisions == [SINGLE[dtype]] * n_single + [dtype] * (len(precisions) - n_single)
    assert 10 < n_single < len(precisions)
    assert report.stop_reason.startswith("a sweep lowered")
    assert all(later <= earlier for earlier, later in itertools.pairwise([1.0, *report.history]))
    error = relative_error(tensor, cp_product(weights, factors))
    assert abs(error**2 - report.history[-1] ** 2) <= history_rounding(tensor, weights) * error**2
    assert {weights.dtype, *(factor.dtype for factor in factors)} == {np.dtype(dtype)}


def test_neighbours_of_numbers_of_single_precision_are_read_in_double(precisions):
    tensor = large(np.random.default_rng(0), 28, 3.0)
    fit(tensor * (1.0 + EPS), 28, n_starts=1)
    assert {*precisions} == {"float64"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("exponent", [-120, 127])
def test_single_precision_is_read_where_its_sums_stay_in_range(exponent):
    """Near the ends of its range they would not; there it is read as what is in the middle is."""
    tensor = np.sign(large(np.random.default_rng(0), 28, 9.0)).astype(np.float32)
    middle, end = (decompose(tensor * np.float32(2.0**e), "cp", 28) for e in (0, exponent))
    assert middle.history == end.history
    assert middle.relative_error == end.relative_error


def test_numbers_far_below_the_others_are_told_from_single_precision_without_a_complaint(precisions):
    tensor = large(np.random.default_rng(0), 28, 9.0)
    tensor[0] *= 2.0**-200
    with np.errstate(all="raise"):
        fit(tensor, 28, n_starts=1, max_iterations=2)
    assert {*precisions} == {"float64"}


def test_an_exact_tensor_of_single_precision_is_found_to_its_rounding(precisions):
    """To the rounding of its entries, which no CP tensor has: they are 2^-24 of the entries at most."""
    tensor = large(np.random.default_rng(0), 28, 0.0)
    weights, factors, _ = fit(tensor, 28, n_starts=1)
    assert relative_error(tensor, cp_product(weights, factors)) <= 2.0**-24
    assert precisions[-1] == "float64"


@pytest.mark.parametrize("end", [{"max_iterations": 5}, {"callback": lambda n, _: n == 5}], ids=["limit", "callback"])
def test_the_error_of_what_ends_in_single_precision_is_the_true_one(end, precisions):
    tensor = large(np.random.default_rng(0), 28, 9.0)
    weights, factors, report = fit(tensor, 28, n_starts=1, **end)
    assert set(precisions) == {"float32"}
    assert (report.n_iterations, report.converged) == (5, False)
    error = relative_error(tensor, cp_product(weights, factors))
    assert abs(report.error - error) <= history_rounding(tensor, weights) * error
    # what the sweeps say allows for roundings, of which the largest part of a square is 1e-4
    assert error <= report.history[-1] <= error * (1.0 + 1e-4)


# ------------------------------------------------------------ finding what is hard to find


@pytest.mark.parametrize("congruence", [0.9, 0.99])
@pytest.mark.parametrize("seed", range(5))
def test_swamps_are_left(congruence, seed):
    """Exact tensors whose components are nearly collinear, where sweeps stay at 1e-7 and 4e-4 after 1000 of them."""
    gram = np.full((8, 8), congruence) + (1.0 - congruence) * np.eye(8)
    upper, rng = np.linalg.cholesky(gram).T, np.random.default_rng(seed)
    tensor = cp_product(np.ones(8), [np.linalg.qr(rng.standard_normal((16, 8)))[0] @ upper for _ in range(4)])
    _, _, report = fit(tensor, 8)
    assert report.converged
    assert report.history[-1] <= EXACT


@pytest.mark.parametrize("shape", [(5, 5, 5), (16, 16, 16)])
@pytest.mark.parametrize("seed", range(5))
def test_of_a_noisy_swamp_the_end_is_a_minimum(shape, seed):
    """As near to the tensor as a descent from the planted components, of which there is none better known."""
    gram = np.full((4, 4), 0.95) + 0.05 * np.eye(4)
    upper, rng = np.linalg.cholesky(gram).T, np.random.default_rng(seed)
    planted = [np.linalg.qr(rng.standard_normal((size, 4)))[0] @ upper for size in shape]
    exact, noise = cp_product(np.ones(4), planted), rng.standard_normal(shape)
    tensor = exact + 1e-4 * np.linalg.norm(exact) / np.linalg.norm(noise) * noise
    target = Target.of(tensor)
    state = Damped(Kruskal(np.ones(4), planted, target.error(np.ones(4), planted)))
    for _ in range(50):
        state = gauss_newton_step(target, state, 1e-9)
    _, _, report = fit(tensor, 4)
    assert report.converged
    # a stop tolerance's worth for each of the phases
    assert report.history[-1] <= state.error * (1.0 + 3e-6)


SMALL = {
    "one mode": np.array([3.0, -1.0, 2.0]),
    "modes of size 1": np.arange(1.0, 7.0).reshape(1, 2, 1, 3, 1),
    "one entry": np.full((1, 1, 1), -2.0),
    "constant": np.full((4, 4, 4), 3.7),
    "one nonzero entry": np.eye(1, 24, 7).reshape(2, 3, 4),
    "repeated slices": np.repeat(gaussian(np.random.default_rng(0), (2, 3, 4), 2), 3, axis=0),
    "of rank 2": gaussian(np.random.default_rng(1), (4, 4, 4), 2),
    "powers": np.fromfunction(lambda i, j, k: 2.0 ** -(i + j + k), (5, 5, 5)),
}


@pytest.mark.parametrize("rank", [2, 5])
@pytest.mark.parametrize("tensor", SMALL.values(), ids=SMALL.keys())
def test_more_components_than_needed_do_no_harm(tensor, rank):
    weights, factors, report = fit(tensor, rank)
    assert weights.shape == (rank,)
    assert np.all(np.isfinite(khatri_rao([weights[None], *factors])))
    assert report.converged
    assert report.history[-1] <= 1e-10


def test_zero_is_zero_exactly():
    weights, factors, report = fit(np.zeros((2, 3, 4)), 2)
    np.testing.assert_array_equal(weights, np.zeros(2))
    assert all(np.all(np.isfinite(factor)) for factor in factors)
    assert (report.converged, report.n_iterations, report.history) == (True, 0, ())


@pytest.mark.parametrize("seed", range(5))
def test_a_rank_above_the_sizes_of_the_modes_is_not_worse_than_one_of_their_size(seed):
    tensor = normal(np.random.default_rng(seed), (3, 4, 5))
    errors = [fit(tensor, rank)[2].history[-1] for rank in (3, 8, 12)]
    assert max(errors[2], EXACT) <= max(errors[1], EXACT) <= errors[0]
    # 12 = 3 * 4 components are enough for every tensor of this shape
    assert errors[2] < 1e-6


def orthogonal_to_its_singular_vectors():
    """The slice of index 0 is the largest of every mode, so e_0 is the leading singular vector of each unfolding.

    Yet no entry has two indices 0, so that least squares from there give zero, for ever.  As a
    matrix of the last two modes, the contraction with a unit vector a has three blocks that share
    no row and no column: a_0 I, the row (a_1, a_2) and the column (a_3, a_4).  Their norms are at
    most 1, so that the best tensor of rank one leaves 5 of the 6 units of ``|T|^2``.
    """
    tensor = np.zeros((5, 5, 5))
    for index in [(0, 1, 1), (0, 2, 2), (1, 0, 3), (2, 0, 4), (3, 3, 0), (4, 4, 0)]:
        tensor[index] = 1.0
    return tensor


@pytest.mark.parametrize("ridge", [0.0, 1e-10])
def test_a_further_start_helps_where_the_first_cannot_move(ridge):
    tensor = orthogonal_to_its_singular_vectors()
    weights, _, stuck = fit(tensor, 1, ridge=ridge, n_starts=1)
    assert (weights.item(), stuck.history) == (0.0, (1.0,))
    _, _, report = fit(tensor, 1, ridge=ridge)
    assert math.sqrt(5 / 6) - rounding(tensor.shape) <= report.history[-1] < 1.0


def test_a_further_start_is_made_only_while_nothing_was_found():
    """Each start draws a column for every component, so the generator tells how many there were."""
    rng = np.random.default_rng(0)
    exact, noise, matrix = gaussian(rng, (5, 6, 7), 5), normal(rng, (5, 6, 7)), normal(rng, (5, 6))
    large = normal(rng, (14, 14, 14))
    near = gaussian(rng, (12, 12, 12), 2)
    near = near + 1e-3 * np.linalg.norm(near) / 12**1.5 * normal(rng, near.shape)
    for tensor, rank, n_starts, expected in (
        (exact, 5, 3, 1),
        (noise, 4, 1, 1),
        (noise, 4, 3, 3),
        (noise, 4, None, 2),
        (matrix, 4, 3, 1),
        (near, 2, 3, 1),
        (large, 20, None, 1),
        (large, 20, 2, 2),
    ):
        rng, same = np.random.default_rng(5), np.random.default_rng(5)
        compressed = compress(tensor, rank).target.tensor
        cp(tensor, rank, rng=rng, n_starts=n_starts, max_iterations=15)
        same.standard_normal(expected * rank * sum(compressed.shape))
        assert rng.bit_generator.state == same.bit_generator.state


def test_more_starts_are_never_worse():
    for shape, rank in (((4, 4, 4), 3), ((5, 6, 7), 4)):
        tensor = normal(np.random.default_rng(0), shape)
        errors = [fit(tensor, rank, n_starts=n)[2].history[-1] for n in (1, 2, 5)]
        assert errors[0] >= errors[1] >= errors[2]


def test_a_singular_system_is_solved_without_a_ridge():
    """Two components of one column: the Gram matrix of the other modes is all ones, exactly."""
    tensor = np.array([3.0, 4.0]).reshape(2, 1, 1)
    weights, factors, report = fit(tensor, 2, ridge=0.0)
    assert report.history[-1] <= EXACT
    assert np.all(np.isfinite(khatri_rao([weights[None], *factors])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": 0}, "max_iterations=0 must be an integer >= 1"),
        ({"max_iterations": 10.0}, "max_iterations=10.0 must be an integer >= 1"),
        ({"n_starts": 0}, "n_starts=0 must be an integer >= 1"),
        ({"n_starts": "2"}, "n_starts='2' must be an integer >= 1"),
        ({"stop_tolerance": -1e-6}, "stop_tolerance=-1e-06 must be a finite number >= 0"),
        ({"ridge": math.inf}, "ridge=inf must be a finite number >= 0"),
        ({"ridge": math.nan}, "ridge=nan must be a finite number >= 0"),
        ({"ridge": None}, "ridge=None must be a finite number >= 0"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        fit(np.ones((2, 2, 2)), 1, **options)
