"""tlinear.Linear against torch.nn.Linear, the layer that it stands for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tlinear

from .autograd import as_torch
from .bounds import assert_identical
from .cases import batch_shapes, generators, integers

features = st.integers(1, 6)


def torch_linear(weight: np.ndarray, bias: np.ndarray | None) -> torch.nn.Linear:
    out_features, in_features = weight.shape
    module = torch.nn.Linear(in_features, out_features, bias=bias is not None, dtype=as_torch(weight).dtype)
    module.weight.data = as_torch(weight)
    if bias is not None:
        module.bias.data = as_torch(bias)
    return module


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
@given(n_in=features, n_out=features, batch_shape=batch_shapes, rng=generators, has_bias=st.booleans())
def test_integers_give_the_same_results_to_the_last_bit(dtype, n_in, n_out, batch_shape, rng, has_bias):
    draw = integers(rng, dtype)
    weight, bias = draw((n_out, n_in)), draw((n_out,)) if has_bias else None
    x, dy = draw((*batch_shape, n_in)), draw((*batch_shape, n_out))

    module, leaf = torch_linear(weight, bias), as_torch(x).requires_grad_()
    y = module(leaf)
    y.backward(as_torch(dy))
    theirs = {"y": y.detach().numpy(), "x": leaf.grad.numpy()}
    theirs |= {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}

    ours, pullback = tlinear.Linear.from_arrays(weight, bias).vjp(x)
    gradients = pullback(dy)
    assert_identical({"y": ours, "x": gradients.x, **gradients.parameters}, theirs)


@pytest.mark.parametrize("has_bias", [True, False])
def test_parameters_have_the_names_and_shapes_of_torch(has_bias):
    ours = tlinear.Linear(6, 4, bias=has_bias, rng=0).parameters()
    theirs = dict(torch.nn.Linear(6, 4, bias=has_bias).named_parameters())
    assert {name: array.shape for name, array in ours.items()} == {name: tuple(p.shape) for name, p in theirs.items()}
