"""Kruskal tensors: their products are their definitions, exactly, and the distance from them is what it is said to be."""

import math

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, generators, integers, kinds, normal, shapes
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.cp_als import als_sweep
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, gram, khatri_rao, mttkrps, normalized
from tlinear.algorithms.report import relative_error

LETTERS = "abcdefgh"
SINGLE_EPS = float(np.finfo(np.float32).eps)
ranks = st.integers(1, 5)


# ------------------------------------------------------------ products, exactly, in integers


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_khatri_rao_is_the_columnwise_kronecker_product(dtype, rng, shape, rank):
    factors = [integers(rng, (size, rank), dtype) for size in shape]
    product = khatri_rao(factors)
    assert product.shape == (math.prod(shape), rank)
    for r in range(rank):
        column = np.ones(1)
        for factor in factors:
            column = np.kron(column, factor[:, r])
        np.testing.assert_array_equal(product[:, r], column)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_cp_product_is_its_definition(dtype, rng, shape, rank):
    weights, factors = integers(rng, (rank,), dtype), [integers(rng, (size, rank), dtype) for size in shape]
    letters = LETTERS[: len(shape)]
    equation = ",".join(["z", *(f"{letter}z" for letter in letters)]) + "->" + letters
    np.testing.assert_array_equal(cp_product(weights, factors), np.einsum(equation, weights, *factors))


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rng=generators,
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=6).map(tuple),
    rank=st.integers(1, 3),
    replace=st.booleans(),
    single=st.booleans(),
)
def test_mttkrps_are_their_definition(dtype, rng, shape, rank, replace, single):
    """Also when each factor is replaced as soon as its mode is done, as a sweep does; and in single precision."""
    tensor, factors = integers(rng, shape, dtype), [integers(rng, (size, rank), dtype) for size in shape]
    if single:
        tensor = Target.of(tensor).in_single().tensor
    letters = LETTERS[: len(shape)]
    modes = []
    for mode, product in mttkrps(tensor, factors):
        others = [k for k in range(len(shape)) if k != mode]
        ones = np.ones(rank)  # so that the rank is there when no other mode is
        equation = ",".join([letters, "z", *(f"{letters[k]}z" for k in others)]) + f"->{letters[mode]}z"
        expected = np.einsum(equation, tensor, ones, *(factors[k].conj() for k in others), optimize=True)
        np.testing.assert_array_equal(product, expected)
        assert product.dtype == dtype
        modes.append(mode)
        if replace:
            factors[mode] = integers(rng, factors[mode].shape, dtype)
    assert modes == list(range(len(shape)))


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_mttkrps_of_a_tensor_in_single_precision_are_off_by_its_rounding(dtype, rng, shape, rank):
    """An entry is a sum of at most N products of d numbers, each of which is rounded: N + 2 d roundings, or four times
    as many where complex products are made."""
    tensor = in_single(kinds(rng, shape, dtype))
    factors = [normal(rng, (size, rank), dtype) for size in shape]
    single, magnitudes = Target.of(tensor).in_single(), [np.abs(factor) for factor in factors]
    assert single.tensor.nbytes == tensor.nbytes // 2
    n_roundings = 4 * (tensor.size + 2 * tensor.ndim)
    for (_, product), (_, expected), (_, size) in zip(
        mttkrps(single.tensor, factors), mttkrps(tensor, factors), mttkrps(np.abs(tensor), magnitudes), strict=True
    ):
        assert product.dtype == dtype
        assert np.all(np.abs(product - expected) <= n_roundings * SINGLE_EPS * size)


# ------------------------------------------------------------ distances


def distance_rounding(weights, factors):
    """What rounding may do to a squared distance in units of ``(|T| + sum |w|)^2``.

    An entry of the product is a sum of R products of d + 1 numbers, and the squares of N entries are
    summed: R + d + N + 3 roundings, or four times as many where complex products are made.
    """
    n_terms = len(weights) + len(factors) + math.prod(len(factor) for factor in factors) + 3
    return 4 * n_terms * EPS


def in_single(tensor):
    """The nearest numbers of single precision, as numbers of double precision."""
    return tensor.astype("complex64" if tensor.dtype.kind == "c" else "float32").astype(tensor.dtype)


def random_kruskal(rng, shape, rank, dtype):
    factors = [normal(rng, (size, rank), dtype) for size in shape]
    return np.abs(rng.standard_normal(rank)), [normalized(factor, factor)[1] for factor in factors]


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks, lost=st.sampled_from([0.0, 0.5, 7.0]))
def test_error_is_that_of_the_difference_and_of_what_was_lost(dtype, rng, shape, rank, lost):
    tensor, (weights, factors) = kinds(rng, shape, dtype), random_kruskal(rng, shape, rank, dtype)
    target = Target.of(tensor, lost)
    whole = np.linalg.norm(tensor) ** 2 + lost
    expected = np.linalg.norm(tensor - cp_product(weights, factors)) ** 2 + lost
    slack = distance_rounding(weights, factors) * (np.linalg.norm(tensor) + np.sum(weights)) ** 2
    assert abs(target.error(weights, factors) ** 2 * (whole or 1.0) - expected) <= 2 * slack + 8 * EPS * lost


def test_error_of_a_tensor_that_is_read_in_chunks():
    """Of more entries than are formed at a time, the last rows being fewer."""
    rng = np.random.default_rng(0)
    tensor = rng.standard_normal((61, 7, 50, 13))
    weights, factors = random_kruskal(rng, tensor.shape, 3, "float64")
    error = relative_error(tensor, cp_product(weights, factors))
    assert abs(Target.of(tensor).error(weights, factors) - error) <= distance_rounding(weights, factors) * error


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks, noise=st.sampled_from([0.0, 1e-9, 1e-5, 1.0]))
def test_error_by_identity_is_the_error(dtype, rng, shape, rank, noise):
    """Also near an exact tensor, where the identity has no digits left and the difference is taken."""
    weights, factors = random_kruskal(rng, shape, rank, dtype)
    product = cp_product(weights, factors)
    tensor = product + noise * normal(rng, shape, dtype)
    target, own = Target.of(tensor), float(np.linalg.norm(product)) ** 2
    found = target.error_by_identity(weights, factors, float(np.vdot(tensor, product).real), own)
    # the identity is taken only while its rounding is below 1e-8 of the square, times the roundings of an entry
    slack = distance_rounding(weights, factors) / EPS * 1e-8
    explicit = target.error(weights, factors)
    assert abs(found**2 - explicit**2) <= slack * explicit**2


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes)
def test_a_tensor_is_read_in_single_precision_only_if_that_changes_no_entry(dtype, rng, shape):
    tensor = in_single(normal(rng, shape, dtype))
    np.testing.assert_array_equal(Target.of(tensor).in_single().tensor, tensor)
    for factor in (1.0 + EPS, 1e100, 1e-100):
        changed = tensor.copy()
        changed[(0,) * tensor.ndim] = factor
        assert Target.of(changed).in_single() is None


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_the_error_of_a_sweep_in_single_precision_is_not_below_the_true_one(dtype, rng, shape, rank):
    """And above it by no more than twice the allowance, which is at most 1e-4 of the square."""
    target = Target.of(in_single(kinds(rng, shape, dtype)))
    _, factors = random_kruskal(rng, shape, rank, dtype)
    swept = als_sweep(target.in_single(), Kruskal(np.zeros(rank), factors, 1.0), 1e-10)
    square, explicit = swept.error**2, target.error(swept.weights, swept.factors) ** 2
    slack = distance_rounding(swept.weights, factors) * (target.square**0.5 + np.sum(swept.weights)) ** 2
    whole = target.square or 1.0
    assert (explicit - square) * whole <= slack
    assert (square * (1.0 - 2e-4) - explicit) * whole <= slack


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, size=st.integers(1, 6), rank=ranks)
def test_gram_and_norms_are_their_definitions(dtype, rng, size, rank):
    matrix = integers(rng, (size, rank), dtype)
    np.testing.assert_array_equal(gram(matrix), np.einsum("ir,is->rs", matrix, matrix.conj()))
    norms, columns = normalized(matrix, np.full_like(matrix, 7.0))
    for r in range(rank):
        if np.any(matrix[:, r]):
            assert np.max(np.abs(norms[r] * columns[:, r] - matrix[:, r])) <= 4 * EPS * norms[r]
        else:
            np.testing.assert_array_equal(columns[:, r], np.full(size, 7.0))
            assert norms[r] == 0.0
