"""Modules of torch and tltorch whose `weight` is not the matrix they compute with are refused, and the remedy told works.

The weights are multiples of what eight bits hold, so that torch's quantized product is exact to half a step.
"""

import warnings

import numpy as np
import pytest
import tltorch
import torch
from torch.nn.utils import parametrizations, prune

import tlinear
from tlinear.arrays import to_numpy
from tlinear.errors import DTypeError, TLinearError

from .test_from_torch_linear import torch_linear


def dense(linear, **options) -> tlinear.FactorizedLinear:
    return tlinear.FactorizedLinear.from_linear(linear, factorization="dense", **options)


def as_expected(layer, module) -> bool:
    """Of the same outputs, to rounding of a sum of 16 products."""
    x = torch.randn(7, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return np.allclose(to_numpy(layer(layer.space.xp.asarray(x.numpy()))), module(x).numpy(), rtol=0, atol=1e-12)


def dynamic():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.nn.quantized.dynamic.Linear(16, 10)
        weight = torch.quantize_per_tensor(torch.randn(10, 16), 0.05, 0, torch.qint8)
        module.set_weight_bias(weight, torch.zeros(10))
    return module


def test_a_dynamically_quantized_layer_is_told_how_to_be_read():
    module = dynamic()
    with pytest.raises(DTypeError, match=r"linear.weight\(\).dequantize\(\), linear.bias\(\)"):
        dense(module)
    with pytest.raises(DTypeError, match=r"Linear.weight, a method, not an array"):
        tlinear.Linear.from_arrays(module.weight)
    with pytest.raises(DTypeError, match=r"dtype torch.qint8: codes, not numbers. Pass what its .dequantize\(\)"):
        tlinear.Linear.from_arrays(module.weight())
    linear = tlinear.Linear.from_arrays(module.weight().dequantize(), module.bias())
    np.testing.assert_array_equal(to_numpy(dense(linear).weight.to_matrix()), module.weight().dequantize().numpy())


class Int8Linear(torch.nn.Linear):
    """As bitsandbytes keeps it: codes in the place of the weight, and their scale beside them."""

    def __init__(self, module):
        super().__init__(16, 10)
        scale = module.weight.detach().abs().amax(1)
        codes = torch.round(module.weight.detach() / scale[:, None] * 127).to(torch.int8)
        self.weight = torch.nn.Parameter(codes, requires_grad=False)
        self.SCB = scale


def test_codes_of_eight_bits_are_refused_with_or_without_their_scale():
    module = Int8Linear(torch_linear())
    with pytest.raises(DTypeError, match="has SCB beside its weight of dtype torch.int8"):
        dense(module)
    del module.SCB
    with pytest.raises(DTypeError, match=r"keeps its weight as int8 of shape \(10, 16\)"):
        dense(module)


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_a_norm_kept_by_hooks_is_refused_and_one_kept_by_a_parametrization_is_right(norm):
    """The former computes the weight before each call alone: after a load it is that of before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        hooked = getattr(torch.nn.utils, norm)(torch_linear())
    with pytest.raises(DTypeError, match=r"weight_\w+.* beside its weight.*remove_weight_norm"):
        dense(hooked)
    assert as_expected(dense(getattr(torch.nn.utils, f"remove_{norm}")(hooked)), hooked)
    parametrized = getattr(parametrizations, norm)(torch_linear()).eval()
    assert as_expected(dense(parametrized), parametrized)


def test_a_pruned_layer_is_taken_once_it_is_permanent():
    module = torch_linear()
    prune.l1_unstructured(module, "weight", 0.5)
    with pytest.raises(DTypeError, match="weight_orig, weight_mask beside .*prune.remove"):
        dense(module)
    prune.remove(module, "weight")
    assert as_expected(dense(module), module)


def test_fake_quantization_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.nn.qat.Linear(16, 10, qconfig=torch.ao.quantization.get_default_qat_qconfig())
    with pytest.raises(DTypeError, match="has weight_fake_quant beside its weight"):
        dense(module)


def test_a_weight_that_is_yet_to_be_made_is_refused_until_the_first_call():
    module = torch.nn.LazyLinear(10, dtype=torch.float64)
    for entry in (dense, lambda m: tlinear.Linear.from_arrays(m.weight)):
        with pytest.raises(DTypeError, match="UninitializedParameter: it has neither shape nor numbers yet"):
            entry(module)
    module(torch.zeros(1, 16, dtype=torch.float64))
    assert as_expected(dense(module), module)
    with pytest.raises(DTypeError, match="on the device meta, which holds no numbers"):
        dense(torch_linear(device="meta"))


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("sparse", ["to_sparse_coo", "to_sparse_csr"])
def test_sparse_tensors_are_refused_everywhere(sparse):
    weight = getattr(torch.eye(4, dtype=torch.float64), sparse)()
    module = torch.nn.Linear(4, 4)
    module.weight = torch.nn.Parameter(weight, requires_grad=False)
    for entry in (
        tlinear.Linear.from_arrays,
        tlinear.DenseTensor,
        lambda w: tlinear.decompose(w, "tt", 2),
        lambda w: dense(module),
        to_numpy,
        tlinear.Linear.from_arrays(torch.eye(4, dtype=torch.float64)),
    ):
        with pytest.raises(DTypeError, match=r"a sparse array. Pass the dense one that its .to_dense\(\) returns"):
            entry(weight)
    np.testing.assert_array_equal(to_numpy(tlinear.Linear.from_arrays(weight.to_dense()).weight), np.eye(4))


@pytest.mark.parametrize(("factorization", "rank"), [("CP", 2), ("Tucker", 0.5), ("BlockTT", 2)])
def test_a_layer_of_tltorch_is_factorized_already(factorization, rank):
    module = tltorch.FactorizedLinear((4, 4), (2, 5), factorization=factorization, rank=rank, dtype=torch.float64)
    with pytest.raises(DTypeError, match=r"already factorized: it is of type tltorch\..*linear.weight.to_matrix\(\)"):
        dense(module)
    with pytest.raises(DTypeError, match=r"which is factorized, not an array. .*\.to_tensor\(\)"):
        tlinear.decompose(module.weight, "tt", 2)
    linear = tlinear.Linear.from_arrays(module.weight.to_matrix(), module.bias)
    assert as_expected(linear, module)


def test_an_adapter_that_takes_the_place_of_forward_is_refused():
    """As those of LyCORIS and of kohya do."""

    class Adapter(torch.nn.Module):
        def __init__(self, original):
            super().__init__()
            self.original = original.forward
            original.forward = self.forward

        def forward(self, x):
            return self.original(x) + 1.0

    module = torch_linear()
    Adapter(module)
    with pytest.raises(DTypeError, match="computes by the `forward` of a Adapter"):
        dense(module)


class Conv1D(torch.nn.Module):
    """As that of GPT-2 in transformers."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = torch.nn.Parameter(torch.randn(nx, nf, dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.randn(nf, dtype=torch.float64))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


@pytest.mark.parametrize("nf", [10, 16])
def test_a_conv1d_of_gpt2_needs_transposed_even_where_it_is_square(nf):
    module = Conv1D(nf, 16)
    with pytest.raises(TLinearError, match=rf"nx=16 and nf={nf}, .*Pass transposed=True"):
        dense(module)
    assert as_expected(dense(module, transposed=True), module)
