"""What every format promises, and what it refuses."""

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
from cases import FACTORIZATIONS, weights
from hypothesis import given

import tlinear
from tlinear import BlockTTTensor, CPTensor, DenseTensor, FactorizedLinear, TTTensor, TuckerTensor
from tlinear.algorithms.report import relative_error
from tlinear.algorithms.unfolding import BLOCK
from tlinear.errors import DTypeError, FactorizationError, OptionError, ParameterError, ShapeError
from tlinear.formats import FORMATS, Fitted, Format, find_format


@given(weights())
def test_shape_rank_and_count_are_those_of_the_arrays(weight):
    assert weight.shape == (*weight.in_shape, *weight.out_shape) == weight.to_tensor().shape
    assert all(type(size) is int for size in weight.shape)
    assert weight.n_parameters == sum(array.size for array in weight.operands.values())
    assert weight.dtype == weight.to_tensor().dtype
    if weight.rank is not None and not isinstance(weight.rank, int):
        assert all(type(rank) is int for rank in weight.rank)


@given(weights())
def test_operands_round_trip(weight):
    again = weight.from_operands(weight.operands, len(weight.in_shape), len(weight.out_shape))
    assert again.rank == weight.rank
    assert again.shape == weight.shape
    for name, array in weight.operands.items():
        assert again.operands[name] is array


@given(weights())
def test_pickle_and_deepcopy_keep_the_tensor(weight):
    for again in (pickle.loads(pickle.dumps(weight)), copy.deepcopy(weight)):
        assert type(again) is type(weight)
        assert again.rank == weight.rank
        np.testing.assert_array_equal(again.to_tensor(), weight.to_tensor())


@given(weights())
def test_reconstruction_is_an_array_of_its_own(weight):
    tensor = weight.to_tensor()
    assert tensor.flags.c_contiguous
    assert not any(np.shares_memory(tensor, operand) for operand in weight.operands.values())
    assert not any(np.shares_memory(weight.to_matrix(), operand) for operand in weight.operands.values())


def test_formats_are_frozen():
    cp = CPTensor.random((2,), (3,), 1, rng=0)
    with pytest.raises(AttributeError):
        cp.weights = np.ones(1)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_astype_changes_the_dtype_of_every_operand(factorization):
    tensor = FORMATS[factorization].random((4, 4), (2, 5), rng=0)
    single = tensor.astype(np.float32)
    assert {array.dtype for array in single.operands.values()} == {np.dtype(np.float32)}
    assert single.astype(np.complex64).dtype == np.complex64
    with pytest.raises(DTypeError, match="dtype=float32 cannot hold complex64"):
        single.astype(np.complex64).astype(np.float32)
    with pytest.raises(DTypeError, match="int64 cannot hold parameters"):
        single.astype(int)


def test_a_side_with_fewer_modes_is_padded_in_blocktt():
    block = BlockTTTensor.random((2, 2, 4), (2, 5), 3, rng=0)
    assert [core.shape for core in block.cores] == [(1, 2, 2, 3), (3, 2, 5, 3), (3, 4, 1, 1)]
    assert (block.in_shape, block.out_shape) == ((2, 2, 4), (2, 5))


def test_a_format_of_ones_own_needs_one_class():
    """A tensor ring and a Kronecker product, stated outside of the package, get everything else from it."""
    from own_formats import KroneckerTensor, TensorRing

    x = np.random.default_rng(0).integers(-2, 3, (3, 16)).astype(float)
    for cls, rank in ((TensorRing, 2), (KroneckerTensor, "same")):
        integer = {name: np.sign(array) for name, array in cls.random((4, 4), (2, 5), rank, rng=0).operands.items()}
        weight = cls.from_operands(integer, 2)
        matrices = {
            implementation: FactorizedLinear.from_weight(weight, implementation=implementation)(x)
            for implementation in ("factorized", "reconstructed", "auto")
        }
        for y in matrices.values():
            np.testing.assert_array_equal(y, x @ weight.to_matrix().T)
        layer = FactorizedLinear((4, 4), (2, 5), factorization=cls, rank=rank, rng=0)
        assert set(layer.vjp(x)[1](np.ones((3, 10))).parameters) == set(layer.parameters())
        with pytest.raises(FactorizationError, match="no algorithm"):
            tlinear.decompose(np.ones((4, 4, 2, 5)), cls, rank, n_in=2)


def test_the_error_does_not_depend_on_the_order_in_which_operands_are_returned():
    """Of a tensor so large that its error is told by norms: they are those of the operand that is named."""

    class Backwards(TTTensor):
        @classmethod
        def fit(cls, tensor, n_in, bonds, *, rng, tolerance=None):
            fit = super().fit(tensor, n_in, bonds, rng=rng, tolerance=tolerance)
            return dataclasses.replace(fit, operands=dict(reversed(fit.operands.items())))

    tensor = np.random.default_rng(0).standard_normal((64, 64, 64))
    assert tensor.size > BLOCK
    for scale in (1.0, 2.0**-40):
        for dtype in (np.float64, np.float32):
            own, other = (tlinear.decompose((scale * tensor).astype(dtype), cls, 8) for cls in (TTTensor, Backwards))
            assert own.relative_error == other.relative_error
            assert abs(other.relative_error - relative_error(scale * tensor, other.tensor.to_tensor())) < 1e-6
            for name, array in own.tensor.operands.items():
                np.testing.assert_array_equal(array, other.tensor.operands[name])


def test_a_fit_that_does_not_name_its_carrier_is_refused():
    class Unnamed(TTTensor):
        @classmethod
        def fit(cls, tensor, n_in, bonds, *, rng):
            fit = super().fit(tensor, n_in, bonds, rng=rng)
            return fit.operands, fit.report

    with pytest.raises(FactorizationError, match=r"Unnamed.fit returned an object of type tuple. Return a .*Fitted"):
        tlinear.decompose(np.ones((2, 3)), Unnamed, 1)
    with pytest.raises(FactorizationError, match=r"carrier='core' is none of the operands \['cores.0'\]"):
        Fitted({"cores.0": np.ones((1, 2, 1))}, "core")


def test_every_method_of_a_format_has_a_declared_default_or_is_abstract():
    """Nothing that the package asks of a format is found by its name alone."""
    stated = {name for cls in FORMATS.values() for name in vars(cls) if not name.startswith("_")}
    fields = {field.name for cls in FORMATS.values() for field in dataclasses.fields(cls)}
    assert stated - fields <= {*vars(Format), *Format.__annotations__}
    for name in ("fit_array_api", "fit", "allocate", "halves"):
        assert vars(Format)[name]


BAD_ARRAYS = [
    (lambda: CPTensor(np.ones(2), 5), ShapeError, "CPTensor: factors is of type int. Pass a tuple of arrays"),
    (lambda: BlockTTTensor(5), ShapeError, "BlockTTTensor: cores is of type int"),
    (lambda: DenseTensor(3.0), ShapeError, "DenseTensor needs at least one mode"),
    (lambda: DenseTensor(np.ones((2, 3)), n_in=1.0), ShapeError, "n_in=1.0 does not split 2 modes"),
    (lambda: DenseTensor(np.ones((2, 3)), n_in=True), ShapeError, "n_in=True does not split 2 modes"),
    (lambda: BlockTTTensor((np.ones((1, 2, 2, 1)),), n_in=-1, n_out=1), ShapeError, "n_in=-1 is not a number of modes"),
    (lambda: TTTensor.from_operands({"cores.0": np.ones((1, 2, 1)), "cores.1": np.ones((1, 2, 1))}, 1, 7), ShapeError, "n_in=1 and n_out=7, but these operands have 2 modes"),
    (lambda: CPTensor(np.ones(2), (np.ones((3, 2)), np.ones((4, 3)))), ShapeError, r"axis 1 of factors.1 has size 3, but must equal 2, set by axis 0 of weights"),
    (lambda: CPTensor(np.ones((2, 1)), (np.ones((3, 2)),)), ShapeError, r"weights has shape \(2, 1\), but must have 1 axes"),
    (lambda: CPTensor(np.ones(2), ()), ShapeError, "factors is empty"),
    (lambda: TuckerTensor(np.ones((2, 2)), (np.ones((3, 2)), np.ones((4, 1)))), ShapeError, "axis 1 of factors.1 has size 1, but must equal 2"),
    (lambda: TTTensor((np.ones((2, 3, 1)), np.ones((1, 3, 1)))), ShapeError, "axis 0 of cores.0 has size 2, but must equal 1, set by the format"),
    (lambda: TTTensor((np.ones((1, 3, 2)), np.ones((3, 3, 1)))), ShapeError, "axis 0 of cores.1 has size 3, but must equal 2, set by axis 2 of cores.0"),
    (lambda: TTTensor((np.ones((1, 0, 1)),)), ShapeError, "an axis of size 0"),
    (lambda: TTTensor((np.ones((1, 3, 1)), np.ones((1, 3, 1))), n_in=3), ShapeError, "n_in=3 does not split 2 modes"),
    (lambda: BlockTTTensor((np.ones((1, 2, 2, 1)),) * 2, n_in=1, n_out=1), ShapeError, "2 cores, but n_in=1 and n_out=1"),
    (lambda: BlockTTTensor((np.ones((1, 2, 2, 1)),) * 2, n_in=2, n_out=1), ShapeError, "axis 2 of cores.1 has size 2, but must equal 1"),
    (lambda: DenseTensor([["a"]]), DTypeError, "tensor has dtype <U1, which is not numeric"),
    (lambda: TTTensor((np.ones((1, 3, 1)),) * 2).to_matrix(), ShapeError, r"a matrix needs input and output modes, .* n_in=None"),
    (lambda: CPTensor.random((2,), (2,), 1, std=-1.0), OptionError, "std=-1.0"),
    (lambda: CPTensor.random((2,), (2,), 1, dtype=int), DTypeError, "int64 cannot hold parameters"),
    (lambda: CPTensor.random((2,), 2), ShapeError, "out_shape is the number 2"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "error", "message"), BAD_ARRAYS)
def test_operands_that_do_not_fit_are_refused_by_name(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_with_operands_names_what_is_missing_or_misshapen():
    tensor = TTTensor.random((2,), (3,), 1, rng=0)
    with pytest.raises(ParameterError, match=re.escape("Missing: ['cores.1']; unknown: ['core']")):
        tensor.with_operands({"cores.0": tensor.cores[0], "core": tensor.cores[1]})
    with pytest.raises(ShapeError, match=re.escape("cores.1 has shape (1, 4, 1), but must have (1, 3, 1)")):
        tensor.with_operands({"cores.0": tensor.cores[0], "cores.1": np.ones((1, 4, 1))})


@pytest.mark.parametrize(
    "names", [["cores.0"], ["cores.0", "cores.2"], ["cores.0", "cores.1", "weights"], ["core"], []]
)
def test_from_operands_names_what_is_missing_or_unknown(names):
    with pytest.raises((ParameterError, ShapeError), match=r"Missing|Unknown|unknown|must equal|empty"):
        TTTensor.from_operands(dict.fromkeys(names, np.ones((1, 2, 2))), 1)


def test_operands_are_read_only_as_a_mapping():
    tensor = TTTensor.random((2,), (3,), 1, rng=0)
    with pytest.raises(AttributeError):
        tensor.operands.pop("cores.0")
    with pytest.raises(TypeError):
        tensor.operands["cores.0"] = np.ones(1)


@pytest.mark.parametrize(
    ("name", "hint"), [("tuker", "Did you mean 'tucker'"), ("TTM", "'tt'"), (None, "Choose one of"), (3, "Choose one")]
)
def test_unknown_factorization_lists_those_there_are(name, hint):
    with pytest.raises(FactorizationError, match=hint):
        find_format(name)


def test_a_name_is_found_in_any_case():
    assert find_format("BlockTT") is BlockTTTensor
    assert find_format("CP") is CPTensor
    assert find_format(TTTensor) is TTTensor
