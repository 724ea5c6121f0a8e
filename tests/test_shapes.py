"""tensorize_shape is the most balanced exact factorization; a shape that does not fit is refused with the remedy."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear, Linear, tensorize_shape
from tlinear.errors import ShapeError


def all_factorizations(n, count, smallest=2):
    if count == 1:
        return [(n,)] if n >= smallest else []
    return [
        (size, *rest)
        for size in range(smallest, math.isqrt(n) + 1)
        if n % size == 0
        for rest in all_factorizations(n // size, count - 1, size)
    ]


@given(st.integers(2, 3000), st.integers(2, 6))
def test_shape_is_the_most_balanced_of_all_factorizations(features, n_modes):
    """Least largest mode, then least sum, then greatest smallest mode; ascending."""
    candidates = all_factorizations(features, n_modes)
    if not candidates:
        with pytest.raises(ShapeError, match=f"{features} features cannot be written as a product of {n_modes} modes"):
            tensorize_shape(features, n_modes)
        return
    shape = tensorize_shape(features, n_modes)
    assert shape in candidates
    key = (max(shape), sum(shape), -min(shape))
    assert key == min((max(c), sum(c), -min(c)) for c in candidates)
    assert list(shape) == sorted(shape)


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (768, (24, 32)),
        (768, (8, 8, 12)),
        (1024, (32, 32)),
        (1024, (8, 8, 16)),
        (4096, (8, 8, 8, 8)),
        (11008, (86, 128)),
        (25088, (128, 196)),
        (25088, (28, 28, 32)),
        (784, (28, 28)),
        (1000, (10, 10, 10)),
        (50257, (29, 1733)),
        (2**12, (2,) * 12),
        (97, (97,)),
    ],
)
def test_known_shapes(features, shape):
    assert tensorize_shape(features, len(shape)) == shape
    assert tensorize_shape(np.int64(features), np.int32(len(shape))) == shape


@pytest.mark.parametrize(
    ("features", "n_modes", "fewer", "padded"),
    [
        (97, 2, "With 1 mode it is 97", "98 = 7x14"),
        (127, 2, "With 1 mode it is 127", "128 = 8x16"),
        (50257, 3, "With 2 modes it is 29x1733", "50274 = 27x38x49"),
        (10, 3, "With 2 modes it is 2x5", "12 = 2x2x3, which is 20 % more"),
    ],
)
def test_impossible_shape_names_the_nearest_possible_ones(features, n_modes, fewer, padded):
    with pytest.raises(ShapeError, match=f"{re.escape(fewer)}.*{re.escape(padded)}"):
        tensorize_shape(features, n_modes)


@pytest.mark.parametrize(
    ("features", "n_modes"), [(0, 2), (-4, 2), (16, 0), (16.0, 2), (True, 1), (16, None), ("16", 2)]
)
def test_numbers_that_are_no_counts_are_refused(features, n_modes):
    with pytest.raises(ShapeError, match="is not a positive integer"):
        tensorize_shape(features, n_modes)


@pytest.mark.parametrize("shape", [[4, 4], (np.int64(4), np.int32(4)), np.array([4, 4]), range(4, 5)])
def test_any_sequence_of_integers_becomes_a_tuple_of_ints(shape):
    layer = FactorizedLinear(shape, [2, 5], rank=1, rng=0)
    assert layer.in_tensorized_features == tuple(int(size) for size in shape)
    assert all(type(size) is int for size in layer.weight.shape)


@pytest.mark.parametrize("shape", [16, np.int64(16), (), (4, 0), (4, -1), (4, 4.0), (True, 4), "44", None, (4, None)])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(
        ShapeError, match=r"in_tensorized_features.*Pass a sequence of positive integers, such as \(4, 4\)"
    ):
        FactorizedLinear(shape, (2, 5))


def test_shape_whose_product_is_not_the_features_is_refused_with_one_that_is():
    linear = Linear(16, 10, rng=0)
    message = "in_tensorized_features=(4, 5) has the product 20, but the linear layer has in_features=16."
    with pytest.raises(ShapeError, match=re.escape(message) + r".*such as \(4, 4\)"):
        FactorizedLinear.from_linear(linear, in_tensorized_features=(4, 5), rank=1)
    message = "out_tensorized_features=(2, 2, 2) has the product 8, but the linear layer has out_features=10."
    with pytest.raises(ShapeError, match=re.escape(message)):
        FactorizedLinear.from_linear(linear, out_tensorized_features=(2, 2, 2), rank=1)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (4, 4, 2, 5)),
        ({"n_tensorized_modes": 1}, (16, 10)),
        ({"n_tensorized_modes": (4, 1)}, (2, 2, 2, 2, 10)),
        ({"n_tensorized_modes": [1, 2]}, (16, 2, 5)),
        ({"in_tensorized_features": (2, 8)}, (2, 8, 2, 5)),
        ({"out_tensorized_features": [5, 2], "n_tensorized_modes": 3, "in_tensorized_features": [16]}, (16, 5, 2)),
        ({"auto_tensorize": False, "in_tensorized_features": (2, 8), "out_tensorized_features": (10,)}, (2, 8, 10)),
    ],
)
def test_a_shape_that_is_given_wins_and_a_missing_one_is_chosen(arguments, shape):
    layer = FactorizedLinear.from_linear(Linear(16, 10, rng=0), factorization="tt", rank=1, **arguments)
    assert layer.weight.shape == shape


@pytest.mark.parametrize("given_side", ["in", "out"])
def test_a_missing_shape_without_auto_tensorize_is_refused(given_side):
    given_shape = {f"{given_side}_tensorized_features": (4, 4) if given_side == "in" else (2, 5)}
    missing = "out_tensorized_features" if given_side == "in" else "in_tensorized_features"
    with pytest.raises(ShapeError, match=f"auto_tensorize=False, but {missing} is not given"):
        FactorizedLinear.from_linear(Linear(16, 10, rng=0), auto_tensorize=False, **given_shape)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, (2,), (2, 2, 2), "22", None])
def test_a_number_of_modes_that_is_none_is_refused(n):
    with pytest.raises(ShapeError, match="must be an int >= 1, or a pair"):
        FactorizedLinear.from_linear(Linear(16, 10, rng=0), n_tensorized_modes=n)


def test_shape_depends_on_its_own_side_alone():
    for a, b in itertools.permutations((16, 768, 1000), 2):
        layer = FactorizedLinear.from_linear(Linear(a, b, rng=0), factorization="tt", rank=1)
        assert layer.weight.shape == tensorize_shape(a, 2) + tensorize_shape(b, 2)
