"""A trained layer through the factorized one and back, whole and with numbers of features that nothing divides."""

import math

import numpy as np
import pytest
from algorithms.tensors import rounding
from weights.minilm import array, matrix

from tlinear import FactorizedLinear, Linear

FACTORIZATIONS = ("tucker", "tt", "blocktt", "dense")
FULL = 384 * 384
"""More than any rank that a tensor of the pooler's shape needs."""


def pooler():
    return Linear.from_arrays(array("pooler.dense.weight"), array("pooler.dense.bias"))


def rank_for(factorization, rank):
    return "same" if factorization == "dense" else rank


def widened(layer):
    """The dense weight of a layer in float64, in which float32 operands hold the same numbers."""
    operands = {name: operand.astype(np.float64) for name, operand in layer.weight.operands.items()}
    return layer.weight.with_operands(operands).to_matrix()[: layer.out_features, : layer.in_features]


def rounding_of_operands(weight):
    r"""The relative error of a tensor whose operands are rounded to float32, to first order in its unit u = 2^-24.

    All operands but one are isometries A of R columns.  Rounding moves each entry by at most u of itself, and so A by at
    most ``u |A|_F = u sqrt(R)``.  What A is multiplied with has the norm of the tensor, of which A then moves no more
    than ``u sqrt(R)``.  The operand that carries the norm moves it by u.
    """
    match weight.factorization:
        case "tucker":
            ranks = weight.rank
        case "dense":
            ranks = ()
        case _:
            ranks = weight.rank[1:-1]
    return 2.0**-24 * (1.0 + sum(math.sqrt(rank) for rank in ranks))


@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_the_pooler_comes_back_at_full_rank(factorization, n_modes):
    source = pooler()
    layer = FactorizedLinear.from_linear(
        source, factorization=factorization, n_tensorized_modes=n_modes, rank=rank_for(factorization, FULL)
    )
    assert layer.weight.dtype == np.float32
    bound = (1.0 + 1e-3) * rounding_of_operands(layer.weight) + rounding(layer.weight.shape)
    dense = source.weight.astype(np.float64)
    assert np.linalg.norm(widened(layer) - dense) <= bound * np.linalg.norm(dense)
    np.testing.assert_array_equal(layer.bias, source.bias)


@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_the_pooler_comes_back_to_rounding_in_float64(factorization, n_modes):
    source = pooler()
    layer = FactorizedLinear.from_linear(
        source,
        factorization=factorization,
        n_tensorized_modes=n_modes,
        rank=rank_for(factorization, FULL),
        dtype=np.float64,
    )
    back = layer.to_linear()
    norm = np.linalg.norm(source.weight.astype(np.float64))
    assert np.linalg.norm(back.weight - source.weight) <= rounding(layer.weight.shape) * norm
    np.testing.assert_array_equal(back.bias, source.bias)


@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("rank", [0.1, 0.5])
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
def test_prime_numbers_of_features_are_padded(factorization, rank, n_modes):
    """Neither 383 nor 379 has a divisor.  Padding is cropped from the result, and what is cropped was no gain."""
    source = Linear.from_arrays(matrix("3.query")[:383, :379], array("encoder.layer.3.attention.self.query.bias")[:383])
    layer = FactorizedLinear.from_linear(
        source, pad=True, factorization=factorization, n_tensorized_modes=n_modes, rank=rank
    )
    assert (layer.in_features, layer.out_features) == (379, 383)
    assert math.prod(layer.in_tensorized_features) > 379
    assert math.prod(layer.out_tensorized_features) > 383
    assert layer.weight.n_parameters <= rank * 379 * 383
    dense = source.weight.astype(np.float64)
    norm = np.linalg.norm(dense)
    stated = layer.decomposition.relative_error
    assert np.linalg.norm(widened(layer) - dense) <= (stated + rounding(layer.weight.shape)) * norm
