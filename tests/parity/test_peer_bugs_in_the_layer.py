"""Faults of tltorch 0.5 in calling the layer: shapes that it cannot contract, and arrays that it should not form."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

import tlinear
from tlinear.errors import ShapeError

from .autograd import einsum_results
from .bounds import assert_equal_exactly
from .cases import FORMATS, IMPLEMENTATIONS, integers, make_case, n_bonds, structure


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize(("in_shape", "out_shape"), [((2, 2, 4), (2, 5)), ((2, 5), (2, 2, 4)), ((8,), (2, 2, 2))])
def test_the_sides_may_have_different_numbers_of_modes(factorization, implementation, in_shape, out_shape):
    """tltorch's Tucker splits the modes in the middle, and its BlockTT pairs them: both raise a ValueError."""
    bonds = (2,) * n_bonds(factorization, len(in_shape), len(out_shape))
    weight = structure(factorization, in_shape, out_shape, bonds)
    case = make_case(weight, (3,), integers(np.random.default_rng(0)))
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))
    layer = tlinear.FactorizedLinear(in_shape, out_shape, factorization=factorization, implementation=implementation)
    assert layer(np.ones((3, math.prod(in_shape)))).shape == (3, math.prod(out_shape))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("batch_shape", [(0,), (2, 0), (0, 3)])
def test_an_empty_batch_gives_what_torch_nn_linear_gives(factorization, implementation, batch_shape):
    """tltorch's factorized forward raises: it reshapes no elements to an unknown number of samples."""
    linear = torch.nn.Linear(16, 10, dtype=torch.float64)
    x = torch.zeros(*batch_shape, 16, dtype=torch.float64, requires_grad=True)
    y = linear(x)
    y.backward(torch.zeros_like(y))

    options = {"factorization": factorization, "implementation": implementation, "rng": 0}
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), **options)
    ours, pullback = layer.vjp(x.detach().numpy())
    gradients = pullback(np.zeros(ours.shape))
    np.testing.assert_array_equal(ours, y.detach().numpy())
    np.testing.assert_array_equal(gradients.x, x.grad.numpy())
    np.testing.assert_array_equal(gradients.parameters["bias"], linear.bias.grad.numpy())
    for name, parameter in layer.parameters().items():
        np.testing.assert_array_equal(gradients.parameters[name], np.zeros(parameter.shape), err_msg=name)


@pytest.mark.parametrize(
    ("factorization", "n_modes"), [("blocktt", 10), ("tucker", 12), ("cp", 13), ("tt", 10), ("dense", 10)]
)
def test_many_modes_do_not_run_out_of_letters(factorization, n_modes):
    """tltorch spells its einsum in the letters from 'a' on: BlockTT ends at 8 modes a side, Tucker at 10, CP at 12.

    Four modes of a side have size 2 and the others size 1, so that torch can follow.
    """
    side = tuple(2 if k % 3 == 0 and k < 12 else 1 for k in range(n_modes))
    bonds = tuple(2 if k % 4 == 0 else 1 for k in range(n_bonds(factorization, n_modes, n_modes)))
    case = make_case(structure(factorization, side, side, bonds), (2,), integers(np.random.default_rng(0), high=1))
    theirs = einsum_results(case)
    for implementation in IMPLEMENTATIONS:
        assert_equal_exactly(case, case.results(implementation), theirs)


@pytest.mark.parametrize("factorization", ["cp", "tt", "blocktt"])
def test_a_side_of_ten_modes_of_size_two_is_a_layer(factorization):
    """Quantized tensor trains, 2^10 features a side, are out of reach of tltorch for want of letters."""
    in_shape, rng = (2,) * 10, np.random.default_rng(0)
    weight = tlinear.FactorizedLinear(in_shape, in_shape, factorization=factorization, rank=2, rng=0).weight
    draw = integers(rng, high=1)
    weight = weight.with_operands({name: draw(array.shape) for name, array in weight.operands.items()})
    x = draw((3, 1024))
    # with entries of at most 1, no partial sum exceeds the number of terms
    assert 1024 * math.prod(np.atleast_1d(weight.rank).tolist()) < 2**53
    expected = torch.nn.functional.linear(torch.from_numpy(x), torch.from_numpy(weight.to_matrix())).numpy()
    for implementation in IMPLEMENTATIONS:
        y = tlinear.factorized_linear(x, weight, implementation=implementation)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_cp_of_a_thousand_features_never_holds_the_khatri_rao_product_of_all_but_one_factor(implementation):
    """tltorch reconstructs by it: an array of (1024 * 1024 / 8) x R, here 1.7 GB where the weight has 8 MB."""
    options = {"factorization": "cp", "rank": 0.1, "implementation": implementation, "rng": 0}
    layer = tlinear.FactorizedLinear((8, 8, 16), (8, 8, 16), **options)
    side = 1024 * layer.rank * 8
    dense = 1024 * 1024 * 8
    x = np.ones((16, 1024))
    tracemalloc.start()
    layer(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # the Khatri-Rao products of both sides, one of them once more in another order, and the weight twice
    assert peak <= 3 * side + 2 * dense
    assert peak < 1024 * 1024 // 8 * layer.rank * 8 / 20


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
def test_an_input_of_other_features_is_refused_with_both_shapes(factorization, implementation):
    """tltorch leaves it to torch, whose message speaks of a reshape or of two matrices, and not of the layer."""
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), factorization=factorization, implementation=implementation, rng=0)
    with pytest.raises(ShapeError, match=r"x has shape \(3, 32\), but its last axis must be in_features=16 = 4x4"):
        layer(np.ones((3, 32)))
