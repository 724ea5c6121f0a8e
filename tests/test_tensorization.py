"""The search for shapes: it keeps products and numbers of modes, tries no more than it may, and is never worse."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import generators, kinds
from hypothesis import given, settings
from hypothesis import strategies as st

from tlinear import Calibration, FactorizedLinear, Linear
from tlinear.errors import OptionError
from tlinear.tensorization import MOST_SHAPES, search_shapes

sides = st.lists(st.sampled_from([2, 3, 4, 5, 6, 12]), min_size=1, max_size=3).map(tuple)
tables = st.integers(0, 2**32 - 1)
FACTORIZATIONS = ("cp", "tucker", "tt", "blocktt")


class Landscape:
    """An error for every pair of shapes, drawn at random, but always the same for the same pair."""

    def __init__(self, seed):
        self.seed, self.tried = seed, []

    def __call__(self, shapes):
        self.tried.append(shapes)
        return self.at(shapes)

    def at(self, shapes):
        return float(np.random.default_rng([self.seed, *shapes[0], 0, *shapes[1]]).integers(100))


@given(sides, sides, tables, st.integers(1, 60), st.tuples(st.booleans(), st.booleans()))
def test_every_shape_tried_has_the_product_and_the_modes_of_the_start(first, second, seed, most, free):
    landscape, start = Landscape(seed), (first, second)
    found = search_shapes(start, landscape, free=free, most=most)
    assert len(landscape.tried) == len(set(landscape.tried)) <= most
    for shapes in landscape.tried:
        for side, given_side, is_free in zip(shapes, start, free, strict=True):
            assert math.prod(side) == math.prod(given_side)
            assert len(side) == len(given_side)
            assert min(side) > 1
            assert is_free or side == given_side
    assert landscape.tried[0] == start
    assert found in landscape.tried
    assert landscape.at(found) == min(map(landscape.at, landscape.tried))


@given(sides, sides, tables)
def test_it_ends_where_no_step_lowers_the_error(first, second, seed):
    """Steps of a prime factor or an exchange, on either side or on both."""
    landscape = Landscape(seed)
    found = search_shapes((first, second), landscape, most=10**6)

    def near(side):
        yield side
        for a, b in itertools.permutations(range(len(side)), 2):
            for prime in (2, 3, 5):
                sizes = list(side)
                if sizes[a] % prime == 0 and sizes[a] > prime:
                    sizes[a], sizes[b] = sizes[a] // prime, sizes[b] * prime
                    yield tuple(sizes)
            sizes = list(side)
            sizes[a], sizes[b] = sizes[b], sizes[a]
            yield tuple(sizes)

    best = min(landscape.at(shapes) for shapes in itertools.product(near(found[0]), near(found[1])))
    assert landscape.at(found) == best


def layer_of(weight, tensorization, factorization, **asked):
    options = {"max_iterations": 4} if factorization in ("cp", "tucker") else None
    linear = Linear.from_arrays(weight)
    return FactorizedLinear.from_linear(
        linear, tensorization=tensorization, factorization=factorization, decomposition_options=options, **asked
    )


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@given(generators, st.sampled_from([12, 16]), st.sampled_from([12, 18]), st.sampled_from([0.4, 0.7]))
@settings(max_examples=5)
def test_a_search_is_never_worse_at_the_same_budget(factorization, rng, n_in, n_out, budget):
    weight = kinds(rng, (n_out, n_in))
    balanced, searched = (
        layer_of(weight, tensorization, factorization, rank=budget) for tensorization in ("balanced", "search")
    )
    assert searched.decomposition.relative_error <= balanced.decomposition.relative_error
    assert searched.weight.n_parameters <= budget * weight.size
    assert (searched.in_features, searched.out_features) == (n_in, n_out)
    assert [len(s) for s in (searched.in_tensorized_features, searched.out_tensorized_features)] == [2, 2]


@pytest.mark.parametrize("factorization", ["tucker", "tt", "blocktt"])
@given(generators)
@settings(max_examples=5)
def test_a_search_within_a_tolerance_takes_no_more_parameters(factorization, rng):
    weight = kinds(rng, (12, 12))
    balanced, searched = (
        layer_of(weight, tensorization, factorization, tolerance=0.3) for tensorization in ("balanced", "search")
    )
    assert searched.weight.n_parameters <= balanced.weight.n_parameters
    assert searched.decomposition.relative_error <= 0.3


def test_a_search_finds_the_modes_of_a_kronecker_product():
    rng = np.random.default_rng(0)
    weight = np.kron(rng.standard_normal((3, 12)), rng.standard_normal((10, 2)))
    for side in ({}, {"in_tensorized_features": (12, 2)}, {"out_tensorized_features": (3, 10)}):
        layer = layer_of(weight, "search", "blocktt", rank=0.2, **side)
        assert layer.decomposition.relative_error < 1e-14
        assert layer.weight.shape == (12, 2, 3, 10)


def test_the_layer_that_is_found_is_the_linear_map_that_its_error_says():
    weight = np.random.default_rng(0).standard_normal((18, 12))
    layer = layer_of(weight, "search", "blocktt", rank=0.6)
    error = np.linalg.norm(weight - layer.to_linear().weight) / np.linalg.norm(weight)
    assert abs(error - layer.decomposition.relative_error) < 1e-12
    x = np.random.default_rng(1).standard_normal((5, 12))
    np.testing.assert_allclose(layer(x), x @ layer.to_linear().weight.T, atol=1e-12)


def test_a_search_takes_a_bounded_number_of_decompositions(monkeypatch):
    from tlinear import conversion

    calls, decompose = [], conversion.decompose
    monkeypatch.setattr(conversion, "decompose", lambda *a, **k: calls.append(1) or decompose(*a, **k))
    layer_of(np.random.default_rng(0).standard_normal((120, 96)), "search", "tt", rank=0.3, n_tensorized_modes=3)
    assert MOST_SHAPES // 2 < len(calls) <= MOST_SHAPES + 2


def test_with_a_calibration_the_error_of_the_outputs_is_never_worse():
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((18, 12)), rng.standard_normal((50, 12)) * np.linspace(0.1, 2, 12)
    layers = [
        layer_of(weight, t, "blocktt", rank=0.5, calibration=Calibration(samples=x)) for t in ("balanced", "search")
    ]
    errors = [layer.decomposition.relative_output_error for layer in layers]
    assert errors[1] <= errors[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rank": 3}, "compares shapes at the same budget, but rank=3 costs"),
        ({"rank": (1, 2, 2, 2, 1)}, "compares shapes at the same budget"),
        (
            {"rank": 0.5, "in_tensorized_features": (3, 4), "out_tensorized_features": (2, 5)},
            "the shapes of both sides are given",
        ),
        ({"rank": 0.5, "tensorization": "best"}, "tensorization='best' is not known. Choose 'balanced' or 'search'"),
    ],
)
def test_a_search_without_anything_to_compare_is_refused(asked, message):
    with pytest.raises(OptionError, match=message):
        FactorizedLinear.from_linear(Linear(12, 10, rng=0), factorization="tt", **{"tensorization": "search", **asked})
