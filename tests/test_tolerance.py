"""A tolerance is kept: the ranks are as small as TT-SVD and ST-HOSVD can take, and the error is at most what was asked."""

import math
from itertools import pairwise

import numpy as np
import pytest
from algorithms.tensors import generators, kinds, normal, rounding
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear, Linear, decompose, resolve_rank
from tlinear.algorithms.hosvd import st_hosvd_within, unfold
from tlinear.algorithms.rank_search import smallest_rank
from tlinear.algorithms.report import relative_error
from tlinear.algorithms.truncated_svd import leading_left
from tlinear.algorithms.tt_svd import tt_product, tt_svd, tt_svd_within
from tlinear.errors import DecompositionError, OptionError, RankError

GUARANTEED = ("tucker", "tt", "blocktt")
shapes = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)
tolerances = st.floats(-12.0, -0.05).map(lambda exponent: 10.0**exponent)


def decaying(rng, shape, rate):
    """A tensor whose unfoldings have singular values that fall by `rate` a step."""
    tensor = np.zeros(shape)
    for k in range(max(shape)):
        vectors = [np.linalg.qr(rng.standard_normal((size, size)))[0][:, k % size] for size in shape]
        term = vectors[0]
        for vector in vectors[1:]:
            term = np.multiply.outer(term, vector)
        tensor += rate**k * term
    return tensor


@pytest.mark.parametrize("factorization", GUARANTEED)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@given(rng=generators, shape=shapes, tolerance=tolerances, data=st.data())
def test_the_tolerance_is_kept_with_ranks_that_can_be(factorization, dtype, rng, shape, tolerance, data):
    n_in = data.draw(st.integers(1, len(shape) - 1))
    tensor = kinds(rng, shape, dtype)
    result = decompose(tensor, factorization, tolerance=tolerance, n_in=n_in)
    assert result.relative_error <= tolerance
    assert result.relative_error == relative_error(tensor, result.tensor.to_tensor())
    assert resolve_rank(factorization, shape[:n_in], shape[n_in:], result.rank) == result.rank


@pytest.mark.parametrize("factorization", GUARANTEED)
@pytest.mark.parametrize("exponent", range(2, 14))
def test_the_tolerance_is_kept_down_to_the_last_digits(factorization, exponent):
    tensor = decaying(np.random.default_rng(0), (6, 5, 4, 5), 0.03)
    result = decompose(tensor, factorization, tolerance=10.0**-exponent, n_in=2)
    assert result.relative_error <= 10.0**-exponent


def test_less_tolerance_takes_more_of_a_decaying_spectrum():
    tensor = decaying(np.random.default_rng(0), (6, 5, 4, 5), 0.03)
    counts = [decompose(tensor, "tt", tolerance=10.0**-k).n_parameters for k in range(1, 13)]
    assert all(a <= b for a, b in pairwise(counts))
    assert len(set(counts)) > 4


@given(rng=generators, shape=shapes, tolerance=tolerances)
def test_ranks_of_tt_are_those_of_oseledets_algorithm(rng, shape, tolerance):
    """Step by step: the fewest singular values whose tail is at most tolerance / sqrt(d - 1) of the norm."""
    tensor = normal(rng, shape, "float64")
    delta = tolerance * np.linalg.norm(tensor) / math.sqrt(len(shape) - 1)
    rest, ranks = tensor, [1]
    for size in shape[:-1]:
        _, values, right = np.linalg.svd(rest.reshape(ranks[-1] * size, -1), full_matrices=False)
        tails = [np.linalg.norm(values[r:]) for r in range(1, len(values) + 1)]
        ranks.append(next(r for r, tail in enumerate(tails, 1) if tail <= delta))
        rest = values[: ranks[-1], None] * right[: ranks[-1]]
    # what is truncated later may leave less for what came before
    for k in range(len(shape) - 1, 0, -1):
        ranks[k] = min(ranks[k], shape[k] * (ranks[k + 1] if k + 1 < len(ranks) else 1))
    assert decompose(tensor, "tt", tolerance=tolerance).rank == (*ranks, 1)


@given(rng=generators, shape=shapes, tolerance=tolerances)
def test_ranks_of_tucker_are_those_of_st_hosvd(rng, shape, tolerance):
    tensor = normal(rng, shape, "float64")
    delta = tolerance * np.linalg.norm(tensor) / math.sqrt(len(shape))
    core, ranks = tensor, []
    for mode in range(len(shape)):
        left, values, _ = np.linalg.svd(unfold(core, mode), full_matrices=False)
        tails = [np.linalg.norm(values[r:]) for r in range(1, len(values) + 1)]
        ranks.append(next(r for r, tail in enumerate(tails, 1) if tail <= delta))
        core = np.moveaxis(np.tensordot(left[:, : ranks[-1]].T, core, axes=(1, mode)), 0, mode)
    expected = tuple(min(rank, math.prod(ranks) // rank) for rank in ranks)
    result = decompose(tensor, "tucker", tolerance=tolerance)
    assert result.rank == expected
    assert result.relative_error <= tolerance


@pytest.mark.parametrize("factorization", [*GUARANTEED, "cp"])
def test_a_power_of_two_changes_no_rank(factorization):
    tensor = decaying(np.random.default_rng(1), (5, 4, 4), 0.1)
    results = [
        decompose(np.ldexp(tensor, exponent), factorization, tolerance=1e-2, n_in=1) for exponent in (-600, 0, 600)
    ]
    assert len({result.rank for result in results}) == 1
    assert len({result.relative_error for result in results}) == 1


@pytest.mark.parametrize("factorization", [*GUARANTEED, "cp"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_power_of_two_changes_no_rank_where_squares_leave_single_precision(factorization, dtype):
    tensor = decaying(np.random.default_rng(1), (5, 4, 4), 0.1).astype(dtype)
    results = [
        decompose(tensor * np.float32(2.0**exponent), factorization, tolerance=1e-2, n_in=1)
        for exponent in (-100, 0, 70, 100)
    ]
    assert len({result.rank for result in results}) == 1
    assert len({result.relative_error for result in results}) == 1


@pytest.mark.parametrize("factorization", [*GUARANTEED, "cp"])
def test_a_zero_tensor_has_rank_one(factorization):
    result = decompose(np.zeros((3, 4, 5)), factorization, tolerance=0.1, n_in=1)
    assert (np.max(result.rank), result.relative_error) == (1, 0.0)


def test_cp_searches_the_rank_and_checks_it():
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((size, 3)) for size in (6, 7, 8)]
    tensor = np.einsum("ir,jr,kr->ijk", *factors)
    result = decompose(tensor, "cp", tolerance=1e-6)
    assert result.rank == 3
    assert result.relative_error <= 1e-6
    noisy = tensor + 1e-3 * rng.standard_normal(tensor.shape)
    assert decompose(noisy, "cp", tolerance=1e-2).rank == 3


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_the_searched_rank_passes_and_the_one_below_fails(errors, tolerance):
    """Where the error falls with the rank it is the smallest; where it does not, still one of these steps."""
    for falling in (sorted(errors, reverse=True), errors):
        tried = {}

        def attempt(rank, falling=falling, tried=tried):
            tried[rank] = falling[rank - 1]
            return rank, falling[rank - 1]

        if falling[-1] > tolerance and not any(error <= tolerance for error in falling):
            with pytest.raises(DecompositionError, match=f"No rank up to {len(falling)} reached"):
                smallest_rank(attempt, tolerance, len(falling))
            continue
        try:
            rank = smallest_rank(attempt, tolerance, len(falling))
        except DecompositionError:
            assert falling is errors
            assert errors[-1] > tolerance
            continue
        assert tried[rank] <= tolerance
        assert rank == 1 or tried[rank - 1] > tolerance
        if falling is not errors:
            assert rank == next(r for r, error in enumerate(falling, 1) if error <= tolerance)


@pytest.mark.parametrize("factorization", GUARANTEED)
def test_rounding_to_a_narrow_dtype_is_taken_into_account(factorization):
    """Tensors of which the truncation alone would use up the tolerance."""
    tensor = decaying(np.random.default_rng(2), (6, 6, 6), 0.5).astype(np.float32)
    for tolerance in np.geomspace(2e-6, 0.5, 40):
        result = decompose(tensor, factorization, tolerance=float(tolerance), n_in=1)
        assert result.relative_error <= tolerance
        assert result.tensor.dtype == np.float32


@pytest.mark.parametrize("factorization", GUARANTEED)
def test_a_tolerance_below_rounding_is_refused_by_name(factorization):
    tensor = normal(np.random.default_rng(0), (6, 6, 6), "float64").astype(np.float16)
    with pytest.raises(
        DecompositionError, match=r"tolerance=1e-09 is not reached.*of which rounding to float16 is .*wider"
    ):
        decompose(tensor, factorization, tolerance=1e-9, n_in=1)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1, math.nan, math.inf, True, "0.1", 1, 0])
def test_what_is_no_tolerance_is_refused(tolerance):
    with pytest.raises(OptionError, match="must be a number between 0 and 1"):
        decompose(np.eye(3), "tt", tolerance=tolerance)


@pytest.mark.parametrize(
    ("factorization", "limits", "message"),
    [
        ("tt", {"rank": 2}, r"takes rank \(1, 6, 36, 6, 1\), 2664 parameters, but rank=2 and max_rank allow no more than \(1, 2, 2, 2, 1\)"),
        ("tt", {"max_rank": 7}, r"max_rank allow no more than \(1, 6, 7, 6, 1\)"),
        ("tt", {"rank": 0.5}, r"2664 parameters, but rank=0.5 allows 648, of which rank .* has relative error 0\..*Raise the budget"),
        ("tucker", {"rank": (2, 2, 2, 2)}, "Raise these or the tolerance"),
        ("blocktt", {"rank": "same"}, "but rank='same' allows 1296"),
    ],
)  # fmt: skip
def test_a_rank_beside_a_tolerance_is_a_limit(factorization, limits, message):
    tensor = normal(np.random.default_rng(0), (6, 6, 6, 6), "float64")
    with pytest.raises(RankError, match=message):
        decompose(tensor, factorization, tolerance=1e-6, n_in=2, **limits)
    # what takes no more than the limit is given
    simple = np.ones((6, 6, 6, 6)) + 1e-9 * tensor
    assert np.max(decompose(simple, factorization, tolerance=1e-6, n_in=2, **limits).rank) == 1


def test_a_limit_stops_the_search_of_cp():
    tensor = normal(np.random.default_rng(0), (4, 4, 4), "float64")
    with pytest.raises(DecompositionError, match="No rank up to 2 reached tolerance=0.01: the last relative error was"):
        decompose(tensor, "cp", 2, tolerance=0.01)
    with pytest.raises(DecompositionError, match="No rank up to 2 reached"):
        decompose(tensor, "cp", 0.5, tolerance=0.01)  # 32 of 64 parameters, 13 a component


@pytest.mark.parametrize("tolerance", [0.5, 0.2, 0.1, 1e-3, 1e-9])
def test_fixed_modes_are_not_truncated(tolerance):
    tensor = normal(np.random.default_rng(0), (5, 4, 5), "float64")
    result = decompose(tensor, "tucker", tolerance=tolerance, fixed_modes=(1,))
    assert result.rank[1] == 4
    assert result.relative_error <= tolerance


def test_a_fixed_mode_that_the_others_cannot_keep_is_refused():
    with pytest.raises(RankError, match="the other ranks cannot keep mode 1 at its full size 4"):
        decompose(np.ones((5, 4, 5)), "tucker", tolerance=0.1, fixed_modes=(1,))


def test_from_linear_takes_a_tolerance():
    linear = Linear(24, 36, rng=0)
    layer = FactorizedLinear.from_linear(linear, factorization="tucker", tolerance=0.5)
    assert layer.decomposition.relative_error <= 0.5
    error = relative_error(linear.weight, layer.weight.to_matrix())
    assert abs(error - layer.decomposition.relative_error) <= 1e-12
    with pytest.raises(RankError, match=r"but rank=0\.1 allows 86"):
        FactorizedLinear.from_linear(linear, factorization="tucker", tolerance=0.1, rank=0.1)


def test_an_unknown_allocation_is_refused():
    with pytest.raises(OptionError, match="allocation='even' is not known. Choose 'spectrum' or 'proportional'"):
        decompose(np.eye(4), "tt", 0.9, allocation="even")
    with pytest.raises(OptionError, match=r"decomposition_options holds \['allocation', 'tolerance'\]"):
        FactorizedLinear.from_linear(Linear(16, 10), decomposition_options={"tolerance": 0.1, "allocation": "spectrum"})


def test_a_bond_that_a_later_truncation_leaves_too_large_is_lowered_without_loss():
    """TT-SVD keeps (3, 3, 1) of this 4x3x2x4 tensor; the middle bond can need no more than 2 times 1."""
    rng = np.random.default_rng(282)
    shape = tuple(int(size) for size in rng.integers(2, 6, rng.integers(2, 5)))
    tensor = rng.standard_normal(shape) * np.exp(-rng.uniform(0, 1) * sum(np.ogrid[tuple(slice(s) for s in shape)]))
    cores = tt_svd_within(tensor, 0.9)
    assert [core.shape[2] for core in cores] == [3, 2, 1, 1]
    unlowered = tt_svd(tensor, (3, 3, 1))
    np.testing.assert_allclose(tt_product(cores), tt_product(unlowered), rtol=0, atol=rounding(shape, 2 * len(shape)))
    assert relative_error(tensor, tt_product(cores)) <= 0.9


@pytest.mark.parametrize("svd", ["auto", "qr"])
def test_ranks_that_a_later_truncation_leaves_too_large_are_lowered_by_the_same_method(svd, monkeypatch):
    """ST-HOSVD keeps (3, 2, 1) of this 5x4x4 tensor; the first rank can be no more than 2 times 1."""
    methods = []

    def leading(unfolding, rank, method):
        methods.append(method)
        return leading_left(unfolding, rank, method)

    monkeypatch.setattr("tlinear.algorithms.hosvd.leading_left", leading)
    core, _ = st_hosvd_within(normal(np.random.default_rng(71), (5, 4, 4), "float64"), 0.8, svd=svd)
    assert (core.shape, methods) == ((2, 2, 1), [svd] * 3)


def test_modes_that_are_not_truncated_leave_their_share_to_the_others():
    """delta = tolerance / sqrt(number of truncations), which are two of three here."""
    tensor = normal(np.random.default_rng(3), (6, 5, 7), "float64")
    values = np.linalg.svd(unfold(tensor, 0), compute_uv=False)
    tails = np.sqrt(np.cumsum(values[::-1] ** 2))[::-1] / np.linalg.norm(tensor)
    tolerance = float(tails[4] * math.sqrt(2.0) * (1.0 + 1e-9))  # just enough for rank 4, were it shared among two
    fixed = st_hosvd_within(tensor, tolerance, fixed=(1,))[0].shape
    assert (fixed[0], fixed[1]) == (4, 5)
    assert st_hosvd_within(tensor, tolerance)[0].shape[0] == 5


def test_a_fit_that_rounding_takes_over_the_tolerance_is_repeated():
    """The truncation to rank 3 alone uses up the tolerance; float16 then rounds its operands."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((8, 8)))[0] for _ in range(2))
    matrix = ((left * 2.0 ** -np.arange(8)) @ right).astype(np.float16)
    wide = matrix.astype(np.float64)
    values = np.linalg.svd(wide, compute_uv=False)
    tolerance = float(np.linalg.norm(values[3:]) / np.linalg.norm(values)) * (1.0 + 1e-9)
    assert decompose(wide, "tt", tolerance=tolerance).rank == (1, 3, 1)
    result = decompose(matrix, "tt", tolerance=tolerance)
    assert result.rank == (1, 4, 1)
    assert result.relative_error <= tolerance


@pytest.mark.parametrize("factorization", ["tt", "tucker"])
def test_a_budget_too_little_for_the_guarantee_is_shared_out_before_it_is_refused(factorization):
    tensor = normal(np.random.default_rng(1), (6, 6, 6, 6), "float64")
    best = decompose(tensor, factorization, 0.3, n_in=2)
    tolerance = best.relative_error * (1.0 + 1e-9)
    taken = decompose(tensor, factorization, tolerance=tolerance, n_in=2)
    assert taken.n_parameters > 0.3 * tensor.size  # what the guarantee takes
    both = decompose(tensor, factorization, 0.3, tolerance=tolerance, n_in=2)
    assert both.rank == best.rank
    assert both.relative_error <= tolerance
    with pytest.raises(RankError, match=r"takes rank .* but rank=0\.3 allows 388, of which rank"):
        decompose(tensor, factorization, 0.3, tolerance=0.9 * best.relative_error, n_in=2)


@pytest.mark.parametrize("dense_parameters", ["a", math.nan, 0, -5, 2.5, True])
def test_what_is_no_number_of_parameters_is_refused(dense_parameters):
    with pytest.raises(OptionError, match="dense_parameters=.* is not a number of parameters"):
        decompose(np.eye(4), "tt", 0.9, dense_parameters=dense_parameters)
    with pytest.raises(OptionError, match="decomposition_options=3 must be a dict"):
        FactorizedLinear.from_linear(Linear(16, 10), decomposition_options=3)
    with pytest.raises(OptionError, match="auto_tensorize is of type str, but must be True or False"):
        FactorizedLinear.from_linear(Linear(16, 10), auto_tensorize="no")


@pytest.mark.parametrize("factorization", GUARANTEED)
def test_what_a_tolerance_cannot_heed_is_refused(factorization):
    tensor = np.random.default_rng(0).standard_normal((3, 4, 5))
    with pytest.raises(
        OptionError, match=r"svd='randomized' finds .*, and tolerance=0.1 has to see all singular values"
    ):
        decompose(tensor, factorization, tolerance=0.1, n_in=1, svd="randomized")
    if factorization != "tucker":
        for direction in ("right", "cheapest", "best"):
            with pytest.raises(
                OptionError, match=rf"direction='{direction}' is where .* within tolerance=0.1 it starts from"
            ):
                decompose(tensor, factorization, tolerance=0.1, n_in=1, direction=direction)
    assert decompose(tensor, factorization, tolerance=0.1, n_in=1, svd="qr").relative_error <= 0.1
