"""The baseline: the best plain matrix of as many parameters, beside every result, and never without being asked for."""

import copy
import pickle

import numpy as np
import pytest
import scipy.linalg
from algorithms.tensors import generators, kinds, normal, rounding, tail
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear, Linear, decompose
from tlinear.decomposition import low_rank_baseline
from tlinear.errors import DecompositionError, DTypeError, NonFiniteError, OptionError, ShapeError, StateError


@given(
    generators, st.integers(1, 9), st.integers(1, 9), st.integers(1, 100), st.sampled_from(["float64", "complex128"])
)
def test_it_is_the_best_matrix_within_the_parameters(rng, m, n, n_parameters, dtype):
    """By the theorem of Eckart and Young; with a rank more it would have too many."""
    matrix = kinds(rng, (m, n), dtype)
    baseline = low_rank_baseline(matrix, n_parameters)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert baseline.n_parameters == baseline.rank * (m + n) <= n_parameters
    assert baseline.rank == min(m, n) or (baseline.rank + 1) * (m + n) > n_parameters
    whole = np.linalg.norm(matrix)
    assert abs(baseline.relative_error * whole - tail(values, baseline.rank)) <= rounding((m, n)) * whole
    assert baseline.relative_output_error is None


@given(generators, st.integers(2, 6), st.integers(2, 6), st.data())
def test_a_train_of_one_mode_a_side_is_that_matrix(rng, m, n, data):
    matrix, rank = kinds(rng, (m, n)), data.draw(st.integers(1, min(m, n)))
    result = decompose(matrix, "tt", rank, n_in=1)
    assert (result.baseline.rank, result.baseline.n_parameters) == (rank, result.n_parameters)
    assert abs(result.baseline.relative_error - result.relative_error) <= 2.0 * rounding((m, n))
    layer = FactorizedLinear.from_linear(
        Linear.from_arrays(matrix), factorization="tt", n_tensorized_modes=1, rank=rank
    )
    assert layer.decomposition.baseline.rank == rank


@pytest.mark.parametrize("exponent", [-600, 600])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_scale_changes_no_bit(exponent, dtype):
    matrix = normal(np.random.default_rng(0), (5, 7), dtype)
    scaled = matrix * np.asarray(2.0**exponent, matrix.real.dtype)
    assert low_rank_baseline(scaled, 30) == low_rank_baseline(matrix, 30)


def test_too_few_parameters_for_rank_one_keep_nothing():
    baseline = low_rank_baseline(np.ones((4, 5)), 8)
    assert (baseline.rank, baseline.n_parameters, baseline.relative_error) == (0, 0, 1.0)
    assert low_rank_baseline(np.zeros((4, 5)), 8).relative_error == 0.0


def test_it_is_computed_when_asked_for_and_printed_from_then_on():
    result = decompose(np.random.default_rng(0).standard_normal((3, 4, 5)), "tt", 2, n_in=2)
    assert "a matrix of rank" not in repr(result)
    baseline = result.baseline
    assert result.baseline is baseline
    assert f"a matrix of rank {baseline.rank} and {baseline.n_parameters} parameters: relative_error=" in repr(result)


def test_a_pickle_a_copy_and_a_layer_hold_no_source():
    tensor = np.random.default_rng(0).standard_normal((30, 40))
    result = decompose(tensor, "tt", 1, n_in=1)
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        with pytest.raises(StateError, match=r"a layer or a pickle keeps no source.*low_rank_baseline\(matrix"):
            _ = other.baseline
    assert len(pickle.dumps(result)) < tensor.nbytes / 4
    known = result.baseline
    assert pickle.loads(pickle.dumps(result)).baseline == known
    layer = FactorizedLinear.from_linear(Linear.from_arrays(tensor), factorization="tt", rank=2)
    assert layer.decomposition.baseline.relative_error < 1.0
    assert layer.decomposition._origin is None
    assert len(pickle.dumps(layer)) < tensor.nbytes


def test_a_large_layer_is_not_compared_unasked(monkeypatch):
    monkeypatch.setattr("tlinear.decomposition.baseline._QUICK", 100)
    linear = Linear(16, 10, rng=0)
    layer = FactorizedLinear.from_linear(linear, factorization="tt", rank=2)
    with pytest.raises(StateError, match="keeps no source"):
        _ = layer.decomposition.baseline
    assert low_rank_baseline(linear.weight, layer.weight.n_parameters).rank == 1


def test_padding_is_no_part_of_the_matrix_compared():
    linear = Linear(13, 11, rng=0)
    layer = FactorizedLinear.from_linear(linear, factorization="tt", rank=2, pad=0.3)
    assert layer.decomposition.baseline == low_rank_baseline(linear.weight, layer.weight.n_parameters)


def test_a_source_that_was_written_to_is_noticed():
    tensor = np.random.default_rng(0).standard_normal((3, 4, 5))
    result = decompose(tensor, "tt", 2, n_in=2)
    tensor[0] = 7.0
    with pytest.raises(StateError, match="has been written to since"):
        _ = result.baseline


def test_without_a_split_there_is_no_matrix():
    with pytest.raises(StateError, match="n_in is not given"):
        _ = decompose(np.ones((3, 4, 5)), "tt", 1).baseline


def test_a_failure_of_lapack_is_an_error_of_ones_own(monkeypatch):
    def refuse(*args, **kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    matrix = np.ones((2, 3))
    plain = low_rank_baseline(matrix, 5)
    monkeypatch.setattr(np.linalg, "svd", refuse)
    assert abs(low_rank_baseline(matrix, 5).relative_error - plain.relative_error) <= rounding((2, 3))  # by gesvd
    monkeypatch.setattr(scipy.linalg, "svd", refuse)
    with pytest.raises(DecompositionError, match=r"gesdd and gesvd both failed on a matrix of shape \(2, 3\)"):
        low_rank_baseline(np.ones((2, 3)), 5)


REFUSED = {
    "tensor": ((np.ones((2, 3, 4)), 5), {}, ShapeError, r"matrix has shape \(2, 3, 4\)"),
    "empty": ((np.ones((0, 3)), 5), {}, ShapeError, "must be a matrix with entries"),
    "NaN": ((np.full((2, 2), np.nan), 5), {}, NonFiniteError, "matrix of shape"),
    "text": (([["a"]], 5), {}, DTypeError, "not numeric"),
    "no parameters": ((np.ones((2, 2)), 0), {}, OptionError, "n_parameters=0 is not"),
    "float": ((np.ones((2, 2)), 0.5), {}, OptionError, "n_parameters=0.5 is not"),
    "features": (
        (np.ones((2, 3)), 5),
        {"calibration": np.ones((9, 2))},
        ShapeError,
        r"calibration has 2 features, but the matrix of shape \(2, 3\) has 3",
    ),
}


@pytest.mark.parametrize(("arguments", "options", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_matrix_is_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message):
        low_rank_baseline(*arguments, **options)
