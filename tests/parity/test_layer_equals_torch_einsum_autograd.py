"""Forward, dx, dbias and the gradient of every operand, against one torch.einsum and torch's autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from .autograd import as_torch, einsum_layer, einsum_results, primals
from .bounds import (
    assert_equal_exactly,
    assert_equal_within_rounding,
    assert_identical,
    exactness_bits,
    significand_bits,
)
from .cases import (
    FORMATS,
    IMPLEMENTATIONS,
    Case,
    batch_shapes,
    generators,
    integers,
    make_case,
    n_bonds,
    normals,
    structure,
    structures,
)

SHAPES = {
    "more input modes": ((2, 2, 4), (2, 5)),
    "more output modes": ((3,), (2, 2, 2)),
    "one mode a side": ((4,), (3,)),
    "modes of size 1": ((1, 3, 1), (1, 2)),
    "all modes of size 1": ((1, 1), (1,)),
}
BATCHES = {"none": (), "one": (3,), "two": (2, 3), "three": (2, 1, 3), "empty": (0,), "empty within": (2, 0)}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators, bias=st.booleans())
def test_integers_give_the_same_results_to_the_last_bit(factorization, implementation, data, batch_shape, rng, bias):
    case = make_case(data.draw(structures(factorization)), batch_shape, integers(rng), bias=bias)
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators, implementation=st.sampled_from(IMPLEMENTATIONS))
def test_gaussians_give_the_same_results_within_rounding(factorization, dtype, data, batch_shape, rng, implementation):
    case = make_case(data.draw(structures(factorization)), batch_shape, normals(rng, dtype))
    assert_equal_within_rounding(case, case.results(implementation), einsum_results(case))


def corner(factorization: str, in_shape, out_shape, batch_shape) -> Case:
    bonds = (2,) * n_bonds(factorization, len(in_shape), len(out_shape))
    weight = structure(factorization, in_shape, out_shape, bonds)
    return make_case(weight, batch_shape, integers(np.random.default_rng(0)))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factorization", FORMATS)
def test_corner_shapes_give_the_same_results_to_the_last_bit(factorization, shape, batch, implementation):
    case = corner(factorization, *SHAPES[shape], BATCHES[batch])
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))


def transposed(array: np.ndarray) -> np.ndarray:
    return np.asfortranarray(array)


def every_other(array: np.ndarray) -> np.ndarray:
    return np.repeat(array, 2, axis=-1)[..., ::2]


def backwards(array: np.ndarray) -> np.ndarray:
    return array[::-1, ..., ::-1]


def broadcast(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array[:1], array.shape)


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


@pytest.mark.parametrize("strided", [transposed, every_other, backwards, broadcast, read_only])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
def test_strides_of_input_and_cotangent_make_no_difference(factorization, implementation, strided):
    plain = corner(factorization, (2, 3), (3, 2), (4, 2))
    case = replace(plain, x=strided(plain.x), dy=strided(plain.dy))
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))


@pytest.mark.parametrize("strided", [np.asfortranarray, every_other, read_only])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", FORMATS)
def test_strides_of_the_operands_make_no_difference(factorization, implementation, strided):
    plain = corner(factorization, (2, 3), (3, 2), (4,))
    operands = {name: strided(array) for name, array in plain.operands.items()}
    case = replace(plain, operands=operands)
    assert_equal_exactly(case, case.results(implementation), einsum_results(case))


@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators, implementation=st.sampled_from(IMPLEMENTATIONS))
def test_the_stateful_pair_gives_what_torch_leaves_in_grad(factorization, data, batch_shape, rng, implementation):
    case = make_case(data.draw(structures(factorization)), batch_shape, integers(rng))
    layer = case.layer(implementation)
    ours = {"y": layer.forward(case.x), "x": layer.backward(case.dy), **layer.gradients}
    assert_equal_exactly(case, ours, einsum_results(case))


# torch's forward mode scripts a few functions of its own on first use, and warns about that
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("factorization", FORMATS)
@given(data=st.data(), batch_shape=batch_shapes, rng=generators, implementation=st.sampled_from(IMPLEMENTATIONS))
def test_the_pushforward_is_that_of_torch_forward_mode(factorization, dtype, data, batch_shape, rng, implementation):
    case = make_case(data.draw(structures(factorization)), batch_shape, integers(rng, dtype, high=1))
    # dy is a sum of one such contraction for every array that moves
    assert exactness_bits(case) + np.log2(len(case.operands) + 2) <= significand_bits(dtype)
    arguments = primals(case)
    draw = integers(rng, dtype, high=1)
    tangents = {name: draw(tuple(tensor.shape)) for name, tensor in arguments.items()}
    along = {name: as_torch(tangent) for name, tangent in tangents.items()}
    y, dy = torch.func.jvp(lambda primal: einsum_layer(case, primal), (arguments,), (along,))
    dx = tangents.pop("x")
    ours = dict(zip(("y", "dy"), case.layer(implementation).jvp(case.x, dx, tangents), strict=True))
    assert_identical(ours, {"y": y.numpy(), "dy": dy.numpy()})
