"""tensorize_shape is the most balanced exact factorization; a shape that does not fit is refused with the remedy."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlinear import FactorizedLinear, Linear, tensorize_shape
from tlinear.balanced import few_most_balanced
from tlinear.errors import ShapeError
from tlinear.shapes import resolve_shape


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
        (3600, (6, 6, 10, 10)),  # the sum of 5, 8, 9, 10 is the same
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
        (97, 2, "With 1 mode it is 97", "98 = 7x14, which is 1 % more features: pass pad=True"),
        (127, 2, "With 1 mode it is 127", "128 = 8x16"),
        (50257, 3, "With 2 modes it is 29x1733", "50274 = 27x38x49"),
        (10, 3, "With 2 modes it is 2x5", "12 = 2x2x3, which is 20 % more features: pass pad=0.2"),
    ],
)
def test_impossible_shape_names_the_nearest_possible_ones(features, n_modes, fewer, padded):
    with pytest.raises(ShapeError, match=f"{re.escape(fewer)}.*{re.escape(padded)}"):
        tensorize_shape(features, n_modes)


def most_balanced(features, n_modes):
    return min(all_factorizations(features, n_modes), key=lambda c: (max(c), sum(c), -min(c)), default=None)


@given(st.integers(1, 2000), st.integers(2, 6), st.sampled_from([True, 0.001, 0.1, 0.5, 1, 4.0, np.float32(0.25)]))
def test_padded_shape_is_the_balanced_one_of_the_least_count_that_has_a_ratio_of_at_most_two(features, n_modes, pad):
    shapes = ((p, most_balanced(p, n_modes)) for p in itertools.count(max(features, 2**n_modes)))
    padded, expected = next((p, shape) for p, shape in shapes if shape and max(shape) <= 2 * min(shape))
    overhead = 0.02 if pad is True else float(pad)
    if (padded - features) / features <= overhead:
        assert tensorize_shape(features, n_modes, pad=pad) == expected
    else:
        named = f"the nearest larger count is {padded} = {'x'.join(map(str, expected))}"
        with pytest.raises(ShapeError, match=re.escape(named)):
            tensorize_shape(features, n_modes, pad=pad)


def divisors(n):
    small = np.arange(1, math.isqrt(n) + 1)
    return [int(a) for a in small[n % small == 0]]


def is_balanced(n, n_modes):
    """Whether two or three sizes, none more than twice another, have this product."""
    if n_modes == 2:
        return any(n // a <= 2 * a for a in divisors(n))
    return any(
        a <= b <= (rest := n // a) // b <= 2 * a
        for a in divisors(n)
        if 4 * a**3 >= n >= a**3
        for b in divisors(n // a)
        if b * ((rest := n // a) // b) == rest
    )


@given(st.integers(1, 5000), st.integers(2, 6), st.integers(1, 4))
def test_the_few_most_balanced_are_the_first_of_all_factorizations(features, n_modes, few):
    everything = sorted(all_factorizations(features, n_modes), key=lambda c: (max(c), sum(c), -min(c)))
    assert few_most_balanced(features, n_modes, few) == everything[:few]


@given(st.integers(10**9, 10**12), st.sampled_from([2, 3]))
@settings(max_examples=8)
def test_no_count_below_the_padded_one_is_balanced(features, n_modes):
    shape = tensorize_shape(features, n_modes, pad=0.1)
    assert is_balanced(math.prod(shape), n_modes)
    assert not any(is_balanced(count, n_modes) for count in range(features, math.prod(shape)))


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (999999999989, (974205, 1026478)),
        (999999999989, (8137, 9998, 12292)),
        (999999999989, (25,) * 4 + (40,) * 4),
        (963761198400, (2,) * 6 + (3,) * 4 + (5, 5, 7, 11, 13, 17, 19, 23)),
        (2**39, (2,) * 39),
    ],
)
def test_known_shapes_of_many_features(features, shape):
    """The padded one of a prime, and the exact ones of the number below 10^12 with most divisors and of a power."""
    assert tensorize_shape(features, len(shape), pad=features == 999999999989) == shape


@pytest.mark.parametrize("pad", [False, 0.1])
def test_more_features_than_modes_are_searched_for_are_refused(pad):
    for features in (10**12 + 1, 10**30):
        assert tensorize_shape(features, 1, pad=pad) == (features,)
        with pytest.raises(ShapeError, match=f"features={features} is more than 1000000000000, up to which modes are"):
            tensorize_shape(features, 2, pad=pad)
        with pytest.raises(ShapeError, match=f"in_features={features}: .* Pass in_tensorized_features"):
            resolve_shape("in", features, None, 2, pad)
        with pytest.raises(ShapeError, match=f"has the product 16, but .*Pass modes whose product is {features}"):
            resolve_shape("in", features, (4, 4), None, pad)


@given(st.integers(1, 2000), st.integers(2, 6))
def test_the_pad_that_an_error_names_is_enough(features, n_modes):
    """And one that is smaller by more than its last digit is not."""
    try:
        tensorize_shape(features, n_modes, pad=1e-9)
    except ShapeError as error:
        named = re.search("pass pad=(True|[0-9.e+]+) to pad to it", str(error)).group(1)
        pad = True if named == "True" else float(named)
        shape = tensorize_shape(features, n_modes, pad=pad)
        if pad is True:
            assert math.prod(shape) - features <= features / 50
        else:
            with pytest.raises(ShapeError):
                tensorize_shape(features, n_modes, pad=pad / 1.2)


@given(st.integers(1, 10**6))
def test_one_mode_needs_no_padding(features):
    assert tensorize_shape(features, 1, pad=True) == tensorize_shape(features, 1, pad=5.0) == (features,)


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (97, (7, 14)),
        (127, (8, 16)),
        (768, (24, 32)),
        (50257, (206, 244)),
        (50257, (27, 38, 49)),
        (11008, (17, 24, 27)),
        (30522, (131, 233)),
        (30522, (25, 33, 37)),
        (2**12, (2,) * 12),
    ],
)
def test_known_padded_shapes(features, shape):
    for pad in (True, np.True_, 0.02, np.float64(0.02)):
        assert tensorize_shape(features, len(shape), pad=pad) == shape


def test_what_is_balanced_is_not_padded_and_no_overhead_pads_nothing():
    assert tensorize_shape(5040, 3) == tensorize_shape(5040, 3, pad=5.0) == (14, 18, 20)
    assert tensorize_shape(50257, 2, pad=0.0) == tensorize_shape(50257, 2, pad=0) == (29, 1733)


def test_an_overhead_is_the_quotient_that_it_is_written_as():
    """129 is 29 % more than 100, though 0.29 * 100 is below 29 in floating point."""
    assert resolve_shape("in", 100, (3, 43), None, pad=0.29) == (3, 43)
    with pytest.raises(ShapeError, match=re.escape("pad=0.28 allows 28 % more")):
        resolve_shape("in", 100, (3, 43), None, pad=0.28)


def test_a_count_too_far_to_pad_to_is_named_with_its_overhead_and_the_pad_for_it():
    message = "10 features cannot be padded by at most 2 % to a product of 3 modes"
    nearest = "12 = 2x2x3, which is 20 % more features: pass pad=0.2 to pad to it."
    with pytest.raises(ShapeError, match=re.escape(message) + ".*" + re.escape(nearest)):
        tensorize_shape(10, 3, pad=True)
    with pytest.raises(ShapeError, match=re.escape("Without pad it is 2x2x509.")):
        tensorize_shape(2036, 3, pad=1e-4)


@pytest.mark.parametrize("pad", ["yes", "0.1", -0.1, -1, math.nan, math.inf, None, 1j, (0.1,), np.array(0.1)])
def test_a_pad_that_is_no_overhead_is_refused(pad):
    for call in (
        lambda: tensorize_shape(97, 2, pad=pad),
        lambda: resolve_shape("in", 16, (4, 4), None, pad),
        lambda: FactorizedLinear.from_linear(Linear(16, 10, rng=0), rank=1, pad=pad),
    ):
        with pytest.raises(
            ShapeError, match=re.escape(f"pad={pad!r} is not an overhead. Pass False, True for at most 2")
        ):
            call()


@pytest.mark.parametrize("n_modes", [65, 10**9, 10**30])
def test_more_modes_than_an_array_has_axes_are_refused(n_modes):
    for pad in (False, True):
        with pytest.raises(ShapeError, match=f"n_modes={n_modes} is more than the 64 axes"):
            tensorize_shape(97, n_modes, pad=pad)


@pytest.mark.parametrize(
    ("features", "shape", "pad", "message"),
    [
        (
            16,
            (4, 5),
            False,
            "in_features=16. Pass modes whose product is 16, such as (4, 4), or pad=0.25 to pad to 20.",
        ),
        (16, (4, 5), 0.2, "in_features=16 and pad=0.2 allows 20 % more. Pass modes whose product is 16"),
        (97, (7, 14), False, "or pad=True to pad to 98."),
        (16, (3, 5), 0.5, "in_features=16. Pass modes whose product is 16, such as (4, 4)."),
    ],
)
def test_given_modes_hold_the_features_and_at_most_the_overhead_more(features, shape, pad, message):
    product = math.prod(shape)
    with pytest.raises(
        ShapeError, match=re.escape(f"={shape} has the product {product}, but") + ".*" + re.escape(message)
    ):
        resolve_shape("in", features, shape, None, pad)
    if product > features:
        assert resolve_shape("in", features, shape, None, (product - features) / features) == shape


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
