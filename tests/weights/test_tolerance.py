"""A tolerance on trained float32 weights: it is kept by what is returned, and takes no rank more than it must."""

import math
from functools import cache

import numpy as np
import pytest
from algorithms.tensors import rounding, tail
from weights.minilm import HALF, as_tensor, matrix

from tlinear import decompose
from tlinear.errors import DecompositionError

TOLERANCES = (0.5, 0.2, 0.05)


@cache
def tensor_of(name, n_modes):
    return as_tensor(matrix(name), n_modes)


@cache
def decomposed(name, factorization, n_modes, tolerance):
    return decompose(tensor_of(name, n_modes), factorization, tolerance=tolerance, n_in=n_modes)


def measured(tensor, result):
    """The relative error in float64 of the float32 result: every number that it holds is one of float64, too."""
    widened = {name: array.astype(np.float64) for name, array in result.tensor.operands.items()}
    tensor = tensor.astype(np.float64)
    return np.linalg.norm(tensor - result.tensor.with_operands(widened).to_tensor()) / np.linalg.norm(tensor)


def in_pairs(tensor):
    """The tensor of which BlockTT is the train: its modes are the pairs of one input and one output mode."""
    n = tensor.ndim // 2
    sizes = [i * o for i, o in zip(tensor.shape[:n], tensor.shape[n:], strict=True)]
    return tensor.transpose([axis for k in range(n) for axis in (k, n + k)]).reshape(sizes)


def train_truncations(tensor, bonds):
    """The singular values that each truncation of TT-SVD at these bonds finds (Oseledets 2011, Algorithm 1)."""
    rest, before = tensor, 1
    for size, bond in zip(tensor.shape, bonds, strict=False):
        _, values, right = np.linalg.svd(rest.reshape(before * size, -1), full_matrices=False)
        yield values
        rest, before = values[:bond, np.newaxis] * right[:bond], bond


def tucker_truncations(tensor, ranks):
    """The same of the sequentially truncated HOSVD (Vannieuwenhoven et al. 2012, Algorithm 1)."""
    for mode, rank in enumerate(ranks):
        unfolding = np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)
        _, values, right = np.linalg.svd(unfolding, full_matrices=False)
        yield values
        others = tensor.shape[:mode] + tensor.shape[mode + 1 :]
        tensor = np.moveaxis((values[:rank, np.newaxis] * right[:rank]).reshape(rank, *others), 0, mode)


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@pytest.mark.parametrize("name", HALF)
def test_a_tolerance_is_kept_by_the_float32_result(name, factorization, n_modes, tolerance):
    tensor, result = tensor_of(name, n_modes), decomposed(name, factorization, n_modes, tolerance)
    assert result.tensor.dtype == np.float32
    assert measured(tensor, result) <= tolerance
    assert abs(measured(tensor, result) - result.relative_error) <= rounding(tensor.shape)


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@pytest.mark.parametrize("name", HALF)
def test_no_truncation_could_keep_one_singular_value_less(name, factorization, n_modes, tolerance):
    """Each may discard the same share of the norm: ``tolerance / sqrt(number of truncations)``."""
    tensor, result = tensor_of(name, n_modes).astype(np.float64), decomposed(name, factorization, n_modes, tolerance)
    if factorization == "tucker":
        ranks = result.rank
        truncations = tucker_truncations(tensor, ranks)
    else:
        ranks = result.rank[1:-1]
        truncations = train_truncations(in_pairs(tensor) if factorization == "blocktt" else tensor, ranks)
    norm = np.linalg.norm(tensor)
    share, slack = tolerance * norm / math.sqrt(len(ranks)), rounding(tensor.shape) * norm
    for rank, values in zip(ranks, truncations, strict=True):
        assert tail(values, rank) <= share + slack
        assert tail(values, rank - 1) > share - slack


@pytest.mark.parametrize("tolerance", [1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@pytest.mark.parametrize("name", ["0.query", "3.value", "5.output"])
def test_what_float32_cannot_hold_is_refused_by_name(name, factorization, n_modes, tolerance):
    try:
        result = decomposed(name, factorization, n_modes, tolerance)
    except DecompositionError as error:
        assert str(error).startswith(f"tolerance={tolerance:g} is not reached")  # noqa: PT017
        assert "wider dtype" in str(error)  # noqa: PT017
    else:
        assert measured(tensor_of(name, n_modes), result) <= tolerance
