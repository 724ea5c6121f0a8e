"""Ranks: a budget is never exceeded, an int is capped, a tuple is taken or refused by name."""

import math
import re

import numpy as np
import pytest
from cases import FACTORIZATIONS, modes
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear import resolve_rank
from tlinear.errors import InfeasibleRankError, RankError
from tlinear.formats import FORMATS

LOW_RANK = tuple(name for name in FACTORIZATIONS if name != "dense")
sides = st.lists(st.integers(1, 8), min_size=1, max_size=4).map(tuple)
low_rank = st.sampled_from(LOW_RANK)
fractions = st.floats(0.001, 1.0)


def count(factorization, in_shape, out_shape, rank):
    cls = FORMATS[factorization]
    return cls._network_for(in_shape, out_shape, cls.resolve_bonds(in_shape, out_shape, rank)).n_parameters


def largest_useful(factorization, in_shape, out_shape):
    return resolve_rank(factorization, in_shape, out_shape, math.prod(in_shape) * math.prod(out_shape))


@given(low_rank, sides, sides, fractions)
def test_a_budget_is_never_exceeded_and_infeasible_only_when_rank_one_is(factorization, in_shape, out_shape, fraction):
    dense = math.prod(in_shape) * math.prod(out_shape)
    least = count(factorization, in_shape, out_shape, 1)
    if least > fraction * dense:
        with pytest.raises(InfeasibleRankError, match=f"of rank 1 already has {least}"):
            resolve_rank(factorization, in_shape, out_shape, fraction)
    else:
        rank = resolve_rank(factorization, in_shape, out_shape, fraction)
        assert least <= count(factorization, in_shape, out_shape, rank) <= fraction * dense


@given(low_rank, sides, sides, fractions, fractions)
def test_parameters_do_not_decrease_with_the_budget(factorization, in_shape, out_shape, a, b):
    dense = math.prod(in_shape) * math.prod(out_shape)
    low, high = sorted((a, b))
    if count(factorization, in_shape, out_shape, 1) <= low * dense:
        assert count(factorization, in_shape, out_shape, low) <= count(factorization, in_shape, out_shape, high)


@given(sides, sides, fractions)
def test_cp_takes_the_largest_rank_of_the_budget(in_shape, out_shape, fraction):
    shape = (*in_shape, *out_shape)
    dense, each = math.prod(shape), 1 + sum(shape)
    if each <= fraction * dense:
        largest = math.prod(shape) // max(shape)
        assert resolve_rank("cp", in_shape, out_shape, fraction) == min(math.floor(fraction * dense) // each, largest)


@given(low_rank, sides, sides, st.one_of(fractions, st.integers(1, 100)))
def test_resolving_again_changes_nothing(factorization, in_shape, out_shape, rank):
    try:
        once = resolve_rank(factorization, in_shape, out_shape, rank)
    except InfeasibleRankError:
        return
    assert resolve_rank(factorization, in_shape, out_shape, once) == once
    assert isinstance(once, int) if factorization == "cp" else all(type(entry) is int for entry in once)


@given(low_rank, sides, sides, st.integers(1, 100))
def test_an_int_is_that_rank_in_every_bond_up_to_the_largest_useful_one(factorization, in_shape, out_shape, rank):
    resolved = np.atleast_1d(resolve_rank(factorization, in_shape, out_shape, rank))
    largest = np.atleast_1d(largest_useful(factorization, in_shape, out_shape))
    assert np.all(resolved <= np.minimum(rank, largest))
    if factorization != "tucker":  # in Tucker a rank may also be held down by the product of the others
        assert np.all(resolved == np.minimum(rank, largest))


@given(st.sampled_from(["tucker", "tt", "blocktt"]), modes, modes, st.integers(1, 20), st.randoms())
def test_a_tensor_of_the_largest_useful_rank_reaches_it(factorization, in_shape, out_shape, rank, random):
    """No realizable rank is useless: the unfoldings of a random tensor of that rank have it, in exact arithmetic."""
    cls = FORMATS[factorization]
    tensor = cls.random(in_shape, out_shape, rank, std=1.0, rng=random.randrange(2**32))
    bonds = cls.resolve_bonds(in_shape, out_shape, rank)
    dense = tensor.to_tensor()
    if factorization == "blocktt":
        d = max(len(in_shape), len(out_shape))
        pairs = [(i, o) for i, o in zip(pad(in_shape, d), pad(out_shape, d), strict=True)]
        dense = dense.reshape(*pad(in_shape, d), *pad(out_shape, d))
        dense = dense.transpose([axis for k in range(d) for axis in (k, d + k)]).reshape([i * o for i, o in pairs])
    if factorization == "tucker":
        unfoldings = [np.moveaxis(dense, k, 0).reshape(dense.shape[k], -1) for k in range(dense.ndim)]
    else:
        unfoldings = [dense.reshape(math.prod(dense.shape[: k + 1]), -1) for k in range(dense.ndim - 1)]
    assert tuple(int(np.linalg.matrix_rank(unfolding)) for unfolding in unfoldings) == bonds


def pad(shape, d):
    return (*shape, *(1,) * (d - len(shape)))


@pytest.mark.parametrize(
    ("factorization", "in_shape", "out_shape", "largest"),
    [
        ("cp", (4, 4), (2, 5), 32),
        ("tucker", (4, 4), (2, 5), (4, 4, 2, 5)),
        ("tucker", (2,), (9,), (2, 2)),
        ("tt", (4, 4), (2, 5), (1, 4, 10, 5, 1)),
        ("blocktt", (4, 4), (2, 5), (1, 8, 1)),
        ("blocktt", (4, 4, 4), (4, 4, 4), (1, 16, 16, 1)),
        ("blocktt", (2, 2, 4), (2, 5), (1, 4, 4, 1)),
        ("tt", (7,), (3,), (1, 3, 1)),
        ("blocktt", (7,), (3,), (1, 1)),
        ("dense", (4, 4), (2, 5), None),
    ],
)
def test_largest_useful_rank(factorization, in_shape, out_shape, largest):
    rank = "same" if factorization == "dense" else 10**6
    assert resolve_rank(factorization, in_shape, out_shape, rank) == largest
    assert resolve_rank(factorization, in_shape, out_shape, largest) == largest


def test_the_ones_at_the_ends_may_be_left_out():
    assert resolve_rank("tt", (4, 4), (2, 5), (3, 4, 2)) == (1, 3, 4, 2, 1)
    assert (
        resolve_rank("blocktt", (4, 4), (2, 5), [3]) == resolve_rank("blocktt", (4, 4), (2, 5), (1, 3, 1)) == (1, 3, 1)
    )


@pytest.mark.parametrize("numpy_type", [np.int8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("factorization", LOW_RANK)
def test_numpy_scalars_mean_what_python_numbers_mean(factorization, numpy_type):
    value = 0.5 if numpy_type in (np.float32, np.float64) else 3
    shapes = (4, 4), (2, 5)
    assert resolve_rank(factorization, *shapes, numpy_type(value)) == resolve_rank(factorization, *shapes, value)


def test_one_is_a_rank_and_one_point_zero_a_budget():
    assert resolve_rank("cp", (4, 4), (2, 5), 1) == 1
    assert resolve_rank("cp", (4, 4), (2, 5), 1.0) == resolve_rank("cp", (4, 4), (2, 5), "same") == 10


@pytest.mark.parametrize("factorization", LOW_RANK)
@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (True, "rank=True of type bool is not a rank"),
        (np.True_, "is not a rank"),
        (None, "rank=None of type NoneType is not a rank"),
        ("half", "rank='half' of type str is not a rank"),
        (3j, "of type complex is not a rank"),
        (0, "rank=0 is below 1"),
        (-2, "rank=-2 is below 1"),
        (0.0, r"rank=0.0 as a budget must lie in \(0, 1\]"),
        (1.5, r"rank=1.5 as a budget must lie in \(0, 1\]"),
        (math.nan, r"rank=nan as a budget must lie in \(0, 1\]"),
        (math.inf, r"rank=inf as a budget must lie in \(0, 1\]"),
        (-0.5, "rank=-0.5 as a budget"),
    ],
)
def test_what_is_no_rank_is_refused_at_construction(factorization, rank, message):
    for build in (
        lambda: resolve_rank(factorization, (4, 4), (2, 5), rank),
        lambda: tlinear.FactorizedLinear((4, 4), (2, 5), factorization=factorization, rank=rank),
        lambda: tlinear.FactorizedLinear.from_linear(
            tlinear.Linear(16, 10, rng=0), factorization=factorization, rank=rank
        ),
    ):
        with pytest.raises(RankError, match=message):
            build()


@pytest.mark.parametrize(
    ("factorization", "rank", "message"),
    [
        ("cp", (3,), "the rank of a cp tensor is a single int, not a tuple"),
        ("dense", (3,), "the rank of a dense tensor is None, not a tuple"),
        ("dense", 3, "a dense tensor has no rank"),
        ("tucker", (3, 3), "rank=(3, 3) has 2 entries, but a tucker tensor of shape 4x4x2x5 has 4"),
        ("tucker", (4, 4, 3, 5), "entry 2 is 3, but with the entries beside it no tucker tensor of shape 4x4x2x5 needs more than 2"),
        ("tucker", (4, 1, 1, 3), "entry 0 is 4, but with the entries beside it no tucker tensor of shape 4x4x2x5 needs more than 3"),
        ("tt", (1, 4, 11, 5, 1), "entry 2 is 11, but with the entries beside it no tt tensor of shape 4x4x2x5 needs more than 10"),
        ("tt", (5, 2), "rank=(5, 2) has 2 entries, but a tt tensor of shape 4x4x2x5 has 5 (or 3 without the two 1s)"),
        ("tt", (1, 4, 1), "entry 1 is 4, but with the entries beside it no tt tensor of shape 4x4x2x5 needs more than 2"),
        ("tt", (2, 4, 5, 5, 1), "rank=(2, 4, 5, 5, 1) has 5 entries"),
        ("tt", (2, 2.0, 2), "must hold integers >= 1 only"),
        ("tt", (2, 0, 2), "must hold integers >= 1 only"),
        ("tt", (2, True, 2), "must hold integers >= 1 only"),
        ("blocktt", (1, 9, 1), "entry 1 is 9, but with the entries beside it no blocktt tensor of shape 4x4x2x5 needs more than 8"),
    ],
)  # fmt: skip
def test_an_impossible_tuple_is_refused_by_entry(factorization, rank, message):
    with pytest.raises(RankError, match=re.escape(message)):
        resolve_rank(factorization, (4, 4), (2, 5), rank)


def test_an_infeasible_budget_names_the_smallest_feasible_one():
    with pytest.raises(InfeasibleRankError, match=r"cp of rank 1 already has 16.*smallest feasible budget is 0\.1\b"):
        resolve_rank("cp", (4, 4), (2, 5), 0.05)
    assert resolve_rank("cp", (4, 4), (2, 5), 0.1) == 1
    with pytest.raises(InfeasibleRankError, match="No budget up to 1 is feasible: choose more balanced modes"):
        resolve_rank("tt", (2,), (1,), 1.0)
    with pytest.raises(InfeasibleRankError):
        resolve_rank("dense", (4, 4), (2, 5), 0.5)


@pytest.mark.parametrize(
    ("factorization", "in_shape", "out_shape", "budget", "rank"),
    [
        ("tucker", (2,) * 4, (2,) * 4, "same", (2, 2, 2, 2, 2, 2, 2, 1)),  # 158 of 256; all 2 would be 288
        ("tucker", (3,) * 3, (3,) * 3, 0.1, (2, 2, 2, 2, 2, 1)),  # 65 of 72
        ("tt", (4, 4), (4, 4), 0.5, (1, 4, 3, 4, 1)),  # 16 + 48 + 48 + 16 = 128 of 128
        ("blocktt", (4, 4), (4, 4), 0.5, (1, 4, 1)),  # 4 * 16 * 2 = 128
        ("blocktt", (4, 4, 4), (4, 4, 4), 0.1, (1, 4, 4, 1)),  # 64 + 256 + 64 = 384 of 409; (5, 4) would be 464
    ],
)
def test_a_budget_is_filled_as_far_as_the_rule_allows(factorization, in_shape, out_shape, budget, rank):
    assert resolve_rank(factorization, in_shape, out_shape, budget) == rank


@given(low_rank, sides, sides, fractions)
def test_no_budget_leaves_room_for_the_next_proportional_rank(factorization, in_shape, out_shape, fraction):
    """Raising every bond by one (as far as it is useful) costs more than is left, or nothing is left to raise."""
    cls, dense = FORMATS[factorization], math.prod(in_shape) * math.prod(out_shape)
    try:
        bonds = cls.resolve_bonds(in_shape, out_shape, fraction)
    except InfeasibleRankError:
        return
    raised = cls.realizable(in_shape, out_shape, tuple(bond + 1 for bond in bonds))
    if raised != bonds:
        assert cls._network_for(in_shape, out_shape, raised).n_parameters > math.floor(fraction * dense)


@given(low_rank, sides, sides)
def test_the_smallest_feasible_budget_that_is_named_is_the_smallest(factorization, in_shape, out_shape):
    least, dense = count(factorization, in_shape, out_shape, 1), math.prod(in_shape) * math.prod(out_shape)
    if least <= 1 or least > dense:
        return
    with pytest.raises(InfeasibleRankError, match="smallest feasible budget is") as caught:
        resolve_rank(factorization, in_shape, out_shape, (least - 0.5) / dense)
    named = float(str(caught.value).rpartition(" is ")[2].rstrip("."))
    assert count(factorization, in_shape, out_shape, named) >= least
    with pytest.raises(InfeasibleRankError):
        resolve_rank(factorization, in_shape, out_shape, named * (1 - 4 * np.finfo(float).eps))
