"""Compression before CP: the core holds what it is said to hold, and the bound is one."""

import math

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, assert_isometric, generators, kinds, normal, rounding, singular_values, tail
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.cp import cp
from tlinear.algorithms.cp_compression import compress
from tlinear.algorithms.hosvd import st_hosvd, tucker_product
from tlinear.algorithms.kruskal import cp_product
from tlinear.algorithms.report import relative_error
from tlinear.algorithms.truncated_svd import leading_subspace

long_shapes = st.lists(st.integers(3, 8), min_size=2, max_size=4).map(tuple)


def gaussian(rng, shape, rank, dtype="float64"):
    return cp_product(np.ones(rank), [normal(rng, (size, rank), dtype) for size in shape])


def is_far(tensor, rank):
    """Whether the truncated HOSVD loses more than half of the norm."""
    core = st_hosvd(tensor, [min(rank, size, tensor.size // size) for size in tensor.shape])[0]
    return np.linalg.norm(tensor) ** 2 - np.linalg.norm(core) ** 2 > 0.249 * np.linalg.norm(tensor) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=long_shapes, rank=st.integers(1, 4))
def test_core_and_what_is_lost_are_the_whole(dtype, rng, shape, rank):
    tensor = kinds(rng, shape, dtype)
    compression = compress(tensor, rank)
    core = compression.target.tensor
    if compression.bases is None:
        assert core is tensor
        assert (
            2 * math.prod(min(size, rank) for size in shape) > tensor.size or not np.any(tensor) or is_far(tensor, rank)
        )
        return
    assert 2 * core.size <= tensor.size
    for basis, size, kept in zip(compression.bases, shape, core.shape, strict=True):
        assert basis.shape == (size, kept)
        assert kept <= rank
        assert_isometric(basis)
    lost = np.linalg.norm(tensor - tucker_product(core, compression.bases)) ** 2
    square = np.linalg.norm(tensor) ** 2
    # |T|^2 - |core|^2 unless that is below 1e-12 |T|^2, and 0 where the root is rounding, 1e-12
    assert abs(compression.target.lost - lost) <= (4 * rounding(shape) + 1e-24) * square
    assert compression.loses == (compression.target.lost > 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=long_shapes, rank=st.integers(1, 4))
def test_no_approximation_of_the_rank_is_below_the_bound(dtype, rng, shape, rank):
    """Neither those that are found, nor what Eckart and Young allow any unfolding."""
    tensor = kinds(rng, shape, dtype)
    norm = np.linalg.norm(tensor)
    bound = compress(tensor, rank).bound
    best = max(tail(singular_values(np.moveaxis(tensor, k, 0), 1), rank) for k in range(len(shape)))
    slack = math.sqrt(rounding(shape))
    assert bound * norm <= best + slack * norm
    weights, factors, _ = cp(tensor, rank, rng=rng, max_iterations=5)
    assert bound <= relative_error(tensor, cp_product(weights, factors)) + slack


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=long_shapes, rank=st.integers(1, 3))
def test_an_exact_tensor_loses_nothing(dtype, rng, shape, rank):
    compression = compress(gaussian(rng, shape, rank, dtype), rank)
    assert not compression.loses
    assert compression.bound <= math.sqrt(rounding(shape))


def test_factors_of_the_core_are_factors_of_the_tensor():
    tensor = gaussian(np.random.default_rng(0), (9, 8, 7), 3)
    compression = compress(tensor, 3)
    factors = [np.linalg.qr(normal(np.random.default_rng(k), (3, 3)))[0] for k in range(3)]
    expanded = compression.expand(factors)
    product = tucker_product(cp_product(np.ones(3), factors), compression.bases)
    assert np.linalg.norm(cp_product(np.ones(3), expanded) - product) <= rounding(tensor.shape) * math.sqrt(3)
    for factor in expanded:
        assert np.max(np.abs(np.linalg.norm(factor, axis=0) - 1.0)) <= rounding((9, 9))


# ------------------------------------------------------------ the subspace


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.tuples(st.integers(1, 8), st.integers(1, 8)), decay=st.integers(0, 12), data=st.data())
def test_what_is_outside_of_the_subspace_is_what_eckart_and_young_say(dtype, rng, shape, decay, data):
    """For every decay of the singular values, so that also where a Gram matrix has no digits left."""
    matrix = normal(rng, shape, dtype) * 10.0 ** (-decay * np.arange(shape[1]))
    rank = data.draw(st.integers(1, min(shape)))
    basis, outside = leading_subspace(matrix, rank)
    assert_isometric(basis)
    norm, best = np.linalg.norm(matrix), tail(singular_values(matrix, 1), rank)
    left = np.linalg.norm(matrix - basis @ (basis.conj().T @ matrix))
    # an eigenvalue of the Gram matrix is off by rounding of the largest, which is small beside those that are kept:
    # by at most 1 / 3e3 of the least of them, and the subspace turns by as much
    assert left**2 <= best**2 * (1.0 + 1e-2) + (rounding(shape) * norm) ** 2
    assert abs(outside - best**2) <= (4 * rounding(shape) + 64 * EPS) * norm**2 + 1e-2 * best**2


def test_a_subspace_of_singular_values_below_the_root_of_rounding_is_found():
    """Their squares are lost in the Gram matrix."""
    left, right = (np.linalg.qr(np.random.default_rng(seed).standard_normal((40, 6)))[0] for seed in (0, 1))
    matrix = left * 10.0 ** -np.arange(0.0, 12.0, 2.0) @ right.T
    basis, _ = leading_subspace(matrix, 6)
    assert np.linalg.norm(matrix - basis @ (basis.T @ matrix)) <= rounding((40, 40), 1)
