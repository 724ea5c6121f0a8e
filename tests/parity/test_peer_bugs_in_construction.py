"""Faults of tltorch 0.5 in building a layer from scratch: its shapes, its ranks, its initial numbers."""

import itertools
import math

import numpy as np
import pytest
import torch

import tlinear
from tlinear.errors import ImplementationError, InfeasibleRankError, ShapeError

from .cases import FORMATS

FACTORIZED = ("cp", "tucker", "tt", "blocktt")


@pytest.mark.parametrize("factorization", FORMATS)
def test_shapes_may_be_lists_and_numpy_integers(factorization):
    """tltorch builds the layer of two lists, and fails when it is called; NumPy integers leak into its shapes."""
    sides = [np.int64(4), 4], np.array([2, 5])
    layer = tlinear.FactorizedLinear(*sides, factorization=factorization, rng=0)
    plain = tlinear.FactorizedLinear((4, 4), (2, 5), factorization=factorization, rng=0)
    assert all(type(size) is int for size in (*layer.weight.shape, layer.in_features, layer.out_features))
    np.testing.assert_array_equal(layer(np.ones((3, 16))), plain(np.ones((3, 16))))


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_number_for_a_shape_is_refused_with_the_remedy(factorization):
    """tltorch adds the two numbers: FactorizedLinear(16, 10) has the shape 26."""
    with pytest.raises(ShapeError, match=r"in_tensorized_features is the number 16.*\(16,\) for a single mode"):
        tlinear.FactorizedLinear(16, 10, factorization=factorization)


def test_an_unknown_implementation_is_refused_at_once():
    """tltorch takes 'factorised' and fails at the first forward pass."""
    with pytest.raises(ImplementationError, match=r"'factorised' is not known.*'factorized'"):
        tlinear.FactorizedLinear((4, 4), (2, 5), implementation="factorised")
    with pytest.raises(ImplementationError, match=r"'factorised' is not known.*'factorized'"):
        tlinear.FactorizedLinear.from_linear(torch.nn.Linear(16, 10), implementation="factorised")


@pytest.mark.parametrize("factorization", FACTORIZED)
@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_a_budget_counts_every_array(factorization, fraction):
    """TensorLy leaves the weights of CP out, and exceeds 95 of 100 budgets of CP by them."""
    layer = tlinear.FactorizedLinear((8, 8), (8, 8), factorization=factorization, rank=fraction, bias=False, rng=0)
    assert layer.n_parameters == sum(array.size for array in layer.parameters().values())
    assert layer.n_parameters <= fraction * 64 * 64


def test_a_budget_below_rank_one_is_refused_with_the_smallest_that_is_enough():
    """TensorLy resolves it to CP rank 0, and tltorch then divides by zero."""
    with pytest.raises(InfeasibleRankError, match=r"smallest feasible budget is 0\.1"):
        tlinear.FactorizedLinear((4, 4), (2, 5), factorization="cp", rank=0.01)
    smallest = tlinear.FactorizedLinear((4, 4), (2, 5), factorization="cp", rank=0.1, rng=0)
    assert (smallest.rank, smallest.weight.n_parameters) == (1, 16)


def test_the_budget_of_two_cores_is_used_up():
    """TensorLy solves the wrong equation for two cores: rank 15 of the 128 that the whole budget pays for."""
    assert tlinear.resolve_rank("blocktt", (16, 16), (16, 16), "same") == (1, 128, 1)


@pytest.mark.parametrize("factorization", FORMATS)
def test_the_weight_has_the_shape_of_the_input_modes_and_then_the_output_modes(factorization):
    """tltorch's page says (4, 4, 2, 5), and its layer has [10, 16], a list of NumPy integers."""
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), factorization=factorization, rng=0)
    assert layer.weight.shape == (4, 4, 2, 5)


def assert_mean(samples: np.ndarray, expected: float) -> None:
    """The mean is within five of its own standard errors of what is expected, and known to a tenth."""
    error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    assert error <= 0.1 * expected
    assert abs(float(np.mean(samples)) - expected) <= 5.0 * error


@pytest.mark.parametrize(("in_shape", "out_shape"), [((8, 8), (8, 8)), ((4, 4, 4), (4, 4, 4)), ((2, 8), (4, 2, 2))])
@pytest.mark.parametrize(("factorization", "rank"), [("dense", "same"), *itertools.product(FACTORIZED, (2, 4))])
def test_the_entries_of_the_initial_weight_have_the_variance_that_torch_gives_them(
    factorization, rank, in_shape, out_shape
):
    """tltorch takes the sqrt(5) of torch's Kaiming rule for a gain, so that CP and Tucker start 3.9 times too large,
    and the wrong root of the ranks makes TT and BlockTT start up to 750 times too small."""
    options = {"factorization": factorization, "rank": rank, "rng": np.random.default_rng(0)}
    layers = (tlinear.FactorizedLinear(in_shape, out_shape, **options) for _ in range(800))
    squares = [float(np.mean(layer.weight.to_tensor() ** 2)) for layer in layers]
    assert_mean(np.array(squares), 1.0 / (3.0 * math.prod(in_shape)))


@pytest.mark.parametrize("in_features", [16, 64])
def test_torch_and_the_dense_layer_give_the_weight_this_variance(in_features):
    torch.manual_seed(0)
    theirs = torch.nn.Linear(in_features, 1000, dtype=torch.float64).weight.detach().numpy()
    for weight in (theirs, tlinear.Linear(in_features, 1000, rng=0).weight):
        assert np.max(np.abs(weight)) <= 1.0 / math.sqrt(in_features)
        assert_mean(weight.ravel() ** 2, 1.0 / (3.0 * in_features))


@pytest.mark.parametrize("factorization", FORMATS)
def test_the_initial_bias_is_spread_as_that_of_torch_nn_linear(factorization):
    """tltorch takes the fan-in of the tensor for that of the matrix, where the two differ."""
    in_features, out_features = 16, 2500
    bound = 1.0 / math.sqrt(in_features)
    torch.manual_seed(0)
    theirs = torch.nn.Linear(in_features, out_features, dtype=torch.float64).bias.detach().numpy()
    rank = "same" if factorization == "dense" else 1
    ours = tlinear.FactorizedLinear((4, 4), (50, 50), factorization=factorization, rank=rank, rng=0).bias
    for bias in (ours, theirs):
        # of 2500 uniform numbers none comes within a hundredth of the bound in one of 10^10 draws
        assert 0.99 * bound < np.max(np.abs(bias)) <= bound
        assert_mean(bias**2, bound**2 / 3.0)
