"""ST-HOSVD and HOOI: isometric factors, the error that the discarded singular values say, and never uphill."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import (
    DTYPES,
    assert_isometric,
    generators,
    integers,
    kinds,
    normal,
    rounding,
    shapes,
    singular_values,
    tail,
)
from hypothesis import given
from hypothesis import strategies as st

from tlinear import TuckerTensor
from tlinear.algorithms import hooi as module
from tlinear.algorithms.hooi import hooi
from tlinear.algorithms.hosvd import mode_product, st_hosvd, truncation_order, tucker_product, unfold
from tlinear.algorithms.report import Report, relative_error
from tlinear.errors import OptionError
from tlinear.formats.rank_rules import rank_rules

LETTERS = "abcdefgh"


def useful(shape, wanted):
    return rank_rules(TuckerTensor, shape, ()).useful(wanted)


def ranks_of(shape, data):
    """Any realizable ranks of this shape."""
    return useful(shape, tuple(data.draw(st.integers(1, size)) for size in shape))


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_unfolding_and_mode_product_are_their_definitions(dtype, rng, shape, data):
    """In integers, so that every order of summation gives the same numbers."""
    mode = data.draw(st.integers(0, len(shape) - 1))
    tensor, matrix = integers(rng, shape, dtype), integers(rng, (3, shape[mode]), dtype)
    unfolding = unfold(tensor, mode)
    for index in range(shape[mode]):
        np.testing.assert_array_equal(unfolding[index], tensor.take(index, axis=mode).ravel())
    letters = LETTERS[: len(shape)]
    equation = f"z{letters[mode]},{letters}->{letters.replace(letters[mode], 'z')}"
    np.testing.assert_array_equal(mode_product(tensor, matrix, mode), np.einsum(equation, matrix, tensor))


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_tucker_product_is_its_definition(dtype, rng, shape, data):
    core = integers(rng, tuple(data.draw(st.integers(1, 3)) for _ in shape), dtype)
    factors = [integers(rng, (size, rank), dtype) for size, rank in zip(shape, core.shape, strict=True)]
    small, large = LETTERS[: len(shape)], LETTERS[: len(shape)].upper()
    equation = ",".join([small, *(f"{big}{little}" for big, little in zip(large, small, strict=True))]) + "->" + large
    np.testing.assert_array_equal(tucker_product(core, factors), np.einsum(equation, core, *factors))


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_core_is_the_projection_onto_isometric_factors(dtype, rng, shape, data):
    tensor, ranks = kinds(rng, shape, dtype), ranks_of(shape, data)
    slack = rounding(shape) * np.linalg.norm(tensor)
    direct, refined = st_hosvd(tensor, ranks), hooi(tensor, ranks, max_iterations=3)[:2]
    for core, factors in (direct, refined):
        assert core.shape == ranks
        assert [factor.shape for factor in factors] == list(zip(shape, ranks, strict=True))
        for factor in factors:
            assert_isometric(factor)
        projection = tucker_product(tensor, [factor.conj().T for factor in factors])
        assert np.linalg.norm(core - projection) <= slack
        # Pythagoras: |T - W|^2 = |T|^2 - |core|^2
        error = np.linalg.norm(tensor - tucker_product(core, factors))
        squares = np.linalg.norm(tensor) ** 2 - np.linalg.norm(core) ** 2
        assert abs(error**2 - squares) <= 4 * slack * np.linalg.norm(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_squared_error_is_the_sum_of_the_squared_singular_values_discarded(dtype, rng, shape, data):
    """What each mode discards is read off the singular values of the tensor as the modes before have left it."""
    tensor, ranks = kinds(rng, shape, dtype), ranks_of(shape, data)
    core, factors = st_hosvd(tensor, ranks)
    left, squares = tensor, 0.0
    for mode in truncation_order(shape, ranks):
        squares += tail(np.linalg.svd(unfold(left, mode), compute_uv=False), ranks[mode]) ** 2
        left = mode_product(left, factors[mode].conj().T, mode)
    error = np.linalg.norm(tensor - tucker_product(core, factors))
    assert abs(error**2 - squares) <= 4 * rounding(shape) * np.linalg.norm(tensor) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_error_is_within_sqrt_of_d_of_the_best(dtype, rng, shape, data):
    """``|T - W|^2`` is at most the sum over the modes of what a truncated SVD of ``T_(k)`` would lose.

    The best Tucker tensor of these ranks loses at least each of these d terms.
    """
    tensor, ranks = kinds(rng, shape, dtype), ranks_of(shape, data)
    tails = [tail(singular_values(np.moveaxis(tensor, k, 0), 1), rank) for k, rank in enumerate(ranks)]
    slack = rounding(shape) * np.linalg.norm(tensor)
    for core, factors in (st_hosvd(tensor, ranks), hooi(tensor, ranks)[:2]):
        error = np.linalg.norm(tensor - tucker_product(core, factors))
        assert error <= np.linalg.norm(tails) + slack
        assert error <= math.sqrt(len(shape)) * max(tails) + slack


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes)
def test_full_rank_reconstructs_to_rounding(dtype, rng, shape):
    tensor = kinds(rng, shape, dtype)
    core, factors, report = hooi(tensor, useful(shape, shape))
    assert np.linalg.norm(tensor - tucker_product(core, factors)) <= rounding(shape) * np.linalg.norm(tensor)
    assert report == Report(stop_reason="the relative error is at most 1e-12")


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_a_tucker_tensor_of_these_ranks_is_recovered(dtype, rng, shape, data):
    ranks = ranks_of(shape, data)
    factors = [integers(rng, (size, rank), dtype) for size, rank in zip(shape, ranks, strict=True)]
    tensor = tucker_product(integers(rng, ranks, dtype), factors)
    core, factors, _ = hooi(tensor, ranks)
    assert np.linalg.norm(tensor - tucker_product(core, factors)) <= rounding(shape) * np.linalg.norm(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_hooi_is_never_worse_than_st_hosvd_and_never_goes_uphill(dtype, rng, shape, data):
    """Errors are taken from squares where these are above 1e-6, and are compared by their squares."""
    tensor, ranks = kinds(rng, shape, dtype), ranks_of(shape, data)
    start = relative_error(tensor, tucker_product(*st_hosvd(tensor, ranks)))
    core, factors, report = hooi(tensor, ranks)
    assert all(later <= earlier for earlier, later in itertools.pairwise(report.history))
    end = relative_error(tensor, tucker_product(core, factors))
    assert end**2 <= start**2 + 8 * rounding(shape)
    if report.history:
        assert abs(report.history[-1] ** 2 - end**2) <= 4 * rounding(shape)
    assert report.n_iterations == len(report.history) <= 25


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_second_start_finds_what_st_hosvd_alone_does_not(dtype):
    """Of noise, HOOI from the HOSVD ends lower in some cases, and the better of the two is kept."""
    gains = 0
    for seed in range(10):
        tensor = normal(np.random.default_rng(seed), (5, 4, 6, 3), dtype)
        alone = hooi(tensor, (2, 2, 2, 2), start=st_hosvd(tensor, (2, 2, 2, 2)))[2].history[-1]
        both = hooi(tensor, (2, 2, 2, 2))[2].history[-1]
        assert both <= alone
        gains += both < alone
    assert gains > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_hooi_improves_on_st_hosvd(dtype):
    """Of noise the truncation is not the best, by far more than rounding."""
    for seed in range(5):
        tensor = normal(np.random.default_rng(seed), (5, 6, 7), dtype)
        errors = [relative_error(tensor, tucker_product(*st_hosvd(tensor, (2, 2, 2))))]
        _, _, report = hooi(tensor, (2, 2, 2))
        assert report.history[-1] < errors[0] - rounding(tensor.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hooi_ends_where_each_factor_is_the_best_for_the_others(dtype):
    """At a fixed point the core is as large as the singular values of every projected unfolding allow.

    With a tolerance of 0 the end is where a sweep no longer lowers the computed error, so that
    it gains no more than rounding.  What is gained is quadratic in how far the factors move: to
    this order, no step from the end gains more than the whole sweep does.
    """
    tensor = normal(np.random.default_rng(0), (4, 5, 6), dtype)
    core, factors, report = hooi(tensor, (2, 2, 2), max_iterations=1000, stop_tolerance=0.0)
    assert report.converged
    kept = np.linalg.norm(core) ** 2
    for mode in range(3):
        others = [np.eye(size) if k == mode else factors[k].conj().T for k, size in enumerate(tensor.shape)]
        values = np.linalg.svd(unfold(tucker_product(tensor, others), mode), compute_uv=False)
        assert np.linalg.norm(values[:2]) ** 2 - kept <= 4 * rounding(tensor.shape) * np.linalg.norm(tensor) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), data=st.data())
def test_of_a_matrix_it_is_the_truncated_svd(dtype, rng, shape, data):
    matrix = kinds(rng, shape, dtype)
    rank = data.draw(st.integers(1, min(shape)))
    core, factors, _ = hooi(matrix, (rank, rank))
    error = np.linalg.norm(matrix - tucker_product(core, factors))
    assert abs(error - tail(singular_values(matrix, 1), rank)) <= rounding(shape) * np.linalg.norm(matrix)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_two_factors_from_one_gram_matrix_are_those_found_one_after_the_other(dtype, rng, shape, data):
    """After a sweep from the same start the cores are equally large, but for rounding."""
    tensor, ranks = kinds(rng, shape, dtype), ranks_of(shape, data)
    kept = []
    for most in (0, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MOST_TOGETHER", most)
            core, factors, _ = hooi(tensor, ranks, start=st_hosvd(tensor, ranks), max_iterations=1)
        for factor in factors:
            assert np.linalg.norm(factor.conj().T @ factor - np.eye(factor.shape[1])) <= rounding(shape)
        kept.append(np.linalg.norm(core) ** 2)
    # what a Gram matrix may lose is 1e-9 of the squared error, a mode
    slack = 2 * rounding(shape) * np.linalg.norm(tensor) ** 2
    lost = max(0.0, np.linalg.norm(tensor) ** 2 - min(kept))
    assert abs(kept[0] - kept[1]) <= len(shape) * 1e-9 * lost + slack


def test_no_iterations_give_the_direct_algorithm_to_the_bit():
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    core, factors, report = hooi(tensor, (2, 2, 2), max_iterations=0)
    direct_core, direct_factors = st_hosvd(tensor, (2, 2, 2))
    np.testing.assert_array_equal(core, direct_core)
    for factor, direct in zip(factors, direct_factors, strict=True):
        np.testing.assert_array_equal(factor, direct)
    assert report == Report()


def test_running_out_of_sweeps_is_reported():
    tensor = normal(np.random.default_rng(0), (4, 5, 6))
    *_, report = hooi(tensor, (2, 2, 2), max_iterations=2, stop_tolerance=0.0)
    assert (report.converged, report.stop_reason, report.n_iterations) == (False, "2 sweeps were done", 2)


def test_input_is_not_written_to_and_calls_agree_to_the_bit():
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    before = tensor.copy()
    tensor.flags.writeable = False
    (core, factors, report), (again, factors_again, report_again) = (hooi(tensor, (2, 2, 2)) for _ in range(2))
    np.testing.assert_array_equal(core, again)
    for factor, factor_again in zip(factors, factors_again, strict=True):
        np.testing.assert_array_equal(factor, factor_again)
    assert report == report_again
    np.testing.assert_array_equal(tensor, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": -1}, "max_iterations=-1 must be an integer >= 0"),
        ({"max_iterations": 2.0}, "max_iterations=2.0 must be an integer >= 0"),
        ({"max_iterations": True}, "max_iterations=True must be an integer >= 0"),
        ({"stop_tolerance": math.nan}, "stop_tolerance=nan must be a finite number >= 0"),
        ({"stop_tolerance": "tight"}, "stop_tolerance='tight' must be a finite number >= 0"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hooi(np.ones((2, 2)), (1, 1), **options)
