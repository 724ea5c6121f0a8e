"""Only the gradients asked for are computed, and they are the same; memory='recompute' changes none of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from cases import IMPLEMENTATIONS, cases
from hypothesis import given
from hypothesis import strategies as st

import tlinear
from tlinear import FactorizedLinear, Linear
from tlinear.arrays import Array
from tlinear.contraction.network import Labels
from tlinear.contraction.plan import Plan
from tlinear.errors import OptionError, ParameterError
from tlinear.formats import FactorizedTensor
from tlinear.optim import Adam


def pullbacks_called(pullback, dy):
    """The names of the pullbacks that are called, each with whether it is that of the input's first step."""
    plan, plain, called = pullback.tape.plan, Plan.batch_kernels, []

    def spied(kernel, is_first):
        def spy(name):
            return lambda *arrays: (called.append((name, is_first)), getattr(kernel, name)(*arrays))[1]

        return dataclasses.replace(kernel, **{name: spy(name) for name in ("to_a", "to_a_into", "to_b")})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Plan, "batch_kernels", lambda plan, n: tuple(spied(one, k == 0) for k, one in enumerate(plain(plan, n)))
        )
        program = tuple((spied(kernel, False), a, b) for kernel, a, b in plan.weight_program)
        patch.setitem(vars(plan), "weight_program", program)
        pullback(dy)
    return called


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.sampled_from(["store", "recompute"]), st.data())
def test_what_is_asked_for_is_what_all_would_give(case, implementation, memory, data):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    y, pullback = layer.vjp(case.x)
    everything = pullback(case.dy)
    wrt = data.draw(st.sets(st.sampled_from(["x", *layer.parameters()])))
    again, pullback = layer.with_options(memory=memory).vjp(case.x, wrt)
    some = pullback(case.dy)
    np.testing.assert_array_equal(again, y)
    assert set(some.parameters) == wrt - {"x"}
    for name, gradient in some.parameters.items():
        assert gradient.dtype == everything.parameters[name].dtype
        np.testing.assert_array_equal(gradient, everything.parameters[name])
    if "x" in wrt:
        np.testing.assert_array_equal(some.x, everything.x)
    else:
        assert some.x is None


def test_no_product_is_done_for_what_is_not_asked_for():
    """Of a sweep over n cores: n products for all cores, n - 1 for the cotangents between them, and one for x."""
    layer = FactorizedLinear((4, 8, 4), (4, 8, 4), factorization="tt", rank=3, implementation="factorized", rng=0)
    x = np.ones((5, 128))
    counts = {}
    for wrt in (None, ["x"], ["bias"], [], ["weight.cores.0"], list(layer.parameters())):
        _, pullback = layer.vjp(x, wrt)
        counts[None if wrt is None else tuple(wrt)] = len(pullbacks_called(pullback, np.ones((5, 128))))
    n_steps = len(layer.plan(5, mode="training").steps)
    assert counts[None] == 2 * n_steps
    assert counts[tuple(layer.parameters())] == 2 * n_steps - 1
    assert counts["bias",] == counts[()] == 0
    assert max(counts["x",], counts["weight.cores.0",]) <= n_steps


def test_unknown_names_and_policies_are_refused():
    layer = FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, bias=False, rng=0)
    for wrt in (["cores.0"], ["bias"], "weight"):
        with pytest.raises(
            ParameterError, match=r"The names in wrt do not match. Unknown: .*Choose from \['weight.cores"
        ):
            layer.vjp(np.ones(16), wrt)
    with pytest.raises(
        OptionError, match="memory='checkpoint' is not known. Choose one of 'store', 'recompute', 'auto'"
    ):
        layer.with_options(memory="checkpoint")
    y, pullback = tlinear.FactorizedLinear((4, 4), (2, 5), rng=0).vjp(np.ones(16), "x")
    assert not pullback(y).parameters


def test_the_dense_layer_computes_what_is_asked_for_too():
    layer = Linear(6, 4, rng=0)
    x, dy = np.ones((3, 6)), np.ones((3, 4))
    everything = layer.vjp(x)[1](dy)
    for wrt in (["x"], ["weight"], ["bias"], [], "x", ["x", "weight", "bias"]):
        some = layer.vjp(x, wrt)[1](dy)
        names = {wrt} if isinstance(wrt, str) else set(wrt)
        assert set(some.parameters) == names - {"x"}
        assert (some.x is not None) == ("x" in names)
        for name, gradient in some.parameters.items():
            np.testing.assert_array_equal(gradient, everything.parameters[name])
        if some.x is not None:
            np.testing.assert_array_equal(some.x, everything.x)
    with pytest.raises(ParameterError, match="The names in wrt do not match"):
        layer.vjp(x, ["weight.core"])


@pytest.mark.parametrize("wrt", [5, [1], [["x"]], ["x", 1], [None], 2.5])
def test_what_is_no_collection_of_names_is_refused(wrt):
    for layer in (Linear(16, 10, rng=0), FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, rng=0)):
        with pytest.raises(ParameterError, match="is not a collection of names. Choose from"):
            layer.vjp(np.ones(16), wrt)


@dataclass(frozen=True, eq=False, repr=False)
class Scaled(FactorizedTensor):
    """``W[i, o] = scale matrix[i, o]``: an operand without axes."""

    matrix: Array
    scale: Array

    factorization: ClassVar[str] = "scaled"

    @property
    def n_modes(self) -> int:
        return 2

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        return {"matrix": (0, 1), "scale": ()}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return ()


def test_the_gradient_of_a_number_is_a_number():
    layer = FactorizedLinear.from_weight(Scaled(np.ones((3, 4)), np.array(2.0), n_in=1))
    y, pullback = layer.vjp(np.ones((5, 3)))
    gradients = pullback(y)
    assert gradients.parameters["weight.scale"].shape == ()
    assert gradients.parameters["weight.scale"] == np.sum(y * y) / 2.0
    adam = Adam(learning_rate=0.1)
    adam.update(layer.parameters(), gradients.parameters, adam.init(layer.parameters()))


def kept(tape):
    """What the forward pass has stored of each chunk."""
    return [start for chunk in tape.chunks for start in chunk if start is not None]


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.data())
def test_nothing_is_kept_that_no_gradient_asked_for_depends_on(case, implementation, data):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    layer = layer.with_options(memory="store")
    for wrt in (["x"], ["bias"] if case.bias is not None else [], []):
        assert not kept(layer.vjp(case.x, wrt)[1].tape)
    wrt = data.draw(st.sets(st.sampled_from(list(layer.parameters()))))
    pullback = layer.vjp(case.x, wrt)[1]
    plan, names = pullback.tape.plan, ("x", *layer.parameters())
    inside = [{k} for k in range(len(plan.network.inputs))]
    for step in plan.steps:
        inside.append(inside[step.a] | inside[step.b])
    asked = {k for k, name in enumerate(names) if name in wrt}
    for chunk in pullback.tape.chunks:
        assert [start is not None for start in chunk] == [bool(inside[step.b] & asked) for step in plan.batch_steps]


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.sampled_from(["store", "recompute"]))
def test_the_pullbacks_of_what_is_not_asked_for_are_not_called(case, implementation, memory):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    layer = layer.with_options(memory=memory)
    for wrt, unused in ((["x"], "to_b"), (list(layer.parameters()), "to_a"), ([], "to_a"), ([], "to_b")):
        _, pullback = layer.vjp(case.x, wrt)
        called = [of_first for name, of_first in pullbacks_called(pullback, case.dy) if name.startswith(unused)]
        if unused == "to_a" and wrt:  # through the steps after the first only
            assert not any(called)
        else:
            assert not called


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_auto_is_one_of_both_policies_and_gives_what_both_give(case, implementation):
    layer = FactorizedLinear.from_weight(case.weight, case.bias, implementation=implementation)
    found = {}
    for memory in ("auto", "store", "recompute"):
        chosen = layer.with_options(memory=memory)
        y, pullback = chosen.vjp(case.x)
        gradients = pullback(case.dy)
        found[memory] = [y, gradients.x, *gradients.parameters.values()]
        assert chosen.plan(5, "training").memory == memory or memory == "auto"
    for arrays in zip(*found.values(), strict=True):
        for array in arrays[1:]:
            np.testing.assert_array_equal(array, arrays[0])
