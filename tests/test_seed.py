"""Every snippet of the document that the project was made from, in tlinear's names, with its printed results."""

import math

import numpy as np
import pytest

import tlinear


@pytest.fixture
def data():
    return np.random.default_rng(0).standard_normal((4, 16), dtype=np.float32)


@pytest.fixture
def linear():
    return tlinear.Linear(in_features=16, out_features=10, rng=0)


LOW_RANK = ["cp", "tucker", "tt", "blocktt"]


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_a_linear_layer_is_compressed_to_the_shape_that_is_asked_for(linear, data, factorization):
    fact_linear = tlinear.FactorizedLinear.from_linear(
        linear,
        auto_tensorize=False,
        in_tensorized_features=(4, 4),
        out_tensorized_features=(2, 5),
        rank=0.5,
        factorization=factorization,
    )
    assert fact_linear.weight.shape == (4, 4, 2, 5)
    assert fact_linear.weight.to_tensor().shape == (4, 4, 2, 5)
    assert fact_linear(data).shape == (4, 10)


def test_the_default_factorization_is_cp(linear):
    fact_linear = tlinear.FactorizedLinear.from_linear(
        linear, auto_tensorize=False, in_tensorized_features=(4, 4), out_tensorized_features=(2, 5), rank=0.5
    )
    assert isinstance(fact_linear.weight, tlinear.CPTensor)
    assert fact_linear.weight.shape == (4, 4, 2, 5)


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_half_the_rank_is_at_most_half_of_the_parameters(linear, factorization):
    fact_linear = tlinear.FactorizedLinear.from_linear(linear, rank=0.5, factorization=factorization)
    arrays = [array for name, array in fact_linear.parameters().items() if name != "bias"]
    assert sum(math.prod(array.shape) for array in arrays) <= 0.5 * 16 * 10


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_the_shape_is_chosen_when_only_the_number_of_modes_is_given(linear, factorization):
    fact_linear = tlinear.FactorizedLinear.from_linear(
        linear, auto_tensorize=True, n_tensorized_modes=2, rank=0.5, factorization=factorization
    )
    assert fact_linear.weight.shape == (4, 4, 2, 5)


def test_a_layer_is_created_from_scratch(data):
    fact_linear = tlinear.FactorizedLinear(
        in_tensorized_features=(4, 4), out_tensorized_features=(2, 5), factorization="tucker", rank=0.5
    )
    assert isinstance(fact_linear.weight, tlinear.TuckerTensor)
    assert fact_linear.weight.shape == (4, 4, 2, 5)
    assert fact_linear.weight.n_parameters <= 80
    assert fact_linear(data).shape == (4, 10)


@pytest.mark.parametrize("factorization", ["dense", *LOW_RANK])
@pytest.mark.parametrize("implementation", ["reconstructed", "factorized", "auto"])
def test_every_implementation_is_the_dense_layer_of_the_matrix(linear, data, factorization, implementation):
    """Within rounding: at most 16 + 160 terms are summed in float64, each bounded by the absolute contraction."""
    rank = "same" if factorization == "dense" else 0.5
    fact_linear = tlinear.FactorizedLinear.from_linear(
        linear, rank=rank, factorization=factorization, implementation=implementation
    )
    weight, bias = fact_linear.weight.to_matrix(), fact_linear.bias
    absolute = fact_linear.weight.with_operands({k: np.abs(a) for k, a in fact_linear.weight.operands.items()})
    bound = 200 * np.finfo(float).eps * (np.abs(data) @ absolute.to_matrix().T + np.abs(bias))
    assert np.all(np.abs(fact_linear(data) - (data @ weight.T + bias)) <= bound)
