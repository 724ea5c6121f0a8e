"""FactorizedLinear.from_linear of torch modules: what is taken over, what is copied, and what is refused."""

import sys

import ml_dtypes
import numpy as np
import pytest
import torch

import tlinear
from tlinear.arrays import to_numpy
from tlinear.errors import DeviceError, DTypeError, MissingDependencyError

from .bounds import gamma
from .cases import FORMATS

NUMPY_DTYPES = {
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.complex64: np.complex64,
    torch.complex128: np.complex128,
}


def torch_linear(dtype=torch.float64, *, bias: bool = True, device: str = "cpu") -> torch.nn.Linear:
    """16 -> 10, as torch initialises it."""
    torch.manual_seed(0)
    return torch.nn.Linear(16, 10, bias=bias, dtype=dtype, device=device)


def integer_linear(dtype=torch.float64) -> torch.nn.Linear:
    """16 -> 10, with entries that every dtype and every order of summation holds exactly."""
    module = torch_linear(dtype)
    module.weight.data = torch.randint(-3, 4, (10, 16)).to(dtype)
    module.bias.data = torch.randint(-3, 4, (10,)).to(dtype)
    return module


def compress(module, factorization: str = "tt", **options) -> tlinear.FactorizedLinear:
    return tlinear.FactorizedLinear.from_linear(
        module,
        in_tensorized_features=(4, 4),
        out_tensorized_features=(2, 5),
        factorization=factorization,
        rank="same" if factorization == "dense" else 0.5,
        **options,
    )


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_the_dense_format_gives_torch_outputs_to_the_last_bit(dtype):
    module = integer_linear(dtype)
    x = torch.randint(-3, 4, (7, 16)).to(dtype)
    layer = compress(module, factorization="dense")
    np.testing.assert_array_equal(layer(x.numpy()), module(x).detach().numpy())


def magnitude_of(weight):
    """The tensor of the absolute operands, which is what rounding is proportional to."""
    return weight.with_operands({name: np.abs(array) for name, array in weight.operands.items()})


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_differ_from_torch_by_no_more_than_the_reported_error(factorization, bias):
    """``|y' - y| <= |x| |W' - W| <= |x| relative_error |W|`` in the 2-norm, and the rounding of what is compared:

    the forward pass and the error's reconstruction within gamma_K of the absolute operands, torch's
    product of 17 terms and the error's norms of 160 squares within gamma_200 of the weight.
    """
    module = torch_linear(bias=bias)
    layer = compress(module, factorization)
    x = torch.randn(50, 16, dtype=torch.float64)
    difference = np.linalg.norm(layer(x.numpy()) - module(x).detach().numpy(), axis=1)

    size = np.linalg.norm(x.numpy(), axis=1)
    weight = np.linalg.norm(module.weight.detach().numpy())
    magnitude = np.linalg.norm(magnitude_of(layer.weight).to_matrix())
    offset = np.linalg.norm(module.bias.detach().numpy()) if bias else 0.0
    ranks = 1 if layer.rank is None else int(np.prod(layer.rank))
    k = 16 * ranks + len(layer.parameters()) + 2
    rounding = gamma(2 * k + 200, np.float64) * (size * (weight + magnitude) + offset)
    assert np.all(difference <= size * layer.decomposition.relative_error * weight + rounding)


@pytest.mark.parametrize("factorization", FORMATS)
def test_the_reported_error_is_the_one_torch_measures(factorization):
    module = torch_linear()
    layer = compress(module, factorization)
    difference = module.weight - torch.from_numpy(layer.weight.to_matrix())
    measured = float((difference.norm() / module.weight.norm()).detach())
    # each side divides two norms of 160 squares
    assert abs(measured - layer.decomposition.relative_error) <= gamma(4 * (160 + 2), np.float64) * measured


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_the_dtype_of_torch_is_kept(dtype, factorization):
    layer = compress(torch_linear(dtype), factorization)
    assert {array.dtype for array in layer.parameters().values()} == {np.dtype(NUMPY_DTYPES[dtype])}
    assert layer(np.ones(16, NUMPY_DTYPES[dtype])).dtype == NUMPY_DTYPES[dtype]
    assert layer.to(torch)(torch.ones(16, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("factorization", FORMATS)
def test_changing_the_torch_module_afterwards_changes_nothing(factorization):
    module = torch_linear()
    layer = compress(module, factorization)
    before = {name: array.copy() for name, array in layer.parameters().items()}
    with torch.no_grad():
        module.weight.add_(1.0)
        module.bias.add_(1.0)
    for name, array in layer.parameters().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("factorization", FORMATS)
def test_changing_the_layer_afterwards_leaves_the_torch_module_alone(factorization):
    module = torch_linear()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for array in compress(module, factorization).parameters().values():
        array += 1.0
    assert all(torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())


@pytest.mark.parametrize("requires_grad", [True, False])
def test_the_autograd_state_of_the_module_is_neither_needed_nor_touched(requires_grad):
    module = torch_linear().requires_grad_(requires_grad)
    y = compress(module).to(torch)(torch.ones(3, 16, dtype=torch.float64, requires_grad=True))
    assert not y.requires_grad
    assert [parameter.requires_grad for parameter in module.parameters()] == [requires_grad] * 2
    assert [parameter.grad for parameter in module.parameters()] == [None] * 2


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_module_without_bias_gives_a_layer_without_bias(factorization):
    layer = compress(torch_linear(bias=False), factorization)
    assert layer.bias is None
    assert "bias" not in layer.parameters()


def test_the_bias_is_that_of_the_module_unless_it_is_dropped():
    module = torch_linear()
    np.testing.assert_array_equal(compress(module).bias, module.bias.detach().numpy())
    assert compress(module, bias=False).bias is None


def test_a_module_in_bfloat16_is_read_and_what_comes_of_it_crosses_back():
    module = torch_linear(torch.bfloat16)
    layer = compress(module)
    assert layer.weight.dtype == layer.bias.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(layer.bias.astype(np.float32), module.bias.detach().float().numpy())
    there = layer.to(torch)
    assert there.weight.dtype == there.bias.dtype == torch.bfloat16
    x = torch.linspace(-1, 1, 48).reshape(3, 16).to(torch.bfloat16)
    np.testing.assert_array_equal(to_numpy(there(x)), layer(to_numpy(x)))
    for name, parameter in there.to(np).parameters().items():
        np.testing.assert_array_equal(parameter, layer.parameters()[name])


def test_a_module_in_bfloat16_is_refused_without_ml_dtypes_and_the_remedies_work(monkeypatch):
    module = torch_linear(torch.bfloat16)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(MissingDependencyError, match=r"bfloat16 needs ml_dtypes, but .*pip install '\.\[files\]'"):
        compress(module)
    assert compress(module.to(torch.float32)).weight.dtype == np.float32


def test_a_tensor_is_no_input_of_a_layer_in_numpy_and_the_remedies_in_the_message_work():
    layer, x = compress(torch_linear()), torch.ones(16, dtype=torch.float64)
    with pytest.raises(DeviceError, match=r"x is an array of torch on device cpu, but .* numpy .*`\.to\(.*to_numpy"):
        layer(x)
    np.testing.assert_array_equal(layer(to_numpy(x)), layer(np.ones(16)))
    assert layer.to(torch)(x).dtype == torch.float64


def test_layer_of_tensors_takes_half_precision_that_numpy_has_not():
    """On a CPU it is computed in single precision: 512 ones are 512, beyond where bfloat16 stops counting."""
    layer = tlinear.FactorizedLinear((16, 32), (2,), factorization="dense", bias=False, rng=0, dtype="float32")
    ones = layer.with_parameters({"weight.tensor": np.ones((16, 32, 2), np.float32)}).to(torch)
    half = tlinear.FactorizedLinear.from_weight(ones.weight.astype(torch.bfloat16))
    y, pullback = half.vjp(torch.ones(3, 512, dtype=torch.bfloat16))
    gradients = pullback(torch.ones(3, 2, dtype=torch.bfloat16))
    assert y.dtype == gradients.x.dtype == gradients.parameters["weight.tensor"].dtype == torch.bfloat16
    assert torch.all(y == 512)
    np.testing.assert_array_equal(to_numpy(y), np.full((3, 2), 512, ml_dtypes.bfloat16))


def test_a_module_without_storage_is_refused_by_the_name_of_its_device():
    with pytest.raises(DTypeError, match="device meta, which holds no numbers"):
        compress(torch_linear(device="meta"))


def test_a_weight_that_a_torch_parametrization_computes_is_taken_as_it_is_now():
    module = torch.nn.utils.parametrizations.weight_norm(integer_linear())
    layer = compress(module, factorization="dense")
    np.testing.assert_array_equal(layer.weight.to_matrix(), module.weight.detach().numpy())


def test_a_weight_stored_as_its_transpose_is_taken_with_transposed():
    module = integer_linear()
    stored = torch.nn.Module()
    stored.weight = torch.nn.Parameter(module.weight.detach().T.contiguous())
    stored.bias = module.bias
    layer = compress(stored, transposed=True, factorization="dense")
    np.testing.assert_array_equal(layer.weight.to_matrix(), module.weight.detach().numpy())


@pytest.mark.parametrize("factorization", FORMATS)
def test_torch_tensors_are_taken_as_input_and_cotangent_and_operands(factorization):
    layer = compress(torch_linear(), factorization)
    x = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(3, 10, dtype=torch.float64)
    layer = layer.with_parameters({name: np.rint(4 * array) for name, array in layer.parameters().items()})
    tensors = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in layer.parameters().items()}
    as_tensors = layer.to(torch).with_parameters(tensors)
    x, dy = torch.round(4 * x.detach()).requires_grad_(), torch.round(4 * dy)
    (y, pullback), (expected, expected_pullback) = as_tensors.vjp(x), layer.vjp(x.detach().numpy())
    np.testing.assert_array_equal(y.numpy(), expected)
    gradients, expected_gradients = pullback(dy), expected_pullback(dy.numpy())
    np.testing.assert_array_equal(gradients.x.numpy(), expected_gradients.x)
    for name, gradient in gradients.parameters.items():
        np.testing.assert_array_equal(gradient.numpy(), expected_gradients.parameters[name], err_msg=name)


def test_torch_is_not_imported_to_read_its_modules(monkeypatch):
    module = torch_linear()
    loaded = [name for name in sys.modules if name == "torch" or name.startswith("torch.")]
    for name in loaded:
        monkeypatch.setitem(sys.modules, name, None)
    layer = compress(module)
    assert layer(np.ones(16)).shape == (10,)
