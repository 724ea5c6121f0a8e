"""A pullback reads arrays of others: parameters, a tape, what a frozen layer holds.  It writes to none of them."""

import numpy as np
from cases import FACTORIZATIONS, IMPLEMENTATIONS, integers, ranks
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear
from tlinear.formats import FORMATS

# modes and batches so large that the cost model rearranges operands, and of size 1, where that moves nothing
modes = st.lists(st.sampled_from([1, 2, 5, 8]), min_size=1, max_size=3).map(tuple)
batch_sizes = st.sampled_from([1, 7, 40, 64, 300, 500])


@st.composite
def layers(draw):
    cls = FORMATS[draw(st.sampled_from(FACTORIZATIONS))]
    in_shape, out_shape = draw(modes), draw(modes)
    network = cls.network_for(in_shape, out_shape, draw(ranks(cls, in_shape, out_shape)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(["complex128", "complex128", "float64"]))
    operands = {
        name: integers(rng, network.shape(labels), dtype)
        for name, labels in zip(network.names, network.inputs, strict=True)
    }
    weight = cls.from_operands(operands, len(in_shape), len(out_shape))
    bias = integers(rng, (weight.out_features,), dtype) if draw(st.booleans()) else None
    layer = FactorizedLinear.from_weight(weight, bias, implementation=draw(st.sampled_from(IMPLEMENTATIONS)))
    n = draw(batch_sizes)
    return layer, *(integers(rng, (n, size), dtype) for size in (weight.in_features, weight.out_features))


def arrays_of(gradients):
    return [gradients.x, *gradients.parameters.values()]


@given(layers())
def test_a_pullback_leaves_its_arguments_and_the_parameters_as_they_are(drawn):
    layer, x, dy = drawn
    given_ = {**layer.parameters(), "x": x, "dy": dy}
    copies = {name: array.copy() for name, array in given_.items()}
    y, pullback = layer.vjp(x)
    first, second = arrays_of(pullback(dy)), arrays_of(pullback(dy))
    for name, array in given_.items():
        np.testing.assert_array_equal(array, copies[name], err_msg=name)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(layer(x), y)


@given(layers())
def test_recomputing_gives_the_same_gradients_as_storing(drawn):
    layer, x, dy = drawn
    stored, recomputed = (layer.with_options(memory=memory).vjp(x)[1] for memory in ("store", "recompute"))
    for one, other in zip(arrays_of(stored(dy)), arrays_of(recomputed(dy)), strict=True):
        np.testing.assert_array_equal(one, other)


@given(layers())
def test_a_frozen_layer_stays_the_same_function(drawn):
    layer, x, dy = drawn
    frozen, expected = layer.freeze(), layer(x)
    y, pullback = frozen.vjp(x)
    dx = layer.vjp(x, "x")[1](dy).x
    for _ in range(2):
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(frozen(x), expected)
        np.testing.assert_array_equal(pullback(dy).x, dx)
