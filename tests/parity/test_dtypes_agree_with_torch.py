"""Every dtype, alone and in mixtures, against torch, which is told to cast where tlinear promotes by itself."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear.arrays import to_numpy
from tlinear.arrays.foreign import Foreign
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import plan as search_plan
from tlinear.contraction.tape import contract_with_tape
from tlinear.errors import DTypeError
from tlinear.modules import as_linear

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


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_gradients_in_half_precision_of_many_chunks_are_summed_in_single(monkeypatch, name, memory):
    """As other hardware than a CPU computes: 4096 ones, one after another, are 4096 and not the 2048 or 256 of half."""
    monkeypatch.setattr(Foreign, "hardware", "gpu")
    dtype, n = getattr(torch, name), 4096
    weight = tlinear.DenseTensor(torch.ones(2, 3, dtype=dtype), n_in=1)
    asked = {"mode": "training", "batch_size": n, "dtype": np.dtype(np.float16), "hardware": "gpu"}
    plan = search_plan(weight.layer_network, PlanOptions("factorized"), **asked)
    plan = replace(plan, chunk_size=1, memory=memory).on(weight.space)
    _, tape = contract_with_tape(plan, [torch.ones(n, 2, dtype=dtype), weight.tensor])
    gradient = tape.pull_back(torch.ones(n, 3, dtype=dtype))[1]
    assert gradient.dtype == dtype
    assert torch.all(gradient == n)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_on_a_cpu_is_rounded_only_at_the_end(name):
    """2049 - 2048 = 1, though the first of them lies between two numbers of half precision."""
    dtype = getattr(torch, name)
    cores = torch.tensor([[[2048.0, 2048.0], [1.0, 0.0]]]), torch.tensor([[[1.0]], [[-1.0]]])
    layer = tlinear.FactorizedLinear.from_weight(tlinear.TTTensor(tuple(core.to(dtype) for core in cores), n_in=1))
    layer = layer.with_options(implementation="factorized", optimize=[(0, 1), (0, 1)])
    y, pullback = layer.vjp(torch.ones(1, 2, dtype=dtype))
    assert y.dtype == dtype
    assert y.item() == 1.0
    assert pullback(torch.ones(1, 1, dtype=dtype)).parameters["weight.cores.1"].flatten().tolist() == [2048.0, 2048.0]


def test_what_requires_a_gradient_is_taken_without_its_history():
    """Autograd is left alone: neither is it told of what is computed, nor is anything that it remembers kept alive."""
    module = torch.nn.Linear(16, 10, dtype=torch.float64)
    x = torch.ones(3, 16, dtype=torch.float64, requires_grad=True)
    here = tlinear.FactorizedLinear((4, 4), (2, 5), rank=2, rng=0)
    for layer in (tlinear.Linear.from_arrays(module.weight, module.bias), here.to(torch)):
        y, pullback = layer.vjp(x)
        found = [y, *layer.parameters().values(), layer(x), *layer.jvp(x, x)]
        gradients = pullback(torch.ones(3, 10, requires_grad=True))
        assert not any(array.requires_grad for array in [*found, gradients.x, *gradients.parameters.values()])
