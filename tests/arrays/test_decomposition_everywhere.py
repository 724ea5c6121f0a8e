"""Decompositions are computed where the tensor lives, as close as NumPy's; what only NumPy does is refused by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import on_every_other_place

import tlinear
from tlinear import FactorizedLinear, Linear, decompose
from tlinear.arrays import space_of, to_numpy
from tlinear.errors import DeviceError, NonFiniteError, RankError
from tlinear.formats import FORMATS

DIRECT = ("tucker", "tt", "blocktt")
RANKS = {"tucker": (2, 3, 2, 2), "tt": (3, 4, 2), "blocktt": (4,), "dense": "same"}
SHAPE = (3, 4, 2, 5)


def tensor_of(rng, dtype="float32"):
    drawn = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    return (drawn[0] + 1j * drawn[1] if np.dtype(dtype).kind == "c" else drawn[0]).astype(dtype)


def error_of(tensor, result):
    wide = tensor.astype(np.complex128)
    return np.linalg.norm(wide - to_numpy(result.tensor.to_tensor())) / np.linalg.norm(wide)


@on_every_other_place
@pytest.mark.parametrize("factorization", DIRECT)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "complex64"]), st.integers(-30, 30))
def test_error_is_what_it_says_and_within_the_guarantee(place, factorization, seed, dtype, exponent):
    """|T - W|^2 is at most the sum over all truncations of what the best matrix of that rank loses of T's unfolding."""
    tensor = tensor_of(np.random.default_rng(seed), dtype) * np.float32(2.0**exponent)
    rank = RANKS[factorization]
    result = decompose(place.array(tensor), factorization, rank, n_in=2, allocation="proportional")
    assert result.tensor.space is place.space
    assert to_numpy(result.tensor.to_tensor()).dtype == tensor.dtype
    assert result.rank == decompose(tensor, factorization, rank, n_in=2).rank
    # both sum 120 squares of numbers that were rounded to single precision, after products of at most 4 of these
    rounding = 2 * 130 * np.finfo(np.float32).eps
    assert abs(error_of(tensor, result) - result.relative_error) <= rounding
    assert error_of(tensor, result) <= guaranteed(tensor, factorization) + rounding


def guaranteed(tensor, factorization):
    """The root of the squares that the truncations lose, each at most its best matrix's, over the norm."""
    if factorization == "blocktt":
        tensor = tensor.transpose(0, 2, 1, 3).reshape(6, 20)
        cuts = [(tensor, RANKS["blocktt"][0])]
    elif factorization == "tt":
        cuts = [(tensor.reshape(int(np.prod(SHAPE[:k])), -1), RANKS["tt"][k - 1]) for k in (1, 2, 3)]
    else:
        cuts = [(np.moveaxis(tensor, k, 0).reshape(SHAPE[k], -1), RANKS["tucker"][k]) for k in range(4)]
    lost = [np.sum(np.linalg.svd(matrix.astype(np.complex128), compute_uv=False)[rank:] ** 2) for matrix, rank in cuts]
    return np.sqrt(sum(lost)) / np.linalg.norm(tensor.astype(np.complex128))


@on_every_other_place
@pytest.mark.parametrize("factorization", DIRECT)
def test_whole_rank_gives_the_tensor_back(place, factorization):
    tensor = tensor_of(np.random.default_rng(0))
    whole = tlinear.resolve_rank(factorization, SHAPE[:2], SHAPE[2:], 10**6)
    result = decompose(place.array(tensor), factorization, whole, n_in=2)
    # 4 decompositions whose matrices have at most 24 rows, and rounding to single precision
    assert result.relative_error <= 4 * 24 * np.finfo(np.float32).eps
    zeros = decompose(place.array(0 * tensor), factorization, whole, n_in=2)
    assert zeros.relative_error == 0.0


@on_every_other_place
@pytest.mark.parametrize("factorization", [*DIRECT, "dense"])
def test_layers_are_compressed_where_they_are(place, factorization):
    here = Linear(11, 10, dtype="float32", rng=0)
    options = {"in_tensorized_features": (3, 4), "out_tensorized_features": (2, 5), "pad": 0.1}
    options |= {"rank": RANKS[factorization], "factorization": factorization}
    there = FactorizedLinear.from_linear(here.to(place.xp, place.device), **options)
    layer = FactorizedLinear.from_linear(here, **options)
    assert there.space is place.space
    assert there.rank == layer.rank
    assert (there.in_features, there.out_features) == (11, 10)
    np.testing.assert_array_equal(to_numpy(there.bias), here.bias)
    matrix = to_numpy(there.to_linear().weight)
    norm = np.linalg.norm(here.weight.astype(np.float64))
    rounding = 2 * 130 * np.finfo(np.float32).eps
    error = np.linalg.norm(matrix - here.weight.astype(np.float64)) / norm
    assert error <= there.decomposition.relative_error + rounding
    assert space_of(there(place.array(np.ones((2, 11), np.float32)))) is place.space


@on_every_other_place
def test_what_only_numpy_does_is_refused_with_the_way_to_it(place):
    tensor = place.array(tensor_of(np.random.default_rng(0)))
    linear = Linear(12, 10, dtype="float32", rng=0).to(place.xp, place.device)
    calls = {
        "the algorithm of 'cp'": lambda: decompose(tensor, "cp", 2),
        "tolerance of": lambda: decompose(tensor, "tt", tolerance=0.1),
        "svd of": lambda: decompose(tensor, "tt", 2, svd="qr"),
        "calibration of": lambda: decompose(tensor, "tt", 2, n_in=2, calibration=np.ones((3, 12))),
        "pass allocation='proportional', or cross": lambda: decompose(tensor, "tt", 0.5),
        "tensorization='search'": lambda: FactorizedLinear.from_linear(
            linear, factorization="tt", rank=0.5, tensorization="search", allocation="proportional"
        ),
        "this is computed on numpy": lambda: tlinear.decomposition.low_rank_baseline(linear.weight, 10),
    }
    for message, call in calls.items():
        with pytest.raises(DeviceError) as raised:
            call()
        assert message in str(raised.value)
        assert str(place.space) in str(raised.value)
        assert "to_numpy" in str(raised.value) or "linear.to(numpy)" in str(raised.value)
    budget = decompose(tensor, "tt", 0.5, allocation="proportional")
    assert budget.n_parameters <= 60


@on_every_other_place
def test_errors_of_the_arguments_are_those_of_numpy(place):
    tensor = tensor_of(np.random.default_rng(0))
    with pytest.raises(RankError, match="No rank is given"):
        decompose(place.array(tensor), "tt")
    tensor[0, 0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="tensor of shape"):
        decompose(place.array(tensor), "tt", 2)
    assert set(FORMATS) == {*DIRECT, "cp", "dense"}
