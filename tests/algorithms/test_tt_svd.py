"""TT-SVD: left-orthogonal cores, the error that the discarded singular values say, and quasi-optimality."""

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

from tlinear.algorithms.tt_svd import tt_svd
from tlinear.formats import TTTensor
from tlinear.formats.rank_rules import rank_rules


def contract(cores):
    result = np.ones((1, 1))
    for core in cores:
        result = np.tensordot(result, core, axes=1)
    return result[0, ..., 0].reshape([core.shape[1] for core in cores])


def useful(shape, wanted):
    return rank_rules(TTTensor, shape[:1], shape[1:]).useful(wanted)


def bonds_of(shape, data):
    """Any realizable bonds of this shape."""
    return useful(shape, tuple(data.draw(st.integers(1, math.prod(shape))) for _ in shape[1:]))


def discarded(tensor, bonds):
    """The Euclidean norm of what each truncation discards, following Oseledets' algorithm to the letter."""
    rest, rank, norms = tensor, 1, []
    for size, next_rank in zip(tensor.shape[:-1], bonds, strict=True):
        _, values, right = np.linalg.svd(rest.reshape(rank * size, -1), full_matrices=False)
        norms.append(np.linalg.norm(values[next_rank:]))
        rest, rank = values[:next_rank, None] * right[:next_rank], next_rank
    return norms


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_shapes_are_the_ranks_asked_for_and_all_cores_but_the_last_are_isometric(dtype, rng, shape, data):
    tensor, bonds = kinds(rng, shape, dtype), bonds_of(shape, data)
    ranks = (1, *bonds, 1)
    cores = tt_svd(tensor, bonds)
    assert [core.shape for core in cores] == [(ranks[k], shape[k], ranks[k + 1]) for k in range(len(shape))]
    for core in cores[:-1]:
        assert_isometric(core.reshape(-1, core.shape[-1]))


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_squared_error_is_the_sum_of_the_squared_singular_values_discarded(dtype, rng, shape, data):
    """Both sides follow the algorithm, and each is within rounding of an exact run on a nearby tensor.

    Without ties the two exact runs agree; a tie at a cut would let them choose different
    vectors, and the later truncations would differ, so that noise is all that is drawn here.
    """
    tensor, bonds = normal(rng, shape, dtype), bonds_of(shape, data)
    error = np.linalg.norm(tensor - contract(tt_svd(tensor, bonds)))
    expected = np.linalg.norm(discarded(tensor, bonds))
    # an error e with e^2 = sum of squares: nearby tensors give nearby squares, |e^2 - x^2| <= 2 |T| |dT|
    assert abs(error**2 - expected**2) <= 4 * rounding(shape) * np.linalg.norm(tensor) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_error_is_within_sqrt_of_d_minus_1_of_the_best(dtype, rng, shape, data):
    """``|T - W|^2`` is at most the sum over the bonds of what a truncated SVD of T there would lose.

    The best train of these ranks loses at least each of these d - 1 terms.
    """
    tensor, bonds = kinds(rng, shape, dtype), bonds_of(shape, data)
    error = np.linalg.norm(tensor - contract(tt_svd(tensor, bonds)))
    tails = [tail(singular_values(tensor, k + 1), rank) for k, rank in enumerate(bonds)]
    slack = rounding(shape) * np.linalg.norm(tensor)
    assert error <= np.linalg.norm(tails) + slack
    assert error <= math.sqrt(max(1, len(shape) - 1)) * max(tails, default=0.0) + slack


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes)
def test_full_rank_reconstructs_to_rounding(dtype, rng, shape):
    tensor = kinds(rng, shape, dtype)
    full = useful(shape, (tensor.size,) * (len(shape) - 1))
    assert np.linalg.norm(tensor - contract(tt_svd(tensor, full))) <= rounding(shape) * np.linalg.norm(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_a_tensor_train_of_these_ranks_is_recovered(dtype, rng, shape, data):
    """The unfoldings have these ranks exactly: integers are contracted without rounding."""
    ranks = (1, *useful(shape, tuple(data.draw(st.integers(1, 3)) for _ in shape[1:])), 1)
    tensor = contract([integers(rng, (ranks[k], shape[k], ranks[k + 1]), dtype) for k in range(len(shape))])
    cores = tt_svd(tensor, ranks[1:-1])
    assert np.linalg.norm(tensor - contract(cores)) <= rounding(shape) * np.linalg.norm(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), data=st.data())
def test_of_a_matrix_it_is_the_truncated_svd(dtype, rng, shape, data):
    matrix = kinds(rng, shape, dtype)
    rank = data.draw(st.integers(1, min(shape)))
    error = np.linalg.norm(matrix - contract(tt_svd(matrix, (rank,))))
    assert abs(error - tail(singular_values(matrix, 1), rank)) <= rounding(shape) * np.linalg.norm(matrix)


def test_one_mode_is_returned_as_it_is():
    vector = np.array([3.0, -1.0, 2.0])
    (core,) = tt_svd(vector, ())
    np.testing.assert_array_equal(core, vector.reshape(1, 3, 1))


def test_input_is_not_written_to_and_calls_agree_to_the_bit():
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    before = tensor.copy()
    tensor.flags.writeable = False
    for first, second in zip(tt_svd(tensor, (2, 3)), tt_svd(tensor, (2, 3)), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(tensor, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("shape", [(2, 4), (5, 8), (1, 4, 2), (6, 1, 7), (3, 4, 5)])
def test_memory_layout_changes_no_bit(shape, rank, dtype):
    tensor = normal(np.random.default_rng(0), shape, dtype)
    bonds = useful(shape, (rank,) * (len(shape) - 1))
    for core, fortran in zip(tt_svd(tensor, bonds), tt_svd(np.asfortranarray(tensor), bonds), strict=True):
        np.testing.assert_array_equal(fortran, core)
