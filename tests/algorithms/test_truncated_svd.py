"""The leading left singular vectors: isometric, optimal, and there whatever LAPACK does."""

import numpy as np
import pytest
import scipy.linalg
from algorithms.tensors import DTYPES, assert_isometric, generators, kinds, normal, rounding, singular_values, tail
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.truncated_svd import leading_left
from tlinear.errors import DecompositionError

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
