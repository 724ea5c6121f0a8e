"""A module of another library is taken by its weight where that is the matrix that it computes with, and else refused."""

import functools
from types import MethodType, SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from tlinear import FactorizedLinear, Linear
from tlinear.errors import DTypeError, ShapeError
from tlinear.modules import as_linear

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((6, 8)), RNG.standard_normal(6)
CODES = np.rint(W * 20).astype(np.int8)
SQUARE = RNG.standard_normal((8, 8))


def module(**attributes):
    return SimpleNamespace(**{"weight": W, "bias": B} | attributes)


class LoraLayer:
    """As an adapter of peft: its weight is that of the base layer, its features are that, and the adapter is apart."""

    def __init__(self):
        self.base_layer = module()
        self.in_features, self.out_features = 8, 6
        self.lora_A, self.lora_B = {"default": np.ones((2, 8))}, {"default": np.ones((6, 2))}

    weight = property(lambda self: self.base_layer.weight)
    bias = property(lambda self: self.base_layer.bias)


class Quantized(np.ndarray):
    """As the tensors of torchao and quanto: floating to all who ask, and decoded when they are called."""

    def dequantize(self):
        return np.asarray(self)


class MethodModule:
    def weight(self):
        return W

    def bias(self):
        return B


class Tensorized:
    """As the factorized tensor of tltorch: not an array, and it can be called."""

    shape = (6, 8)

    def __call__(self):
        return self

    def to_matrix(self):
        return W


def with_foreign_forward():
    other = SimpleNamespace()
    return module(forward=MethodType(lambda self, x: x, other))


REFUSED = {
    "codes and their scale": (
        module(weight=CODES, SCB=np.ones(6)),
        "has SCB beside its weight of dtype int8.*Dequantize",
    ),
    "scale of the weight": (module(weight_scale=np.ones(6)), "has weight_scale beside"),
    "scale of eight bits": (module(weight_scale_inv=np.ones((1, 1))), "has weight_scale_inv beside"),
    "one factor": (module(scale=0.5), "has scale beside its weight of dtype float64"),
    "a mask": (module(mask=np.ones((10, 16))), "has mask beside its weight of dtype float64"),
    "a magnitude": (module(magnitude=np.ones((10, 1))), "has magnitude beside its weight of dtype float64"),
    "gain": (module(weight_gain=0.1), "has weight_gain beside"),
    "norm apart": (
        module(_parameters={"weight_g": np.ones(6), "weight_v": W}),
        "weight_g, weight_v beside.*remove_weight",
    ),
    "mask": (
        module(_parameters={"weight_orig": W}, _buffers={"weight_mask": W > 0}),
        "weight_orig, weight_mask .*prune",
    ),
    "fake quantization": (
        module(_modules={"weight_fake_quant": SimpleNamespace(parameters=list)}),
        "weight_fake_quant",
    ),
    "scale of the array": (
        module(weight=SimpleNamespace(shape=(6, 8), SCB=np.ones(6))),
        "has weight.SCB beside its weight,",
    ),
    "codes": (
        module(weight=CODES),
        r"keeps its weight as int8 of shape \(6, 8\): codes.*Linear.from_arrays\(weight, bias\)",
    ),
    "packed": (module(weight=np.ones((6, 1), np.int32), in_features=8), "keeps its weight as int32 of shape"),
    "truth values": (module(weight=W > 0), "keeps its weight as bool"),
    "decoded on call": (module(weight=W.view(Quantized)), r"quantized, as a Quantized. Pass .*weight.dequantize\(\)"),
    "method": (MethodModule(), r"has a method `weight`.*linear.weight\(\).dequantize\(\), linear.bias\(\)"),
    "adapter of peft": (
        LoraLayer(),
        r"LoraLayer adds an adapter to its base_layer.*merge\(\), and pass linear.base_layer",
    ),
    "adapter": (
        module(_parameters={"lora_A": np.ones((2, 8))}, merged=False),
        "adds an adapter, lora_A, to its weight",
    ),
    "replaced": (with_foreign_forward(), "computes by the `forward` of a SimpleNamespace"),
    "factorized": (module(weight=Tensorized()), r"already factorized: it is of type \S+Tensorized.*to_matrix\(\)"),
    "Keras": (
        SimpleNamespace(kernel=W.T, bias=B),
        r"no attribute `weight`.*from_arrays\(linear.kernel, .*transposed=True",
    ),
    "estimator": (SimpleNamespace(coef_=W, intercept_=B), r"no attribute `weight`.*from_arrays\(linear.coef_"),
    "network": (
        SimpleNamespace(coefs_=[W.T]),
        r"no attribute `weight`.*coefs_\[k\], linear.intercepts_\[k\], transposed",
    ),
    "codes alone": (
        SimpleNamespace(qweight=CODES),
        "no attribute `weight`. It is quantized, and qweight are its codes",
    ),
    "frozen": (
        FactorizedLinear((2, 4), (2, 3), rng=0).freeze(),
        "already factorized: CPTensor.* Pass the dense layer to",
    ),
}


@pytest.mark.parametrize(("linear", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_weight_that_is_not_the_matrix_is_refused_with_a_remedy(linear, message):
    with pytest.raises(DTypeError, match=message):
        FactorizedLinear.from_linear(linear, factorization="dense")


CONTRADICTIONS = {
    "packed": (
        {"in_features": 64, "out_features": 6},
        False,
        r"in_features=64 and out_features=6, but .* 8 features to 6",
    ),
    "sharded": ({"input_size": 8, "output_size": 24}, False, "input_size=8 and output_size=24, .* the whole matrix"),
    "turned": ({"in_features": 6, "out_features": 8}, False, "Pass transposed=True"),
    "turned twice": (
        {"in_features": 8, "out_features": 6},
        True,
        "read as .in_features, out_features.*Pass transposed=False",
    ),
    "Conv1D": ({"nx": 6, "nf": 8}, False, "nx=6 and nf=8, .*Pass transposed=True"),
    "square Conv1D": (
        {"nx": 8, "nf": 8, "weight": SQUARE, "bias": None},
        False,
        "nx=8 and nf=8, .*Pass transposed=True",
    ),
}


@pytest.mark.parametrize(("stated", "transposed", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_shape_that_contradicts_the_features_is_refused(stated, transposed, message):
    with pytest.raises(ShapeError, match=message):
        as_linear(module(**stated), transposed=transposed)


TAKEN = {
    "alone": {},
    "features": {"in_features": 8, "out_features": np.int64(6)},
    "other attributes": {
        "weight_decay": 0.1,
        "weight_init": "normal",
        "name": "w",
        "training": True,
        "_parameters": None,
    },
    "nothing beside": {"scale": None, "scales": None, "weight_scale": 1.0, "lora_alpha": 1, "lora_dropout": 0.0},
    "merged": {"_parameters": {"lora_A": np.ones((2, 8))}, "merged": True},
    "hook": {"forward": functools.partial(print)},
    "other names": {"in_features": None, "out_features": None, "nx": 8},
}


@pytest.mark.parametrize("attributes", TAKEN.values(), ids=TAKEN.keys())
def test_a_weight_that_stands_alone_is_taken_as_it_is(attributes):
    linear = as_linear(module(**attributes))
    assert linear.weight is W
    assert linear.bias is B


def test_own_forward_and_own_scale_of_one_are_no_adapter():
    own = module(scale=1)
    own.forward = MethodType(lambda self, x: x, own)
    assert as_linear(own).weight is W


@pytest.mark.parametrize("stated", [{"nx": 8, "nf": 6}, {"in_features": 8, "out_features": 6}, {}])
def test_transposed_takes_the_weight_the_other_way_round(stated):
    linear = as_linear(module(weight=W.T, **stated), transposed=True)
    np.testing.assert_array_equal(linear.weight, W)


def test_integers_are_a_matrix_where_the_caller_says_so():
    np.testing.assert_array_equal(as_linear(Linear.from_arrays(CODES, B)).weight, CODES)


@pytest.mark.parametrize("stated", [{"in_features": 32}, {"out_features": 4}, {"in_features": 32.0}])
def test_a_weight_that_contradicts_one_side_is_refused(stated):
    with pytest.raises(ShapeError, match=r"maps 16 features to 8"):
        as_linear(SimpleNamespace(weight=np.ones((8, 16)), bias=None, **stated))


def test_a_scale_is_seen_wherever_the_module_keeps_it():
    class OfTheClass:
        weight, bias, scale = np.ones((8, 16)), None, np.full(8, 0.1)

    class Computed:
        weight, bias = np.ones((8, 16)), None

        @property
        def scale(self):
            return [0.1] * 8

    for module in (OfTheClass(), Computed()):
        with pytest.raises(DTypeError, match="has scale beside its weight"):
            as_linear(module)


def test_a_module_in_bfloat16_is_read():
    weight = np.arange(12.0).reshape(3, 4).astype(ml_dtypes.bfloat16)
    linear = as_linear(SimpleNamespace(weight=weight, bias=None, in_features=4, out_features=3))
    assert linear.weight.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(linear.weight, weight)
