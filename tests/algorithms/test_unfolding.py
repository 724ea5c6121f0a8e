"""An unfolding that is never formed gives what one that is formed would give, and the same bits from a narrower dtype."""

import tracemalloc

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, generators, integers, normal, rounding
from hypothesis import given
from hypothesis import strategies as st

from tlinear import decompose
from tlinear.algorithms import unfolding as module
from tlinear.algorithms.report import product_error, relative_error
from tlinear.algorithms.unfolding import Unfolding

shapes = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)


@pytest.fixture(params=[1, 7, 2**17], ids="blocks of {} entries".format)
def block(request, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", request.param)


def drawn(data, rng, shape, dtype):
    """A tensor of this shape with its axes in any order in memory, and some of its axes as rows."""
    tensor = integers(rng, shape, dtype)
    order = data.draw(st.permutations(range(len(shape))))
    tensor = np.ascontiguousarray(tensor.transpose(order)).transpose(np.argsort(order))
    axes = data.draw(st.permutations(range(len(shape))))
    return tensor, axes[: data.draw(st.integers(0, len(shape)))]


def formed(tensor, rows):
    columns = [axis for axis in range(tensor.ndim) if axis not in rows]
    matrix = tensor.transpose([*rows, *columns])
    return matrix.reshape(int(np.prod([tensor.shape[axis] for axis in rows])), -1)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_products_are_those_of_the_matrix(dtype, rng, shape, data):
    """In integers, so that every order of summation gives the same numbers."""
    tensor, rows = drawn(data, rng, shape, dtype)
    unfolding, matrix = Unfolding.of(tensor, rows), formed(tensor, rows)
    assert unfolding.shape == matrix.shape
    np.testing.assert_array_equal(unfolding.matrix(), matrix)
    np.testing.assert_array_equal(unfolding.gram(), matrix @ matrix.conj().T)
    np.testing.assert_array_equal(unfolding.transposed.matrix(), matrix.T)
    basis = integers(rng, (matrix.shape[0], 2), dtype)
    product = basis.conj().T @ matrix
    np.testing.assert_array_equal(unfolding.project(basis).reshape(product.shape), product)
    np.testing.assert_array_equal(unfolding.project(basis, last=True).reshape(product.T.shape), product.T)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_blocks_are_all_of_the_matrix_once(dtype, rng, shape, data):
    tensor, rows = drawn(data, rng, shape, dtype)
    unfolding, seen = Unfolding.of(tensor, rows), []
    for index, part in unfolding.blocks():
        target = np.arange(unfolding.shape[1]).reshape(unfolding.block_shape)[index]
        np.testing.assert_array_equal(part, formed(tensor, rows)[:, target.ravel()])
        seen.extend(target.ravel())
    assert sorted(seen) == list(range(unfolding.shape[1]))


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=st.integers(1, 3))
def test_rows_may_be_taken_in_coordinates_of_a_basis(dtype, rng, shape, rank):
    tensor, basis = integers(rng, shape, dtype), integers(rng, (shape[0], rank), dtype)
    inside = np.tensordot(basis.conj().T, tensor, axes=1)
    unfolding, plain = Unfolding.of(tensor, (0, 1), basis), Unfolding.of(inside, (0, 1))
    assert unfolding.shape == plain.shape
    np.testing.assert_array_equal(unfolding.matrix(), plain.matrix())
    np.testing.assert_array_equal(unfolding.gram(), plain.gram())
    np.testing.assert_array_equal(unfolding.transposed.matrix(), plain.matrix().T)
    other = integers(rng, (plain.shape[0], 2), dtype)
    np.testing.assert_array_equal(unfolding.project(other), plain.project(other))


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_the_triangle_has_the_gram_matrix(dtype, rng, shape, data):
    """``R^H R = A A^H`` to what a QR decomposition for every block may round, each block being one column at least."""
    tensor, rows = drawn(data, rng, shape, dtype)
    matrix, upper = formed(tensor, rows), Unfolding.of(tensor, rows).triangle()
    bound = 2 * rounding(matrix.shape, 1 + matrix.shape[1]) * np.linalg.norm(matrix) ** 2
    assert np.linalg.norm(upper.conj().T @ upper - matrix @ matrix.conj().T) <= bound


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("rows", [(0,), (2,), (0, 2), (1, 3), (3, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.float16])
def test_a_narrow_dtype_gives_the_bits_of_its_wider_copy(rows, dtype):
    tensor = normal(np.random.default_rng(0), (4, 6, 5, 7), dtype).astype(dtype)
    narrow = Unfolding.of(tensor, rows)
    wide = Unfolding.of(tensor.astype(narrow.dtype), rows)
    basis = np.linalg.qr(wide.matrix())[0][:, :2]
    for one, other in (
        (narrow.gram(), wide.gram()),
        (narrow.triangle(), wide.triangle()),
        (narrow.project(basis), wide.project(basis)),
        (narrow.project(basis, last=True), wide.project(basis, last=True)),
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(16, 2**18), (2**18, 16)])
def test_a_long_side_makes_no_large_gram_matrix(shape):
    """TensorLy's 'symeig_svd' makes the larger of the two, here of 512 GiB."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    result = decompose(matrix, "tt", 4)
    values = np.linalg.eigvalsh(matrix @ matrix.T if shape[0] < shape[1] else matrix.T @ matrix)
    best = np.sqrt(values[:-4].sum() / values.sum())
    # the eigenvalues are off by rounding of the largest, which is a 16th of their sum here
    assert abs(result.relative_error - best) <= 2 * rounding((16, 16)) + 512 * EPS


@pytest.mark.parametrize(("factorization", "rank"), [("tt", 4), ("blocktt", 4), ("tucker", 4)])
def test_no_wider_copy_of_a_large_tensor_is_made(factorization, rank):
    """Beside the float32 tensor there is less than its copy in float64 would take: what the first truncation leaves."""
    tensor = np.random.default_rng(0).standard_normal((16,) * 6, dtype=np.float32).reshape((16,) * 6)[:4]
    tracemalloc.start()
    try:
        decompose(tensor, factorization, rank, n_in=3, **({"max_iterations": 1} if factorization == "tucker" else {}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * tensor.size


@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32, np.complex64])
@pytest.mark.parametrize("exponent", [-100, 0, 90])
@pytest.mark.parametrize("factorization", ["cp", "tt", "blocktt", "tucker"])
def test_the_error_of_a_large_tensor_is_that_of_its_reconstruction(factorization, exponent, dtype):
    """From norms or from blocks, it is good to 1e-13 / 2e-3, the squares being off by 1e-13 of the norm's at most.

    Where the operands are rounded to single precision, it may be that of those that were not, if that is within 1e-6.
    What CP's sweeps say is good to 1e-7, as they have it from squares of which 1e-8 is lost at most.
    """
    tensor = normal(np.random.default_rng(0), (8, 9, 16, 10, 12), dtype).astype(dtype)
    assert tensor.size > 2**17
    tensor = tensor * np.asarray(2.0**exponent, tensor.real.dtype)
    result = decompose(tensor, factorization, 4, n_in=2)
    wide = {name: array.astype(np.result_type(array.dtype, float)) for name, array in result.tensor.operands.items()}
    found = np.ldexp(1.0, -exponent) * result.tensor.with_operands(wide).to_tensor()
    expected = relative_error(np.ldexp(1.0, -exponent) * tensor.astype(found.dtype), found)
    known = 1e-7 if factorization == "cp" else 1e-6 if np.dtype(dtype).char in "fF" else 0.0
    assert abs(result.relative_error - expected) <= 1e-13 / 2e-3 + known * expected


@pytest.mark.parametrize("factorization", ["tt", "blocktt", "tucker"])
def test_an_error_that_rounding_may_change_is_measured(factorization):
    """In half precision it does: the error is that of the rounded result, and not what the norms say."""
    rng = np.random.default_rng(0)
    tensor = (np.ones((8, 9, 16, 10, 12)) + 1e-2 * rng.standard_normal((8, 9, 16, 10, 12))).astype(np.float16)
    assert tensor.size > 2**17
    result = decompose(tensor, factorization, 1, n_in=2)
    wide = {name: array.astype(float) for name, array in result.tensor.operands.items()}
    expected = relative_error(tensor.astype(float), result.tensor.with_operands(wide).to_tensor())
    exact = decompose(tensor.astype(float), factorization, 1, n_in=2).relative_error
    assert abs(expected - exact) > 1e-6 * exact
    assert abs(result.relative_error - expected) <= 1e-13 / 2e-3


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("factorization", ["cp", "tt", "blocktt", "tucker"])
def test_a_large_tensor_may_be_zero_or_of_rank_one(factorization, dtype):
    ones = np.ones((8, 9, 16, 10, 12), dtype)
    assert ones.size > 2**17
    zero, exact = (decompose(tensor, factorization, 2, n_in=2) for tensor in (0 * ones, ones))
    assert (zero.relative_error, zero.converged, exact.converged) == (0.0, True, True)
    assert not np.any(zero.tensor.to_tensor())
    # each operand is rounded once, to the dtype
    assert exact.relative_error <= 2 * rounding(ones.shape) + 8 * np.finfo(dtype).eps


def test_an_error_of_columns_that_cancel_is_taken_from_the_difference():
    """Two columns of norm 1e8 differ by the tensor: of the squares of their sizes no digit of its own is left."""
    rng = np.random.default_rng(0)
    tensor, column, row = rng.standard_normal((5, 6)), rng.standard_normal((5, 1)), rng.standard_normal((1, 6))
    left = np.concatenate([np.eye(5), 1e8 * column, -1e8 * column], axis=1)
    right = np.concatenate([0.9 * tensor, row, row])
    # each entry is a sum of 7 products, the largest of 1e8 |column| |row|
    slack = 8 * EPS * 2e8 * np.linalg.norm(column) * np.linalg.norm(row) / np.linalg.norm(tensor)
    assert abs(product_error(tensor, (0,), left, right) - 0.1) <= slack
