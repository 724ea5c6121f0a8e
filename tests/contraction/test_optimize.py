"""The order of contraction may come from elsewhere: it is followed, it changes no result, and it is asked for once."""

import contextlib
import copy
import pickle
import re
from collections import Counter

import cotengra
import numpy as np
import opt_einsum
import pytest
from cases import FACTORIZATIONS, cases, integers
from hypothesis import given
from hypothesis import strategies as st
from opt_einsum.paths import get_path_fn

from tlinear import FactorizedLinear, factorized_linear
from tlinear.contraction.network import BATCH
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import plan
from tlinear.errors import ImplementationError, MemoryLimitError, OptionError

DETERMINISTIC = ("optimal", "dp", "dynamic-programming", "greedy", "eager", "opportunistic", "auto")
DETERMINISTIC += ("branch-all", "branch-1", "branch-2")
ALGORITHMS = (*DETERMINISTIC, "auto-hq", "random-greedy", "random-greedy-128")
MODES = ("forward", "training", "frozen")
# each made once, and used for every network and batch size of all examples
OPTIMIZERS = {
    "opt_einsum.RandomGreedy": opt_einsum.RandomGreedy(max_repeats=4),
    "opt_einsum.BranchBound": opt_einsum.BranchBound(nbranch=2),
    "opt_einsum.DynamicProgramming": opt_einsum.DynamicProgramming(),
    "cotengra.HyperOptimizer": cotengra.HyperOptimizer(
        methods=["greedy"], optlib="random", max_repeats=4, parallel=False
    ),
    "cotengra.ReusableHyperOptimizer": cotengra.ReusableHyperOptimizer(
        methods=["greedy"], optlib="random", max_repeats=4, parallel=False
    ),
    "cotengra.RandomGreedyOptimizer": cotengra.RandomGreedyOptimizer(max_repeats=4, parallel=False),
    "cotengra.OptimalOptimizer": cotengra.OptimalOptimizer(),
    "cotengra.GreedyOptimizer": cotengra.GreedyOptimizer(),
}


@st.composite
def paths_over(draw, n):
    """Any path over n operands."""
    return [
        tuple(draw(st.lists(st.integers(0, left - 1), min_size=2, max_size=2, unique=True))) for left in range(n, 1, -1)
    ]


def written(draw, path):
    """The same path in any of the forms that libraries give it."""
    form = draw(st.sampled_from([list, tuple, "numpy", "lists", "numpy integers"]))
    if form == "numpy":
        return ["einsum_path", *path]
    if form == "lists":
        return [list(pair) for pair in path]
    if form == "numpy integers":
        return [tuple(map(np.int64, pair)) for pair in path]
    return form(path)


def tree_of_path(path, n):
    """Which set of operands each pair contracts with which other."""
    left = [frozenset([k]) for k in range(n)]
    tree = []
    for pair in path:
        a, b = (left[k] for k in pair)
        tree.append(frozenset([a, b]))
        left = [operands for k, operands in enumerate(left) if k not in pair] + [a | b]
    return Counter(tree)


def tree_of_plan(chosen):
    slots = [frozenset([k]) for k in range(len(chosen.network.inputs))]
    tree = []
    for step in chosen.steps:
        tree.append(frozenset([slots[step.a], slots[step.b]]))
        slots.append(slots[step.a] | slots[step.b])
    return Counter(tree)


def rebuilds(path, network):
    """Whether some operands that carry all modes are contracted before the input meets them."""
    made = [frozenset().union(*pair) for pair in tree_of_path(path, len(network.inputs))]
    carried = [{label for k in operands for label in network.inputs[k]} for operands in made if 0 not in operands]
    return any(set(range(network.n_modes)) <= labels for labels in carried)


def labels_left(network, operands):
    """Einsum's rule: what the result or an operand that is still to come carries."""
    carried = {label for k in operands for label in network.inputs[k]}
    others = {label for k, labels in enumerate(network.inputs) if k not in operands for label in labels}
    return carried & (others | set(network.output))


def check_same(case, optimize, implementation="auto"):
    layer = FactorizedLinear.from_weight(case.weight, case.bias)
    ordered = layer.with_options(optimize=optimize, implementation=implementation)
    (y, pullback), (expected, reference) = ordered.vjp(case.x), layer.vjp(case.x)
    np.testing.assert_array_equal(ordered(case.x), expected)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(ordered.freeze()(case.x), expected)
    found, wanted = pullback(case.dy), reference(case.dy)
    np.testing.assert_array_equal(found.x, wanted.x)
    assert list(found.parameters) == list(wanted.parameters)
    for name, gradient in wanted.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], gradient)


@given(cases(), st.sampled_from(ALGORITHMS), st.sampled_from(["auto", "reconstructed"]))
def test_every_algorithm_of_opt_einsum_gives_the_same_function(case, name, implementation):
    check_same(case, name, implementation)


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(case=cases(), implementation=st.sampled_from(["auto", "reconstructed"]), batch_size=st.sampled_from([2, 40]))
def test_one_optimizer_serves_all_networks_and_batch_sizes(name, case, implementation, batch_size):
    check_same(case, OPTIMIZERS[name], implementation)
    layer = FactorizedLinear.from_weight(case.weight)
    x = integers(case.rng, (batch_size, layer.in_features), case.weight.dtype)
    np.testing.assert_array_equal(layer.with_options(optimize=OPTIMIZERS[name])(x), layer(x))


@given(cases(), st.data())
def test_any_path_gives_the_same_function(case, data):
    path = data.draw(paths_over(len(case.weight.layer_network.inputs)))
    check_same(case, written(data.draw, path))


@given(cases(), st.data(), st.sampled_from(MODES), st.integers(0, 300))
def test_a_path_is_followed_pair_by_pair(case, data, mode, batch_size):
    network = case.weight.layer_network
    n = len(network.inputs)
    path = data.draw(paths_over(n))
    chosen = plan(network, PlanOptions(optimize=written(data.draw, path)), mode=mode, batch_size=batch_size)
    assert tree_of_plan(chosen) == tree_of_path(path, n)
    slots = [frozenset([k]) for k in range(n)]
    for step in chosen.steps:
        slots.append(slots[step.a] | slots[step.b])
        assert set(step.pair.out) == labels_left(network, slots[-1])


@given(cases(), st.data(), st.sampled_from(MODES))
def test_a_path_that_rebuilds_the_weight_is_the_reconstructed_layer(case, data, mode):
    network = case.weight.layer_network
    path = data.draw(paths_over(len(network.inputs)))
    chosen = plan(network, PlanOptions(optimize=path), mode=mode, batch_size=5)
    if rebuilds(path, network):
        assert chosen.implementation == "reconstructed"
        with pytest.raises(ImplementationError, match="rebuilds the weight .* Pass implementation='auto'"):
            plan(network, PlanOptions("factorized", path), mode=mode, batch_size=5)
    elif len(network.inputs) > 2:  # of a single operand, the input meets the weight either way
        assert chosen.implementation == "factorized"
        with pytest.raises(ImplementationError, match="does not rebuild the weight .* Pass implementation='auto'"):
            plan(network, PlanOptions("reconstructed", path), mode=mode, batch_size=5)


def test_only_the_rebuilt_weight_is_called_the_weight():
    """CP with the weights of its components last: the factors alone carry all modes, but are not the weight yet."""
    layer = FactorizedLinear((3, 2), (2, 3), factorization="cp", rank=2, rng=0)
    operands = ["x", "weights", "factors.0", "factors.1", "factors.2", "factors.3"]
    assert list(layer.plan(1).network.names) == operands
    late = layer.with_options(optimize=[(2, 3), (2, 4), (2, 3), (0, 2), (0, 1)]).plan(5)
    assert late.implementation == "reconstructed"
    assert [step.name for step in late.steps] == ["t1", "t2", "t3", "t4", "result"]
    whole = layer.with_options(optimize=[(1, 2), (1, 4), (1, 3), (1, 2), (0, 1)]).plan(5)
    assert [step.name for step in whole.steps] == ["t1", "t2", "t3", "weight", "result"]


@given(cases(), st.sampled_from(DETERMINISTIC), st.integers(1, 300))
def test_an_algorithm_is_followed_for_the_bucket_of_the_batch(case, name, batch_size):
    network = case.weight.layer_network
    sizes = {**network.sizes, BATCH: 1 << (batch_size - 1).bit_length()}
    inputs = [frozenset(labels) for labels in network.reduced_inputs]
    path = get_path_fn(name)(inputs, frozenset(network.output), sizes)
    expected = tree_of_path(path, len(inputs))
    if rebuilds(path, network):
        with pytest.raises(ImplementationError, match=f"optimize='{name}' rebuilds the weight"):
            plan(network, PlanOptions("factorized", name), batch_size=batch_size)
    else:
        assert tree_of_plan(plan(network, PlanOptions("factorized", name), batch_size=batch_size)) == expected
    chosen = plan(network, PlanOptions(optimize=name), batch_size=batch_size)
    assert chosen.implementation == "reconstructed" or tree_of_plan(chosen) == expected


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_the_paths_of_opt_einsum_and_numpy_are_taken_as_they_are(factorization):
    rank = "same" if factorization == "dense" else 2
    layer = FactorizedLinear((3, 2), (2, 4), factorization=factorization, rank=rank, rng=0)
    network = layer.plan(5).network
    pairs = zip(network.inputs, network.names, strict=True)
    arguments = [part for labels, _ in pairs for part in (np.ones(network.shape(labels, 5)), [k + 1 for k in labels])]
    arguments.append([label + 1 for label in network.output])
    for path in (
        opt_einsum.contract_path(*arguments, optimize="optimal")[0],
        np.einsum_path(*arguments, optimize=("optimal", 10**9))[0],
    ):
        pairs_alone = [pair for pair in path if not isinstance(pair, str)]
        found = layer.with_options(optimize=path).plan(5)
        assert tree_of_plan(found) == tree_of_path(pairs_alone, len(network.inputs))


class Recorder:
    """An optimizer that notes what it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, inputs, output, size_dict, memory_limit=None):
        self.asked.append((len(inputs), size_dict.get(BATCH)))
        return [(0, 1)] * (len(inputs) - 1)


def test_an_optimizer_is_asked_once_a_bucket_and_once_for_the_weight():
    """Not once a call, and not anew for a mode, a dtype, an implementation or a limit of memory."""
    recorder = Recorder()
    layer = FactorizedLinear((4, 6), (3, 7), factorization="tt", rank=3, rng=0).with_options(optimize=recorder)
    n = len(layer.plan(1).network.inputs)
    for size in np.random.default_rng(0).permutation(100) + 1:
        layer(np.zeros((size, 24)))
        layer.vjp(np.zeros((size, 24), np.complex64))
        layer.freeze()(np.zeros((size, 24)))
        layer.with_options(memory_limit=10**6 + size, memory="recompute").plan(size, "training")
        with contextlib.suppress(MemoryLimitError):
            layer.with_options(memory_limit=layer.plan(size).peak_bytes // 2).plan(size)
    whole = [size for length, size in recorder.asked if length == n]
    assert sorted(whole) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert sum(length == n - 1 for length, _ in recorder.asked) == 1
    assert len(recorder.asked) == 9


@pytest.mark.parametrize(
    "optimize",
    ["dp", [(0, 1)] * 4, OPTIMIZERS["opt_einsum.RandomGreedy"], OPTIMIZERS["opt_einsum.DynamicProgramming"]],
    ids=["name", "path", "RandomGreedy", "DynamicProgramming"],
)
def test_a_layer_with_options_is_copied_and_pickled(optimize):
    layer = FactorizedLinear((4, 3), (2, 5), factorization="tt", rank=3, rng=0)
    layer = layer.with_options(optimize=optimize, memory="recompute", memory_limit=10**6)
    x = np.ones((3, 12))
    expected = layer(x)
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), copy.copy(layer)):
        np.testing.assert_array_equal(again(x), expected)
        assert (again.options.memory, again.options.memory_limit) == ("recompute", 10**6)
        assert isinstance(again.options.optimize, type(layer.options.optimize))
    assert layer.with_parameters(layer.parameters()).options is layer.options
    assert layer.with_options(implementation="reconstructed").options.optimize == layer.options.optimize


@given(cases(), st.data())
def test_the_function_takes_an_order_too(case, data):
    n = len(case.weight.layer_network.inputs)
    optimize = data.draw(st.one_of(paths_over(n), st.sampled_from(ALGORITHMS), st.sampled_from([*OPTIMIZERS.values()])))
    expected = factorized_linear(case.x, case.weight, case.bias)
    found = factorized_linear(case.x, case.weight, case.bias, optimize=optimize, memory_limit=2**30)
    np.testing.assert_array_equal(found, expected)


REMEDY = "is none of: None, the name of an algorithm of opt_einsum such as 'dp', a path of pairs"
UNHASHABLE = type("Unhashable", (Recorder,), {"__eq__": lambda self, other: True})()


@pytest.mark.parametrize(
    ("optimize", "remedy"),
    [
        ("optimum", "is not an algorithm of opt_einsum. Choose one of 'auto', 'auto-hq', 'branch-1'"),
        ("", "is not an algorithm of opt_einsum"),
        *((value, REMEDY) for value in (False, True, 5, 1.5, {}, {(0, 1)}, b"dp", range(3), np.zeros((4, 2), int))),
        *((value, REMEDY) for value in ([0, 1], ["ab"], [("a", "b")], [(0, 1, 2)], [(0,)], [(0.0, 1.0)], [{0, 1}])),
        *((value, REMEDY) for value in ([np.array([0, 1])], [(0, 1), "einsum_path"], [(True, False)])),
        (UNHASHABLE, "cannot be hashed, so that no plan could be found again. Give its class a __hash__, or pass a"),
    ],
    ids=lambda value: "unhashable" if value is UNHASHABLE else repr(value),
)
def test_what_is_no_order_is_refused_when_the_layer_is_made(optimize, remedy):
    layer = FactorizedLinear((3, 2), (2, 3), factorization="tt", rank=2, rng=0)
    with pytest.raises(OptionError, match=f"^optimize={re.escape(repr(optimize))} {re.escape(remedy)}"):
        layer.with_options(optimize=optimize)
    with pytest.raises(OptionError, match=re.escape(remedy)):
        factorized_linear(np.ones(6), layer.weight, optimize=optimize)


WRONG_PATHS = [
    *([], [(0, 1)], [(0, 1)] * 3, [(0, 1)] * 5, [(0, 0), (0, 1), (0, 1), (0, 1)], [(0, 5), (0, 1), (0, 1), (0, 1)]),
    *([(0, 1), (0, 1), (0, 1), (0, 2)], [(0, -1), (0, 1), (0, 1), (0, 1)]),
]


@pytest.mark.parametrize("path", WRONG_PATHS, ids=repr)
@pytest.mark.parametrize("form", ["path", "optimizer"])
def test_a_path_over_other_operands_is_refused(path, form):
    layer = FactorizedLinear((3, 2), (2, 3), factorization="tt", rank=2, rng=0)
    layer = layer.with_options(optimize=path if form == "path" else lambda *arguments: path)
    says = re.escape(f"path {path}") + ".* does not contract the 5 operands .*, two at a time. Pass 4 pairs of places"
    for call in (lambda: layer(np.ones(6)), lambda: layer.vjp(np.ones((5, 6))), lambda: layer.freeze()(np.ones(6))):
        with pytest.raises(OptionError, match=says):
            call()


@pytest.mark.parametrize(
    "found", [None, 5, "xx", [(0, 1, 2), (0, 1), (0, 1)], [(0,)] * 4, [(0.0, 1.0)] * 4, ["ab"] * 4], ids=repr
)
def test_what_an_optimizer_finds_must_be_a_path_of_pairs(found):
    layer = FactorizedLinear((3, 2), (2, 3), factorization="tt", rank=2, rng=0)

    def optimizer(*arguments):
        return found

    says = f"^optimize={re.escape(repr(optimizer))} found the path {re.escape(repr(found))}, which does not contract"
    with pytest.raises(OptionError, match=f"{says} .* or an optimizer that finds them"):
        layer.with_options(optimize=optimizer)(np.ones(6))


def test_the_error_of_an_optimizer_is_told():
    def optimizer(inputs, output, size_dict):
        raise RuntimeError("out of luck")

    layer = FactorizedLinear((3, 2), (2, 3), factorization="tt", rank=2, rng=0).with_options(optimize=optimizer)
    with pytest.raises(OptionError, match=r"found no path for .*: RuntimeError: out of luck. Pass") as info:
        layer(np.ones(6))
    assert isinstance(info.value.__cause__, RuntimeError)


@pytest.mark.parametrize(("name", "most"), [("optimal", 9), ("branch-all", 11)])
def test_what_would_try_orders_for_hours_is_refused(name, most):
    """A train of d cores and the input are d + 1 operands."""
    for n_modes in (most // 2, most // 2 + 1):
        layer = FactorizedLinear((1,) * n_modes, (2,) * (most - n_modes), factorization="tt", rank=1, rng=0)
        with pytest.raises(
            OptionError, match=rf"^optimize='{name}' tries the orders of {most + 1} operands .* Pass 'dp'"
        ):
            layer.with_options(optimize=name).plan(4)
        assert len(layer.with_options(optimize="dp").plan(4).steps) == most


@pytest.mark.parametrize("name", ["dp", "auto-hq"])
def test_so_is_dynamic_programming_over_operands_that_all_meet(name):
    """Of CP all operands do; of a train, only neighbours, and those that meet the input."""
    for factorization, n_in, n_out in (("cp", 6, 6), ("tt", 13, 2)):
        layer = FactorizedLinear((2,) * n_in, (2,) * n_out, factorization=factorization, rank=1, rng=0)
        with pytest.raises(OptionError, match=rf"^optimize='{name}' tries all connected sets of .* 13; .* Pass 'auto'"):
            layer.with_options(optimize=name).plan(4)
    train = FactorizedLinear((2,) * 4, (2,) * 16, factorization="tt", rank=1, rng=0)
    assert len(train.with_options(optimize=name).plan(4).steps) == 20
    with pytest.raises(OptionError, match=r"^optimize='optimal' tries the orders of 14 .* Pass 'auto'"):
        FactorizedLinear((2,) * 6, (2,) * 6, factorization="cp", rank=1, rng=0).with_options(optimize="optimal").plan(4)
