"""Resolvers of shapes and ranks, and decompositions: what is right passes, and what is wrong does not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from tlinear import decompose, resolve_rank, tensorize_shape
from tlinear.formats import FORMATS, find_format
from tlinear.testing.decompositions import FORMATS_JUDGED, check_decomposition, error_bounds
from tlinear.testing.resolvers import check_ranks, check_shapes, rank_vectors, shape_vectors


def test_our_own_resolvers_pass():
    assert check_ranks(resolve_rank, extra=50).passed
    assert check_shapes(lambda features, n_modes, pad: tensorize_shape(features, n_modes, pad=pad), extra=50).passed


def test_vectors_say_what_they_should():
    vectors = rank_vectors()
    assert {vector["format"] for vector in vectors} == set(FORMATS) - {"dense"}
    assert {next(iter(vector["rank"])) for vector in vectors} == {"each", "list", "budget"}
    assert sum(vector["resolved"] is None for vector in vectors) > 10
    for vector in vectors:
        if vector["resolved"] is not None and "budget" in vector["rank"]:
            dense = math.prod((*vector["in_shape"], *vector["out_shape"]))
            assert vector["n_parameters"] <= vector["rank"]["budget"] * dense
    for vector in shape_vectors():
        if vector["shape"] is not None:
            assert len(vector["shape"]) == vector["n_modes"]
            room = math.prod(vector["shape"]) / vector["features"] - 1
            assert 0 <= room <= (vector["pad"] or 0)


@pytest.mark.parametrize(
    "broken",
    [
        lambda *given: 1,
        lambda name, i, o, rank: resolve_rank(name, o, i, rank),
        lambda name, i, o, rank: resolve_rank(name, i, o, max(1, rank) if isinstance(rank, int) else 0.9 * rank),
        lambda name, i, o, rank: resolve_rank(name, i, o, 1 if rank == 1.0 else rank),
    ],
    ids=["always 1", "sides swapped", "another budget", "1.0 taken for 1"],
)
def test_a_broken_resolver_is_told(broken):
    report = check_ranks(broken, extra=20)
    assert not report.passed
    assert "FAILED in" in str(report)
    assert ", not " in report.failures[0]


def test_a_broken_resolver_of_shapes_is_told():
    report = check_shapes(lambda features, n_modes, pad: (1,) * (n_modes - 1) + (features,), extra=5)
    assert "16 in 2 modes, pad=False: [1, 16], not [4, 4]" in "\n".join(report.failures)


def test_a_resolver_that_gives_something_where_nothing_fits_is_told():
    report = check_ranks(lambda name, i, o, rank: _or_one(name, i, o, rank), extra=0)
    assert any("not an error" in line for line in report.failures)


def _or_one(name, in_shape, out_shape, rank):
    try:
        return resolve_rank(name, in_shape, out_shape, rank)
    except ValueError:
        return resolve_rank(name, in_shape, out_shape, 1)


# --------------------------------------------------------------------------------------------------- decompositions


def ours(weight, name, in_shape, out_shape, rank):
    return decompose(weight.reshape(*in_shape, *out_shape), name, rank, n_in=len(in_shape)).tensor.operands


def test_our_own_decompositions_pass():
    report = check_decomposition(ours, max_examples=90)
    assert report.passed, str(report)


def scaled(weight, *arguments):
    operands = dict(ours(weight, *arguments))
    first = next(iter(operands))
    return operands | {first: operands[first] * operands[first].dtype.type(1.001)}


def changing(weight, *arguments):
    found = ours(weight, *arguments)
    weight += 1
    return found


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (scaled, "its algorithm guarantees"),
        (changing, "it changed the weight"),
        (lambda *given: {k: a[..., :0] for k, a in ours(*given).items()}, "its operands have shapes"),
        (lambda *given: {k: a.astype(np.float16) for k, a in ours(*given).items()}, "its operands are of float16"),
        (lambda *given: {k: 0 * a for k, a in ours(*given).items()}, "its algorithm guarantees"),
        (lambda *given: 3, "it raised"),
    ],
    ids=["scaled", "changes its argument", "ranks", "dtype", "zero", "nothing"],
)
def test_a_broken_decomposition_is_told(broken, message):
    report = check_decomposition(broken, max_examples=12)
    assert not report.passed
    assert message in str(report)


@given(hs.sampled_from(FORMATS_JUDGED), hs.integers(0, 2**32 - 1))
def test_the_least_error_is_one_that_no_tensor_undercuts(name, seed):
    rng = np.random.default_rng(seed)
    in_shape, out_shape = (tuple(int(n) for n in rng.integers(1, 4, rng.integers(1, 3))) for _ in range(2))
    weight = rng.standard_normal((math.prod(in_shape), math.prod(out_shape)))
    other = find_format(name).random(in_shape, out_shape, int(rng.integers(1, 3)), rng=rng)
    bonds = other.rank if name == "tucker" else other.rank[1:-1]
    least, most = error_bounds(weight, name, in_shape, out_shape, bonds)
    assert least <= most
    matrix = other.to_tensor().reshape(weight.shape)
    scale = np.vdot(matrix, weight) / np.vdot(matrix, matrix)  # the best multiple of it
    assert np.linalg.norm(weight - scale * matrix) >= least * (1 - weight.size * np.finfo(float).eps)
