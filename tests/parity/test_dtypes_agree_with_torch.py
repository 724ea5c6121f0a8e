"""Every dtype, alone and in mixtures, against torch, which is told to cast where tlinear promotes by itself."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear.arrays import to_numpy
from tlinear.errors import DTypeError
from tlinear.linear import as_linear

from .autograd import as_torch, einsum_layer, einsum_results, primals
from .bounds import assert_equal_exactly
from .cases import (
    FORMATS,
    IMPLEMENTATIONS,
    Case,
    batch_shapes,
    generators,
    integers,
    make_case,
    n_bonds,
    structure,
    structures,
)

DTYPES = ("float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators, implementation=st.sampled_from(IMPLEMENTATIONS))
def test_integers_give_the_same_results_to_the_last_bit(factorization, dtype, data, batch_shape, rng, implementation):
    high, max_modes = (1, 2) if dtype != "complex128" else (3, 3)
    case = make_case(
        data.draw(structures(factorization, max_modes=max_modes)), batch_shape, integers(rng, dtype, high=high)
    )
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
@given(rng=generators)
def test_float16_gives_the_same_results_to_the_last_bit_while_it_holds_them(factorization, implementation, rng):
    bonds = (2,) * n_bonds(factorization, 2, 2)
    case = make_case(structure(factorization, (2, 2), (2, 2), bonds), (2,), integers(rng, "float16", high=1))
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))


def mixed_results(case: Case) -> dict[str, np.ndarray]:
    """Everything cast to the common dtype by torch, whose casts are differentiated along with the rest."""
    arguments = primals(case)
    for tensor in arguments.values():
        tensor.requires_grad_()
    common = torch.from_numpy(np.zeros(0, case.dy.dtype)).dtype
    y = einsum_layer(case, {name: tensor.to(common) for name, tensor in arguments.items()})
    y.backward(as_torch(case.dy))
    return {"y": y.detach().numpy()} | {name: tensor.grad.numpy() for name, tensor in arguments.items()}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators)
def test_a_gradient_has_the_dtype_of_its_primal_and_of_a_real_one_the_real_part(
    factorization, implementation, data, batch_shape, rng
):
    plain = make_case(data.draw(structures(factorization, max_modes=2)), batch_shape, integers(rng, high=1))

    def cast(array):
        return array.astype(data.draw(st.sampled_from(DTYPES)))

    operands = {name: cast(array) for name, array in plain.operands.items()}
    x, bias = cast(plain.x), cast(plain.bias)
    result = np.result_type(x, bias, *operands.values())
    case = Case(plain.structure, operands, x, bias, integers(rng, result, high=1)(plain.dy.shape))
    assert_equal_exactly(case, case.results(implementation), mixed_results(case))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "complex32"])
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_numbers_of_too_few_bits_to_compute_in_are_refused_by_name(name):
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), rank=2, rng=0).to(torch)
    few = torch.ones(10, 16).to(getattr(torch, name))
    for call in (
        lambda: layer(few),
        lambda: layer.weight.astype(getattr(torch, name)),
        lambda: tlinear.Linear.from_arrays(few),
        lambda: tlinear.decompose(few, "tt", 2, n_in=1),
    ):
        with pytest.raises(DTypeError, match=name):
            call()


def test_what_a_torch_tensor_has_yet_to_compute_is_computed_before_numpy_reads_it():
    lazy = torch.tensor([1 + 2j, 3 - 4j]).conj()
    assert lazy.is_conj()
    np.testing.assert_array_equal(to_numpy(lazy), [1 - 2j, 3 + 4j])
    assert lazy.imag.is_neg()
    np.testing.assert_array_equal(to_numpy(lazy.imag), [-2.0, 4.0])
    source = SimpleNamespace(weight=torch.tensor([[1 + 2j, 3 - 4j]]).conj(), bias=lazy.imag[:1])
    dense = as_linear(source)
    np.testing.assert_array_equal(dense.weight, [[1 - 2j, 3 + 4j]])
    np.testing.assert_array_equal(dense.bias, [-2.0])
