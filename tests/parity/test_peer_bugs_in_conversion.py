"""Faults of tltorch 0.5 and TensorLy 0.10 in making a layer of another one, each as the right behaviour of tlinear."""

import numpy as np
import pytest
import torch

import tlinear
from tlinear.errors import DTypeError, NonFiniteError, ShapeError

from .cases import FORMATS

FACTORIZED = ("cp", "tucker", "tt", "blocktt")
SHAPES = {"in_tensorized_features": (4, 4), "out_tensorized_features": (2, 5)}


def torch_linear(**options) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(16, 10, **options)


def from_linear(linear, factorization: str, rank, **options) -> tlinear.FactorizedLinear:
    return tlinear.FactorizedLinear.from_linear(linear, factorization=factorization, rank=rank, **SHAPES, **options)


@pytest.mark.parametrize("factorization", FORMATS)
def test_the_bias_has_memory_of_its_own(factorization):
    """tltorch's layer shares the bias with the layer it was made of: training the one changes the other."""
    linear = torch_linear()
    layer = from_linear(linear, factorization, "same")
    assert not np.shares_memory(layer.bias, linear.bias.detach().numpy())
    source = tlinear.Linear(16, 10, rng=0)
    assert not np.shares_memory(from_linear(source, factorization, "same").bias, source.bias)


@pytest.mark.parametrize("factorization", FORMATS)
def test_nothing_is_added_where_the_source_adds_nothing(factorization):
    """tltorch gives a random bias to the copy of a layer without one, off by up to .23 even at exact rank."""
    layer = from_linear(torch_linear(bias=False), factorization, "same")
    np.testing.assert_array_equal(layer(np.zeros((3, 16))), np.zeros((3, 10)))


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_bias_is_dropped_only_when_asked(factorization):
    """tltorch's bias flag drops the source's bias without a word, and its default invents one."""
    linear = torch_linear()
    kept, dropped = (from_linear(linear, factorization, "same", bias=bias) for bias in (True, False))
    zeros = np.zeros(16)
    np.testing.assert_array_equal(kept(zeros), linear.bias.detach().numpy())
    np.testing.assert_array_equal(dropped(zeros), np.zeros(10))


def test_the_dense_format_has_a_trainable_weight_and_a_matrix():
    """tltorch's dense layer keeps its weight out of the parameters, and its to_matrix gives a 4-D tensor."""
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), factorization="dense", rng=0)
    assert layer.parameters()["weight.tensor"].shape == (4, 4, 2, 5)
    assert layer.weight.to_matrix().shape == (10, 16)
    _, pullback = layer.vjp(np.ones((1, 16)))
    np.testing.assert_array_equal(pullback(np.ones((1, 10))).parameters["weight.tensor"], np.ones((4, 4, 2, 5)))
    matrix = torch_linear(dtype=torch.float64).weight.detach().numpy()
    converted = from_linear(tlinear.Linear.from_arrays(matrix), "dense", "same")
    np.testing.assert_array_equal(converted.weight.to_matrix(), matrix)


def test_a_layer_of_a_given_weight_has_no_bias_of_chance():
    """tltorch leaves the bias as uninitialised memory when it is handed a factorized weight."""
    weight = tlinear.CPTensor.random((4, 4), (2, 5), 3, rng=0)
    assert tlinear.FactorizedLinear.from_weight(weight).bias is None
    with pytest.raises(ShapeError, match=r"bias has shape \(9,\).* out_features=10"):
        tlinear.FactorizedLinear.from_weight(weight, np.zeros(9))


def exact_cp(scale: float) -> tlinear.Linear:
    """A 64 -> 64 layer whose weight has CP rank 3 over modes (8, 8) and (8, 8)."""
    matrix = tlinear.CPTensor.random((8, 8), (8, 8), 3, std=1.0, rng=0).to_matrix()
    return tlinear.Linear.from_arrays(scale * matrix)


@pytest.mark.parametrize("scale", [1e3, 1.0, 1e-2, 1e-4, 1e-30])
def test_cp_finds_a_weight_of_exact_rank_at_every_scale(scale):
    """tltorch's CP adds an absolute penalty of 1e-5: error 3e-4 at scale 1, and exactly zero left at 1e-4."""
    layer = tlinear.FactorizedLinear.from_linear(exact_cp(scale), rank=3, n_tensorized_modes=2)
    assert layer.decomposition.relative_error < 1e-6


@pytest.mark.parametrize("factorization", FACTORIZED)
@pytest.mark.parametrize("exponent", [-20, 10])
def test_scaling_the_weight_by_a_power_of_two_changes_no_error_bit(exponent, factorization):
    """The same penalty of tltorch makes the error depend on the unit of the weight: .499, .856 and 1.0."""
    matrix = np.random.default_rng(0).standard_normal((10, 16))
    plain, scaled = (
        from_linear(tlinear.Linear.from_arrays(matrix * 2.0**e), factorization, 0.5) for e in (0, exponent)
    )
    assert scaled.decomposition.relative_error == plain.decomposition.relative_error
    np.testing.assert_array_equal(scaled.weight.to_matrix(), plain.weight.to_matrix() * 2.0**exponent)


@pytest.mark.parametrize("factorization", FACTORIZED)
def test_the_result_does_not_depend_on_any_global_random_state(factorization):
    """tltorch's CP gives another result on every call, which torch.manual_seed does not change."""
    matrix = np.random.default_rng(0).standard_normal((10, 16))
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        results.append(from_linear(tlinear.Linear.from_arrays(matrix), factorization, 0.5).weight.to_matrix())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("seed", range(5))
def test_cp_finds_an_exact_rank_four_weight_of_64_by_64(seed):
    """TensorLy's CP may end in a swamp on such a weight, at an error of .42 also after a thousand iterations."""
    tensor = tlinear.CPTensor.random((8, 8), (8, 8), 4, std=1.0, rng=seed).to_tensor()
    assert tlinear.decompose(tensor, "cp", 4).relative_error < 1e-6


@pytest.mark.parametrize("factorization", FACTORIZED)
def test_layer_and_weight_agree_on_the_rank_and_it_is_a_useful_one(factorization):
    """tltorch's BlockTT of rank 100 says [1, 100, 100, 1] while its weight says (1, 16, 16, 1)."""
    layer = from_linear(torch_linear(), factorization, 100)
    useful = tlinear.resolve_rank(factorization, (4, 4), (2, 5), 100)
    assert layer.rank == layer.weight.rank == useful
    assert np.max(layer.rank) < 100


@pytest.mark.parametrize("rank", [100, 0.5, "same"])
@pytest.mark.parametrize("factorization", FACTORIZED)
def test_the_parameters_of_a_converted_layer_fit_a_layer_built_with_the_same_arguments(factorization, rank):
    """tltorch's state does not load: the sizes of the two layers differ.

    Ranks that were shared out by the weight's own spectra are what the layer says they are.
    """
    for allocation in ("proportional", "spectrum"):
        converted = from_linear(torch_linear(dtype=torch.float64), factorization, rank, allocation=allocation)
        same = rank if allocation == "proportional" else converted.rank
        built = tlinear.FactorizedLinear((4, 4), (2, 5), factorization=factorization, rank=same, rng=0)
        loaded = built.with_parameters(converted.parameters())
        x = np.random.default_rng(0).standard_normal((3, 16))
        np.testing.assert_array_equal(loaded(x), converted(x))


@pytest.mark.parametrize("factorization", FACTORIZED)
def test_a_layer_in_half_precision_is_converted_as_well_as_its_numbers_allow(factorization):
    """tltorch raises, as LAPACK has no singular value decomposition of float16.  Here only the result is rounded."""
    half, double = torch_linear(dtype=torch.float16), torch_linear(dtype=torch.float16).double()
    ours, exact = (from_linear(module, factorization, 0.5) for module in (half, double))
    assert ours.weight.dtype == np.float16
    rounded = exact.weight.astype(np.float16)
    for name, array in ours.weight.operands.items():
        np.testing.assert_array_equal(array, rounded.operands[name], err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("factorization", FORMATS)
def test_a_weight_that_is_not_finite_is_refused_by_name(factorization, value):
    """tltorch passes it on to LAPACK, whose error says nothing of the weight."""
    linear = torch_linear()
    with torch.no_grad():
        linear.weight[3, 5] = value
    with pytest.raises(NonFiniteError, match=r"1 entry that is NaN or infinite, of 160"):
        from_linear(linear, factorization, "same")


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_weight_of_zeros_is_converted_to_zeros(factorization):
    layer = from_linear(tlinear.Linear.from_arrays(np.zeros((10, 16))), factorization, "same")
    np.testing.assert_array_equal(layer.weight.to_matrix(), np.zeros((10, 16)))
    assert layer.decomposition.relative_error == 0.0


def test_something_without_a_weight_is_refused_by_its_type():
    """tltorch ends in an AttributeError of torch."""
    with pytest.raises(DTypeError, match=r"linear of type torch.*ReLU has no attribute `weight`"):
        from_linear(torch.nn.ReLU(), "cp", 0.5)
