"""The plan is no slower than any order that opt_einsum offers, and does not depend on how an order is written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opt_einsum.paths import ssa_to_linear

from tlinear import FactorizedLinear
from tlinear.contraction import search
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.order import searches_by_name

SIZES = st.lists(st.sampled_from([2, 3, 5, 8, 16]), min_size=1, max_size=3).map(tuple)
BATCHES = st.sampled_from([1, 64, 1024])
MODES = st.sampled_from(["forward", "training"])


@st.composite
def layers(draw, most_modes=6):
    in_shape, out_shape = draw(SIZES), draw(SIZES)
    return FactorizedLinear(
        in_shape[: most_modes - 1],
        out_shape[: max(1, most_modes - len(in_shape))],
        factorization=draw(st.sampled_from(["cp", "tucker", "tt", "blocktt"])),
        rank=draw(st.sampled_from([1, 2, 4, 16])),
        dtype=np.float32,
        rng=0,
    )


def rounding(*plans):
    """Of the predicted seconds, which add up the steps in the order in which they are written."""
    return 8 * max(len(plan.steps) for plan in plans) * np.finfo(float).eps


@given(layers(), BATCHES, MODES)
def test_no_order_of_opt_einsum_is_predicted_to_be_faster(layer, batch_size, mode):
    taken = layer.plan(batch_size, mode)
    for name in ("dp", *searches_by_name(layer.weight.layer_network.reduced_inputs)):
        other = layer.with_options(optimize=name).plan(batch_size, mode)
        assert taken.seconds <= other.seconds * (1.0 + rounding(taken, other)), name


@pytest.mark.parametrize("name", ["dp", "auto-hq"])
@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_nor_is_one_of_many_operands(factorization, name):
    layer = FactorizedLinear((3, 4, 3, 3, 3), (2, 2, 16, 8), factorization=factorization, rank=2, rng=0)
    taken, other = layer.plan(3), layer.with_options(optimize=name).plan(3)
    assert taken.seconds <= other.seconds * (1.0 + rounding(taken, other))


@given(layers(), BATCHES, MODES, st.sampled_from([np.float32, np.complex128]), st.sampled_from(["cpu", "gpu"]))
def test_no_plan_undercuts_what_its_order_takes_at_least(layer, batch_size, mode, dtype, hardware):
    problem = search._Problem(layer.weight.layer_network, PlanOptions(), mode, batch_size, np.dtype(dtype), hardware)
    for implementation, orders in problem.orders.items():
        for order in orders:
            found = search._plan_of(problem, search._layouts(problem), order, implementation)
            assert problem.least_seconds(order) <= found.seconds * (1.0 + rounding(found))


@st.composite
def trees_written_twice(draw, n):
    """A random order over n operands, and the same one with its independent steps in another order."""
    left, children = list(range(n)), {}
    for new in range(n, 2 * n - 1):
        children[new] = tuple(left.pop(draw(st.integers(0, len(left) - 1))) for _ in range(2))
        left.append(new)
    name, ready, written = {slot: slot for slot in range(n)}, list(children), []
    while ready:
        possible = [node for node in ready if all(child in name for child in children[node])]
        node = draw(st.sampled_from(possible))
        pair = [name[child] for child in children[node]]
        written.append(tuple(pair[::-1] if draw(st.booleans()) else pair))
        name[node] = n + len(written) - 1
        ready.remove(node)
    return [ssa_to_linear(steps) for steps in (list(children.values()), written)]


@given(layers(), BATCHES, MODES, st.data())
def test_predicted_seconds_do_not_depend_on_how_steps_are_written(layer, batch_size, mode, data):
    n = len(layer.weight.operands) + 1
    first, second = (
        layer.with_options(optimize=path).plan(batch_size, mode) for path in data.draw(trees_written_twice(n))
    )
    assert abs(first.seconds - second.seconds) <= rounding(first, second) * first.seconds
