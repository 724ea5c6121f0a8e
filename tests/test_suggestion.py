"""suggest_shapes: what it lists can be built, costs what it says, keeps what it says, and is each time another shape."""

import contextlib
import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from algorithms.tensors import EPS, generators, kinds
from hypothesis import given, settings
from hypothesis import strategies as st
from own_formats import TensorRing

from tlinear import CPTensor, FactorizedLinear, Linear, TLinearError, suggest_shapes, tensorize_shape
from tlinear.algorithms.report import relative_error
from tlinear.candidates import candidates
from tlinear.contraction.search import plan
from tlinear.conversion import factorize
from tlinear.decomposition import low_rank_baseline
from tlinear.errors import FactorizationError, InfeasibleRankError, NonFiniteError, OptionError, RankError, ShapeError
from tlinear.formats import FORMATS
from tlinear.least_cost import LeastCost

LOW_RANK = tuple(name for name in FORMATS if name != "dense")
PADS = (False, True, 0.3)
QUICK = {"cp": {"max_iterations": 3}, "tucker": {"max_iterations": 2}}

factorizations = st.sampled_from(LOW_RANK)
features = st.integers(1, 40)
ranks = st.one_of(st.integers(1, 5), st.sampled_from([0.3, 0.7, 1.0, "same"]))
rich = st.sampled_from([4, 6, 8])
weight_dtypes = st.sampled_from([np.float64, np.float32, np.complex128])


def suggestions_or_none(*args, **kwargs):
    """None where no shape fits the budget: the message is tested apart."""
    try:
        return suggest_shapes(*args, **kwargs)
    except InfeasibleRankError:
        return None


def modes(suggestion):
    return suggestion.in_tensorized_features, suggestion.out_tensorized_features


def unordered(suggestion):
    return tuple(tuple(sorted(side)) for side in modes(suggestion))


def layer_of(suggestion, **kwargs):
    return FactorizedLinear(
        *modes(suggestion),
        in_features=suggestion.in_features,
        out_features=suggestion.out_features,
        factorization=suggestion.factorization,
        rank=suggestion.rank,
        implementation="factorized",
        rng=0,
        **kwargs,
    )


def compressed(weight, suggestion, pad, options=None):
    in_shape, out_shape = modes(suggestion)
    return FactorizedLinear.from_linear(
        Linear.from_arrays(weight),
        in_tensorized_features=in_shape,
        out_tensorized_features=out_shape,
        pad=pad,
        factorization=suggestion.factorization,
        rank=suggestion.rank,
        implementation="factorized",
        decomposition_options=options,
    )


def sort_key(suggestion, sort_by):
    error = 0.0 if suggestion.relative_error is None else round(suggestion.relative_error, 4)
    values = {"error": error, "parameters": suggestion.n_parameters, "flops": suggestion.flops}
    return [values.pop(sort_by), *values.values()]


# ------------------------------------------------------------ what is listed


@given(features, features, factorizations, ranks, st.sampled_from(PADS), st.integers(0, 5))
def test_the_layer_that_is_built_has_the_parameters_rank_and_flops_listed(n_in, n_out, name, rank, pad, batch_size):
    found = suggestions_or_none(
        n_in, n_out, factorization=name, rank=rank, pad=pad, batch_size=batch_size, most_modes=2, limit=None
    )
    for suggestion in found or ():
        layer = layer_of(suggestion)
        assert (layer.in_features, layer.out_features) == (n_in, n_out)
        assert layer.rank == suggestion.rank
        assert layer.weight.n_parameters == suggestion.n_parameters
        assert layer.plan(batch_size).flops == suggestion.flops
        assert suggestion.compression == n_in * n_out / layer.weight.n_parameters
        assert suggestion.relative_error is None
        assert suggestion.rank == FORMATS[name].resolve_rank(
            *modes(suggestion), rank, in_features=n_in, out_features=n_out
        )
        if isinstance(rank, float):
            assert suggestion.n_parameters <= Fraction(rank) * n_in * n_out


@given(features, features, factorizations, ranks, st.sampled_from(PADS), st.integers(1, 4))
def test_modes_hold_the_features_within_the_padding_allowed(n_in, n_out, name, rank, pad, most_modes):
    found = suggestions_or_none(n_in, n_out, factorization=name, rank=rank, pad=pad, most_modes=most_modes, limit=None)
    overhead = 0.02 if pad is True else float(pad)
    for suggestion in found or ():
        padded = [math.prod(side) for side in modes(suggestion)]
        for shape, product, asked in zip(modes(suggestion), padded, (n_in, n_out), strict=True):
            assert 1 <= len(shape) <= most_modes
            assert 0 <= (product - asked) / asked <= overhead
            assert len(shape) == 1 or min(shape) >= 2
        assert suggestion.padding == (math.prod(padded) - n_in * n_out) / (n_in * n_out)
        assert (suggestion.padding == 0.0) == (padded == [n_in, n_out])


@given(features, features, factorizations, ranks, st.sampled_from([None, "parameters", "flops"]), st.integers(1, 9))
def test_suggestions_are_distinct_and_sorted_and_a_limit_keeps_the_best(n_in, n_out, name, rank, sort_by, limit):
    everything = suggestions_or_none(n_in, n_out, factorization=name, rank=rank, sort_by=sort_by, limit=None)
    if everything is None:
        return
    default = "parameters" if isinstance(rank, int) else "flops"
    keys = [sort_key(suggestion, sort_by or default) for suggestion in everything]
    assert keys == sorted(keys)
    assert len(set(map(modes, everything))) == len(everything)
    some = suggest_shapes(n_in, n_out, factorization=name, rank=rank, sort_by=sort_by, limit=limit)
    assert some == everything[:limit]


small_batches = st.sampled_from([0, 1, 7])


@given(st.integers(1, 24), st.integers(1, 24), factorizations, ranks, st.sampled_from(PADS), small_batches)
@settings(max_examples=15)
def test_the_first_of_all_are_those_that_planning_every_shape_finds(n_in, n_out, name, rank, pad, batch_size):
    arguments = {"factorization": name, "rank": rank, "pad": pad, "batch_size": batch_size, "most_modes": 2}
    some = suggestions_or_none(n_in, n_out, **arguments, limit=3)
    sort_by = "parameters" if isinstance(rank, int) else "flops"
    best = {}
    for group in candidates((n_in, n_out), 2, pad, ordered=name in ("tt", "blocktt")):
        for shapes in group:
            with contextlib.suppress(InfeasibleRankError):
                resolved = FORMATS[name].resolve_rank(*shapes, rank, in_features=n_in, out_features=n_out)
                layer = FactorizedLinear(*shapes, factorization=name, rank=resolved, implementation="factorized")
                values = {"parameters": layer.weight.n_parameters, "flops": layer.plan(batch_size).flops}
                key = values.pop(sort_by), *values.values()
                best.setdefault((*key, *map(tuple, map(sorted, shapes))), key)
    assert [tuple(sort_key(s, sort_by)[k] for k in (0, 2)) for s in some or ()] == sorted(best.values())[:3]


@given(factorizations, rich, rich, ranks, small_batches)
@settings(max_examples=15)
def test_no_shape_costs_less_than_its_bounds(name, n_in, n_out, rank, batch_size):
    shapes = [shapes for group in candidates((n_in, n_out), 2, False, ordered=True) for shapes in group]
    least, refused = LeastCost(FORMATS[name], n_in * n_out, rank, batch_size), {}
    quick, close = least.quickly(shapes, refused), least.closely(shapes, refused)
    assert [bound is None for bound in quick] == [bound is None for bound in close] == [s in refused for s in shapes]
    for k, (sides, first, second) in enumerate(zip(shapes, quick, close, strict=True)):
        if second is not None and k % 5 == 0:
            resolved = FORMATS[name].resolve_rank(*sides, rank)
            layer = FactorizedLinear(*sides, factorization=name, rank=resolved, implementation="factorized")
            assert first[0] <= second[0] == layer.weight.n_parameters
            assert first[1] <= second[1] <= layer.plan(batch_size).flops


@pytest.mark.parametrize("name", ["tt", "blocktt"])
def test_few_of_many_shapes_are_planned_for_a_short_list(name, monkeypatch):
    """Of 484."""
    planned = []
    monkeypatch.setattr("tlinear.suggestion.plan", lambda *args, **kwargs: planned.append(1) or plan(*args, **kwargs))
    suggest_shapes(768, 3072, factorization=name, rank=0.1, limit=4)
    assert 4 <= len(planned) <= 48


def test_more_features_than_shapes_are_searched_for_are_refused():
    for features in ((10**12 + 1, 2), (2, 2**53), (2**200, 2**200)):
        with pytest.raises(ShapeError, match=r"_features=\d+ is more than 1000000000000, up to which shapes are"):
            suggest_shapes(*features, factorization="tt", rank=1)
    found = suggest_shapes(10**12, 963761198400, factorization="tt", rank=0.1, most_modes=1)[0]
    assert found.n_parameters <= Fraction(0.1) * 10**12 * 963761198400


@pytest.mark.parametrize("name", FORMATS)
@given(rich, rich)
def test_what_neither_the_format_nor_the_cost_tells_apart_is_listed_once(name, n_in, n_out):
    rank = "same" if name == "dense" else 2
    found = suggest_shapes(n_in, n_out, factorization=name, rank=rank, most_modes=3, limit=None)
    if name in ("cp", "tucker", "dense"):
        assert len(set(map(unordered, found))) == len(found)
    distinguished = {(unordered(s), s.n_parameters, s.flops) for s in found}
    assert len(distinguished) == len(found)


def test_the_order_of_modes_is_listed_where_it_costs():
    found = suggest_shapes(32, 32, factorization="blocktt", rank=2, most_modes=2, limit=None)
    pairings = {modes(s): s.n_parameters for s in found if unordered(s) == ((4, 8), (4, 8))}
    # of the two that have fewest parameters, one takes fewer operations: x meets its first core first
    turned = dict.fromkeys([((4, 8), (8, 4)), ((8, 4), (4, 8))], 32 * 2 + 32 * 2)
    assert pairings == {((4, 8), (4, 8)): 16 * 2 + 64 * 2, **turned}
    assert len({s.flops for s in found if modes(s) in turned}) == 2


def all_factorizations(n, count, smallest=2):
    if count == 1:
        return [(n,)]
    return [
        (size, *rest)
        for size in range(smallest, n + 1)
        if size**count <= n and n % size == 0
        for rest in all_factorizations(n // size, count - 1, size)
    ]


@given(st.integers(1, 400), st.integers(1, 4), generators)
def test_candidates_are_the_three_most_balanced_factorizations_in_every_order(n_in, most_modes, rng):
    """Every order of up to three modes, the ascending and the descending one of more; seen with a weight."""
    weight = rng.standard_normal((2, n_in))
    found = suggest_shapes(n_in, 2, factorization="tt", rank=1, most_modes=most_modes, weight=weight, limit=None)
    expected = set()
    for n_modes in range(1, most_modes + 1):
        everything = all_factorizations(n_in, n_modes)
        if everything and n_modes > 1:
            assert tensorize_shape(n_in, n_modes) in everything
        for sizes in sorted(everything, key=lambda sizes: (max(sizes), sum(sizes), -min(sizes)))[:3]:
            expected |= set(itertools.permutations(sizes)) if n_modes <= 3 else {sizes, sizes[::-1]}
    assert {modes(s) for s in found} == {(shape, (2,)) for shape in expected}


def test_one_mode_a_side_is_among_the_candidates_and_is_the_truncated_svd():
    weight = np.random.default_rng(0).standard_normal((24, 36))
    values = np.linalg.svd(weight, compute_uv=False)
    for name in ("tt", "cp"):
        found = suggest_shapes(36, 24, factorization=name, rank=3, weight=weight, limit=None, most_modes=1)
        assert [modes(s) for s in found] == [((36,), (24,))]
        best = float(np.linalg.norm(values[3:]) / np.linalg.norm(values))
        slack = 8.0 * EPS * weight.size if name == "tt" else 1e-6  # of CP, the option stop_tolerance
        assert abs(found[0].relative_error - best) <= slack


def test_padding_offers_shapes_where_no_exact_one_is():
    exact = suggest_shapes(97, 64, factorization="tt", rank=2, limit=None)
    padded = suggest_shapes(97, 64, factorization="tt", rank=2, limit=None, pad=True)
    assert {s.in_tensorized_features for s in exact} == {(97,)}
    # with 7 x 14 = 98, and no product of three sizes near each other within 2 %
    assert {s.in_tensorized_features for s in padded} == {(97,), (7, 14), (14, 7)}
    assert {s.padding for s in padded} == {0.0, 1 / 97}


# ------------------------------------------------------------ with a weight


@given(features, features, factorizations, ranks, st.sampled_from(PADS), generators, weight_dtypes)
def test_error_is_that_of_the_matrix_of_the_layer_that_is_made(n_in, n_out, name, rank, pad, rng, dtype):
    """To the bit; the decomposition's own differs by the order of its sums alone, unless there is padding to crop.

    Sums of N squares in another order differ by at most 2 N u of the sum, and there are two norms: 4 N u.
    """
    weight = kinds(rng, (n_out, n_in), np.dtype(dtype).name if dtype != np.float32 else "float64").astype(dtype)
    options = QUICK.get(name)
    found = suggestions_or_none(
        n_in,
        n_out,
        factorization=name,
        rank=rank,
        pad=pad,
        weight=weight,
        most_modes=2,
        batch_size=3,
        limit=4,
        decomposition_options=options,
    )
    for suggestion in found or ():
        layer = compressed(weight, suggestion, pad, options)
        assert layer.rank == suggestion.rank
        assert layer.weight.n_parameters == suggestion.n_parameters
        assert layer.plan(3).flops == suggestion.flops
        wide = np.result_type(dtype, np.float64)
        exact = FactorizedLinear.from_weight(
            layer.weight.astype(wide), in_features=n_in, out_features=n_out
        ).to_linear()
        assert suggestion.relative_error == relative_error(weight.astype(wide), exact.weight)
        reported = layer.decomposition.relative_error
        slack = 4.0 * EPS * weight.size
        assert suggestion.relative_error <= reported * (1.0 + slack)
        if suggestion.padding == 0.0:
            assert suggestion.relative_error >= reported * (1.0 - slack)


@given(features, features, factorizations, generators, st.sampled_from([None, "error", "parameters", "flops"]))
def test_with_a_weight_the_best_error_comes_first_unless_told_otherwise(n_in, n_out, name, rng, sort_by):
    weight = kinds(rng, (n_out, n_in))
    arguments = {"factorization": name, "rank": 2, "weight": weight, "decomposition_options": QUICK.get(name)}
    found = suggest_shapes(n_in, n_out, **arguments, most_modes=2, sort_by=sort_by)
    keys = [sort_key(suggestion, sort_by or "error") for suggestion in found]
    assert keys == sorted(keys)
    assert found == suggest_shapes(n_in, n_out, **arguments, most_modes=2, sort_by=sort_by)


@pytest.mark.parametrize("name", LOW_RANK)
def test_with_a_weight_the_order_of_modes_matters_in_every_format(name):
    """A row-major index is split differently by (3, 4) and (4, 3)."""
    weight = np.random.default_rng(0).standard_normal((12, 12))
    found = suggest_shapes(12, 12, factorization=name, rank=2, most_modes=2, weight=weight, limit=None)
    errors = {modes(s): s.relative_error for s in found}
    shapes = set(itertools.product([(3, 4), (4, 3)], repeat=2))
    assert shapes <= set(errors)
    assert len({errors[shape] for shape in shapes}) == len(shapes)


@pytest.mark.parametrize("limit", [1, 3, 4, 6, 7, 100, None])
def test_with_a_weight_as_many_candidates_are_decomposed_as_the_limit_says(limit, monkeypatch):
    """One for each pair of numbers of modes first, and then all others, the best of these pairs before others."""
    tried = []

    def counted(linear, shapes, *args, **kwargs):
        tried.append(shapes)
        return factorize(linear, shapes, *args, **kwargs)

    monkeypatch.setattr("tlinear.suggestion.factorize", counted)
    weight = np.random.default_rng(0).standard_normal((15, 12))
    found = suggest_shapes(12, 15, factorization="tt", rank=0.5, most_modes=2, weight=weight, limit=limit)
    # 12 = 3x4 = 2x6 in two orders each, 15 = 3x5 in two
    n_candidates = (1 + 4) * (1 + 2)
    assert sorted(tried) == sorted(map(modes, found))
    assert len(tried) == min(limit or n_candidates, n_candidates)
    firsts = [((12,), (15,)), ((12,), (3, 5)), ((3, 4), (15,)), ((3, 4), (3, 5))]
    assert tried[:4] == firsts[: len(tried)]
    if limit == 100:
        error = {modes(s): round(s.relative_error, 4) for s in found}
        numbers = [tuple(map(len, shapes)) for shapes in tried[4:]]
        order = list(dict.fromkeys(numbers))
        best = {tuple(map(len, shapes)): error[shapes] for shapes in firsts}
        assert [best[n] for n in order] == sorted(best[n] for n in order)
        assert [n for n, _ in itertools.groupby(numbers)] == order


@given(features, features, factorizations, ranks, generators, weight_dtypes)
def test_the_best_matrix_of_as_many_parameters_stands_beside_each(n_in, n_out, name, rank, rng, dtype):
    """No train of one mode a side has more, and by Eckart and Young none is better."""
    weight = kinds(rng, (n_out, n_in)).astype(dtype)
    options = {"decomposition_options": QUICK.get(name), "weight": weight, "most_modes": 2, "limit": 4}
    for suggestion in suggestions_or_none(n_in, n_out, factorization=name, rank=rank, **options) or ():
        baseline = low_rank_baseline(weight, suggestion.n_parameters)
        assert suggestion.matrix_error == baseline.relative_error
        assert f"matrix={suggestion.matrix_error:.4f}" in repr(suggestion)


def test_a_large_matrix_is_not_compared_unasked(monkeypatch):
    monkeypatch.setattr("tlinear.decomposition.baseline._QUICK", 10)
    weight = np.random.default_rng(0).standard_normal((10, 12))
    found = suggest_shapes(12, 10, factorization="tt", rank=2, weight=weight, limit=1)[0]
    assert found.matrix_error is None
    assert "matrix=" not in repr(found)


@pytest.mark.parametrize("name", LOW_RANK)
@given(rng=generators, limit=st.sampled_from([4, 9, 30, None]), n_in=rich, n_out=rich)
@settings(max_examples=6)
def test_a_search_lists_what_it_tried_and_is_no_worse_than_its_start(name, rng, limit, n_in, n_out):
    weight = kinds(rng, (n_out, n_in))
    options = {"factorization": name, "weight": weight, "most_modes": 2, "decomposition_options": QUICK.get(name)}
    searched = suggest_shapes(n_in, n_out, rank=0.7, **options, tensorization="search", limit=limit)
    assert len(set(map(modes, searched))) == len(searched) <= (limit or 4 * 128)
    assert [sort_key(s, "error") for s in searched] == sorted(sort_key(s, "error") for s in searched)
    firsts = suggest_shapes(n_in, n_out, rank=0.7, **options, limit=4)
    assert searched[0].relative_error <= firsts[0].relative_error + 1e-4  # the decimals that are compared


@pytest.mark.parametrize("exponent", [-600, 600])
@pytest.mark.parametrize("n_in", [12, 97])
def test_the_scale_of_the_weight_does_not_matter(exponent, n_in):
    weight = np.random.default_rng(0).standard_normal((10, n_in))
    arguments = {"factorization": "blocktt", "rank": 0.7, "pad": True}
    assert suggest_shapes(n_in, 10, weight=np.ldexp(weight, exponent), **arguments) == suggest_shapes(
        n_in, 10, weight=weight, **arguments
    )


def test_a_weight_of_zeros_is_kept_by_every_shape():
    found = suggest_shapes(12, 10, factorization="tt", rank=2, weight=np.zeros((10, 12)))
    assert {s.relative_error for s in found} == {0.0}
    assert found[0].n_parameters == min(s.n_parameters for s in found)


def test_flops_are_those_of_the_weights_dtype():
    weight = np.random.default_rng(0).standard_normal((10, 12))
    real, imaginary = (
        suggest_shapes(12, 10, factorization="tt", rank=2, weight=weight * unit, most_modes=1)[0] for unit in (1.0, 1j)
    )
    assert imaginary.flops == 4 * real.flops


def test_shapes_without_the_modes_to_be_fixed_are_left_out():
    weight = np.random.default_rng(0).standard_normal((12, 12))
    arguments = {"factorization": "tucker", "weight": weight, "limit": None, "most_modes": 2}
    everything = suggest_shapes(12, 12, rank=0.7, **arguments)
    fixed = suggest_shapes(12, 12, rank=0.7, **arguments, decomposition_options={"fixed_modes": (3,)})
    assert set(map(modes, fixed)) == {modes(s) for s in everything if sum(map(len, modes(s))) == 4}
    assert all(s.rank[3] == s.out_tensorized_features[1] for s in fixed)
    with pytest.raises(RankError, match=r"None of 25 shapes .* fixed_modes=\(4,\) must be a tuple of modes"):
        suggest_shapes(12, 12, rank=0.7, **arguments, decomposition_options={"fixed_modes": (4,)})


# ------------------------------------------------------------ arguments


@pytest.mark.parametrize("name", LOW_RANK)
def test_where_no_shape_fits_the_message_says_the_smallest_budget_that_does(name):
    with pytest.raises(InfeasibleRankError, match=r"None of \d+ shapes for 36 -> 49") as caught:
        suggest_shapes(36, 49, factorization=name, rank=0.001)
    budget = float(re.search(r"smallest feasible budget is ([0-9.e-]+)\.", str(caught.value))[1])
    assert suggest_shapes(36, 49, factorization=name, rank=budget)
    with pytest.raises(InfeasibleRankError):
        suggest_shapes(36, 49, factorization=name, rank=math.nextafter(budget, 0.0))


def test_the_remedies_for_a_prime_number_of_features():
    with pytest.raises(InfeasibleRankError, match=r"in=\(97,\), out=\(101,\): .* raise most_modes or pad\."):
        suggest_shapes(97, 101, factorization="blocktt", rank=0.5)
    assert suggest_shapes(97, 101, factorization="blocktt", rank=0.5, pad=0.05)


WEIGHT = np.ones((10, 12))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_features": 0}, ShapeError, r"in_features=0 is not a positive integer\. Pass one"),
        ({"out_features": 2.5}, ShapeError, r"out_features=2\.5 is not a positive integer"),
        ({"in_features": True}, ShapeError, r"in_features=True is not a positive integer"),
        ({"most_modes": 0}, ShapeError, r"most_modes=0 is not a positive integer\. .* 3 modes\."),
        ({"pad": "little"}, ShapeError, r"pad='little' is not an overhead\. Pass False, True"),
        ({"pad": -0.1}, ShapeError, r"pad=-0\.1 is not an overhead"),
        ({"batch_size": -1}, ShapeError, r"batch_size=-1 is not a number of samples"),
        ({"batch_size": 1.5}, ShapeError, r"batch_size=1\.5 is not a number of samples"),
        ({"factorization": "svd"}, FactorizationError, r"factorization='svd' is not known\. Choose one of"),
        ({"rank": (1, 2, 1)}, RankError, r"rank=\(1, 2, 1\) belongs to one shape, .* Pass an int, or a budget"),
        ({"rank": [2]}, RankError, r"rank=\[2\] belongs to one shape"),
        ({"rank": np.array([2, 3])}, RankError, r"belongs to one shape"),
        ({"rank": 0}, RankError, r"rank=0 is below 1\. Pass an int >= 1"),
        ({"rank": 1.5}, RankError, r"rank=1\.5 as a budget must lie in \(0, 1\]"),
        ({"rank": "full"}, RankError, r"rank='full' of type str is not a rank\. Pass an int"),
        ({"rank": 2, "factorization": "dense"}, RankError, r"a dense tensor has no rank\. Pass rank='same'"),
        ({"sort_by": "size"}, OptionError, r"sort_by='size' is not known\. Choose one of error, parameters, flops"),
        ({"sort_by": "error"}, OptionError, r"sort_by='error', but there is no weight .* Pass weight="),
        ({"limit": 0}, OptionError, r"limit=0 is not a number of suggestions\. Pass an int >= 1, or None"),
        ({"limit": 2.0}, OptionError, r"limit=2\.0 is not a number of suggestions"),
        ({"tensorization": "best"}, OptionError, r"tensorization='best' is not known\. Choose 'balanced' or 'search'"),
        ({"tensorization": "search"}, OptionError, r"tensorization='search', but there is no weight to try shapes on"),
        ({"decomposition_options": {}}, OptionError, r"decomposition_options are given, but no weight"),
        ({"weight": np.ones(12)}, ShapeError, r"shape \(12,\), but must be .* = \(10, 12\)\. Pass the features"),
        ({"weight": WEIGHT.T}, ShapeError, r"shape \(12, 10\), but must be .* = \(10, 12\)\. Pass its transpose\."),
        ({"weight": np.full((10, 12), np.nan)}, NonFiniteError, r"weight of shape \(10, 12\) has 120 entries"),
        ({"weight": WEIGHT, "decomposition_options": {"ridge": 1}}, OptionError, r"has no option ridge"),
        ({"weight": WEIGHT, "decomposition_options": {"rank": 1}}, OptionError, r"decomposition_options holds"),
        ({"weight": WEIGHT, "decomposition_options": {"max_rank": "a"}}, RankError, r"None of .* max_rank='a' must be"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_with_the_remedy(arguments, error, message):
    good = {"in_features": 12, "out_features": 10, "factorization": "tt", "rank": 2}
    with pytest.raises(error, match=message) as caught:
        suggest_shapes(**(good | arguments))
    assert isinstance(caught.value, TLinearError)


def test_numpy_integers_are_integers():
    n = np.int64(12)
    found = suggest_shapes(n, n, factorization="tt", rank=np.int32(2), most_modes=np.int8(2), limit=np.int16(3))
    assert found == suggest_shapes(12, 12, factorization="tt", rank=2, most_modes=2, limit=3)
    assert {type(size) for s in found for side in modes(s) for size in side} == {int}
    assert type(found[0].in_features) is int


def test_a_format_of_ones_own_and_a_class_are_taken():
    ring = suggest_shapes(12, 10, factorization=TensorRing, rank=2, limit=None)
    assert {s.factorization for s in ring} == {TensorRing}
    for suggestion in ring:
        assert layer_of(suggestion).weight.n_parameters == suggestion.n_parameters
    by_class, by_name = (suggest_shapes(12, 10, factorization=cp, rank=2) for cp in (CPTensor, "cp"))
    assert list(map(modes, by_class)) == list(map(modes, by_name))


def test_printed_one_a_line_they_are_a_table():
    weight = np.random.default_rng(0).standard_normal((97, 16))
    found = suggest_shapes(16, 97, factorization="tt", rank=0.5, weight=weight, pad=True)
    lines = [str(suggestion) for suggestion in found]
    assert all(line.startswith("Suggestion(error=0.") and "\n" not in line for line in lines)
    for column in ("parameters=", "flops=", "in="):
        assert len({line.index(column) for line in lines}) == 1
    padded = next(s for s in found if s.padding)
    assert str(padded).endswith(f"padding=1.03%, rank={padded.rank})")
    dense = suggest_shapes(4, 3, factorization="dense", rank="same")[0]
    assert str(dense) == "Suggestion(parameters=       12 (    1.00x), flops=         24, in=(4,), out=(3,))"
