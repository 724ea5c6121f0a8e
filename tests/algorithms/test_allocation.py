"""Ranks from the data: within the limit, realizable, and by the algorithm itself never worse than the start."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import DTYPES, generators, kinds, normal, rounding, shapes
from hypothesis import given
from hypothesis import strategies as st

from tlinear import decompose
from tlinear.algorithms import chain_allocation, core_allocation
from tlinear.algorithms.chain_allocation import allocate_chain
from tlinear.algorithms.core_allocation import allocate_core, kept_energies
from tlinear.algorithms.descent import EXACT
from tlinear.algorithms.hooi import hooi
from tlinear.algorithms.hosvd import st_hosvd, tucker_product
from tlinear.algorithms.report import relative_error
from tlinear.algorithms.tt_svd import tt_svd


class Chain:
    """What the tests ask of both formats, for the tensor train."""

    allocate = staticmethod(allocate_chain)

    @staticmethod
    def realizable(shape, bonds):
        """The largest bonds, none above those given, of which each is at most a neighbour times the mode between."""
        ranks = [1, *bonds, 1]
        for k in range(1, len(shape)):
            ranks[k] = min(ranks[k], ranks[k - 1] * shape[k - 1])
        for k in range(len(shape) - 1, 0, -1):
            ranks[k] = min(ranks[k], ranks[k + 1] * shape[k])
        return tuple(ranks[1:-1])

    @staticmethod
    def count(shape, bonds):
        return sum(left * size * right for left, size, right in zip((1, *bonds), shape, (*bonds, 1), strict=True))

    @staticmethod
    def n_bonds(shape):
        return len(shape) - 1

    @staticmethod
    def fit(tensor, bonds):
        result = np.ones((1, 1))
        for core in tt_svd(tensor, bonds):
            result = np.tensordot(result, core, axes=1)
        return result[0, ..., 0]


class Core:
    """What the tests ask of both formats, for Tucker."""

    allocate = staticmethod(allocate_core)

    @staticmethod
    def realizable(shape, bonds):
        """The largest ranks, none above those given, of which each is at most its mode and the product of the others."""
        ranks = [min(rank, size) for rank, size in zip(bonds, shape, strict=True)]
        while (largest := max(ranks)) > (others := math.prod(ranks) // largest):
            ranks[ranks.index(largest)] = others
        return tuple(ranks)

    @staticmethod
    def count(shape, bonds):
        return math.prod(bonds) + sum(size * rank for size, rank in zip(shape, bonds, strict=True))

    @staticmethod
    def n_bonds(shape):
        return len(shape)

    @staticmethod
    def fit(tensor, bonds):
        return tucker_product(*hooi(tensor, bonds)[:2])


both = pytest.mark.parametrize("kind", [Chain, Core])


class Truth:
    """The relative error that the algorithm of a kind makes of given bonds, and for which it was asked."""

    def __init__(self, kind, tensor):
        self.kind, self.tensor, self.asked = kind, tensor, []

    def __call__(self, bonds):
        self.asked.append(bonds)
        return relative_error(self.tensor, self.kind.fit(self.tensor, bonds))


class Eager(Truth):
    """Calls everything better than what it was asked for first, so that the proposal is taken."""

    def __call__(self, bonds):
        self.asked.append(bonds)
        return 1.0 / len(self.asked)


def draw_bonds(kind, shape, data):
    """Any realizable bonds of this shape, and a limit that they keep."""
    wanted = tuple(data.draw(st.integers(1, math.prod(shape))) for _ in range(kind.n_bonds(shape)))
    bonds = kind.realizable(shape, wanted)
    return bonds, kind.count(shape, bonds) + data.draw(st.integers(0, 2 * math.prod(shape)))


@both
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_bonds_are_realizable_within_all_limits_and_never_worse_than_the_start(kind, dtype, rng, shape, data):
    tensor, (start, limit) = kinds(rng, shape, dtype), draw_bonds(kind, shape, data)
    largest = tuple(rank + data.draw(st.integers(0, 10)) for rank in start)
    error = Truth(kind, tensor)
    bonds = kind.allocate(tensor, start, limit, error, largest=largest)
    assert all(type(rank) is int for rank in bonds)
    assert kind.realizable(shape, bonds) == bonds
    assert kind.count(shape, bonds) <= limit
    assert all(rank <= top for rank, top in zip(bonds, largest, strict=True))
    assert error.asked[0] == start
    assert len(error.asked) <= 2
    assert bonds == start or (bonds == error.asked[1] and error(bonds) < error(start))


@both
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_the_proposal_is_realizable_and_within_the_limit_also_where_it_is_not_better(kind, dtype, rng, shape, data):
    tensor, (start, limit) = kinds(rng, shape, dtype), draw_bonds(kind, shape, data)
    bonds = kind.allocate(tensor, start, limit, Eager(kind, tensor))
    assert kind.realizable(shape, bonds) == bonds
    assert kind.count(shape, bonds) <= limit


@given(rng=generators, shape=shapes, data=st.data())
def test_a_fixed_mode_keeps_its_rank(rng, shape, data):
    tensor, (start, limit) = kinds(rng, shape), draw_bonds(Core, shape, data)
    fixed = data.draw(st.sets(st.integers(0, len(shape) - 1)))
    bonds = allocate_core(tensor, start, limit, Eager(Core, tensor), fixed=fixed)
    assert all(bonds[mode] == start[mode] for mode in fixed)


@both
@given(rng=generators, shape=shapes, data=st.data())
def test_calls_agree_and_do_not_write_to_the_tensor(kind, rng, shape, data):
    tensor, (start, limit) = kinds(rng, shape), draw_bonds(kind, shape, data)
    before = tensor.copy()
    tensor.flags.writeable = False
    first, second = (kind.allocate(tensor, start, limit, Truth(kind, tensor)) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(tensor, before)


@both
def test_the_start_is_kept_where_nothing_is_better(kind):
    """Whatever is proposed, `error` has the last word, and a tie is for the start."""
    tensor = normal(np.random.default_rng(0), (4, 4, 4, 4)) * np.exp(-np.arange(4))
    start = kind.realizable(tensor.shape, (2,) * kind.n_bonds(tensor.shape))
    asked = []
    bonds = kind.allocate(tensor, start, kind.count(tensor.shape, start) + 20, lambda bonds: asked.append(bonds) or 0.5)
    assert bonds == start
    assert len(asked) == 2


@both
@pytest.mark.parametrize("tensor", [np.zeros((3, 4, 5)), np.ones((3, 4, 5))], ids=["zero", "rank one"])
def test_an_exact_start_is_kept_unseen(kind, tensor):
    error, start = Truth(kind, tensor), (1,) * kind.n_bonds(tensor.shape)
    assert kind.allocate(tensor, start, 60, error) == start
    assert error.asked == [start]


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_a_limit_that_pays_for_the_planted_ranks_finds_them(kind, dtype, seed):
    """One bond needs much and others little, so that ranks in proportion to the sizes cannot be exact."""
    rng, shape = np.random.default_rng(seed), (6, 6, 6, 6)
    if kind is Chain:
        planted, start = (1, 6, 1), (2, 2, 2)
        tensor = np.multiply.outer(np.multiply.outer(normal(rng, 6, dtype), normal(rng, (6, 6), dtype)), normal(rng, 6))
    else:
        planted, start = (6, 6, 2, 1), (2, 2, 2, 2)
        factors = [normal(rng, (size, rank), dtype) for size, rank in zip(shape, planted, strict=True)]
        tensor = tucker_product(normal(rng, planted, dtype), factors)
    limit = kind.count(shape, planted)
    assert kind.count(shape, start) <= limit
    assert Truth(kind, tensor)(start) > EXACT
    bonds = kind.allocate(tensor, start, limit, Truth(kind, tensor))
    assert bonds == planted
    assert Truth(kind, tensor)(bonds) <= EXACT


# ------------------------------------------------------------ Tucker


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes)
def test_kept_energies_are_what_truncation_keeps_at_every_tuple_of_ranks(dtype, rng, shape):
    """``|T - W(R)|^2 = |T|^2 - K(R)``, W(R) being the projection onto the leading columns of the HOSVD's factors."""
    tensor = kinds(rng, shape, dtype)
    kept, (_, factors) = kept_energies(tensor, shape), st_hosvd(tensor, shape)
    assert kept.shape == tuple(factor.shape[1] for factor in factors)
    square = np.linalg.norm(tensor) ** 2
    for ranks in itertools.product(*(range(1, top + 1) for top in kept.shape)):
        leading = [factor[:, :rank] for factor, rank in zip(factors, ranks, strict=True)]
        projection = tucker_product(tensor, [factor @ factor.conj().T for factor in leading])
        lost = np.linalg.norm(tensor - projection) ** 2
        assert abs(lost - (square - kept[tuple(rank - 1 for rank in ranks)])) <= 4 * rounding(shape) * square


@given(rng=generators, shape=shapes, data=st.data())
def test_the_proposal_keeps_most_of_all_realizable_ranks_within_the_limit(rng, shape, data):
    tensor, (start, limit) = kinds(rng, shape), draw_bonds(Core, shape, data)
    found = allocate_core(tensor, start, limit, Eager(Core, tensor))
    kept = kept_energies(tensor, shape)
    for ranks in itertools.product(*(range(1, size + 1) for size in shape)):
        if Core.realizable(shape, ranks) == ranks and Core.count(shape, ranks) <= limit:
            assert kept[tuple(rank - 1 for rank in found)] >= kept[tuple(rank - 1 for rank in ranks)]


@given(rng=generators, shape=shapes, data=st.data(), block=st.sampled_from([1, 4, 16]))
def test_the_size_of_the_blocks_does_not_matter(rng, shape, data, block):
    tensor, (start, limit) = kinds(rng, shape), draw_bonds(Core, shape, data)
    fixed = data.draw(st.sets(st.integers(0, len(shape) - 1)))
    whole = allocate_core(tensor, start, limit, Eager(Core, tensor), fixed=fixed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_allocation, "_BLOCK", block)
        assert allocate_core(tensor, start, limit, Eager(Core, tensor), fixed=fixed) == whole


# ------------------------------------------------------------ the tensor train


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_a_trial_loses_what_tt_svd_does_and_has_the_rest_at_every_bond(dtype, rng, shape, data):
    """The train's squared norm is the sum over the directions of any one bond.

    A trial's Gram matrices are rounded in the square of the norm, and what is lost is one, too.
    """
    tensor, (bonds, _) = kinds(rng, shape, dtype), draw_bonds(Chain, shape, data)
    trial = chain_allocation._trial(tensor, bonds, None)
    square = np.linalg.norm(tensor) ** 2
    lost = np.linalg.norm(tensor - Chain.fit(tensor, bonds)) ** 2
    assert abs(trial.lost - lost) <= 4 * rounding(shape) * square
    for energies, rank in zip(trial.energies(), bonds, strict=True):
        assert energies.shape == (rank,)
        assert abs(energies.sum() - (square - trial.lost)) <= 4 * rounding(shape) * square


@given(rng=generators, shape=shapes, data=st.data())
def test_truncations_taken_from_another_trial_are_the_same_to_the_bit(rng, shape, data):
    tensor = kinds(rng, shape)
    before, after = (draw_bonds(Chain, shape, data)[0] for _ in range(2))
    anew = chain_allocation._trial(tensor, after, None)
    shared = chain_allocation._trial(tensor, after, chain_allocation._trial(tensor, before, None))
    for one, other in zip(anew.truncations, shared.truncations, strict=True):
        np.testing.assert_array_equal(one.left, other.left)
        np.testing.assert_array_equal(one.right, other.right)


@given(rng=generators, shape=shapes.filter(lambda shape: len(shape) > 1), data=st.data())
def test_no_exchange_of_two_bonds_is_left(rng, shape, data):
    """By brute force, for any gains that do not fall with the rank."""
    bonds, limit = draw_bonds(Chain, shape, data)
    largest = [min(math.prod(shape[:k]), math.prod(shape[k:])) for k in range(1, len(shape))]
    gains = [np.concatenate(([-np.inf], np.cumsum(rng.random(top)))) for top in largest]
    box = [range(max(1, rank - 3), min(rank + 3, top) + 1) for rank, top in zip(bonds, largest, strict=True)]
    found = chain_allocation._exchange(shape, bonds, limit, gains, box)

    def value(ranks):
        return math.fsum(gain[rank] for gain, rank in zip(gains, ranks, strict=True))

    assert all(rank in allowed for rank, allowed in zip(found, box, strict=True))
    assert value(found) >= value(bonds)
    for i, j in itertools.combinations(range(len(found)), 2):
        for pair in itertools.product(box[i], box[j]):
            other = list(found)
            other[i], other[j] = pair
            if Chain.realizable(shape, tuple(other)) == tuple(other) and Chain.count(shape, other) <= limit:
                assert gains[i][pair[0]] + gains[j][pair[1]] <= gains[i][found[i]] + gains[j][found[j]]


@given(rng=generators, shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), limit=st.integers(18, 200))
def test_a_single_bond_is_as_large_as_can_be_paid(rng, shape, limit):
    bonds = allocate_chain(normal(rng, shape), (1,), limit, Eager(Chain, None))
    assert bonds == (min(*shape, limit // sum(shape)),)


def test_where_lapack_fails_nothing_is_proposed(monkeypatch):
    def fail(matrix):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "eigh", fail)
    tensor = normal(np.random.default_rng(0), (4, 4, 4, 4))
    assert allocate_chain(tensor, (2, 2, 2), 100, Truth(Chain, tensor)) == (2, 2, 2)


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_decompose_hands_its_limits_on(factorization, most):
    """A tensor that is worth large ranks in one place only, and may not have them."""
    rng = np.random.default_rng(0)
    tensor = rng.standard_normal((6, 6, 6, 6)) * np.exp(-sum(np.ogrid[:6, :6, :1, :1]))
    result = decompose(tensor, factorization, 0.4, n_in=2, max_rank=most)
    assert np.max(result.rank) <= most
    if factorization == "tucker" and most**3 >= 6:
        fixed = decompose(tensor, "tucker", 0.4, n_in=2, max_rank=most, fixed_modes=(0,))
        assert fixed.rank[0] == 6
        assert max(fixed.rank[1:]) <= most
