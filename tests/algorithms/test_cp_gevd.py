"""CP by a generalized eigenvalue problem: exact for exact tensors, and silent where it does not apply."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, generators, normal
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms.cp_gevd import cp_gevd
from tlinear.algorithms.kruskal import cp_product, khatri_rao


def components(factors):
    """The rank-one tensors, one a row."""
    return np.array([cp_product(np.ones(1), [f[:, [r]] for f in factors]).ravel() for r in range(factors[0].shape[1])])


def well_conditioned(rng, shape, rank, dtype):
    """Unit columns, orthonormal in the modes that are long enough."""
    factors = [normal(rng, (size, rank), dtype) for size in shape]
    return [np.linalg.qr(f)[0] if len(f) >= rank else f / np.linalg.norm(f, axis=0) for f in factors]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "rank"),
    [((4, 4, 3), 4), ((3, 7, 5), 3), ((2, 3, 3), 3), ((4, 4, 4, 4), 4), ((5, 2, 3, 4), 5), ((2, 2, 2, 2, 3), 4)],
    ids=str,
)
def test_the_components_of_an_exact_tensor_are_found_without_iterating(dtype, shape, rank):
    """Each up to the phases of its columns: its part of the tensor's span is one vector, which one of them fits.

    A quotient of slices amplifies rounding by the condition of what is divided by and by the
    reciprocal of the gap between eigenvalues; the better of the quotients loses half of the digits
    at most on these, whose columns are orthonormal where they can be.
    """
    for seed in range(5):
        planted = well_conditioned(np.random.default_rng(seed), shape, rank, dtype)
        tensor = cp_product(1.0 + np.arange(rank), planted)
        rows = components(planted)
        best = min(
            np.max(np.min([[1.0 - abs(np.vdot(row, other)) for other in components(found)] for row in rows], axis=1))
            for found in cp_gevd(tensor, rank)
        )
        assert best <= math.sqrt(EPS)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple), rank=st.integers(1, 5))
def test_of_any_tensor_it_makes_unit_columns_or_nothing(dtype, rng, shape, rank):
    for factors in cp_gevd(normal(rng, shape, dtype), rank):
        assert [factor.shape for factor in factors] == [(size, rank) for size in shape]
        for factor in factors:
            assert factor.dtype == np.dtype(dtype)
            assert np.max(np.abs(np.linalg.norm(factor, axis=0) - 1.0)) <= 8 * (len(factor) + 3) * EPS


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple), rank=st.integers(2, 5), rng=generators)
def test_it_applies_where_two_groups_of_modes_are_long_enough_and_a_third_is_left(shape, rank, rng):
    def groups():
        for places in itertools.product(range(3), repeat=len(shape)):
            yield [math.prod(s for s, place in zip(shape, places, strict=True) if place == g) for g in range(3)]

    applies = any(first >= rank and second >= rank and third >= 2 for first, second, third in groups())
    # Khatri-Rao products of Gaussian factors have full rank, so that nothing but the shape can be in the way
    tensor = cp_product(np.ones(rank), [rng.standard_normal((size, rank)) for size in shape])
    assert bool(list(cp_gevd(tensor, rank))) == applies


def test_a_tensor_that_is_far_from_all_of_the_rank_is_left_alone():
    """By the singular values of Gaussian noise, two components explain less than a quarter of its square."""
    assert not list(cp_gevd(normal(np.random.default_rng(0), (20, 20, 20)), 2))


@pytest.mark.parametrize("tensor", [np.zeros((3, 3, 3)), np.ones((3, 3, 3)), np.eye(1, 27, 5).reshape(3, 3, 3)])
def test_a_tensor_of_smaller_rank_is_no_error(tensor):
    for factors in cp_gevd(tensor, 3):
        assert np.all(np.isfinite(khatri_rao(factors)))
