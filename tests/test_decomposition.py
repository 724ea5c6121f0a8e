"""decompose: what it promises for every factorization, dtype, layout and degenerate input."""

import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
from algorithms.tensors import DTYPES, assert_isometric, generators, kinds, normal, rounding, singular_values, tail
from hypothesis import given
from hypothesis import strategies as st

from tlinear import CPTensor, Decomposition, decompose
from tlinear.algorithms.descent import EXACT
from tlinear.algorithms.fallbacks import fallback, noting_fallbacks
from tlinear.algorithms.report import relative_error
from tlinear.errors import (
    DecompositionError,
    DTypeError,
    FactorizationError,
    NonFiniteError,
    OptionError,
    RankError,
    ShapeError,
    TLinearError,
)
from tlinear.formats import FORMATS, find_format

FACTORIZATIONS = tuple(FORMATS)
LOW_RANK = tuple(name for name in FACTORIZATIONS if name != "dense")
DIRECT = ("tt", "blocktt")
shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def rank_for(factorization, rank):
    return "same" if factorization == "dense" else rank


def widened(tensor):
    """The tensor in the precision that decompositions are computed in."""
    return tensor.astype(np.complex128 if tensor.dtype.kind == "c" else np.float64)


def assert_same_numbers(first, second):
    assert first.tensor.operands.keys() == second.tensor.operands.keys()
    for name, array in first.tensor.operands.items():
        np.testing.assert_array_equal(second.tensor.operands[name], array, err_msg=name)
    assert (first.history, first.stop_reason) == (second.history, second.stop_reason)


# ------------------------------------------------------------ laws


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, rank=st.integers(1, 6), data=st.data())
def test_rank_is_the_one_resolved_and_error_is_the_one_measured(factorization, dtype, rng, shape, rank, data):
    """Both errors are made of the same numbers but for powers of two, so that they agree to the bit."""
    n_in = data.draw(st.integers(1, len(shape) - 1))
    tensor = kinds(rng, shape, dtype)
    options = {} if factorization in (*DIRECT, "dense") else {"max_iterations": 15}
    result = decompose(tensor, factorization, rank_for(factorization, rank), n_in=n_in, **options)
    asked = FORMATS[factorization].resolve_rank(shape[:n_in], shape[n_in:], rank_for(factorization, rank))
    assert isinstance(result, Decomposition)
    assert result.rank == result.tensor.rank == asked
    assert result.tensor.shape == shape
    assert result.tensor.n_in == n_in
    assert result.tensor.dtype == dtype
    assert result.n_parameters == result.tensor.n_parameters
    assert result.relative_error == relative_error(tensor, result.tensor.to_tensor())
    # no worse than nothing at all
    assert result.relative_error <= 1.0 + rounding(shape)
    if factorization in (*DIRECT, "dense"):
        assert (result.converged, result.n_iterations, result.history) == (True, 0, ())


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt", "dense"])
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes)
def test_the_largest_rank_reconstructs_to_rounding(factorization, dtype, rng, shape):
    tensor = kinds(rng, shape, dtype)
    result = decompose(tensor, factorization, rank_for(factorization, tensor.size), n_in=1)
    assert result.relative_error <= (0.0 if factorization == "dense" else rounding(shape))


@pytest.mark.parametrize("factorization", LOW_RANK)
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), data=st.data())
def test_of_a_matrix_every_format_is_the_truncated_svd(factorization, dtype, rng, shape, data):
    """The theorem of Eckart and Young; BlockTT of one pair of modes is the matrix itself, and CP iterates to EXACT."""
    matrix = kinds(rng, shape, dtype)
    rank = data.draw(st.integers(1, min(shape)))
    result = decompose(matrix, factorization, rank, n_in=1)
    best = 0.0 if factorization == "blocktt" else tail(singular_values(matrix, 1), rank)
    error = np.linalg.norm(matrix - result.tensor.to_tensor())
    slack = rounding(shape) + (EXACT if factorization == "cp" else 0.0)
    assert abs(error - best) <= slack * np.linalg.norm(matrix)


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, in_shape=shapes, out_shape=shapes, rank=st.integers(1, 4))
def test_blocktt_is_the_tensor_train_over_the_pairs_of_modes(dtype, rng, in_shape, out_shape, rank):
    """It is never transposed into the pairs, so that sums are taken in another order, and rounded another way.

    Noise has no ties at a cut, which would let the two choose different vectors.  Nearby tensors then give nearby squares
    of the error, ``|e^2 - x^2| <= 2 |T| |dT|``.
    """
    d = max(len(in_shape), len(out_shape))
    pairs_in, pairs_out = (side + (1,) * (d - len(side)) for side in (in_shape, out_shape))
    tensor = normal(rng, (*in_shape, *out_shape), dtype)
    interleaved = [axis for k in range(d) for axis in (k, d + k)]
    paired = tensor.reshape(*pairs_in, *pairs_out).transpose(interleaved)
    train = decompose(paired.reshape([i * o for i, o in zip(pairs_in, pairs_out, strict=True)]), "tt", rank)
    block = decompose(tensor, "blocktt", rank, n_in=len(in_shape))
    assert block.rank == train.rank
    assert [core.size for core in block.tensor.cores] == [core.size for core in train.tensor.cores]
    assert abs(block.relative_error**2 - train.relative_error**2) <= 8 * rounding(tensor.shape)


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@given(rng=generators, shape=shapes, rank=st.integers(1, 6), exponent=st.integers(-600, 600))
def test_operands_that_do_not_carry_the_norm_are_isometries(factorization, rng, shape, rank, exponent):
    tensor = np.ldexp(kinds(rng, shape), exponent)
    result = decompose(tensor, factorization, rank, n_in=1).tensor
    for operand in result.factors if factorization == "tucker" else result.cores[:-1]:
        assert_isometric(operand.reshape(-1, operand.shape[-1]))


# ------------------------------------------------------------ scale, dtype and layout


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize(
    ("dtype", "exponents"),
    [
        (np.float64, (-600, -1, 3, 600)),
        (np.complex128, (-600, 600)),
        (np.float32, (-100, 7, 100)),
        (np.complex64, (-80, 100)),  # at -100 what is nearly zero becomes subnormal
        (np.float16, (-3, 5)),
    ],
)
def test_a_power_of_two_scales_one_operand_and_changes_no_other_bit(factorization, dtype, exponents):
    tensor = normal(np.random.default_rng(0), (3, 2, 4), dtype).astype(dtype)
    base = decompose(tensor, factorization, rank_for(factorization, 2), n_in=1)
    carrier = {"cp": "weights", "tucker": "core", "tt": "cores.2", "blocktt": "cores.1", "dense": "tensor"}
    for exponent in exponents:
        factor = np.asarray(2.0**exponent, tensor.real.dtype)
        scaled = decompose(tensor * factor, factorization, rank_for(factorization, 2), n_in=1)
        assert scaled.relative_error == base.relative_error
        assert scaled.history == base.history
        for name, array in base.tensor.operands.items():
            expected = array * factor if name == carrier[factorization] else array
            np.testing.assert_array_equal(scaled.tensor.operands[name], expected, err_msg=name)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64", "int8", "int64", "uint16", "bool", "longdouble"])
def test_a_tensor_is_computed_in_double_precision_and_cast_back(factorization, dtype):
    rng = np.random.default_rng(0)
    tensor = (5 * normal(rng, (3, 4, 5), dtype)).astype(dtype) if dtype != "bool" else rng.integers(0, 2, (3, 4, 5)) > 0
    result = decompose(tensor, factorization, rank_for(factorization, 2), n_in=1)
    double = decompose(widened(tensor), factorization, rank_for(factorization, 2), n_in=1)
    expected = np.dtype(dtype) if np.dtype(dtype).kind in "fc" else np.dtype(np.float64)
    for name, array in double.tensor.operands.items():
        assert result.tensor.operands[name].dtype == expected
        np.testing.assert_array_equal(result.tensor.operands[name], array.astype(expected), err_msg=name)
    assert result.history == double.history
    # the error is that of the numbers that were returned
    rounded = {name: widened(array) for name, array in result.tensor.operands.items()}
    reconstruction = double.tensor.with_operands(rounded).to_tensor()
    assert result.relative_error == relative_error(widened(tensor), reconstruction)


LAYOUTS = {
    "list": lambda tensor: tensor.tolist(),
    "Fortran": np.asfortranarray,
    "transposed": lambda tensor: np.ascontiguousarray(tensor.transpose(2, 0, 1)).transpose(1, 2, 0),
    "every second": lambda tensor: np.repeat(tensor, 2, axis=2)[..., ::2],
    "reversed": lambda tensor: tensor[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "byte-swapped": lambda tensor: tensor.astype(tensor.dtype.newbyteorder()),
    "read-only": lambda tensor: np.frombuffer(tensor.tobytes()).reshape(tensor.shape),
}


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout_changes_no_bit_and_the_input_is_left_alone(factorization, layout):
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    expected = decompose(tensor, factorization, rank_for(factorization, 2), n_in=1)
    given_tensor = layout(tensor)
    before = np.array(given_tensor)
    result = decompose(given_tensor, factorization, rank_for(factorization, 2), n_in=1)
    assert_same_numbers(expected, result)
    assert result.relative_error == expected.relative_error
    np.testing.assert_array_equal(given_tensor, before)
    assert {array.dtype.isnative for array in result.tensor.operands.values()} == {True}


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (1, 1), (3, 4, 5)])
def test_result_shares_no_memory_with_the_source(factorization, shape):
    if factorization == "blocktt" and len(shape) == 1:
        shape = (4, 1)
    tensor = normal(np.random.default_rng(0), shape)
    result = decompose(tensor, factorization, rank_for(factorization, 2), n_in=1 if len(shape) > 1 else None)
    assert not any(np.shares_memory(tensor, array) for array in result.tensor.operands.values())


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_calls_agree_to_the_bit(factorization):
    """By default, with equal seeds, and with generators in equal states; another seed may differ, for CP it does."""
    tensor = normal(np.random.default_rng(0), (3, 4, 5))

    few = {"max_iterations": 30} if factorization == "cp" else {}

    def run(**options):
        return decompose(tensor, factorization, rank_for(factorization, 4), n_in=1, **few, **options)

    assert_same_numbers(run(), run())
    assert_same_numbers(run(rng=7), run(rng=7))
    assert_same_numbers(run(rng=7), run(rng=np.random.default_rng(7)))
    if factorization == "cp":
        assert np.any(run(rng=7).tensor.weights != run(rng=8).tensor.weights)
    else:
        assert_same_numbers(run(rng=7), run(rng=8))


def test_decomposing_loads_no_second_blas():
    """SciPy brings its own threads; where they and NumPy's take turns in a loop, each waits for the other's."""
    code = (
        "import sys, numpy, tlinear\n"
        "for factorization in ('cp', 'tucker', 'tt', 'blocktt'):\n"
        "    tlinear.decompose(numpy.arange(24.0).reshape(2, 3, 4), factorization, 2, n_in=1)\n"
        "assert not [name for name in sys.modules if name.startswith('scipy.linalg')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------ the edges of a dtype's range


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("edge", ["largest", "smallest normal"])
def test_a_constant_at_the_edge_of_the_range_survives(factorization, dtype, edge):
    """``|T|`` itself may be out of range; the operands share its exponent so that none of them is.

    Of rank one, each entry is a product of at most d + 1 entries of operands.  Each is rounded
    once when cast, to within the unit roundoff u of the dtype, and no sum cancels.
    """
    info = np.finfo(dtype)
    value = 0.75 * float(info.max) if edge == "largest" else float(info.tiny)
    tensor = np.full((8, 8, 8), value, dtype)
    value = float(tensor.real[0, 0, 0])
    result = decompose(tensor, factorization, rank_for(factorization, 1), n_in=1)
    assert all(np.all(np.isfinite(array)) for array in result.tensor.operands.values())
    u = float(info.eps) / 2.0
    bound = 4 * u / (1.0 - 4 * u) + rounding((8, 8, 8))
    assert result.relative_error <= bound
    # no intermediate result overflows either, whatever the order of contraction
    found = widened(result.tensor).to_tensor()
    assert np.max(np.abs(found / value - 1.0)) <= bound + u


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_operands_out_of_all_proportion_make_a_tensor_that_is_not(factorization):
    """Powers of two that cancel, in every pair of operands, leave each bit of the reconstruction as it is."""
    tensor = np.random.default_rng(3).standard_normal((3, 4, 5))
    plain = decompose(tensor, factorization, rank_for(factorization, 3), n_in=1).tensor
    expected = plain.to_tensor()
    for large, small in itertools.permutations(plain.operands, 2):
        scaled = {large: np.ldexp(plain.operands[large], 900), small: np.ldexp(plain.operands[small], -900)}
        np.testing.assert_array_equal(plain.with_operands({**plain.operands, **scaled}).to_tensor(), expected)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_subnormal_numbers_are_factorized_like_any_others(factorization):
    """They are multiples of the least positive number; were one operand to take all of the exponent, it would keep no digit."""
    tensor = np.ldexp(np.arange(1.0, 25.0).reshape(2, 3, 4), -1074)
    result = decompose(tensor, factorization, rank_for(factorization, 24), n_in=1)
    normal_sized = decompose(np.ldexp(tensor, 1074), factorization, rank_for(factorization, 24), n_in=1)
    assert result.history == normal_sized.history
    # as the operands share it, each keeps all of its digits
    assert abs(result.relative_error - normal_sized.relative_error) <= rounding((2, 3, 4))


def test_parts_of_a_complex_number_may_be_of_any_size():
    """The modulus of the largest overflows, and a real part alone does not tell the scale."""
    large = decompose(np.full((2, 3), 1.7e308 * (1 + 1j)), "tt", 1)
    assert large.relative_error <= rounding((2, 3))
    imaginary = np.full((2, 3), 1j)
    reconstruction = decompose(imaginary * 2.0**-600, "cp", 1).tensor.to_tensor() * 2.0**600
    assert relative_error(imaginary, reconstruction) <= rounding((2, 3))


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_a_long_double_may_be_larger_than_any_double(factorization):
    """It is scaled before it is rounded to the double precision of the computation, and back after."""
    value = np.longdouble(2.0) ** (np.finfo(np.longdouble).maxexp - 40)
    tensor = np.full((2, 3, 4), value)
    result = decompose(tensor, factorization, rank_for(factorization, 1), n_in=1)
    assert result.tensor.dtype == np.longdouble
    assert np.max(np.abs(result.tensor.to_tensor() / value - 1)) <= rounding((2, 3, 4))


# ------------------------------------------------------------ degenerate input

DEGENERATE = {
    "zero": np.zeros((2, 3, 4)),
    "zero, complex": np.zeros((2, 3, 4), complex),
    "constant": np.full((4, 4, 4), 3.7),
    "of rank 1": np.multiply.outer(np.outer([1.0, -2.0, 3.0], [4.0, 5.0]), [0.0, 1.0, 1.0, 2.0]),
    "repeated slices": np.repeat(np.arange(1.0, 7.0).reshape(1, 2, 3), 4, axis=0),
    "one nonzero entry": np.eye(1, 24, 7).reshape(2, 3, 4),
    "modes of size 1": np.arange(1.0, 7.0).reshape(1, 2, 1, 3, 1),
    "only modes of size 1": np.full((1, 1, 1), -2.0),
    "integers": np.arange(24).reshape(2, 3, 4),
    "booleans": np.ones((2, 3, 4), bool),
}


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("tensor", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_tensors_are_solved(factorization, tensor):
    """All have CP rank 6 or less; the direct algorithms and HOOI are exact at full rank, CP to 1e-10."""
    result = decompose(tensor, factorization, rank_for(factorization, 6), n_in=1)
    shape = tensor.shape
    assert result.rank == FORMATS[factorization].resolve_rank(shape[:1], shape[1:], rank_for(factorization, 6))
    assert result.converged
    assert all(np.all(np.isfinite(array)) for array in result.tensor.operands.values())
    assert result.relative_error <= (1e-10 if factorization == "cp" else rounding(shape))
    if not np.any(tensor):
        assert result.relative_error == 0.0
        assert not np.any(result.tensor.to_tensor())


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "dense"])
def test_a_vector_is_returned_as_it_is(factorization):
    result = decompose([3.0, -1.0, 2.0], factorization, rank_for(factorization, 5))
    assert result.tensor.shape == (3,)
    assert result.relative_error <= rounding((3,))


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_an_int_above_the_largest_useful_rank_is_capped_and_never_padded(factorization):
    """Padding with random columns would make the result worse than none: TensorLy's error is 3.98 here."""
    tensor = normal(np.random.default_rng(0), (3, 4, 2))
    result = decompose(tensor, factorization, 100, n_in=1)
    assert result.rank == FORMATS[factorization].resolve_rank((3,), (4, 2), 100)
    assert result.relative_error <= (1e-6 if factorization == "cp" else rounding((3, 4, 2)))


def test_a_decomposition_that_did_not_converge_says_so_and_is_the_best_that_was_found():
    tensor = normal(np.random.default_rng(0), (4, 5, 6))
    for factorization, rank in (("cp", 1), ("tucker", 2)):
        short = decompose(tensor, factorization, rank, max_iterations=2, stop_tolerance=0.0)
        assert (short.converged, short.n_iterations) == (False, 2)
        assert short.stop_reason == "2 sweeps were done"
        assert short.relative_error <= short.history[0]
        assert "not converged after 2 iterations: 2 sweeps were done" in repr(short)
        full = decompose(tensor, factorization, rank)
        assert full.converged
        assert full.relative_error < short.relative_error


def test_a_cp_tensor_that_is_a_rank_4_matrix_of_64_by_64_is_recovered():
    for seed in range(10):
        tensor = CPTensor.random((8, 8), (8, 8), 4, rng=seed).to_tensor()
        assert decompose(tensor, "cp", 4, n_in=2).relative_error < 1e-6


# ------------------------------------------------------------ what is refused


REFUSED = {
    "NaN": (
        (np.array([[1.0, math.nan], [math.nan, 0.0]]), "tt", 1),
        {},
        NonFiniteError,
        "has 2 entries that are NaN",
    ),
    "Inf": ((np.array([[1.0, -math.inf]]), "cp", 1), {}, NonFiniteError, r"of shape \(1, 2\) has 1 entry"),
    "complex NaN": ((np.array([[complex(1.0, math.nan)]]), "tucker", 1), {}, NonFiniteError, "has 1 entry"),
    "0-D": ((np.float64(3.0), "tt", 1), {}, ShapeError, r"shape \(\) has nothing to factorize"),
    "empty": ((np.ones((2, 0, 3)), "cp", 1), {}, ShapeError, r"shape \(2, 0, 3\) has nothing to factorize"),
    "text": ((["a", "b"], "tt", 1), {}, DTypeError, "not numeric"),
    "objects": ((np.array([None, 1]), "tt", 1), {}, DTypeError, "not numeric"),
    "ragged": (([[1.0], [1.0, 2.0]], "tt", 1), {}, DTypeError, "cannot be read as a NumPy array"),
    "unknown format": ((np.ones((2, 2)), "ring", 1), {}, FactorizationError, "factorization='ring' is not known"),
    "rank 0": ((np.ones((2, 2)), "tt", 0), {}, RankError, "rank=0 is below 1"),
    "negative rank": ((np.ones((2, 2)), "cp", -1), {}, RankError, "rank=-1 is below 1"),
    "budget above 1": ((np.ones((2, 2)), "cp", 1.5), {}, RankError, r"must lie in \(0, 1\]"),
    "rank of wrong length": ((np.ones((2, 2)), "tucker", (1, 1, 1)), {}, RankError, "has 3 entries"),
    "rank above the largest": ((np.ones((2, 2)), "tucker", (3, 2)), {}, RankError, "needs more than 2"),
    "no split for BlockTT": ((np.ones((2, 2)), "blocktt", 1), {}, ShapeError, "pass n_in, the number of input modes"),
    "n_in 0": ((np.ones((2, 2)), "tt", 1), {"n_in": 0}, ShapeError, "n_in=0 does not split the 2 modes"),
    "n_in all": ((np.ones((2, 2)), "cp", 1), {"n_in": 2}, ShapeError, "Pass 1 <= n_in < 2"),
    "n_in True": ((np.ones((2, 2)), "cp", 1), {"n_in": True}, ShapeError, "n_in=True does not split"),
    "option of another": (
        (np.ones((2, 2)), "tucker", 1),
        {"ridge": 1.0},
        OptionError,
        r"'tucker' has no option ridge. Its options are \['max_iterations', 'stop_tolerance', 'svd', 'callback'\]",
    ),
    "unknown options": ((np.ones((2, 2)), "cp", 1), {"tol": 1, "init": 2}, OptionError, "has no option init, tol"),
    "option of none": (
        (np.ones((2, 2)), "tt", 1),
        {"max_iterations": 3},
        OptionError,
        r"options are \['direction', 'svd', 'refine'\]",
    ),
    "seed of text": ((np.ones((2, 2)), "cp", 1), {"rng": "a"}, OptionError, "rng='a' is no source of random numbers"),
    "negative seed": ((np.ones((2, 2)), "tt", 1), {"rng": -1}, OptionError, "rng=-1 is no source of random numbers"),
    "callback of CP": ((np.ones((2, 2)), "cp", 1), {"callback": 3}, OptionError, "callback=3 cannot be called"),
    "callback of Tucker": ((np.ones((2, 2)), "tucker", 1), {"callback": 3}, OptionError, "callback=3 cannot be called"),
    "option out of range": ((np.ones((2, 2)), "cp", 1), {"n_starts": 0}, OptionError, "n_starts=0 must be an integer"),
}


@pytest.mark.parametrize(("arguments", "options", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_decomposition_is_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message) as caught:
        decompose(*arguments, **options)
    assert isinstance(caught.value, TLinearError)
    assert isinstance(caught.value, (ValueError, TypeError))


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_refused_before_any_algorithm(monkeypatch, factorization, bad):
    tensor = np.random.default_rng(0).standard_normal((3, 4, 5))
    tensor[1, 2, 3] = bad
    monkeypatch.setattr(find_format(factorization), "fit", lambda *_, **__: pytest.fail("the algorithm was called"))
    for calibration in (None, np.ones((20, 12))):
        with pytest.raises(NonFiniteError, match=r"tensor of shape \(3, 4, 5\) has 1 entry"):
            decompose(tensor, factorization, rank_for(factorization, 2), n_in=2, calibration=calibration)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_no_option_lets_nan_and_infinity_pass(factorization):
    """They would reach LAPACK, some builds of which never return from them."""
    tensor = np.full((3, 4, 5), np.nan)
    with pytest.raises(TLinearError):
        decompose(tensor, factorization, rank_for(factorization, 2), n_in=2, check_finite=False)
    with pytest.raises(OptionError, match="has no option check_finite"):
        decompose(np.ones((3, 4, 5)), factorization, rank_for(factorization, 2), n_in=2, check_finite=False)


# ------------------------------------------------------------ what is told of the way


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_a_fallback_is_told(monkeypatch, factorization):
    """The same answer by another driver of LAPACK."""
    tensor, svd = np.random.default_rng(0).standard_normal((3, 4, 5)), np.linalg.svd

    def refuse(*args, **kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    plain = decompose(tensor, factorization, 2, n_in=2)
    monkeypatch.setattr(np.linalg, "svd", refuse)
    result = decompose(tensor, factorization, 2, n_in=2)
    monkeypatch.setattr(np.linalg, "svd", svd)
    by_gesvd = "a singular value decomposition by gesvd, after gesdd had failed"
    if by_gesvd in result.fallbacks:
        assert f"fallback: {by_gesvd}" in repr(result)
    else:
        assert factorization == "cp"  # whose Gram matrices may do without
    assert by_gesvd not in plain.fallbacks
    assert abs(result.relative_error - plain.relative_error) < 1e-6


def test_fallbacks_of_one_call_are_not_those_of_another():
    with noting_fallbacks() as outer:
        with noting_fallbacks() as inner:
            fallback("b")
            fallback("a")
            fallback("b")
        fallback("c")
    assert (tuple(inner), tuple(outer)) == (("b", "a"), ("c",))
    fallback("heard by nobody")


@pytest.mark.parametrize("factorization", ["cp", "tucker"])
def test_every_algorithm_that_iterates_calls_back(factorization):
    tensor, seen = normal(np.random.default_rng(0), (4, 5, 6)), []

    def callback(n, error):
        seen.append(error)
        return n == 2

    result = decompose(tensor, factorization, 2, callback=callback, stop_tolerance=0.0)
    assert (result.converged, result.n_iterations, result.stop_reason) == (False, 2, "the callback asked to stop")
    assert tuple(seen) == result.history


def test_a_result_says_what_there_is_to_know():
    x = np.random.default_rng(0).standard_normal((40, 12))
    result = decompose(np.ones((3, 4, 5)) + np.arange(5.0), "tt", 1, n_in=2, calibration=x)
    assert re.fullmatch(
        r"Decomposition\(TTTensor\(in=\(3, 4\), out=\(5,\), rank=\(1, 1, 1, 1\), parameters=12 of 60, float64\),\n"
        r"              relative_error=\S+ in the Frobenius norm, (not )?converged after \d+ iterations?: .*,\n"
        r"              relative_output_error=\S+ on the calibration\)",
        repr(result),
    )


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_a_failure_of_lapack_is_an_error_of_ones_own(monkeypatch, factorization):
    def refuse(*args, **kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", refuse)
    monkeypatch.setattr(scipy.linalg, "svd", refuse)
    with pytest.raises(DecompositionError, match="gesdd and gesvd both failed"):
        decompose(np.ones((2, 3, 4)), factorization, 1, n_in=1)
