"""bfloat16 is stored narrow and computed in float32: everything is what float32 gives, rounded once at the end."""

import copy
import pickle
import sys
from fractions import Fraction
from types import ModuleType, SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from cases import FACTORIZATIONS, IMPLEMENTATIONS
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear import Calibration, FactorizedLinear, Linear, decompose, suggest_shapes
from tlinear.arrays import NUMPY, as_numpy, inexact_dtype, limits_of, parameter_dtype
from tlinear.arrays.bfloat16 import round_to_bfloat16
from tlinear.errors import DeviceError, DTypeError, MissingDependencyError, RangeError
from tlinear.optim import SGD, Adam

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def narrow(array):
    return np.asarray(array, np.float32).astype(BFLOAT16)


def wide(array):
    return array.astype(np.float32)


def twins(factorization="tt", implementation="auto"):
    """A layer in bfloat16, and the one in float32 that has its numbers."""
    rank = "same" if factorization == "dense" else 3
    options = {"factorization": factorization, "rank": rank, "implementation": implementation, "rng": 0}
    layer = FactorizedLinear((4, 4), (2, 5), dtype="bfloat16", in_features=15, **options)
    return layer, layer.with_parameters({name: wide(array) for name, array in layer.parameters().items()})


def assert_rounded(found, expected):
    assert found.dtype == BFLOAT16
    np.testing.assert_array_equal(found, narrow(expected))


# ------------------------------------------------------------ the dtype


def nearest(number):
    """The bfloat16 nearest to a finite number, ties to even, in exact arithmetic."""
    exact, exponent = Fraction(float(number)), max(int(np.frexp(number)[1]) - 8, -133)
    return float(round(exact / Fraction(2) ** exponent) * Fraction(2) ** exponent)


@given(
    st.integers(-(2**9), 2**9),
    st.integers(-140, 118),
    st.sampled_from([0.0, 2.0**-12, -(2.0**-12), 2.0**-30, -(2.0**-30), 2.0**-43, -(2.0**-43)]),
)
def test_a_number_is_rounded_once_to_the_nearest_ties_to_even(digits, exponent, beside):
    """Twice the digits of bfloat16 and a little beside them: ties, and what float32 would make a tie."""
    numbers = np.ldexp(np.array([digits, digits * (1.0 + beside), digits + beside]), exponent)
    np.testing.assert_array_equal(
        round_to_bfloat16(numbers, BFLOAT16).astype(np.float64), [nearest(number) for number in numbers]
    )


def test_what_is_beyond_the_largest_number_is_infinite_and_nan_stays():
    largest = (2.0 - 2.0**-7) * 2.0**127
    tie = (2.0 - 2.0**-8) * 2.0**127
    numbers = np.array([largest, np.nextafter(tie, 0.0), tie, 1e300, np.inf, -tie, np.nan])
    expected = [largest, largest, np.inf, np.inf, np.inf, -np.inf, np.nan]
    np.testing.assert_array_equal(round_to_bfloat16(numbers, BFLOAT16).astype(np.float64), expected)
    limits = limits_of(BFLOAT16)
    assert not limits.rounds_to_infinity(np.nextafter(tie, 0.0))
    assert limits.rounds_to_infinity(tie)


def test_limits_are_those_of_ml_dtypes():
    known = ml_dtypes.finfo(BFLOAT16)
    assert limits_of(BFLOAT16) == (known.minexp, known.maxexp, known.nmant)


@pytest.mark.parametrize("other", "?bBhHiIlLqQefdgFDG")
def test_bfloat16_is_promoted_as_float16_is(other):
    other, half = np.dtype(other), np.dtype(np.float16)
    expected = np.result_type(other, half)
    if expected == half:
        expected = np.dtype(np.float32) if other == half else BFLOAT16
    assert inexact_dtype(other, BFLOAT16) == inexact_dtype(BFLOAT16, other) == expected


@pytest.mark.parametrize("name", ["float8_e5m2", "float8_e4m3fn", "float4_e2m1fn", "int4", "uint2", "|V2", "|V1"])
def test_numbers_in_which_nothing_is_computed_are_refused_by_name_and_the_remedy_works(name):
    weight = np.zeros((4, 3), getattr(ml_dtypes, name, name))
    layer = Linear(3, 4, rng=0)
    for call in (
        lambda: Linear.from_arrays(weight),
        lambda: FactorizedLinear.from_linear(SimpleNamespace(weight=weight, bias=None), factorization="dense"),
        lambda: decompose(weight, "tt", 1),
        lambda: tlinear.DenseTensor(weight),
        lambda: layer(weight),
        lambda: layer.with_parameters({**layer.parameters(), "weight": weight}),
        lambda: Calibration(samples=weight),
        lambda: suggest_shapes(3, 4, factorization="tt", rank=1, weight=weight),
    ):
        with pytest.raises(DTypeError) as raised:
            call()
        assert f"has dtype {name}, " in str(raised.value)
    if name.startswith("|V"):
        assert "array.view(ml_dtypes.bfloat16)" in str(raised.value)
    else:
        assert "array.astype('float32')" in str(raised.value)
        assert Linear.from_arrays(weight.astype("float32")).weight.dtype == np.float32
    with pytest.raises(DTypeError, match=r"cannot hold parameters\. Pass .* or 'bfloat16'"):
        parameter_dtype(getattr(ml_dtypes, name, name))


def test_what_numpy_load_makes_of_bfloat16_is_read_as_the_message_says(tmp_path):
    array = narrow(normal(4, 3))
    np.save(tmp_path / "weight.npy", array)
    loaded = np.load(tmp_path / "weight.npy")
    with pytest.raises(DTypeError, match=r"array\.view\(ml_dtypes\.bfloat16\), if it was bfloat16"):
        Linear.from_arrays(loaded)
    np.testing.assert_array_equal(Linear.from_arrays(loaded.view(ml_dtypes.bfloat16)).weight, array)


def test_an_imaginary_part_is_not_dropped():
    weight = tlinear.TTTensor.random((4,), (5,), 2, dtype="complex64", rng=0)
    with pytest.raises(DTypeError, match="dtype=bfloat16 cannot hold complex64 without losing its imaginary part"):
        weight.astype("bfloat16")
    with pytest.raises(DTypeError, match="dtype=bfloat16 cannot hold complex128"):
        decompose(np.ones((2, 3)) * 1j, "tt", 1, dtype=BFLOAT16)


def test_without_ml_dtypes_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    for call in (
        lambda: Linear(4, 3, dtype="bfloat16"),
        lambda: FactorizedLinear((4,), (3,), dtype="bfloat16"),
        lambda: decompose(np.ones((3, 4)), "tt", 1, dtype="bfloat16"),
        lambda: tlinear.TTTensor.random((4,), (5,), 2).astype("bfloat16"),
    ):
        with pytest.raises(MissingDependencyError, match=r"bfloat16 needs ml_dtypes, .*pip install '\.\[files\]'"):
            call()


# ------------------------------------------------------------ layers


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_layer_is_that_in_float32_with_every_result_rounded(factorization, implementation):
    layer, single = twins(factorization, implementation)
    x, dy = narrow(normal(6, 15)), narrow(normal(6, 10))
    pairs = [(layer, single), (layer.freeze(), single.freeze()), (layer.to_linear(), layer.to_linear())]
    pairs[2] = (pairs[2][0], Linear.from_arrays(*map(wide, pairs[2][1].parameters().values())))
    for half, full in pairs:
        assert_rounded(half(x), full(wide(x)))
        y, pullback = half.vjp(x)
        expected_y, expected_pullback = full.vjp(wide(x))
        assert_rounded(y, expected_y)
        gradients, expected = pullback(dy), expected_pullback(wide(dy))
        assert_rounded(gradients.x, expected.x)
        assert gradients.parameters.keys() == expected.parameters.keys()
        for name, gradient in gradients.parameters.items():
            assert_rounded(gradient, expected.parameters[name])
        for found, moved in zip(half.jvp(x, x), full.jvp(wide(x), wide(x)), strict=True):
            assert_rounded(found, moved)
    assert_rounded(layer.trace(x)["y"], single.trace(wide(x))["y"])
    assert str(layer.trace(x)).endswith(f"norm {np.linalg.norm(wide(layer(x))):.6g}")
    assert_rounded(layer.weight.to_matrix(), single.weight.to_matrix())


def test_sums_are_accumulated_in_float32():
    """256 + 1 + 1 + .. stays 256 when summed in bfloat16, whose spacing there is 2."""
    ones = narrow(np.ones((1, 256)))
    dense = Linear.from_arrays(ones, narrow([0.0]))
    for layer in (dense, FactorizedLinear.from_weight(tlinear.DenseTensor(ones.T, n_in=1), narrow([0.0]))):
        x = narrow(np.ones((512, 256)))
        x[:, 0] = 256
        y, pullback = layer.vjp(x)
        assert set(y.ravel().tolist()) == {512.0}
        assert pullback(narrow(np.ones((512, 1)))).parameters["bias"].tolist() == [512.0]


@pytest.mark.parametrize("x_dtype", ["float32", "float64", "float16", "int8", "int64", "complex64"])
def test_output_has_the_dtype_of_the_product_and_gradients_that_of_their_primal(x_dtype):
    layer, _ = twins()
    x = np.ones((3, 15), x_dtype)
    y, pullback = layer.vjp(x)
    gradients = pullback(np.ones_like(y))
    assert y.dtype == inexact_dtype(np.dtype(x_dtype), BFLOAT16) == layer(x).dtype == layer.to_linear()(x).dtype
    assert gradients.x.dtype == inexact_dtype(np.dtype(x_dtype))
    assert {gradient.dtype for gradient in gradients.parameters.values()} == {BFLOAT16}


def test_a_layer_is_planned_for_float32_printed_pickled_copied_and_measured():
    layer, single = twins()
    assert layer.plan(7) == single.plan(7)
    assert repr(layer) == repr(single).replace("float32", "bfloat16")
    assert repr(layer.to_linear()).endswith("bfloat16)")
    x = narrow(normal(6, 15))
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), layer.to(np), layer.with_options()):
        np.testing.assert_array_equal(again(x), layer(x))
        assert again.weight.dtype == BFLOAT16
    assert NUMPY.n_bytes(x) == 2 * x.size
    frozen = pickle.loads(pickle.dumps(layer.freeze()))
    np.testing.assert_array_equal(frozen(x), layer(x))
    assert not any(array.flags.writeable for array in frozen.parameters().values())


@pytest.mark.parametrize(
    "optimiser", [SGD(0.1, momentum=0.9, weight_decay=0.1), Adam(0.1), Adam(0.1, weight_decay=0.1)]
)
def test_an_optimiser_updates_as_in_float32_and_rounds_the_parameters(optimiser):
    parameters = {"w": narrow(normal(9))}
    state, single_state = (optimiser.init(p) for p in (parameters, {"w": wide(parameters["w"])}))
    gradients = {"w": narrow(normal(1, 9)[0])}
    for _ in range(3):
        single, single_state = optimiser.update({"w": wide(parameters["w"])}, {"w": wide(gradients["w"])}, single_state)
        parameters, state = optimiser.update(parameters, gradients, state)
        assert_rounded(parameters["w"], single["w"])
        for moment, expected in zip(state, single_state, strict=True):
            np.testing.assert_equal(moment, expected)


# ------------------------------------------------------------ decompositions


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_a_decomposition_is_that_of_the_same_numbers_and_rounds_only_the_operands(factorization):
    rank = None if factorization == "dense" else 3
    tensor = narrow(normal(4, 4, 2, 5))
    found = decompose(tensor, factorization, rank, n_in=2)
    same = decompose(tensor.astype(np.float64), factorization, rank, n_in=2, dtype="bfloat16")
    exact = decompose(tensor.astype(np.float64), factorization, rank, n_in=2)
    assert found.relative_error == same.relative_error
    for name, array in exact.tensor.operands.items():
        np.testing.assert_array_equal(found.tensor.operands[name], same.tensor.operands[name])
        assert_rounded(found.tensor.operands[name], array.astype(np.float64))


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_a_dense_layer_in_bfloat16_is_compressed_wherever_it_is_passed(factorization):
    """Its arrays are those of a checkpoint, its samples those of a network that runs in bfloat16."""
    matrix, bias, samples = (narrow(normal(*shape)) for shape in ((10, 16), (10,), (40, 16)))
    source, single = Linear.from_arrays(matrix, bias), Linear.from_arrays(wide(matrix), wide(bias))
    options = {"factorization": factorization, "rank": None if factorization == "dense" else 0.5}
    layer = FactorizedLinear.from_linear(source, **options)
    assert layer.weight.dtype == layer.bias.dtype == BFLOAT16
    other = FactorizedLinear.from_linear(single, dtype=ml_dtypes.bfloat16, **options)
    for name, parameter in layer.parameters().items():
        np.testing.assert_array_equal(parameter, other.parameters()[name])
    assert layer.decomposition.relative_error == other.decomposition.relative_error
    assert layer.decomposition.baseline == other.decomposition.baseline
    assert FactorizedLinear.from_linear(source, dtype="float32", **options).bias.dtype == np.float32
    calibrations = [Calibration(samples=samples), Calibration(samples=wide(samples))]
    np.testing.assert_array_equal(*(calibration.second_moment for calibration in calibrations))
    asked = {"rank": 1, "factorization": factorization} if factorization != "dense" else options | {"rank": "same"}
    for half, full in zip(
        suggest_shapes(16, 10, weight=matrix, limit=2, **asked),
        suggest_shapes(16, 10, weight=wide(matrix), limit=2, **asked),
        strict=True,
    ):
        assert (half.in_tensorized_features, half.matrix_error) == (full.in_tensorized_features, full.matrix_error)


def test_a_second_moment_in_bfloat16_may_be_as_little_positive_as_its_rounding():
    x = normal(5, 12)  # of rank 5
    moment = narrow(x.T @ x)
    calibration = Calibration(second_moment=moment)
    weight = normal(3, 4, 5)
    assert decompose(weight, "tt", 2, n_in=2, calibration=calibration).relative_output_error < 1.0
    with pytest.raises(tlinear.TLinearError, match="not Hermitian"):
        Calibration(second_moment=narrow(normal(64, 64)))
    # square samples are no second moment, however coarsely they are rounded
    assert Calibration.of(narrow(np.abs(normal(64, 64)))).n_samples == 64


def test_the_range_is_that_of_float32():
    assert decompose(np.full((3, 4), 1e38), "tt", 1, dtype="bfloat16").relative_error < 2.0**-6
    for value, message in ((3.4e38, "entries of up to 3.4e"), (1e-42, "no entry above 1e-42")):
        with pytest.raises(RangeError, match=message):
            decompose(np.full((3, 4), value), "tt", 1, dtype="bfloat16")
    source = Linear.from_arrays(np.ones((4, 4)), [0.0, 3.4e38, 0.0, 1.0])
    with pytest.raises(RangeError, match="bias has entries of up to 3.4e"):
        FactorizedLinear.from_linear(source, factorization="tt", rank=1, dtype="bfloat16")


def test_a_library_that_has_no_bfloat16_says_so():
    strict = pytest.importorskip("array_api_strict")
    layer, _ = twins()
    with pytest.raises(DeviceError, match="array_api_strict has no bfloat16. Cast it to a dtype that is there"):
        layer.to(strict)


def test_a_bfloat16_of_another_library_is_read_by_way_of_float32():
    """As NumPy has no word for torch's dtype, the numbers come in one that holds them all."""
    strict = pytest.importorskip("array_api_strict")
    numbers = strict.asarray([1.0, 0.1], dtype=strict.float32)

    library = ModuleType("half")
    library.float32, library.astype = strict.float32, lambda array, dtype: strict.astype(numbers, dtype)

    class Half:
        dtype = "half.bfloat16"

        def __array_namespace__(self, api_version=None):
            return library

    assert_rounded(as_numpy(Half()), [1.0, 0.1])


@pytest.mark.parametrize("size", [1e-300, 1e-60, 2.0**-150, 2.0**-134, 1e-39, 1e39, 1e300, np.inf])
def test_rounding_is_odd_at_both_ends_of_the_range(size):
    both = round_to_bfloat16(np.array([size, -size]), np.dtype(ml_dtypes.bfloat16)).astype(np.float64)
    assert both[0] == -both[1]
    with np.errstate(over="ignore"):
        assert both[0] == float(np.float64(size).astype(np.float32).astype(ml_dtypes.bfloat16))
