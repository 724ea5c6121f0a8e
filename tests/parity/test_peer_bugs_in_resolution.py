"""Faults of tltorch 0.5 and TensorLy 0.10 in turning budgets and features into ranks and modes, and what is right.

The peer's own answer is asserted too: where it changes, the comparison has lost its point.
"""

import math

import numpy as np
import pytest
import tensorly
import tltorch
from tltorch.factorized_tensors.tensorized_matrices import validate_block_tt_rank
from tltorch.utils import get_tensorized_shape

import tlinear
from tlinear.errors import InfeasibleRankError, RankError, ShapeError

SEED_SHAPES = (4, 4), (2, 5)


def n_parameters(factorization, in_shape, out_shape, rank, **options):
    rank = tlinear.resolve_rank(factorization, in_shape, out_shape, rank, **options)
    n_layers = options.get("n_layers", 1)
    if n_layers > 1:
        in_shape = (n_layers, *in_shape)
        out_shape = (1, *out_shape) if factorization == "blocktt" else out_shape
    return tlinear.formats.FORMATS[factorization].random(in_shape, out_shape, rank, rng=0).n_parameters


def test_the_weights_of_cp_are_parameters():
    """R1: TensorLy divides by the sizes of the factors alone, rounds to the nearest, and may answer 0."""
    shape = (10, 13, 2, 2, 15, 2)
    assert tensorly.cp_tensor.validate_cp_rank(shape, 0.001) == 0
    with pytest.raises(InfeasibleRankError, match="of rank 1 already has 45"):
        tlinear.resolve_rank("cp", shape[:3], shape[3:], 0.001)
    peer = tensorly.cp_tensor.validate_cp_rank((4, 4, 2, 5), 1.0)
    assert peer * (1 + 15) > 160
    assert n_parameters("cp", *SEED_SHAPES, 1.0) == 160


def test_two_cores_use_their_budget():
    """R2: TensorLy solves a quadratic equation where it is linear, and so uses 12 % of what it may."""
    with pytest.warns(UserWarning, match="trivial case of a matrix"):
        peer = validate_block_tt_rank(((16, 16), (16, 16)), "same")
    assert list(peer) == [1, 15, 1]
    assert tlinear.resolve_rank("blocktt", (16, 16), (16, 16), "same") == (1, 128, 1)
    assert n_parameters("blocktt", (16, 16), (16, 16), "same") == 16**4


def test_tucker_stays_within_its_budget():
    """R3: rounding every mode to the nearest doubles the budget in the worst case."""
    shape = (10, 13, 2, 2, 15, 2)
    peer = tensorly.tucker_tensor.validate_tucker_rank(shape, 0.25)
    used = math.prod(peer) + sum(s * r for s, r in zip(shape, peer, strict=True))
    assert used > 2 * 0.25 * math.prod(shape)
    assert 0.9 < n_parameters("tucker", shape[:3], shape[3:], 0.25) / (0.25 * math.prod(shape)) <= 1.0


def test_a_rank_that_nothing_needs_is_never_made():
    """R4: tltorch's BlockTT of rank 100 has 40 times the parameters of the dense weight."""
    peer = tltorch.TensorizedTensor.new(((4,) * 3, (4,) * 3), 100, factorization="blocktt", device="meta")
    assert sum(factor.numel() for factor in peer.factors) > 39 * 4**6
    assert tlinear.resolve_rank("blocktt", (4,) * 3, (4,) * 3, 100) == (1, 16, 16, 1)
    with pytest.raises(RankError, match="a float above|must lie in"):
        tlinear.resolve_rank("tucker", *SEED_SHAPES, 2.0)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
@pytest.mark.parametrize("budget", [0.1, 0.5, "same"])
def test_joint_layers_are_counted_once(factorization, budget):
    """R5: TensorLy multiplies the number of layers into every core, up to 5.47 times what was asked."""
    limit = (1.0 if budget == "same" else budget) * 12 * 32 * 32
    used = n_parameters(factorization, (4, 8), (4, 8), budget, n_layers=12)
    assert 0.85 * limit < used <= limit


def test_fixed_modes_are_counted_as_they_are():
    """R6: TensorLy multiplies the parameters of the fixed modes by the unknown it solves for."""
    rank = tlinear.resolve_rank("tucker", (8, 9), (10, 11), 0.3, fixed_modes=(0, 3))
    assert (rank[0], rank[3]) == (8, 11)
    used = math.prod(rank) + sum(s * r for s, r in zip((8, 9, 10, 11), rank, strict=True))
    assert 0.8 * 0.3 * 7920 < used <= 0.3 * 7920  # one step more of either free rank is 9 % of the budget


@pytest.mark.parametrize("rank", [[2], (1, 2, 1)])
def test_a_rank_of_the_wrong_length_is_refused(rank):
    """R8: tltorch makes a Tucker tensor of fewer modes than the layer has."""
    peer = tltorch.TensorizedTensor.new(SEED_SHAPES, rank, factorization="tucker", device="meta")
    assert peer.core.ndim == len(rank) < 4
    with pytest.raises(RankError, match=f"has {len(rank)} entries, but a tucker tensor of shape 4x4x2x5 has 4"):
        tlinear.resolve_rank("tucker", *SEED_SHAPES, rank)


@pytest.mark.parametrize("rank", [True, "0.5", 0, -1, 2.0, np.nan])
@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_what_is_no_rank_is_refused_by_name(factorization, rank):
    """R8: tltorch makes tensors of rank 0, overparametrizes at 2.0, and fails with an obscure TypeError at others."""
    with pytest.raises(RankError, match=f"rank={rank!r}"):
        tlinear.resolve_rank(factorization, *SEED_SHAPES, rank)


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_the_rank_is_of_python_ints(factorization):
    """R8: TensorLy answers with lists, tuples and NumPy integers."""
    for rank in (0.5, np.float32(0.5), np.int64(3), 3, "same"):
        resolved = tlinear.resolve_rank(factorization, *SEED_SHAPES, rank)
        entries = (resolved,) if factorization == "cp" else resolved
        assert type(resolved) is (int if factorization == "cp" else tuple)
        assert all(type(entry) is int for entry in entries)


@pytest.mark.parametrize(
    ("features", "partner", "n_modes", "peer", "ours"),
    [
        (25088, 10, 2, (4, 6272), (128, 196)),
        (25088, 16, 3, (4, 4, 1568), (28, 28, 32)),
        (4096, 10, 2, (4, 1024), (64, 64)),
        (768, 50257, 2, (4, 192), (24, 32)),
        (1024, 1024, 3, (4, 16, 16), (8, 8, 16)),
        (1000, 1000, 3, (5, 8, 25), (10, 10, 10)),
    ],
)
def test_a_shape_depends_on_its_own_side_alone_and_is_the_most_balanced(features, partner, n_modes, peer, ours):
    """tltorch factorizes the second side as the first one lets it, and merges the two smallest factors."""
    sides = get_tensorized_shape(partner, features, order=n_modes, verbose=False)
    assert tuple(sides[1]) == peer
    assert tlinear.tensorize_shape(features, n_modes) == ours


def test_a_prime_is_refused_or_padded():
    """tltorch answers with one mode on both sides, without a word."""
    assert get_tensorized_shape(97, 4096, order=3, verbose=False) == ((97,), (4096,))
    with pytest.raises(ShapeError, match="97 features cannot be written as a product of 3 modes"):
        tlinear.tensorize_shape(97, 3)
    assert tlinear.tensorize_shape(97, 2, pad=True) == (7, 14)
    assert tlinear.tensorize_shape(4096, 3) == (16, 16, 16)
