"""Layers: parameters, conversion from dense ones, state, and what they refuse."""

import copy
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest

import tlinear
from tlinear import FactorizedLinear, Linear
from tlinear.contraction.search import cached_plan
from tlinear.errors import (
    DTypeError,
    FactorizationError,
    InfeasibleRankError,
    NonFiniteError,
    OptionError,
    ParameterError,
    ShapeError,
    StateError,
    TLinearError,
)

FORMATS = ["dense", "cp", "tucker", "tt", "blocktt"]


def full_rank(factorization):
    return "same" if factorization == "dense" else 1000


@pytest.fixture(params=FORMATS)
def layer(request):
    return FactorizedLinear((4, 4), (2, 5), factorization=request.param, rank="same", rng=0)


def test_parameters_have_the_operands_names(layer):
    assert list(layer.parameters()) == [f"weight.{name}" for name in layer.weight.operands] + ["bias"]
    assert layer.n_parameters == layer.weight.n_parameters + 10 == sum(a.size for a in layer.parameters().values())


def test_with_parameters_is_another_layer(layer):
    doubled = layer.with_parameters({name: 2 * array for name, array in layer.parameters().items()})
    before = layer.weight.to_matrix()
    n = len(layer.weight.operands)
    np.testing.assert_array_equal(doubled.weight.to_matrix(), 2**n * before)
    np.testing.assert_array_equal(layer.weight.to_matrix(), before)
    assert doubled.implementation == layer.implementation
    with pytest.raises(ParameterError, match=re.escape("Missing: ['bias']; unknown: ['offset']")):
        layer.with_parameters(
            {("offset" if name == "bias" else name): array for name, array in layer.parameters().items()}
        )
    with pytest.raises(ShapeError, match=r"bias has shape \(4,\), but the layer has out_features=10"):
        layer.with_parameters(layer.parameters() | {"bias": np.ones(4)})


def test_pickle_and_deepcopy_keep_the_layer_and_forget_the_passing_state(layer):
    x = np.random.default_rng(0).standard_normal((3, 16))
    layer.forward(x)
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        np.testing.assert_array_equal(again(x), layer(x))
        assert repr(again) == repr(layer)
        with pytest.raises(StateError):
            again.backward(np.ones((3, 10)))


def test_backward_pulls_each_forward_back_once(layer):
    with pytest.raises(StateError, match="no forward pass is waiting"):
        layer.backward(np.ones(10))
    with pytest.raises(StateError, match="No gradients yet"):
        _ = layer.gradients
    layer.forward(np.ones(16))
    layer.backward(np.ones(10))
    with pytest.raises(StateError, match=r"Call layer.forward\(x\) before each layer.backward\(dy\)"):
        layer.backward(np.ones(10))


def test_a_refused_cotangent_leaves_the_forward_pass_waiting(layer):
    layer.forward(np.ones((2, 16)))
    with pytest.raises(ShapeError, match=re.escape("dy has shape (10,), but y has shape (2, 10)")):
        layer.backward(np.ones(10))
    assert layer.backward(np.ones((2, 10))).shape == (2, 16)


class Recorder(np.ndarray):
    """A weight that tells how many axes the factors of its products have."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if ufunc is np.matmul:
            self.axes.append([np.ndim(array) for array in inputs])
        return getattr(ufunc, method)(*map(np.asarray, inputs), **options)

    def __array_finalize__(self, source):
        self.axes = getattr(source, "axes", [])


def test_a_dense_layer_makes_one_product_of_a_batch_of_any_axes():
    """BLAS takes matrices: NumPy cuts a stack of them into as many calls."""
    rng = np.random.default_rng(0)
    weight, x, dy = (rng.integers(-3, 4, shape).astype(float) for shape in ((5, 4), (2, 3, 6, 4), (2, 3, 6, 5)))
    layer = Linear.from_arrays(weight, np.arange(5.0))
    layer.weight = weight.view(Recorder)
    y, pullback = layer.vjp(x)
    layer.jvp(x, x, {"weight": weight})
    assert layer.weight.axes == [[2, 2]] * 3
    np.testing.assert_array_equal(pullback(dy).x, dy @ weight)
    np.testing.assert_array_equal(y, np.einsum("abci,oi->abco", x, weight) + np.arange(5.0))


@pytest.mark.parametrize("implementation", ["factorized", "reconstructed", "auto"])
def test_every_call_takes_the_plan_of_the_layers_implementation(monkeypatch, implementation):
    asked = []

    def record(network, options, mode, batch_size, dtype, *hardware):
        asked.append((options.implementation, mode, batch_size, dtype))
        return cached_plan(network, options, mode, batch_size, dtype, *hardware)

    monkeypatch.setattr("tlinear.contraction.search.cached_plan", record)
    layer = FactorizedLinear((4, 4), (2, 5), rank="same", implementation=implementation, dtype=np.float32, rng=0)
    layer = layer.with_parameters(layer.parameters())
    x = np.ones((3, 16), np.float32)
    for call, mode in ((layer, "forward"), (layer.vjp, "training"), (layer.jvp, "forward"), (layer.trace, "forward")):
        asked.clear()
        call(x)
        assert asked == [(implementation, mode, 4, np.dtype(np.float32))]


def test_plan_is_for_the_dtype_of_the_parameters():
    layer = FactorizedLinear((4, 4), (2, 5), rank="same", dtype=np.float32, rng=0)
    assert layer.plan(3).dtype == np.float32
    assert FactorizedLinear.from_weight(layer.weight, 1j * np.ones(10)).plan(3).dtype == np.complex128
    assert FactorizedLinear.from_weight(layer.weight.astype(np.float16)).plan(3).dtype == np.float32


def test_gradients_may_be_changed_in_place(layer):
    layer.forward(np.ones((2, 16)))
    dx = layer.backward(np.ones((2, 10)))
    for gradient in (dx, *layer.gradients.values()):
        assert gradient.flags.writeable
        gradient *= 0.5


def test_square_weights_are_transposed_only_when_said_to_be():
    weight = np.arange(16.0).reshape(4, 4)
    stored = SimpleNamespace(weight=weight)
    for transposed in (False, True):
        layer = FactorizedLinear.from_linear(stored, factorization="dense", transposed=transposed)
        np.testing.assert_array_equal(layer.weight.to_matrix(), weight.T if transposed else weight)


def test_rng_decides_the_columns_that_cp_starts_from():
    source = Linear(16, 10, rng=0)
    a, b = (FactorizedLinear.from_linear(source, rank=6, rng=seed) for seed in (0, 1))
    assert not np.array_equal(a.weight.factors[0], b.weight.factors[0])


def test_dense_layer_accumulates_half_precision_in_single():
    """4096 + 1 + 1 + .. stays 4096 when summed in float16, whose spacing there is 4."""
    layer, x = Linear.from_arrays(np.ones((1, 4096), np.float16)), np.ones(4096, np.float16)
    x[0] = 4096
    assert layer(x)[0] == np.float16(4096 + 4095)
    assert layer.jvp(x, x)[1][0] == np.float16(4096 + 4095)
    many = Linear.from_arrays(np.ones((1, 1), np.float16), np.zeros(1, np.float16))
    gradients = many.vjp(x[:, None])[1](np.ones((4096, 1))).parameters
    assert gradients["weight"].item() == np.float16(4096 + 4095)
    assert many.vjp(np.ones((4096, 1), np.float16))[1](x[:, None]).parameters["bias"][0] == np.float16(4096 + 4095)


@pytest.mark.parametrize("build", [Linear, lambda *features, **options: FactorizedLinear((64,), (500,), **options)])
def test_bias_starts_uniformly_within_one_over_the_root_of_the_input(build):
    bias = build(64, 500, rng=0).bias
    # the largest of 500 uniform draws falls short of 0.95 of the bound once in 0.95^-500 = 10^11 times
    assert 0.95 / 8 <= np.max(np.abs(bias)) <= 1 / 8


def test_complex_dense_weights_have_the_variance_of_real_ones():
    """E|z|^2 = 1 / (3 n); |z|^2 / that has a variance below 1, so that 10^5 draws lie within 4.9 / sqrt(10^5)."""
    weight = Linear(100, 1000, dtype=np.complex128, rng=0).weight
    assert abs(np.mean(np.abs(weight) ** 2) * 300 - 1) <= 4.9 / np.sqrt(weight.size)


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_from_linear_at_full_rank_is_the_source(factorization, dtype):
    """SVD formats return the weight up to the rounding of the working and of the stored precision."""
    source = Linear(16, 10, dtype=dtype, rng=0)
    layer = FactorizedLinear.from_linear(source, factorization=factorization, rank=full_rank(factorization))
    assert layer.weight.dtype == layer.bias.dtype == source.weight.dtype
    np.testing.assert_array_equal(layer.bias, source.bias)
    assert layer.decomposition.relative_error == pytest.approx(
        np.linalg.norm(layer.weight.to_matrix().astype(complex) - source.weight) / np.linalg.norm(source.weight),
        abs=1e-3,
    )
    if factorization != "cp":
        # rounding the stored operands perturbs each by u; orthogonal factors pass that on at most n operands times
        n = len(layer.weight.operands)
        unit = np.finfo(dtype).eps / 2 if dtype != "float64" else np.finfo(dtype).eps * 160
        assert layer.decomposition.relative_error <= 4 * n * unit


def test_bias_follows_the_source():
    with_bias, without = Linear(16, 10, rng=0), Linear(16, 10, bias=False, rng=0)
    kept = FactorizedLinear.from_linear(with_bias, rank=2)
    assert not np.shares_memory(kept.bias, with_bias.bias)
    with_bias.bias += 1.0
    assert not np.array_equal(kept.bias, with_bias.bias)
    assert FactorizedLinear.from_linear(without, rank=2).bias is None
    assert FactorizedLinear.from_linear(with_bias, rank=2, bias=False).bias is None
    assert FactorizedLinear.from_linear(without, rank=2, bias=True).bias is None


@pytest.mark.parametrize("factorization", FORMATS)
def test_nothing_is_shared_with_the_source_nor_changed_in_it(factorization):
    source = Linear(16, 10, rng=0)
    before = source.weight.copy(), source.bias.copy()
    layer = FactorizedLinear.from_linear(source, factorization=factorization, rank=full_rank(factorization))
    for array in layer.parameters().values():
        assert not np.shares_memory(array, source.weight)
        assert not np.shares_memory(array, source.bias)
        array[...] = 7.0
    np.testing.assert_array_equal(source.weight, before[0])
    np.testing.assert_array_equal(source.bias, before[1])


def test_transposed_weights_are_read_as_they_are_stored():
    source = Linear(16, 10, rng=0)
    stored = SimpleNamespace(weight=source.weight.T, bias=source.bias)
    arguments = {"factorization": "tt", "rank": 3}
    a = FactorizedLinear.from_linear(source, **arguments)
    b = FactorizedLinear.from_linear(stored, transposed=True, **arguments)
    np.testing.assert_array_equal(a.weight.to_matrix(), b.weight.to_matrix())


def test_dtype_of_the_source_can_be_changed():
    layer = FactorizedLinear.from_linear(Linear(16, 10, rng=0), rank=2, dtype=np.float32)
    assert {array.dtype for array in layer.parameters().values()} == {np.dtype(np.float32)}


def test_integer_weights_become_floating():
    layer = FactorizedLinear.from_linear(Linear.from_arrays(np.eye(4, dtype=int)), factorization="tt", rank=16)
    assert layer.weight.dtype == np.float64


@pytest.mark.parametrize("factorization", FORMATS)
def test_decomposing_is_the_same_every_time(factorization):
    source = Linear(16, 10, rng=0)
    a, b = (FactorizedLinear.from_linear(source, factorization=factorization) for _ in range(2))
    for name, array in a.parameters().items():
        np.testing.assert_array_equal(array, b.parameters()[name])


@pytest.mark.parametrize("factorization", FORMATS)
def test_from_scratch_the_same_seed_gives_the_same_layer(factorization):
    a, b = (FactorizedLinear((4, 4), (2, 5), factorization=factorization, rank="same", rng=3) for _ in range(2))
    for name, array in a.parameters().items():
        np.testing.assert_array_equal(array, b.parameters()[name])


def test_repr_shows_shape_rank_parameters_and_compression():
    layer = FactorizedLinear((4, 4), (2, 5), factorization="blocktt", rank=2, rng=0)
    assert repr(layer) == (
        "FactorizedLinear(16 -> 10, blocktt, in=(4, 4), out=(2, 5), rank=(1, 2, 1), bias=True, implementation='auto',\n"
        "                 parameters=66 of 170 dense, compression=2.58x, float64)"
    )
    without = FactorizedLinear((4, 4), (2, 5), bias=False, factorization="blocktt", rank=2, rng=0)
    assert "bias=False" in repr(without)
    assert "parameters=56 of 160 dense, compression=2.86x" in repr(without)
    assert repr(Linear(16, 10, bias=False, rng=0)) == "Linear(16 -> 10, bias=False, parameters=160, float64)"


def test_linear_is_initialised_uniformly_within_one_over_the_root_of_its_features():
    layer = Linear(64, 500, rng=0)
    for array in layer.parameters().values():
        assert np.max(np.abs(array)) <= 1 / 8
        # the largest of 500 and more uniform draws falls short of 0.95 of the bound once in 0.95^-500 = 10^11 times
        assert np.max(np.abs(array)) >= 0.95 / 8


LAYER = FactorizedLinear((4, 4), (2, 5), rank=2, rng=0)
DENSE = Linear(16, 10, rng=0)
NAN = np.full((10, 16), np.nan)
BAD_CALLS = [
    (lambda: LAYER(np.ones((3, 15))), ShapeError, "x has shape (3, 15), but its last axis must be in_features=16 = 4x4"),
    (lambda: DENSE(np.ones((3, 15))), ShapeError, "x has shape (3, 15), but its last axis must be in_features=16."),
    (lambda: LAYER(np.float64(1.0)), ShapeError, "x has shape (), but its last axis must be in_features=16"),
    (lambda: LAYER(np.array(["a"] * 16)), DTypeError, "x has dtype <U1, which is not numeric"),
    (lambda: LAYER([[1.0] * 16, [1.0]]), DTypeError, "x of type list"),
    (lambda: LAYER.vjp(np.ones(16))[1](np.ones(10) * 1j), DTypeError, "dy has dtype complex128, but y is float64"),
    (lambda: DENSE.vjp(np.ones(16))[1](np.ones(10) * 1j), DTypeError, "dy has dtype complex128, but y is float64"),
    (lambda: LAYER.jvp(np.ones(16), np.ones(15)), ShapeError, "The tangent dx has shape (15,), but its primal has (16,)"),
    (lambda: LAYER.jvp(np.ones(16), None, {"weights": 0}), ParameterError, "Unknown: ['weights']"),
    (lambda: DENSE.jvp(np.ones(16), None, {"weight": np.ones((16, 10))}), ShapeError, "The tangent weight has shape (16, 10), but its primal has (10, 16)"),
    (lambda: LAYER.jvp(np.ones(16), 1j * np.ones(16)), DTypeError, "The tangent dx has dtype complex128, but its primal is float64"),
    (lambda: tlinear.factorized_linear(np.ones(16), LAYER.weight, np.ones(9)), ShapeError, "bias has shape (9,), but the layer has out_features=10"),
    (lambda: FactorizedLinear.from_weight(np.ones((10, 16))), FactorizationError, "weight is of type ndarray, not a FactorizedTensor"),
    (lambda: FactorizedLinear.from_weight(tlinear.TTTensor.random((4,), (4,), 1).with_operands), FactorizationError, "not a FactorizedTensor"),
    (lambda: tlinear.factorized_linear(np.ones(16), np.ones((10, 16))), FactorizationError, "weight is of type ndarray, not a FactorizedTensor"),
    (lambda: FactorizedLinear((4, 4), (2, 5), factorization="mps"), FactorizationError, "factorization='mps' is not known"),
    (lambda: FactorizedLinear.from_linear(DENSE, factorization="mps"), FactorizationError, "factorization='mps' is not known"),
    (lambda: FactorizedLinear.from_linear(np.ones((10, 16))), DTypeError, "linear of type numpy.ndarray has no attribute `weight`"),
    (lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=np.ones(16))), ShapeError, "weight has shape (16,), but must be a matrix"),
    (lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=np.ones((0, 16)))), ShapeError, "weight has shape (0, 16)"),
    (lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=np.ones((10, 16)), bias=np.ones(16))), ShapeError, "bias has shape (16,), but the layer has out_features=10"),
    (lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=NAN)), NonFiniteError, "weight of shape (10, 16) has 160 entries that are NaN or infinite, of 160"),
    (lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=NAN), factorization="dense"), NonFiniteError, "NaN or infinite"),
    (lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=np.ones((10, 16)), bias=NAN[:, 0])), NonFiniteError, "bias of shape (10,) has 10 entries"),
    (lambda: FactorizedLinear.from_linear(DENSE, rank=0.01), InfeasibleRankError, "cp of rank 1 already has 16"),
    (lambda: FactorizedLinear.from_linear(DENSE, decomposition_options={"max_iter": 5}), OptionError, "has no option max_iter"),
    (lambda: FactorizedLinear.from_linear(DENSE, dtype=int), DTypeError, "int64"),
    (lambda: FactorizedLinear.from_linear(DENSE, dtype="foo"), DTypeError, "dtype='foo' is not a dtype that NumPy has"),
    (lambda: FactorizedLinear.from_linear(LAYER), DTypeError, "linear's weight is already factorized"),
    (lambda: FactorizedLinear.from_linear(DENSE, decomposition_options={"rng": 1}), OptionError, "decomposition_options holds ['rng']"),
    (lambda: FactorizedLinear.from_linear(DENSE, bias=np.zeros(10)), OptionError, "bias is of type ndarray, but must be True or False"),
    (lambda: FactorizedLinear((4, 4), (2, 5), bias=np.zeros(10)), OptionError, "bias is of type ndarray"),
    (lambda: Linear(16, 10, bias=np.zeros(10)), OptionError, "bias is of type ndarray"),
    (lambda: LAYER(np.ma.masked_array(np.ones(16), mask=True)), DTypeError, "x is a masked array, whose mask would be lost"),
    (lambda: Linear(0, 10), ShapeError, "in_features=0 is not a positive integer"),
    (lambda: Linear(16, 10.0), ShapeError, "out_features=10.0 is not a positive integer"),
    (lambda: Linear(16, 10, dtype=int), DTypeError, "int64 cannot hold parameters"),
    (lambda: FactorizedLinear((4, 4), (2, 5), dtype=int), DTypeError, "int64 cannot hold parameters"),
    (lambda: Linear.from_arrays(np.ones((10, 16)), np.ones(16)), ShapeError, "bias has shape (16,), but the layer has out_features=10"),
    (lambda: DENSE.with_parameters({"weight": np.ones((10, 15)), "bias": np.ones(10)}), ShapeError, "weight has shape (10, 15), but must have (10, 16)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS, ids=[str(k) for k in range(len(BAD_CALLS))])
def test_bad_input_gets_an_error_that_names_both_sides(call, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert isinstance(caught.value, TLinearError)
    assert isinstance(caught.value, (ValueError, TypeError))


def test_no_keyword_is_swallowed():
    for call in (
        lambda: FactorizedLinear((4, 4), (2, 5), ranks=3),
        lambda: FactorizedLinear.from_linear(DENSE, verbose=True),
        lambda: Linear(16, 10, device="cpu"),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            call()
