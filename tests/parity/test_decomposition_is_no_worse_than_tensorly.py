"""The error of tlinear.decompose against that of TensorLy at equal ranks."""

import math
import warnings

import numpy as np
import pytest
import tensorly
from hypothesis import given
from hypothesis import strategies as st
from tensorly.decomposition import parafac

import tlinear

from .cases import generators, normals
from .tensorly_numpy import decomposition_error, on_numpy

SLACK = 1.0 + 1e-6
DTYPES = ("float64", "complex128")


def rounding(shape: tuple[int, ...]) -> float:
    """The relative error of d orthogonal factorizations of this many entries, each backward stable."""
    return len(shape) * math.prod(shape) * float(np.finfo(float).eps)


def noise(rng: np.random.Generator, shape: tuple[int, ...], rank: int, dtype: str) -> np.ndarray:
    """Entries without any structure: what no rank fits well, and a layer at its initialisation is."""
    return normals(rng, dtype)(shape)


def decaying(rng: np.random.Generator, shape: tuple[int, ...], rank: int, dtype: str) -> np.ndarray:
    """Noise whose size falls along every mode, and so the singular values of every unfolding."""
    return noise(rng, shape, rank, dtype) * np.exp(-sum(np.ogrid[tuple(slice(size) for size in shape)]))


def nearly_low_rank(rng: np.random.Generator, shape: tuple[int, ...], rank: int, dtype: str) -> np.ndarray:
    """A Tucker tensor of this rank, and a hundredth of its size in noise."""
    draw = normals(rng, dtype)
    signal = tlinear.TuckerTensor(draw((rank,) * len(shape)), tuple(draw((size, rank)) for size in shape)).to_tensor()
    return signal + 1e-2 * np.linalg.norm(signal) / math.sqrt(signal.size) * noise(rng, shape, rank, dtype)


shapes = st.lists(st.integers(2, 6), min_size=3, max_size=4).map(tuple)
ranks = st.integers(1, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [noise, decaying, nearly_low_rank])
@given(rng=generators, shape=shapes, rank=ranks)
def test_tt(kind, dtype, rng, shape, rank):
    tensor = kind(rng, shape, rank, dtype)
    result = tlinear.decompose(tensor, "tt", rank)
    theirs = decomposition_error(tensor, "tt", result.rank)
    assert result.relative_error <= theirs * SLACK + rounding(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [noise, decaying, nearly_low_rank])
@given(rng=generators, shape=st.lists(st.integers(1, 4), min_size=4, max_size=4), rank=ranks)
def test_tt_matrix(kind, dtype, rng, shape, rank):
    tensor = kind(rng, tuple(shape), rank, dtype)
    result = tlinear.decompose(tensor, "blocktt", rank, n_in=2)
    theirs = decomposition_error(tensor, "blocktt", result.rank)
    assert result.relative_error <= theirs * SLACK + rounding(tensor.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [decaying, nearly_low_rank])
@given(rng=generators, shape=shapes, rank=ranks)
def test_tucker(kind, dtype, rng, shape, rank):
    tensor = kind(rng, shape, rank, dtype)
    result = tlinear.decompose(tensor, "tucker", rank)
    theirs = decomposition_error(tensor, "tucker", result.rank)
    assert result.relative_error <= theirs * SLACK + rounding(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=ranks)
def test_tucker_of_noise_is_within_the_factor_that_the_theory_gives(dtype, rng, shape, rank):
    """Of noise the iteration has many local optima; whichever it finds, it starts within sqrt(d) of the best."""
    tensor = noise(rng, shape, rank, dtype)
    result = tlinear.decompose(tensor, "tucker", rank)
    theirs = decomposition_error(tensor, "tucker", result.rank)
    assert result.relative_error <= math.sqrt(len(shape)) * theirs + rounding(shape)


def exact_cp(seed: int, shape: tuple[int, ...], rank: int, dtype: str) -> np.ndarray:
    draw = normals(np.random.default_rng(seed), dtype)
    return tlinear.CPTensor(np.ones(rank), tuple(draw((size, rank)) for size in shape)).to_tensor()


@on_numpy
def parafac_error(tensor: np.ndarray, rank: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = tensorly.cp_to_tensor(parafac(tensor, rank, init="svd", n_iter_max=200, tol=1e-6))
    return float(np.linalg.norm(tensor - result) / np.linalg.norm(tensor))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("shape", "rank"), [((4, 4, 2, 5), 1), ((4, 4, 2, 5), 2), ((8, 8, 8, 8), 4), ((6, 7, 8), 5)])
def test_cp_of_exact_low_rank_is_recovered(shape, rank, seed, dtype):
    tensor = exact_cp(seed, shape, rank, dtype)
    result = tlinear.decompose(tensor, "cp", rank)
    assert result.relative_error < 1e-6
    assert result.relative_error <= max(parafac_error(tensor, rank), 1e-6)
