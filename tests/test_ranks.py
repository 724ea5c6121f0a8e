"""Ranks: a budget is never exceeded, an int is capped, a tuple is taken or refused by name."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from best_ranks import Chain, Tucker
from cases import FACTORIZATIONS, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from own_formats import TensorRing

import tlinear
from tlinear import resolve_rank
from tlinear.errors import InfeasibleRankError, RankError, ShapeError
from tlinear.formats import FORMATS
from tlinear.formats.rank_rules import rank_rules
from tlinear.ranks.budget import fill_budget, least_bonds
from tlinear.ranks.resolve import resolve_bonds

LOW_RANK = tuple(name for name in FACTORIZATIONS if name != "dense")
sides = st.lists(st.integers(1, 8), min_size=1, max_size=4).map(tuple)
low_rank = st.sampled_from(LOW_RANK)
fractions = st.floats(0.001, 1.0)


def rules_of(factorization, in_shape, out_shape, **options):
    return rank_rules(FORMATS[factorization], in_shape, out_shape, **options)


def count(factorization, in_shape, out_shape, rank):
    """The entries of all arrays of a tensor of this rank, counted on the tensor itself."""
    cls = FORMATS[factorization]
    bonds = resolve_bonds(rank_rules(cls, in_shape, out_shape), rank)
    return cls.network_for(in_shape, out_shape, bonds).n_parameters


def limit_of(fraction, dense):
    """What a budget allows, in exact arithmetic."""
    return math.floor(Fraction(fraction) * dense)


def largest_useful(factorization, in_shape, out_shape):
    return resolve_rank(factorization, in_shape, out_shape, math.prod(in_shape) * math.prod(out_shape))


@given(low_rank, sides, sides, fractions)
def test_a_budget_is_never_exceeded_and_infeasible_only_when_rank_one_is(factorization, in_shape, out_shape, fraction):
    dense = math.prod(in_shape) * math.prod(out_shape)
    least = count(factorization, in_shape, out_shape, 1)
    if least > limit_of(fraction, dense):
        with pytest.raises(InfeasibleRankError, match=f"of rank 1 already has {least}"):
            resolve_rank(factorization, in_shape, out_shape, fraction)
    else:
        rank = resolve_rank(factorization, in_shape, out_shape, fraction)
        assert least <= count(factorization, in_shape, out_shape, rank) <= limit_of(fraction, dense)


@given(low_rank, sides, sides, fractions, fractions)
def test_parameters_do_not_decrease_with_the_budget(factorization, in_shape, out_shape, a, b):
    dense = math.prod(in_shape) * math.prod(out_shape)
    low, high = sorted((a, b))
    if count(factorization, in_shape, out_shape, 1) <= limit_of(low, dense):
        assert count(factorization, in_shape, out_shape, low) <= count(factorization, in_shape, out_shape, high)


@given(sides, sides, fractions)
def test_cp_takes_the_largest_rank_of_the_budget(in_shape, out_shape, fraction):
    shape = (*in_shape, *out_shape)
    dense, each = math.prod(shape), 1 + sum(shape)
    if each <= limit_of(fraction, dense):
        largest = math.prod(shape) // max(shape)
        assert resolve_rank("cp", in_shape, out_shape, fraction) == min(limit_of(fraction, dense) // each, largest)


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
    bonds = resolve_bonds(rank_rules(cls, in_shape, out_shape), rank)
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


@given(low_rank, sides, sides)
def test_without_a_rank_it_is_a_tenth_or_the_least_that_can_be(factorization, in_shape, out_shape):
    dense, least = math.prod(in_shape) * math.prod(out_shape), count(factorization, in_shape, out_shape, 1)
    if least > dense:
        with pytest.raises(InfeasibleRankError, match="No budget up to 1 is feasible"):
            resolve_rank(factorization, in_shape, out_shape, None)
    elif least > limit_of(0.1, dense):
        assert count(factorization, in_shape, out_shape, None) == least
    else:
        assert resolve_rank(factorization, in_shape, out_shape, None) == resolve_rank(
            factorization, in_shape, out_shape, 0.1
        )


@pytest.mark.parametrize("factorization", LOW_RANK)
def test_the_default_rank_is_the_same_everywhere(factorization):
    shapes = (6, 8), (8, 9)
    rank = resolve_rank(factorization, *shapes, 0.1)
    matrix = np.random.default_rng(0).standard_normal((72, 48))
    options = {"factorization": factorization, "allocation": "proportional"}
    assert tlinear.FactorizedLinear(*shapes, factorization=factorization).rank == rank
    assert FORMATS[factorization].random(*shapes).rank == rank
    assert tlinear.FactorizedLinear.from_linear(tlinear.Linear.from_arrays(matrix), **options).rank == rank
    assert tlinear.decompose(matrix.T.reshape(6, 8, 8, 9), **options, n_in=2).rank == rank
    found = tlinear.suggest_shapes(4, 6, factorization=factorization, most_modes=1, limit=None)
    assert [s.rank for s in found] == [resolve_rank(factorization, (4,), (6,), None)]


@pytest.mark.parametrize("n", [64, 128])
@pytest.mark.parametrize("factorization", LOW_RANK)
def test_a_layer_made_with_nothing_said_is_ten_times_smaller(factorization, n):
    linear = tlinear.Linear(n, n, rng=0)
    layer = tlinear.FactorizedLinear.from_linear(linear, factorization=factorization)
    assert 0.08 * n * n < layer.weight.n_parameters <= 0.1 * n * n
    layer = tlinear.FactorizedLinear.from_linear(linear, factorization="tt", tolerance=0.3)
    assert layer.weight.n_parameters > 0.1 * n * n  # the tolerance rules


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
        ("tt", (2, 4, 5, 5, 1), "the rank of a tt tensor begins and ends with 1. Pass (1, 4, 5, 5, 1), or what is between"),
        ("blocktt", (1, 2, 2), "the rank of a blocktt tensor begins and ends with 1. Pass (1, 2, 1), or what is between"),
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
    with pytest.raises(InfeasibleRankError, match=r"rank=1\.0 allows 2 .*No budget up to 1 is feasible"):
        resolve_rank("tt", (2,), (1,), 1.0)
    for whole in (1.0, "same", None):
        assert resolve_rank("dense", (4, 4), (2, 5), whole, in_features=15) is None
    with pytest.raises(InfeasibleRankError):
        resolve_rank("dense", (4, 4), (2, 5), 0.5)


@pytest.mark.parametrize(
    ("factorization", "in_shape", "out_shape", "budget", "rank"),
    [
        ("tucker", (2,) * 4, (2,) * 4, "same", (2, 2, 2, 2, 2, 2, 2, 1)),  # 158 of 256; all 2 would be 288
        ("tucker", (3,) * 3, (3,) * 3, 0.1, (2, 2, 2, 2, 2, 1)),  # 65 of 72
        ("tucker", (4, 4), (2, 5), 0.5, (3, 2, 1, 5)),  # 12 + 8 + 2 + 25 + 30 = 77 of 80
        ("tt", (4, 4), (4, 4), 0.5, (1, 4, 3, 4, 1)),  # 16 + 48 + 48 + 16 = 128 of 128
        ("blocktt", (4, 4), (4, 4), 0.5, (1, 4, 1)),  # 4 * 16 * 2 = 128
        (
            "blocktt",
            (6, 4),
            (2, 2, 4),
            0.5,
            (1, 5, 3, 1),
        ),  # 60 + 120 + 12 = 192 of 192, as (4, 4), which is less balanced
        ("blocktt", (4, 4, 4), (4, 4, 4), 0.1, (1, 4, 4, 1)),  # 64 + 256 + 64 = 384 of 409; (5, 3) is 368
    ],
)
def test_known_budgets(factorization, in_shape, out_shape, budget, rank):
    assert resolve_rank(factorization, in_shape, out_shape, budget) == rank


@given(st.sampled_from(["cp", "tucker"]), sides, sides, fractions, st.randoms())
def test_the_order_of_the_modes_permutes_the_ranks_of_cp_and_tucker(
    factorization, in_shape, out_shape, fraction, random
):
    """Ranks go with the sizes, also from one side to the other; of equal sizes the earlier has the larger rank."""
    shape = [*in_shape, *out_shape]
    shuffled = random.sample(shape, len(shape))
    try:
        rank = resolve_rank(factorization, in_shape, out_shape, fraction)
    except InfeasibleRankError:
        with pytest.raises(InfeasibleRankError):
            resolve_rank(factorization, shuffled[:1], shuffled[1:], fraction)
        return
    again = resolve_rank(factorization, shuffled[:1], shuffled[1:], fraction)
    if factorization == "cp":
        assert rank == again
    else:
        assert sorted(zip(shape, rank, strict=True)) == sorted(zip(shuffled, again, strict=True))
        for ranks, sizes in ((rank, shape), (again, shuffled)):
            for j, k in itertools.combinations(range(len(sizes)), 2):
                assert sizes[j] != sizes[k] or 0 <= ranks[j] - ranks[k] <= 1


short = st.lists(st.integers(1, 8), min_size=1, max_size=2).map(tuple)


@given(st.sampled_from(["tucker", "tt", "blocktt"]), short, short, fractions)
def test_ranks_are_the_largest_of_the_family_near_the_proportional_ones(factorization, in_shape, out_shape, fraction):
    """Word for word what fill_budget says, with every t and every e tried."""
    rules = rules_of(factorization, in_shape, out_shape)
    limit = limit_of(fraction, rules.dense_parameters)
    steps = {
        Fraction(m) / Fraction(s) for s, top in zip(rules.scale, rules.largest, strict=True) for m in range(1, top + 1)
    }
    family = {
        rules.useful(tuple(max(1, math.floor(t * Fraction(s))) + e for s, e in zip(rules.scale, raised, strict=True)))
        for t in {Fraction(0), *steps}
        for raised in itertools.product(range(3), repeat=rules.n_bonds)
    }
    members = [bonds for bonds in family if all(abs(bonds[j] - bonds[k]) <= 1 for j, k in rules.twins)]
    fitting = [bonds for bonds in members if rules.count(bonds) <= limit]
    if fitting:
        most = max(map(rules.count, fitting))
        balance = {
            bonds: min((bond / s for s, bond in zip(rules.scale, bonds, strict=True)), default=1.0)
            for bonds in fitting
            if rules.count(bonds) == most
        }
        found = fill_budget(rules, fraction)
        assert rules.count(found) == most
        assert balance[found] == max(balance.values())
    else:
        with pytest.raises(InfeasibleRankError):
            fill_budget(rules, fraction)


@given(sides, sides, fractions)
def test_the_network_alone_says_which_ranks_are_useful(in_shape, out_shape, fraction):
    """A tensor ring from outside the package has bounds too: a bond is at most a core's other axes together."""
    rules = rank_rules(TensorRing, in_shape, out_shape)
    shape, d = (*in_shape, *out_shape), len(in_shape) + len(out_shape)
    largest = rules.largest
    for k in range(d):
        assert largest[k] <= shape[k] * largest[(k + 1) % d]
        assert largest[(k + 1) % d] <= shape[k] * largest[k]
    try:
        bonds = fill_budget(rules, fraction)
    except InfeasibleRankError:
        return
    assert rules.useful(bonds) == bonds
    assert TensorRing.random(in_shape, out_shape, bonds, rng=0).n_parameters == rules.count(bonds)


def audit_grid(n_shapes):
    """Random shapes of 2 to 4 modes a side, sizes 2 to 16."""
    rng = np.random.default_rng(20240601)

    def side():
        return tuple(int(size) for size in rng.integers(2, 17, size=rng.integers(2, 5)))

    return [(side(), side()) for _ in range(n_shapes)]


@pytest.mark.parametrize(("factorization", "share"), [("tucker", 0.98), ("tt", 0.99), ("blocktt", 0.99)])
def test_the_budget_is_used(factorization, share):
    """The median share of the best that the laws allow; of the whole budget, where the best is not known."""
    judge = Tucker if factorization == "tucker" else Chain
    shares, known = [], 0
    for in_shape, out_shape in audit_grid(30):
        sizes, rules = (*in_shape, *out_shape), rules_of(factorization, in_shape, out_shape)
        if factorization == "blocktt":
            sizes = tuple(i * o for i, o in itertools.zip_longest(in_shape, out_shape, fillvalue=1))
        for fraction in (0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0):
            limit = limit_of(fraction, math.prod(sizes))
            try:
                bonds = fill_budget(rules, fraction)
            except InfeasibleRankError:
                assert judge.count(sizes, (1,) * judge.n_bonds(sizes)) > limit
                continue
            used, best = judge.count(sizes, bonds), judge.best(sizes, limit)
            assert judge.is_realizable(sizes, bonds)
            assert used <= (best or limit) <= limit
            known += best is not None
            shares.append(used / (best or limit))
    assert known >= 0.5 * len(shares)
    assert np.median(shares) >= share


@given(sides, sides, st.integers(2, 5), low_rank, fractions)
def test_joint_layers_are_one_more_mode_counted_once(in_shape, out_shape, n_layers, factorization, fraction):
    """The budget is a fraction of all layers together; every array counts, the one of the layers too."""
    dense = n_layers * math.prod(in_shape) * math.prod(out_shape)
    try:
        rank = resolve_rank(factorization, in_shape, out_shape, fraction, n_layers=n_layers)
    except InfeasibleRankError:
        assert joint_count(factorization, in_shape, out_shape, n_layers, 1) > limit_of(fraction, dense)
        return
    assert joint_count(factorization, in_shape, out_shape, n_layers, rank) <= fraction * dense
    assert resolve_rank(factorization, in_shape, out_shape, rank, n_layers=n_layers) == rank


def joint_count(factorization, in_shape, out_shape, n_layers, rank):
    """Written out by format, from the table of operands of joint layers."""
    shape = (n_layers, *in_shape, *out_shape)
    if factorization == "cp":
        return rank * (1 + sum(shape))
    if factorization == "tucker":
        ranks = (rank,) * len(shape) if rank == 1 else rank
        return math.prod(ranks) + sum(s * r for s, r in zip(shape, ranks, strict=True))
    if factorization == "blocktt":
        d = max(len(in_shape), len(out_shape))
        shape = (n_layers, *(i * o for i, o in zip(pad(in_shape, d), pad(out_shape, d), strict=True)))
    ranks = (1,) * (len(shape) + 1) if rank == 1 else rank
    return sum(ranks[k] * s * ranks[k + 1] for k, s in enumerate(shape))


@given(low_rank, sides, sides, fractions, st.data())
def test_a_budget_is_a_fraction_of_the_features_that_are_real(factorization, in_shape, out_shape, fraction, data):
    in_features = data.draw(st.integers(1, math.prod(in_shape)))
    out_features = data.draw(st.integers(1, math.prod(out_shape)))
    features = {"in_features": in_features, "out_features": out_features}
    try:
        rank = resolve_rank(factorization, in_shape, out_shape, fraction, **features)
    except InfeasibleRankError:
        assert count(factorization, in_shape, out_shape, 1) > limit_of(fraction, in_features * out_features)
        return
    assert count(factorization, in_shape, out_shape, rank) <= limit_of(fraction, in_features * out_features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_layers": 0}, "n_layers=0 is not a number of layers"),
        ({"n_layers": True}, "n_layers=True is not a number of layers"),
        ({"n_layers": 2.0}, "n_layers=2.0 is not a number of layers"),
        ({"in_features": 17}, "in_features=17"),
        ({"out_features": 0}, "out_features=0"),
        ({"in_features": 3.0}, "in_features=3.0"),
    ],
)
def test_numbers_of_layers_and_features_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ShapeError, match=message):
        resolve_rank("tt", (4, 4), (2, 5), 0.5, **arguments)


@given(sides, sides, fractions, st.data())
def test_fixed_modes_keep_their_full_size_within_the_budget(in_shape, out_shape, fraction, data):
    shape = (*in_shape, *out_shape)
    fixed = data.draw(st.lists(st.integers(0, len(shape) - 1), max_size=2, unique=True))
    try:
        rank = resolve_rank("tucker", in_shape, out_shape, fraction, fixed_modes=fixed)
    except RankError:
        return
    assert all(rank[mode] == shape[mode] for mode in fixed)
    assert count("tucker", in_shape, out_shape, rank) <= limit_of(fraction, math.prod(shape))
    assert resolve_rank("tucker", in_shape, out_shape, rank, fixed_modes=fixed) == rank


few = st.lists(st.integers(1, 7), min_size=1, max_size=2).map(tuple)


@given(few, few, fractions, st.data())
def test_a_budget_with_fixed_modes_is_infeasible_only_when_nothing_fits(in_shape, out_shape, fraction, data):
    """Against all ranks that can be and keep the modes; the least count of these is the one that is named."""
    shape = (*in_shape, *out_shape)
    fixed = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=2, unique=True))
    free = [k for k in range(len(shape)) if k not in fixed]
    counts = [
        Tucker.count(shape, ranks)
        for ranks in itertools.product(*(range(1, size + 1) for size in shape))
        if Tucker.is_realizable(shape, ranks)
        and all(ranks[k] == shape[k] for k in fixed)
        and all(shape[j] != shape[k] or abs(ranks[j] - ranks[k]) <= 1 for j, k in itertools.combinations(free, 2))
    ]
    if not counts:
        with pytest.raises(RankError, match="cannot be kept at full size"):
            resolve_rank("tucker", in_shape, out_shape, fraction, fixed_modes=fixed)
        return
    if min(counts) > limit_of(fraction, math.prod(shape)):
        with pytest.raises(InfeasibleRankError, match=f"already has {min(counts)}"):
            resolve_rank("tucker", in_shape, out_shape, fraction, fixed_modes=fixed)
        return
    rank = resolve_rank("tucker", in_shape, out_shape, fraction, fixed_modes=fixed)
    assert all(rank[k] == shape[k] for k in fixed)
    assert min(counts) <= Tucker.count(shape, rank) <= limit_of(fraction, math.prod(shape))


@pytest.mark.parametrize("n_layers", [2, 3, 7])
def test_modes_are_named_by_their_own_axes_in_joint_layers_too(n_layers):
    rank = resolve_rank("tucker", (6, 7), (8, 9), 0.5, n_layers=n_layers, fixed_modes=(1,), max_rank=(7, 3))
    assert len(rank) == 5
    assert rank[2] == 7
    assert max(rank[3:]) <= 3
    with pytest.raises(RankError, match="beside the fixed mode 1 of size 7"):
        resolve_rank("tucker", (6, 7), (8, 9), 1, n_layers=n_layers, fixed_modes=(1,))
    with pytest.raises(RankError, match="fixed_modes keeps mode 1 at its full size 7"):
        resolve_rank("tucker", (6, 7), (8, 9), (2, 2, 3, 2, 2), n_layers=n_layers, fixed_modes=(1,))


def test_a_pair_of_limits_is_not_for_the_layers():
    assert resolve_rank("tucker", (6, 7), (8, 9), 100, n_layers=9, max_rank=(2, 3)) == (9, 2, 2, 3, 3)


def test_limits_that_limit_nothing_change_nothing():
    """(5,) and (2, 5): the two modes of size 5 stay alike."""
    free = resolve_rank("tucker", (5,), (2, 5), "same")
    for limits in (9, (9, 9), (9, 7), (7, 9), (5, 5)):
        assert resolve_rank("tucker", (5,), (2, 5), "same", max_rank=limits) == free


def test_modes_of_different_limits_are_not_alike():
    rank = resolve_rank("tucker", (8, 8), (8, 8), 0.25, max_rank=(2, 8))
    assert rank[:2] == (2, 2)
    assert min(rank[2:]) >= 6


def test_a_pair_of_limits_needs_two_sides():
    tensor = np.random.default_rng(0).standard_normal((4, 5, 6))
    with pytest.raises(RankError, match="is for the modes of two sides. Pass n_in"):
        tlinear.decompose(tensor, "tucker", 0.5, max_rank=(4, 2))
    assert max(tlinear.decompose(tensor, "tucker", 0.5, max_rank=(4, 2), n_in=1).rank[1:]) <= 2


@pytest.mark.parametrize("fraction", [1e-9, 0.5, 1.0])
def test_modes_however_unlike_use_the_whole_budget(fraction):
    shapes = (10**12, 10**3), (10**12, 7)
    limit = limit_of(fraction, math.prod((*shapes[0], *shapes[1])))
    assert limit * 0.999 < count("tucker", *shapes, fraction) <= limit


huge = st.lists(st.one_of(st.integers(1, 9), st.integers(1, 2**60)), min_size=1, max_size=2).map(tuple)


@given(low_rank, huge, huge, fractions, st.data())
@settings(max_examples=40)
def test_a_budget_is_kept_and_used_exactly_at_any_size(factorization, in_shape, out_shape, fraction, data):
    """No member of the family that costs more fits: tried near the ranks that are found, where it might."""
    rules = rules_of(factorization, in_shape, out_shape)
    limit = limit_of(fraction, rules.dense_parameters)
    if rules.count((1,) * rules.n_bonds) > limit:
        with pytest.raises(InfeasibleRankError):
            fill_budget(rules, fraction)
        return
    found = fill_budget(rules, fraction)
    assert rules.useful(found) == found
    assert rules.count(found) <= limit
    least = least_bonds(rules, fraction)
    assert all(low <= bond for low, bond in zip(least, found, strict=True))
    for k, s in enumerate(rules.scale):
        multiple = Fraction(found[k] + data.draw(st.integers(-2, 1))) / Fraction(s)
        raised = data.draw(st.lists(st.integers(0, 2), min_size=rules.n_bonds, max_size=rules.n_bonds))
        floors = [max(1, math.floor(multiple * Fraction(s))) for s in rules.scale]
        member = rules.useful(tuple(n + e for n, e in zip(floors, raised, strict=True)))
        is_admitted = all(abs(member[i] - member[j]) <= 1 for i, j in rules.twins)
        assert not is_admitted or rules.count(member) <= rules.count(found) or rules.count(member) > limit


def test_a_budget_that_floating_point_would_exceed_is_kept():
    """Of 160 parameters 0.3 allows 47, since as a float it is a little less than three tenths."""
    assert limit_of(0.3, 160) == 47
    assert resolve_rank("cp", (4, 4), (2, 5), 0.3) == 47 // 16
    assert resolve_rank("cp", (4, 4), (2, 5), math.nextafter(0.3, 1.0)) == 48 // 16


def test_modes_beyond_the_range_of_floating_point_are_refused_by_name():
    with pytest.raises(ShapeError, match=r"A mode of size 1\.00E\+400 is too large for ranks in proportion to it"):
        resolve_rank("tt", (10**400,), (3,), 0.5)


@pytest.mark.parametrize(
    ("factorization", "options", "message"),
    [
        ("cp", {"fixed_modes": (0,)}, "a cp tensor has no rank of its own for each mode"),
        ("tt", {"fixed_modes": (0,)}, "a tt tensor has no rank of its own for each mode"),
        ("tucker", {"fixed_modes": (4,)}, "must be a tuple of modes, named by their axes, 0 to 3"),
        ("tucker", {"fixed_modes": (True,)}, "must be a tuple of modes"),
        ("tucker", {"fixed_modes": (-1,)}, "must be a tuple of modes, named by their axes"),
        ("tucker", {"fixed_modes": 0}, "fixed_modes=0 must be a tuple of modes"),
        ("tucker", {"fixed_modes": None}, "fixed_modes=None must be a tuple of modes"),
        ("tucker", {"max_rank": 0}, "max_rank=0 must be an int >= 1"),
        ("tucker", {"max_rank": (1, 2, 3)}, "or a pair of them"),
        ("tt", {"max_rank": (1, 2)}, "must be an int >= 1 for a tt tensor"),
        ("tt", {"max_rank": 2.5}, "max_rank=2.5 must be an int"),
        ("tucker", {"max_rank": 1, "fixed_modes": (1,)}, "cannot be kept at full size"),
    ],
)
def test_fixed_modes_and_limits_that_cannot_be_are_refused(factorization, options, message):
    with pytest.raises(RankError, match=message):
        resolve_rank(factorization, (4, 4), (2, 5), 0.5, **options)


@given(low_rank, sides, sides, st.one_of(fractions, st.integers(1, 30)), st.integers(1, 6))
def test_no_rank_is_above_the_limit(factorization, in_shape, out_shape, rank, most):
    try:
        limited = resolve_rank(factorization, in_shape, out_shape, rank, max_rank=most)
    except InfeasibleRankError:
        return
    assert np.max(limited) <= most
    if isinstance(rank, int):
        assert limited == resolve_rank(factorization, in_shape, out_shape, min(rank, most))


def test_a_pair_of_limits_is_for_the_two_sides():
    rank = resolve_rank("tucker", (6, 7), (8, 9), 0.5, max_rank=(2, 8))
    assert max(rank[:2]) == 2
    assert 2 < max(rank[2:]) <= 8
    joint = resolve_rank("tucker", (6, 7), (8, 9), 0.5, max_rank=(2, 8), n_layers=5)
    assert max(joint[1:3]) == 2
    assert max(joint[3:]) <= 8


def test_fixed_modes_beside_an_int_or_a_tuple():
    assert resolve_rank("tucker", (6, 7), (8, 9), 3, fixed_modes=(1,)) == (3, 7, 3, 3)
    with pytest.raises(RankError, match="which the others allow it no more than 1"):
        resolve_rank("tucker", (6, 7), (8, 9), 1, fixed_modes=(1,))
    with pytest.raises(RankError, match="entry 1 is 2, but fixed_modes keeps mode 1 at its full size 7"):
        resolve_rank("tucker", (6, 7), (8, 9), (3, 2, 3, 3), fixed_modes=(1,))
    with pytest.raises(RankError, match="entry 0 is 3, but max_rank allows 2"):
        resolve_rank("tucker", (6, 7), (8, 9), (3, 2, 3, 3), max_rank=2)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_shapes_beyond_64_bits_are_resolved_exactly(factorization):
    in_shape = out_shape = (2,) * 36
    rank = resolve_rank(factorization, in_shape, out_shape, 0.25)
    used = count(factorization, in_shape, out_shape, rank)
    assert used <= 2**70
    assert used > 0.9 * 2**70 or factorization == "tucker"  # of which a rank is 1 or 2
    assert count(factorization, in_shape, out_shape, rank) > 2**69


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
        resolve_rank(factorization, in_shape, out_shape, math.nextafter(named, 0.0))
