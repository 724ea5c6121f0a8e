"""A plan says what will be computed, is searched once a structure, and pays two products a step to go back."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from cases import FACTORIZATIONS, cases, modes, ranks
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear import FactorizedLinear
from tlinear.contraction.execute import contract
from tlinear.contraction.network import BATCH, Network
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import cached_plan, plan
from tlinear.contraction.tape import contract_with_tape
from tlinear.errors import ImplementationError, NetworkError, OptionError, ShapeError
from tlinear.formats import FORMATS

PLANNED = ("factorized", "reconstructed", "auto")


@st.composite
def layer_networks(draw):
    cls = FORMATS[draw(st.sampled_from(FACTORIZATIONS))]
    in_shape, out_shape = draw(modes), draw(modes)
    return cls.network_for(in_shape, out_shape, draw(ranks(cls, in_shape, out_shape))).with_input()


@given(layer_networks(), st.sampled_from(PLANNED), st.integers(0, 300))
def test_every_step_joins_two_slots_and_the_last_is_the_output(network, implementation, batch_size):
    chosen = plan(network, PlanOptions(implementation), batch_size=batch_size)
    n = len(network.inputs)
    used = [slot for step in chosen.steps for slot in (step.a, step.b)]
    assert sorted(used) == list(range(n + len(chosen.steps) - 1))
    assert len(chosen.steps) == n - 1
    assert set(chosen.steps[-1].pair.out) == set(network.output)
    assert str(network) in str(chosen)
    assert all(chosen.equation(step).split(" = ")[1] in str(chosen) for step in chosen.steps)


@given(layer_networks(), st.integers(0, 300))
def test_only_the_reconstructed_plan_forms_the_dense_weight(network, batch_size):
    everything = set(range(network.n_modes))
    for mode in ("forward", "training"):
        factorized = plan(network, PlanOptions("factorized"), mode=mode, batch_size=batch_size)
        for step in factorized.steps:
            assert BATCH in step.pair.out or not everything <= set(step.pair.out)


@given(layer_networks(), st.integers(0, 300))
def test_auto_takes_the_plan_that_is_predicted_to_be_faster(network, batch_size):
    for mode in ("forward", "training"):
        seconds = {
            implementation: cached_plan(
                network, PlanOptions(implementation), mode, 1 << batch_size.bit_length(), np.dtype(float)
            ).seconds
            for implementation in PLANNED
        }
        assert seconds["auto"] == min(seconds["factorized"], seconds["reconstructed"])


@given(layer_networks(), st.sampled_from(["factorized", "reconstructed"]), st.integers(1, 300))
def test_backward_costs_two_products_a_step(network, implementation, batch_size):
    """Each step is pulled back by two contractions over the same indices as its own."""
    training = plan(network, PlanOptions(implementation), mode="training", batch_size=batch_size)
    for step in training.steps:
        multiplied = network.size(tuple(set(step.pair.a) | set(step.pair.b)), batch_size)
        assert 2 * multiplied <= step.pair.backward_flops(batch_size) <= 4 * multiplied
        if step.pair.contracted:
            assert step.pair.flops(batch_size) == 2 * multiplied


@given(cases())
def test_flops_are_those_of_the_products_that_are_done(case):
    """Counted independently: 2 (or 1, with nothing to sum) for every combination of the indices of a step."""
    network = case.weight.layer_network
    for mode, dtype in itertools.product(("factorized", "reconstructed"), (np.float64, np.complex128)):
        chosen = plan(network, PlanOptions(mode), batch_size=5, dtype=dtype)
        expected = 0
        for step in chosen.steps:
            labels = set(step.pair.a) | set(step.pair.b)
            summed = labels - set(step.pair.out)
            expected += (2 if summed else 1) * network.size(sorted(labels), 5)
        assert chosen.flops == expected * (4 if dtype == np.complex128 else 1)


def test_no_call_searches_an_order_twice():
    """Batches 1 .. 1000 in random order ask for one search a power of two, whatever their number of axes."""
    layer = FactorizedLinear((4, 6), (3, 7), factorization="tt", rank=3, implementation="factorized", rng=0)
    before = cached_plan.cache_info().misses
    for size in np.random.default_rng(0).permutation(1000) + 1:
        layer(np.zeros((size, 24)))
    layer(np.zeros(24))
    layer(np.zeros((5, 10, 24)))
    FactorizedLinear.from_weight(layer.weight.with_operands(layer.weight.operands), implementation="factorized")(
        np.zeros((7, 24))
    )
    assert cached_plan.cache_info().misses - before == 11  # 1, 2, 4, .., 1024


def test_the_cache_is_bounded():
    assert cached_plan.cache_info().maxsize == 512


def test_a_label_that_one_operand_alone_carries_is_summed_over():
    """Not only bonds of size 1: any network that a format may state."""
    network = Network(("A", "B"), ((0, 2), (2, 1, 3)), (0, 1), ((0, 2), (1, 3), (2, 4), (3, 5)), n_in=1, n_modes=2)
    a, b = np.arange(8.0).reshape(2, 4), np.arange(60.0).reshape(4, 3, 5)
    chosen = plan(network)
    np.testing.assert_array_equal(contract(chosen, [a, b]), a @ b.sum(axis=2))
    result, tape = contract_with_tape(chosen, [a, b])
    da, db = tape.pull_back(np.ones_like(result)).values()
    np.testing.assert_array_equal(da, np.ones((2, 3)) @ b.sum(axis=2).T)
    np.testing.assert_array_equal(db, np.repeat((a.T @ np.ones((2, 3)))[:, :, None], 5, axis=2))


def test_the_same_figures_whatever_the_chunk():
    layer = FactorizedLinear((4, 6), (3, 7), factorization="tt", rank=3, rng=0)
    whole = layer.plan(100)
    small = dataclasses.replace(whole, chunk_size=7)
    assert (small.flops, small.bytes_moved) == (whole.flops, whole.bytes_moved)


def test_figures_of_a_plan_worked_by_hand():
    """x (3 x 16) with cores (4 x 2) and (2 x 4) of a rank-2 matrix (TT of one mode a side): two products."""
    tensor = tlinear.TTTensor.random((4,), (4,), 2, rng=0)
    chosen = plan(tensor.layer_network, PlanOptions("factorized"), batch_size=3)
    assert chosen.flops == 2 * 3 * 4 * 2 + 2 * 3 * 2 * 4
    assert chosen.bytes_moved == 8 * ((12 + 8 + 6) + (6 + 8 + 12))
    assert chosen.peak_bytes == 8 * (6 + 12)  # both cores are read as they lie
    training = plan(tensor.layer_network, PlanOptions("factorized"), mode="training", batch_size=3)
    assert training.flops == 3 * chosen.flops


@pytest.mark.parametrize("implementation", ["factorised", "dense", None, 1])
def test_unknown_implementation_is_refused_at_construction(implementation):
    linear = tlinear.Linear(16, 10, rng=0)
    weight = tlinear.TTTensor.random((4, 4), (2, 5), 2, rng=0)
    for build in (
        lambda: FactorizedLinear((4, 4), (2, 5), implementation=implementation),
        lambda: FactorizedLinear.from_linear(linear, implementation=implementation),
        lambda: FactorizedLinear.from_weight(weight, implementation=implementation),
        lambda: tlinear.factorized_linear(np.ones(16), weight, implementation=implementation),
        lambda: plan(weight.layer_network, PlanOptions(implementation)),
    ):
        with pytest.raises(ImplementationError, match="Choose one of 'factorized', 'reconstructed', 'auto'"):
            build()


def test_unknown_mode_and_negative_batch_are_refused():
    layer = FactorizedLinear((4, 4), (2, 5), rng=0)
    with pytest.raises(OptionError, match="mode='backward' is not known. Choose one of 'forward', 'training'"):
        layer.plan(1, mode="backward")
    for batch_size in (-1, 2.5, "3", None, True, (4, 16)):
        with pytest.raises(ShapeError, match="is not a number of samples"):
            layer.plan(batch_size)
    assert layer.plan(np.int64(3)).flops == layer.plan(3).flops


def test_labels_that_form_no_network_are_refused():
    with pytest.raises(NetworkError, match=r"Operand 'A' carries a label twice: \[i1 i1\]"):
        Network(("A",), ((0, 0),), (0,), ((0, 2),), n_in=1, n_modes=1)
    with pytest.raises(NetworkError, match=r"output labels that no operand carries: \[1\]"):
        Network(("A",), ((0,),), (0, 1), ((0, 2), (1, 2)), n_in=1, n_modes=2)
    with pytest.raises(NetworkError, match=r"Labels without a size: \[1\]"):
        Network(("A",), ((0, 1),), (0,), ((0, 2),), n_in=1, n_modes=2)


@given(layer_networks(), st.sampled_from(PLANNED), st.integers(0, 300))
def test_a_plan_can_be_written_as_json_and_auto_says_why(network, implementation, batch_size):
    chosen = plan(network, PlanOptions(implementation), batch_size=batch_size)
    figures = json.loads(json.dumps(chosen.to_dict()))
    assert sum(step["flops"] for step in figures["steps"]) == figures["flops"] == chosen.flops
    assert (figures["chunk_size"], figures["peak_bytes"]) == (chosen.chunk_size, chosen.peak_bytes)
    assert figures["dense_seconds"] > 0
    assert bool(chosen.reason) == (implementation == "auto")
    assert chosen.reason in str(chosen)


@given(layer_networks(), st.sampled_from(PLANNED), st.sampled_from(["forward", "training", "frozen"]))
def test_json_says_what_is_kept_and_what_each_step_takes(network, implementation, mode):
    chosen = plan(network, PlanOptions(implementation), mode=mode, batch_size=40)
    figures = json.loads(json.dumps(chosen.to_dict()))
    assert figures == chosen.to_dict()
    assert (figures["memory"], figures["mode"]) == (chosen.memory, mode)
    assert [step["name"] for step in figures["steps"]] == [step.name for step in chosen.steps]
    assert all(step["seconds"] > 0 for step in figures["steps"])


@given(layer_networks(), st.sampled_from(["forward", "training"]), st.integers(0, 300))
def test_a_printed_plan_is_a_table_of_every_figure(network, mode, batch_size):
    chosen = plan(network, PlanOptions(), mode=mode, batch_size=batch_size)
    lines = str(chosen).splitlines()
    start = next(k for k, line in enumerate(lines) if line.split()[:2] == ["step", "shape"])
    head, rows = lines[start], lines[start + 1 : start + 1 + len(chosen.steps)]
    ends = [head.index(title) + len(title) for title in ("shape", "FLOPs", "bytes", "us")]
    for row, step in zip(rows, chosen.to_dict()["steps"], strict=True):
        figures = f"{step['flops']:,}", f"{step['bytes_moved']:,}", f"{step['seconds'] * 1e6:,.1f}"
        cells = ["x".join(map(str, step["shape"])), *figures]
        assert row.split()[: 1 + len(cells)] == [step["name"], *cells]
        for cell, end in zip(cells, ends, strict=True):
            assert row[:end].endswith(f" {cell}")
        assert row[head.index("contraction") :] == step["equation"].split(" = ")[1]
    total = lines[start + 1 + len(chosen.steps)]
    assert f"{chosen.flops:,}" in total
    assert total[: ends[1]].endswith(f" {chosen.flops:,}")
    assert total[: ends[2]].endswith(f" {chosen.bytes_moved:,}")


def test_more_modes_on_a_side_than_an_array_has_axes_are_refused_in_words():
    with pytest.raises(ShapeError, match="One side has 64 modes, but an array can have 64 axes, the batch among them"):
        FactorizedLinear((1,) * 64, (2,), factorization="tt", rank=1, rng=0)(np.ones(1))
