"""The error of a result in another dtype is that of what was asked for: of the source as it was given."""

import math

import numpy as np
import pytest
from algorithms.tensors import generators, kinds, rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import on_every_place

from tlinear import FactorizedLinear, Linear, decompose, suggest_shapes
from tlinear.algorithms.report import relative_error
from tlinear.arrays import to_numpy
from tlinear.errors import DecompositionError, DTypeError, OptionError, RangeError
from tlinear.formats import FORMATS

FACTORIZATIONS = tuple(FORMATS)
NARROWINGS = [("float64", "float16"), ("float64", "float32"), ("float32", "float16"), ("complex128", "complex64")]
shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def rank_for(factorization, rank):
    return None if factorization == "dense" else rank


def wide(array):
    return np.asarray(array, np.complex128 if array.dtype.kind == "c" else np.float64)


def error_of(source, weight):
    """Of a layer's weight as a matrix, in double precision."""
    matrix = weight.astype(np.complex128 if weight.dtype.kind == "c" else np.float64).to_matrix()
    return relative_error(wide(source), matrix[: source.shape[0], : source.shape[1]])


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize(("source", "narrow"), NARROWINGS)
@settings(max_examples=8)
@given(rng=generators, shape=shapes, rank=st.integers(1, 4), exponent=st.integers(-5, 5))
def test_the_error_is_measured_from_the_source_to_the_rounded_result(
    factorization, source, narrow, rng, shape, rank, exponent
):
    """Both errors are made of the same numbers but for powers of two, so that they agree to the bit."""
    tensor = (kinds(rng, shape, source) * 2.0**exponent).astype(source)
    options = {"max_iterations": 5} if factorization in ("cp", "tucker") else {}
    result = decompose(tensor, factorization, rank_for(factorization, rank), n_in=1, dtype=narrow, **options)
    assert {array.dtype for array in result.tensor.operands.values()} == {np.dtype(narrow)}
    again = result.tensor.with_operands({name: wide(array) for name, array in result.tensor.operands.items()})
    assert result.relative_error == relative_error(wide(tensor), again.to_tensor())


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_what_the_dtype_loses_of_a_weight_is_part_of_the_layers_error(factorization):
    """A tenth is none of the numbers of float16, the nearest of which is off by 2^-12 of it; cast first, it is one."""
    source = Linear.from_arrays(np.full((10, 16), 0.1), np.zeros(10))
    rank = rank_for(factorization, 1)
    layer = FactorizedLinear.from_linear(source, factorization=factorization, rank=rank, dtype="float16")
    found, eps = layer.decomposition.relative_error, np.finfo(np.float64).eps
    assert abs(found - error_of(source.weight, layer.weight)) <= rounding((4, 4, 2, 5))
    if factorization == "dense":
        assert abs(found - 2.0**-12) <= 8 * eps
    assert layer.bias.dtype == np.float16


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_outputs_and_baseline_are_judged_by_the_source_too(factorization):
    """One and a little more in turn, which float16 would make the same, of rank one."""
    pattern = np.where(np.add.outer(np.arange(8), np.arange(8)) % 2, 1.0, 1.0 + 2.0**-12)
    source, x = Linear.from_arrays(pattern), np.random.default_rng(0).standard_normal((40, 8))
    asked = {"factorization": factorization, "rank": 1, "calibration": x}
    layer, exact = (FactorizedLinear.from_linear(source, dtype=dtype, **asked) for dtype in ("float16", None))
    found, matrix = layer.decomposition, layer.weight.astype(np.float64).to_matrix()
    assert math.isclose(found.relative_error, error_of(pattern, layer.weight), rel_tol=1e-6)
    in_outputs = np.linalg.norm(x @ (pattern - matrix).T) / np.linalg.norm(x @ pattern.T)
    assert math.isclose(found.relative_output_error, in_outputs, rel_tol=1e-6)
    assert found.baseline == exact.decomposition.baseline
    assert found.baseline.relative_error > 0.0


def test_a_baseline_of_a_narrow_result_is_there_whatever_its_dtype_holds():
    """Neither the rounding to bfloat16 nor entries beyond float16, which only operands hold, look like other numbers."""
    tensor = np.random.default_rng(0).standard_normal((4, 5, 6))
    for dtype in ("float16", "bfloat16"):
        result = decompose(tensor, "tt", 3, n_in=1, dtype=dtype)
        assert result.baseline == decompose(tensor, "tt", 3, n_in=1).baseline


def test_suggestions_tell_the_error_of_the_weight_as_it_was_given():
    """Of a half, the error is that of the half."""
    weight = np.random.default_rng(0).standard_normal((10, 16)).astype(np.float16)
    for found in suggest_shapes(16, 10, factorization="tt", rank=2, weight=weight, limit=2):
        shapes = found.in_tensorized_features, found.out_tensorized_features
        result = decompose(weight.T.reshape(*shapes[0], *shapes[1]), "tt", 2, n_in=len(shapes[0]))
        assert math.isclose(found.relative_error, result.relative_error, rel_tol=1e-9)


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt", "dense"])
def test_a_tolerance_that_the_dtype_cannot_meet_is_refused_with_both_errors(factorization):
    source = Linear.from_arrays(np.random.default_rng(0).standard_normal((10, 16)))
    with pytest.raises(
        DecompositionError,
        match=r"tolerance=1e-05 is not reached: the relative error is 0\.000\d+, of which rounding to float16 is "
        r"0\.000\d+\. Pass a wider dtype, such as dtype='float64', or a larger tolerance",
    ):
        FactorizedLinear.from_linear(source, factorization=factorization, tolerance=1e-5, dtype="float16")
    layer = FactorizedLinear.from_linear(source, factorization=factorization, tolerance=1e-5, dtype="float64")
    assert layer.decomposition.relative_error <= 1e-5


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize(
    ("weight", "dtype", "message"),
    [
        (
            np.full((10, 16), 1e-50),
            "float32",
            "no entry above 1e-50, and float32 rounds to zero what is below 7.00649e-46",
        ),
        (np.full((10, 16), 1e6), "float16", r"entries of up to 1e\+06, but float16 holds no more than 65504"),
        (np.full((10, 16), 2**62), "float16", r"entries of up to 4.61169e\+18, but float16 holds no more than 65504"),
        (np.full((10, 16), 1e300), "float32", r"entries of up to 1e\+300, but float32 holds no more than 3.40282e\+38"),
        (np.full((10, 16), 1e300j), "complex64", r"entries of up to 1e\+300, but complex64 holds no more than"),
    ],
    ids=["below float32", "beyond float16", "an integer", "beyond float32", "imaginary"],
)
def test_a_weight_out_of_the_range_of_the_dtype_is_refused_by_name(factorization, weight, dtype, message):
    asked = {"factorization": factorization, "rank": rank_for(factorization, 1), "dtype": dtype}
    for options in ({}, {"tolerance": 0.1, "rank": None}):
        with pytest.raises(RangeError, match=message):
            FactorizedLinear.from_linear(Linear.from_arrays(weight), **asked | options)
    with pytest.raises(RangeError, match=message):
        decompose(weight.reshape(4, 4, 2, 5), factorization, asked["rank"], n_in=2, dtype=dtype)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("value", [65504.0, 65519.0, 2.0**-14, 2.0**-24])
def test_a_constant_at_the_edges_of_a_narrower_range_survives(factorization, value):
    """Each of at most five operands is rounded once; dense, a number among the subnormal ones is one of few."""
    u = 2.0**-11
    found = decompose(np.full((4, 4, 2, 5), value), factorization, rank_for(factorization, 1), n_in=2, dtype="float16")
    assert found.relative_error <= 5 * u / (1.0 - 5 * u) + rounding((4, 4, 2, 5))


def test_a_bias_out_of_range_is_refused_and_a_small_one_rounded():
    weight = np.eye(4)
    with pytest.raises(RangeError, match=r"bias has entries of up to 1e\+06, but float16 holds no more than 65504"):
        FactorizedLinear.from_linear(
            Linear.from_arrays(weight, [1.0, -1e6, 0.0, 0.0]), factorization="tt", rank=1, dtype="f2"
        )
    layer = FactorizedLinear.from_linear(
        Linear.from_arrays(weight, [1e-30, 0.1, 65519.0, 0.0]), factorization="tt", rank=1, dtype="float16"
    )
    np.testing.assert_array_equal(layer.bias, np.array([0.0, 0.1, 65504.0, 0.0], np.float16))


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_a_complex_result_of_a_real_source_is_that_of_the_source_made_complex(factorization):
    tensor = np.random.default_rng(0).standard_normal((3, 4, 5))
    asked = factorization, rank_for(factorization, 2)
    found = decompose(tensor, *asked, n_in=1, dtype="complex64")
    expected = decompose(tensor.astype(complex), *asked, n_in=1, dtype="complex64")
    assert found.relative_error == expected.relative_error
    for name, array in expected.tensor.operands.items():
        assert array.dtype == np.complex64
        np.testing.assert_array_equal(found.tensor.operands[name], array)
    for call in (
        lambda: decompose(tensor * 1j, *asked, n_in=1, dtype="float64"),
        lambda: FactorizedLinear.from_linear(
            Linear.from_arrays(np.eye(4) * 1j), factorization="dense", dtype="float32"
        ),
        lambda: FactorizedLinear.from_linear(
            Linear.from_arrays(np.eye(4), np.ones(4) * 1j), factorization="dense", dtype="f4"
        ),
    ):
        with pytest.raises(
            DTypeError, match=r"dtype=float\d\d cannot hold complex128 without losing its imaginary part"
        ):
            call()


def test_dtype_is_an_argument_of_its_own_and_no_option():
    with pytest.raises(OptionError, match=r"decomposition_options holds \['dtype'\]"):
        FactorizedLinear.from_linear(Linear(4, 4, rng=0), decomposition_options={"dtype": "float32"})
    with pytest.raises(DTypeError, match="dtype=int8 cannot hold parameters"):
        decompose(np.eye(3), "tt", 1, dtype="int8")


@on_every_place
@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt", "dense"])
def test_a_narrower_result_is_measured_wherever_it_is_computed(place, factorization):
    if not place.has_double:
        pytest.skip("there is no wider dtype than the one to narrow to")
    rank, tensor = rank_for(factorization, 2), np.random.default_rng(0).standard_normal((3, 4, 5))
    there = {"n_in": 1, "allocation": "proportional", "dtype": "float32"}
    result = decompose(place.array(tensor), factorization, rank, **there)
    measured = relative_error(tensor, to_numpy(result.tensor.astype("float64").to_tensor()))
    assert abs(result.relative_error - measured) <= rounding(tensor.shape)
    if factorization == "dense":
        assert measured > 0.0
    for value, message in ((1e300, "entries of up to"), (1e-60, "no entry above")):
        with pytest.raises(RangeError, match=message):
            decompose(place.array(np.full((3, 4, 5), value)), factorization, rank, **there)
    # the norm is sixteen times the entries, of which the largest is within the range of float32
    u, value = 2.0**-24, 0.75 * 2.0**127
    found = decompose(place.array(np.full((4, 4, 4, 4), value)), factorization, rank_for(factorization, 1), **there)
    assert found.relative_error <= 5 * u / (1.0 - 5 * u) + rounding((4, 4, 4, 4))
