"""Random operands give the reconstruction exactly the requested standard deviation."""

import itertools
import math

import numpy as np
import pytest
from cases import modes, ranks
from hypothesis import given
from hypothesis import strategies as st

from tlinear.formats import FORMATS
from tlinear.formats.initialization import operand_std
from tlinear.formats.rank_rules import rank_rules
from tlinear.ranks.resolve import resolve_bonds

RANDOM = ("dense", "cp", "tucker", "tt", "blocktt")


@given(st.data(), st.sampled_from(RANDOM), modes, modes, st.floats(1e-3, 1e3))
def test_second_moment_of_every_entry_is_the_square_of_std(data, factorization, in_shape, out_shape, std):
    """E[W_e^2] is the same network of the operands' second moments, because mixed terms vanish."""
    cls = FORMATS[factorization]
    network = cls.network_for(in_shape, out_shape, data.draw(ranks(cls, in_shape, out_shape)))
    scale = operand_std(network, std, cls.constant_operands)
    moments = {
        name: np.full(network.shape(labels), 1.0 if name in cls.constant_operands else scale**2)
        for name, labels in zip(network.names, network.inputs, strict=True)
    }
    second = cls.from_operands(moments, len(in_shape), len(out_shape)).to_tensor()
    # n operands are multiplied, R equal terms are added, and s itself is a rounded root that enters 2 n times
    terms = math.prod(size for label, size in network.label_sizes if label >= network.n_modes)
    roundings = 6 * len(network.names) + terms
    np.testing.assert_allclose(second, std**2, rtol=roundings * np.finfo(float).eps)


def fourth_moment(network, constant):
    """E[W_e^4] / E[W_e^2]^2 for real Gaussian operands, by Isserlis' theorem.

    In a product of four terms of the sum over ranks, every random operand contributes four of its
    entries, whose moment is a sum over the three ways to pair them, each demanding that the ranks on
    its axes agree in pairs.  A rank R between operands that pair alike has R^2 choices, else R.
    """
    axes = [
        [label for label in labels if label >= network.n_modes]
        for name, labels in zip(network.names, network.inputs, strict=True)
        if name not in constant
    ]
    sizes = {label: size for label, size in network.label_sizes if label >= network.n_modes}
    total = 0
    for pairings in itertools.product(range(3), repeat=len(axes)):
        touching = {
            label: {p for p, carried in zip(pairings, axes, strict=True) if label in carried} for label in sizes
        }
        total += math.prod(size**2 if len(touching[label]) == 1 else size for label, size in sizes.items())
    return total / math.prod(sizes.values()) ** 2


def test_fourth_moment_of_a_product_of_gaussians():
    """Rank one in d modes has kurtosis 3^d, and a matrix of rank R has 3 + 6 / R."""
    assert fourth_moment(FORMATS["tucker"].network_for((2, 2), (2,), (1, 1, 1)), ()) == 3**4
    assert fourth_moment(FORMATS["tt"].network_for((2,), (2,), (4,)), ()) == 3 + 6 / 4


@pytest.mark.parametrize("factorization", RANDOM)
@pytest.mark.parametrize(
    ("in_shape", "out_shape", "dtype"),
    [
        ((2,), (2,), "float64"),
        ((3, 2), (2, 2), "float64"),
        ((2, 2), (2, 2, 2), "complex128"),
        ((2, 2, 2), (2, 2, 2), "float64"),
    ],
)
def test_sampled_variance_lies_within_its_confidence_interval(factorization, in_shape, out_shape, dtype):
    """The mean of W^2 over N tensors and all entries, N large, against 4.9 of its standard errors (one in 10^6).

    The mean over the entries of one tensor varies no more than a single entry does, whose variance
    is ``E[W^4] - std^4``; complex Gaussians have lighter tails than real ones.
    """
    n, std = 400, 0.7
    cls, rng = FORMATS[factorization], np.random.default_rng(20240601)
    rank = "same" if factorization == "dense" else 3 if factorization != "tucker" else 2
    bonds = resolve_bonds(rank_rules(cls, in_shape, out_shape), rank)
    kurtosis, rank = (
        fourth_moment(cls.network_for(in_shape, out_shape, bonds), cls.constant_operands),
        cls.rank_of_bonds(bonds),
    )
    mean = np.mean(
        [
            np.mean(np.abs(cls.random(in_shape, out_shape, rank, std=std, dtype=dtype, rng=rng).to_tensor()) ** 2)
            for _ in range(n)
        ]
    )
    assert abs(mean / std**2 - 1.0) <= 4.9 * math.sqrt((kurtosis - 1.0) / n)


@pytest.mark.parametrize("factorization", RANDOM)
def test_default_std_is_that_of_a_dense_layer(factorization):
    """Uniform in +- 1 / sqrt(in_features) has the variance 1 / (3 in_features): scaling to that std changes nothing."""
    cls = FORMATS[factorization]
    default = cls.random((4, 4), (2, 5), rng=0)
    explicit = cls.random((4, 4), (2, 5), std=math.sqrt(1 / (3 * 16)), rng=0)
    for name, operand in default.operands.items():
        np.testing.assert_allclose(operand, explicit.operands[name], rtol=8 * np.finfo(float).eps)


@pytest.mark.parametrize("factorization", RANDOM)
def test_a_seed_means_the_same_numbers_in_every_real_dtype(factorization):
    cls = FORMATS[factorization]
    double = cls.random((4, 4), (2, 5), rng=7)
    single = cls.random((4, 4), (2, 5), dtype=np.float32, rng=7)
    for name, operand in double.operands.items():
        np.testing.assert_array_equal(single.operands[name], operand.astype(np.float32))


@pytest.mark.parametrize("factorization", RANDOM)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_operands_are_drawn_with_the_standard_deviation_that_is_proven(factorization, dtype):
    """At order 6, where samples of the reconstruction itself say little: thousands of draws of every operand.

    The mean of |g|^2 / s^2 over N entries has a standard error of at most sqrt(2 / N), that of g / s one of
    sqrt(1 / N); 4.9 of them are exceeded once in 10^6 times.  Different operands are uncorrelated.
    """
    cls, rng, std = FORMATS[factorization], np.random.default_rng(7), 0.7
    shape, rank = ((3, 2, 2), (2, 3, 2)), "same" if factorization == "dense" else 2
    draws = [cls.random(*shape, rank, std=std, dtype=dtype, rng=rng).operands for _ in range(500)]
    network = cls.network_for(*shape, resolve_bonds(rank_rules(cls, *shape), rank))
    expected = operand_std(network, std, cls.constant_operands)
    for name in network.names:
        entries = np.array([draw[name] for draw in draws])
        if name in cls.constant_operands:
            assert np.all(entries == 1.0)
            continue
        assert abs(np.mean(np.abs(entries / expected) ** 2) - 1.0) <= 4.9 * math.sqrt(2 / entries.size)
        assert abs(np.mean(entries / expected)) <= 4.9 * math.sqrt(1 / entries.size)
    firsts = np.array([[draw[name].flat[0] for name in network.names] for draw in draws]) / expected
    moving = firsts[:, [name not in cls.constant_operands for name in network.names]]
    covariance = moving.conj().T @ moving / len(draws)
    assert np.all(np.abs(covariance - np.diag(np.diag(covariance))) <= 5.5 / math.sqrt(len(draws)))
