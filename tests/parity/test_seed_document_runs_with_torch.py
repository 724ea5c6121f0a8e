"""The snippets of the documentation page that the package grew from, with torch's arrays and modules.

A layer that is made of a torch module, or from scratch, is NumPy's; ``.to(torch)`` takes it to torch's arrays.
"""

import math

import numpy as np
import pytest
import torch

import tlinear

DENSE_PARAMETERS = 16 * 10


@pytest.fixture
def data() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn((4, 16), dtype=torch.float32)


@pytest.fixture
def linear() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(in_features=16, out_features=10)


def assert_is_the_documented_layer(layer: tlinear.FactorizedLinear, data: torch.Tensor) -> None:
    assert layer.weight.shape == torch.Size([4, 4, 2, 5])
    assert layer.weight.n_parameters <= 0.5 * DENSE_PARAMETERS
    y = layer.to(torch)(data)
    assert isinstance(y, torch.Tensor)
    assert (y.shape, y.dtype) == ((4, 10), torch.result_type(data, torch.from_numpy(layer.bias)))
    assert layer(data.numpy()).dtype == np.result_type(data.numpy(), layer.weight.dtype)


def test_a_linear_layer_is_compressed_to_given_shapes(data, linear):
    fact_linear = tlinear.FactorizedLinear.from_linear(
        linear, auto_tensorize=False, in_tensorized_features=(4, 4), out_tensorized_features=(2, 5), rank=0.5
    )
    assert_is_the_documented_layer(fact_linear, data)
    assert fact_linear.weight.dtype == np.float32


def test_a_linear_layer_is_compressed_to_shapes_found_automatically(data, linear):
    fact_linear = tlinear.FactorizedLinear.from_linear(linear, auto_tensorize=True, n_tensorized_modes=2, rank=0.5)
    assert_is_the_documented_layer(fact_linear, data)


def test_a_tensorized_layer_is_created_from_scratch(data):
    fact_linear = tlinear.FactorizedLinear(
        in_tensorized_features=(4, 4), out_tensorized_features=(2, 5), factorization="tucker", rank=0.5
    )
    assert_is_the_documented_layer(fact_linear, data)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_both_implementations_compute_the_linear_layer_of_the_reconstructed_weight(data, linear, factorization):
    options = {"in_tensorized_features": (4, 4), "out_tensorized_features": (2, 5), "rank": 0.5}
    layer = tlinear.FactorizedLinear.from_linear(linear, factorization=factorization, **options)
    integer = {name: np.rint(2 * array / np.max(np.abs(array))) for name, array in layer.parameters().items()}
    data = torch.round(4 * data)
    weight = layer.with_parameters(integer).weight
    # no order of summation rounds these integers, so that all three ways give the same bits
    magnitude = weight.with_operands({name: np.abs(array) for name, array in weight.operands.items()})
    assert math.log2(float(np.max(np.abs(data.numpy()) @ magnitude.to_matrix().T)) + 8) < 24

    matrix, bias = torch.from_numpy(weight.to_matrix()), torch.from_numpy(integer["bias"])
    expected = torch.nn.functional.linear(data, matrix, bias).numpy()
    for implementation in ("reconstructed", "factorized"):
        fact_linear = tlinear.FactorizedLinear.from_weight(weight, integer["bias"], implementation=implementation)
        np.testing.assert_array_equal(fact_linear(data.numpy()), expected)
        np.testing.assert_array_equal(fact_linear.to(torch)(data).numpy(), expected)
