"""The gradient of a complex array is torch's: that of the steepest ascent of a real loss, the conjugate of JAX's."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from .autograd import as_torch, einsum_layer, primals
from .bounds import assert_equal_exactly
from .cases import FORMATS, IMPLEMENTATIONS, batch_shapes, generators, integers, make_case, structures


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators)
def test_the_gradient_of_a_real_loss_is_that_of_torch(factorization, implementation, data, batch_shape, rng):
    """Of the loss ``|y|^2 / 2`` the cotangent is y itself, so that a missing conjugate anywhere shows."""
    case = make_case(
        data.draw(structures(factorization, max_modes=2)), batch_shape, integers(rng, "complex128", high=1)
    )
    arguments = primals(case)
    for tensor in arguments.values():
        tensor.requires_grad_()
    y = einsum_layer(case, arguments)
    (torch.sum(y.real**2 + y.imag**2) / 2).backward()

    theirs = {"y": y.detach().numpy()} | {name: tensor.grad.numpy() for name, tensor in arguments.items()}
    pulled_back = replace(case, dy=theirs["y"])
    assert_equal_exactly(pulled_back, pulled_back.results(implementation), theirs)


@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), rng=generators)
def test_dx_is_dy_times_the_conjugate_of_the_matrix(factorization, data, rng):
    case = make_case(data.draw(structures(factorization)), (3,), integers(rng, "complex128"))
    dx = as_torch(case.dy) @ as_torch(case.weight.to_matrix()).conj().resolve_conj()
    assert_equal_exactly(case, {"x": case.results()["x"]}, {"x": dx.numpy()})
