"""What the tests of tltorch and TensorLy ask of their layer and their tensors, asked of tlinear.

Theirs compare at two to five decimals; here whole numbers are compared to the last bit, and
decompositions to rounding.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given

import tlinear

from .autograd import as_torch
from .cases import FORMATS, IMPLEMENTATIONS, generators, integers, normals

FACTORIZED = ("cp", "tucker", "tt", "blocktt")
DIRECT = ("tucker", "tt", "blocktt")
"""The formats whose decomposition ends after finitely many orthogonal factorizations at full rank."""


def integer_weight(factorization: str, in_shape, out_shape, rank):
    """A weight of this rank whose operands are small whole numbers."""
    weight = tlinear.FactorizedLinear(in_shape, out_shape, factorization=factorization, rank=rank, rng=0).weight
    draw = integers(np.random.default_rng(0), high=2)
    return weight.with_operands({name: draw(array.shape) for name, array in weight.operands.items()})


def assert_never_rounded(weight, x: np.ndarray) -> None:
    """No order of contraction of these whole numbers leaves the 53 bits of float64."""
    sizes = [max(1.0, float(np.max(np.abs(array)))) for array in (x, *weight.operands.values())]
    bonds = 1 if weight.rank is None else math.prod(np.atleast_1d(weight.rank).tolist())
    assert math.log2(math.prod(sizes)) + math.log2(weight.in_features * bonds) < 53


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
def test_a_layer_of_an_existing_weight_is_the_linear_layer_of_its_matrix(factorization, implementation):
    draw = integers(np.random.default_rng(1))
    weight, x, bias = integer_weight(factorization, (3, 3), (4, 4), "same"), draw((2, 9)), draw((16,))
    assert_never_rounded(weight, x)
    linear = torch.nn.Linear(9, 16, dtype=torch.float64)
    linear.weight.data, linear.bias.data = as_torch(weight.to_matrix()), as_torch(bias)
    layer = tlinear.FactorizedLinear.from_weight(weight, bias, implementation=implementation)
    np.testing.assert_array_equal(layer(x), linear(as_torch(x)).detach().numpy())


@pytest.mark.parametrize("shapes", [{"in_tensorized_features": (3, 3), "out_tensorized_features": (4, 4)}, {}])
@pytest.mark.parametrize("factorization", FACTORIZED)
def test_from_linear_at_a_rank_beyond_the_useful_is_the_linear_layer(factorization, shapes):
    """With given shapes and with those that are found; CP, which is iterative, to 1e-6 of the weight."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(9, 16, dtype=torch.float64)
    layer = tlinear.FactorizedLinear.from_linear(linear, rank=34, factorization=factorization, **shapes)
    assert (layer.in_tensorized_features, layer.out_tensorized_features) == ((3, 3), (4, 4))
    x = torch.randn(2, 9, dtype=torch.float64)
    difference = np.linalg.norm(layer(x.numpy()) - linear(x).detach().numpy())
    size = float(x.norm() * linear.weight.detach().norm())
    rounding = 4 * 9 * 16 * np.finfo(float).eps
    assert difference <= size * (rounding if factorization in DIRECT else 1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FACTORIZED)
def test_the_pure_function_multiplies_by_the_transposed_matrix(factorization, implementation):
    weight = integer_weight(factorization, (4, 5), (6, 2), 3)
    x = integers(np.random.default_rng(1))((2, 20))
    assert_never_rounded(weight, x)
    expected = torch.matmul(as_torch(x), as_torch(weight.to_matrix()).T).numpy()
    np.testing.assert_array_equal(tlinear.factorized_linear(x, weight, implementation=implementation), expected)


@pytest.mark.parametrize("factorization", FORMATS)
def test_shapes_of_tensor_and_matrix_are_tuples_of_python_ints(factorization):
    weight = tlinear.FactorizedLinear((4, 3), (2, 5), factorization=factorization, rng=0).weight
    assert weight.shape == weight.to_tensor().shape == (4, 3, 2, 5)
    assert all(type(size) is int for size in weight.shape)
    assert weight.to_matrix().shape == (weight.out_features, weight.in_features) == (10, 12)


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_complex_weight_has_a_complex_tensor_of_its_dtype(factorization):
    layer = tlinear.FactorizedLinear((4, 3), (2, 5), factorization=factorization, dtype=np.complex64, rng=0)
    assert layer.weight.to_tensor().dtype == np.complex64
    assert {array.dtype for array in layer.parameters().values()} == {np.dtype(np.complex64)}


def ones(*shapes):
    return tuple(np.ones(shape) for shape in shapes)


MISFITS = {
    "a factor of another rank": lambda: tlinear.CPTensor(np.ones(3), ones((4, 4), (4, 3), (5, 3))),
    "too few weights": lambda: tlinear.CPTensor(np.ones(2), ones((3, 3), (4, 3), (5, 3))),
    "a factor that the core does not fit": lambda: tlinear.TuckerTensor(
        np.ones((3, 2, 4)), ones((4, 4), (4, 2), (5, 4))
    ),
    "fewer factors than axes of the core": lambda: tlinear.TuckerTensor(np.ones((3, 2, 4)), ones((4, 2), (5, 4))),
    "a core with too few axes": lambda: tlinear.TTTensor(ones((4, 4), (3, 4, 2), (2, 5, 1))),
    "cores whose ranks do not meet": lambda: tlinear.TTTensor(ones((1, 3, 2), (3, 4, 2), (2, 5, 1))),
    "a train that does not begin with rank 1": lambda: tlinear.TTTensor(ones((3, 3, 2), (2, 4, 2), (2, 5, 1))),
    "a TT-matrix that does not end with rank 1": lambda: tlinear.BlockTTTensor(ones((1, 3, 2, 2), (2, 4, 2, 2))),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_operands_that_do_not_fit_raise_a_value_error_at_construction(misfit):
    with pytest.raises(ValueError, match=r"must|has shape") as caught:
        MISFITS[misfit]()
    assert isinstance(caught.value, tlinear.TLinearError)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("factorization", FACTORIZED)
@given(rng=generators)
def test_a_budget_is_never_exceeded(factorization, fraction, rng):
    shape = tuple(rng.integers(5, 10, 4).tolist())
    weight = tlinear.FactorizedLinear(shape[:2], shape[2:], factorization=factorization, rank=fraction, rng=0).weight
    assert weight.n_parameters <= fraction * math.prod(shape)


@pytest.mark.parametrize("rank", [(1, 3, 3, 4, 2, 2, 1), (1, 3, 4, 3, 8, 10, 1)])
def test_tt_has_the_ranks_asked_for_and_they_chain(rank):
    tensor = np.random.default_rng(0).random((3, 4, 5, 6, 2, 10))
    cores = tlinear.decompose(tensor, "tt", rank).tensor.cores
    assert tuple(core.shape[0] for core in cores) == rank[:-1]
    assert tuple(core.shape[2] for core in cores) == rank[1:]
    assert tuple(core.shape[1] for core in cores) == tensor.shape


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    ("factorization", "shape", "rank", "asked"),
    [
        ("tt", (3, 3, 3, 3), (1, 2, 3, 2, 1), (1, 2, 3, 2, 1)),
        ("tt", (3, 3, 3, 3), (1, 2, 3, 2, 1), 10),
        ("blocktt", (2, 2, 3, 3), (1, 2, 1), 10),
        ("tucker", (3, 4, 3, 2), (2, 3, 2, 2), (2, 3, 2, 2)),
        ("tucker", (3, 4, 3, 2), (2, 3, 2, 2), 10),
    ],
)
def test_a_tensor_of_exact_rank_is_recovered_to_rounding(factorization, shape, rank, asked, dtype):
    options = {"factorization": factorization, "rank": rank, "dtype": dtype, "rng": 0}
    tensor = tlinear.FactorizedLinear(shape[:2], shape[2:], **options).weight.to_tensor()
    result = tlinear.decompose(tensor, factorization, asked, n_in=2)
    assert result.relative_error <= 4 * tensor.size * np.finfo(float).eps


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_error_of_cp_never_rises_and_the_same_seed_gives_the_same_factors(rank, dtype):
    """An error e is the root of a difference of squares, known to rounding / e; the bound on noise is far from 0."""
    tensor = normals(np.random.default_rng(0), dtype)((4, 5, 3, 3))
    first, second = (tlinear.decompose(tensor, "cp", rank, rng=7) for _ in range(2))
    known_to = 4 * tensor.size * np.finfo(float).eps / np.array(first.history)
    assert np.all(np.diff(first.history) <= known_to[1:])
    assert first.history == second.history
    for name, array in first.tensor.operands.items():
        np.testing.assert_array_equal(array, second.tensor.operands[name], err_msg=name)
