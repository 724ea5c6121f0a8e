"""The leading left singular vectors: isometric, optimal, and there whatever LAPACK does."""

import numpy as np
import pytest
import scipy.linalg
from algorithms.tensors import DTYPES, assert_isometric, generators, kinds, normal, rounding, singular_values, tail
from hypothesis import given
from hypothesis import strategies as st

from tlinear import decompose
from tlinear.algorithms import truncated_svd as module
from tlinear.algorithms.fallbacks import noting_fallbacks
from tlinear.algorithms.truncated_svd import leading_left, leading_subspace, left_within
from tlinear.errors import DecompositionError, OptionError

sizes = st.integers(1, 12)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, m=sizes, n=sizes, data=st.data())
def test_projection_is_isometric_and_leaves_the_discarded_singular_values(dtype, rng, m, n, data):
    """``|A - U U^H A|^2`` is the sum of the squared singular values left out.

    U is exact for a matrix within rounding of A, and by Mirsky's theorem the singular values of
    the two differ by no more than the matrices do; the values that are compared with, and the
    product, are rounded once more each.
    """
    matrix = kinds(rng, (m, n), dtype)
    rank = data.draw(st.integers(1, min(m, n)))
    left = leading_left(matrix, rank)
    assert left.shape == (m, rank)
    assert left.dtype == dtype
    assert_isometric(left)
    error = np.linalg.norm(matrix - left @ (left.conj().T @ matrix))
    assert abs(error - tail(singular_values(matrix, 1), rank)) <= rounding((m, n)) * np.linalg.norm(matrix)


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((3, 5)), np.zeros((5, 3)), np.ones((4, 4)), np.eye(4)[:, :2] @ np.eye(2, 6), np.zeros((1, 1), complex)],
    ids=["zero, wide", "zero, tall", "constant", "rank deficient", "one zero"],
)
def test_columns_beyond_the_rank_of_the_matrix_are_orthonormal_too(matrix):
    assert_isometric(leading_left(matrix, min(matrix.shape)))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_input_is_not_written_to_and_calls_agree_to_the_bit(shape):
    matrix = normal(np.random.default_rng(0), shape)
    before = matrix.copy()
    matrix.flags.writeable = False
    np.testing.assert_array_equal(leading_left(matrix, 3), leading_left(matrix, 3))
    np.testing.assert_array_equal(matrix, before)


def refuse(*args, **kwargs):
    raise np.linalg.LinAlgError("SVD did not converge")


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_qr_iteration_answers_when_divide_and_conquer_fails(monkeypatch, shape):
    """Two orthonormal bases of the same leading space have the same projector: its gap here is the identity's."""
    matrix = np.diag([8.0, 4.0, 2.0, 1.0]) @ np.eye(4, shape[1]) if shape[0] == 4 else np.eye(6, 4) * [8, 4, 2, 1]
    expected = leading_left(matrix, 2)
    monkeypatch.setattr(np.linalg, "svd", refuse)
    left = leading_left(matrix, 2)
    assert_isometric(left)
    # the gap between the singular values 4 and 2 is a quarter of the norm 8: Davis and Kahan's bound is four times rounding
    difference = np.linalg.norm(left @ left.T - expected @ expected.T)
    assert difference <= 4 * rounding(shape)


def test_an_error_of_ones_own_says_that_both_failed(monkeypatch):
    monkeypatch.setattr(np.linalg, "svd", refuse)
    monkeypatch.setattr(scipy.linalg, "svd", refuse)
    with pytest.raises(DecompositionError, match=r"gesdd and gesvd both failed on a matrix of shape \(3, 3\)"):
        leading_left(np.ones((3, 5)), 1)


# ------------------------------------------------------------ by the Gram matrix


@pytest.fixture
def gram_always(monkeypatch):
    """Whatever the size of the matrix."""
    monkeypatch.setattr(module, "_SMALL", 0)


@pytest.mark.usefixtures("gram_always")
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, m=sizes, n=sizes, decay=st.floats(0.0, 6.0), data=st.data())
def test_where_the_gram_matrix_is_taken_it_is_as_good_as_an_svd(dtype, rng, m, n, decay, data):
    """For every decay of the singular values, so that also where their squares are beneath rounding.

    What is added to the squared error is a fraction of 1e-9 of it, or rounding.
    """
    matrix = normal(rng, (m, n), dtype) * 10.0 ** (-decay * np.arange(n))
    rank = data.draw(st.integers(1, min(m, n)))
    norm, best = np.linalg.norm(matrix), tail(singular_values(matrix, 1), rank)
    left, (basis, outside) = leading_left(matrix, rank), leading_subspace(matrix, rank)
    for isometry in (left, basis):
        # a quotient of columns and one Newton step are a product more than a QR decomposition
        assert np.linalg.norm(isometry.conj().T @ isometry - np.eye(rank)) <= 2 * np.sqrt(rank) * rounding((m, m), 1)
        error = np.linalg.norm(matrix - isometry @ (isometry.conj().T @ matrix))
        assert error <= best * (1.0 + 1e-9) + 2 * rounding((m, n)) * norm
    assert abs(outside - best**2) <= 1e-9 * best**2 + 4 * rounding((m, n)) * norm**2


@pytest.mark.usefixtures("gram_always")
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, m=sizes, n=sizes, decay=st.floats(0.0, 3.0), exponent=st.floats(-13.0, -0.1))
def test_ranks_are_those_of_a_full_svd(dtype, rng, m, n, decay, exponent):
    """Except where a tail is within rounding of the threshold, in which case either is right."""
    matrix = normal(rng, (m, n), dtype) * 10.0 ** (-decay * np.arange(n))
    norm, values = np.linalg.norm(matrix), singular_values(matrix, 1)
    error = 10.0**exponent * norm
    rank, slack = left_within(matrix, error).shape[1], 2 * rounding((m, n)) * norm
    ranks = [max(1, sum(tail(values, r) > error + by for r in range(len(values)))) for by in (slack, -slack)]
    assert ranks[0] <= rank <= ranks[1]
    assert tail(values, rank) <= error + slack


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_a_part_of_the_eigenvectors_is_as_good_as_all(monkeypatch, rank):
    """Noise has no gap after any singular value, which takes a Krylov space the longest."""
    matrix = normal(np.random.default_rng(0), (700, 900))
    found = leading_left(matrix, rank)
    monkeypatch.setattr(module, "_KRYLOV_SIZE", 10**9)
    errors = [np.linalg.norm(matrix - u @ (u.T @ matrix)) for u in (found, leading_left(matrix, rank))]
    # two more blocks would have lowered the squared error by no more than 1e-8 of it, and each further two by less
    assert errors[1] * (1.0 - 1e-12) <= errors[0] <= errors[1] * (1.0 + 1e-8)
    np.testing.assert_array_equal(found.shape, (700, rank))


def test_randomized_vectors_are_asked_for_by_name_and_repeat():
    """With a gap they are the best, and without one the error is a few percent above the least."""
    rng = np.random.default_rng(0)
    low = normal(rng, (60, 5)) @ normal(rng, (5, 400))
    noise = normal(rng, (60, 400))
    for matrix, factor in ((low + 1e-3 * noise, 1.0 + 1e-6), (noise, 1.05)):
        left = leading_left(matrix, 5, "randomized")
        np.testing.assert_array_equal(left, leading_left(matrix, 5, "randomized"))
        assert_isometric(left)
        error, best = np.linalg.norm(matrix - left @ (left.T @ matrix)), tail(singular_values(matrix, 1), 5)
        assert best * (1.0 - 1e-12) <= error <= factor * best


def test_singular_values_of_a_float32_tensor_are_not_taken_in_float32():
    """At 4.6e-6 of the largest, a Gram matrix in float32 is garbage, and torchTT's float32 SVD of a long unfolding
    loses a percent silently; in float64 the error of the wider copy is met to the bit."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 8)))[0] for n in (8, 2**15))
    matrix = ((left * 4.6e-6 ** (np.arange(8) / 7)) @ right.T).astype(np.float32)
    wide = matrix.astype(np.float64)
    for rank in range(1, 8):
        error = np.linalg.norm(wide - (u := leading_left(matrix, rank)) @ (u.T @ wide))
        best = tail(singular_values(wide, 1), rank)
        assert error <= best * (1.0 + 1e-9) + rounding(matrix.shape, 1) * np.linalg.norm(wide)
        np.testing.assert_array_equal(u, leading_left(wide, rank))


@pytest.mark.parametrize("svd", ["gram", "full", None, 3])
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
def test_an_unknown_method_is_refused(factorization, svd):
    with pytest.raises(OptionError, match="is not known. Choose 'auto', 'qr' or 'randomized'"):
        decompose(np.ones((2, 3)), factorization, 1, n_in=1, svd=svd)


@pytest.mark.parametrize("svd", ["qr", "randomized"])
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
def test_every_format_takes_a_method(factorization, svd):
    tensor = normal(np.random.default_rng(0), (5, 6, 7, 3))
    auto, other = (decompose(tensor, factorization, 3, n_in=2, svd=method) for method in ("auto", svd))
    assert abs(auto.relative_error - other.relative_error) <= (1e-6 if svd == "qr" else 0.02)


def test_a_gram_matrix_that_lapack_fails_on_is_passed_over_and_that_is_noted(monkeypatch):
    matrix = np.zeros((40, 60))
    matrix[np.arange(4), np.arange(4)] = 8.0, 4.0, 2.0, 1.0
    expected = leading_left(matrix, 2)
    monkeypatch.setattr("tlinear.algorithms.truncated_svd._leading_eigenvectors", refuse)
    with noting_fallbacks() as notes:
        found = leading_left(matrix, 2)
    assert list(notes) == ["a singular value decomposition, after that of the Gram matrix had failed"]
    # as above, the gap of 2 being a quarter of the norm
    assert np.linalg.norm(found @ found.T - expected @ expected.T) <= 8 * rounding(matrix.shape)
