"""A batch cut into chunks gives what the whole batch gives; with integers, to the bit."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from cases import IMPLEMENTATIONS, cases, integers
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear
from tlinear.contraction.execute import contract, intermediates, push_forward
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import plan
from tlinear.contraction.tape import contract_with_tape


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.integers(0, 11), st.integers(1, 12))
def test_chunks_change_neither_the_result_nor_the_gradients(case, implementation, batch_size, chunk_size):
    network, dtype = case.weight.layer_network, case.weight.dtype
    x = integers(case.rng, (batch_size, *case.weight.in_shape), dtype)
    dy = integers(case.rng, (batch_size, *case.weight.out_shape), dtype)
    operands = [x, *case.weight.operands.values()]
    dense = case.weight.to_matrix()
    for mode in ("forward", "training"):
        whole = plan(network, PlanOptions(implementation), mode=mode, batch_size=batch_size, dtype=dtype)
        whole = dataclasses.replace(whole, chunk_size=max(batch_size, 1))
        cut = dataclasses.replace(whole, chunk_size=chunk_size)
        expected = (x.reshape(batch_size, case.weight.in_features) @ dense.T).reshape(dy.shape)
        np.testing.assert_array_equal(contract(whole, operands).ravel(), expected.ravel())
        np.testing.assert_array_equal(contract(cut, operands).ravel(), expected.ravel())
        results = [contract_with_tape(each, operands) for each in (whole, cut)]
        gradients = [list(tape.pull_back(dy).values()) for _, tape in results]
        for (y, _), found in zip(results, gradients, strict=True):
            np.testing.assert_array_equal(y.reshape(expected.shape), expected)
            np.testing.assert_array_equal(
                found[0].reshape(x.shape),
                (dy.reshape(batch_size, case.weight.out_features) @ dense.conj()).reshape(x.shape),
            )
            for gradient, reference, operand in zip(found, gradients[0], operands, strict=True):
                assert gradient.shape == operand.shape
                np.testing.assert_array_equal(gradient, reference)
        *_, (name, _, last) = intermediates(cut, operands)
        assert name == cut.steps[-1].name
        np.testing.assert_array_equal(last.transpose(cut.output_axes), expected)


@pytest.mark.parametrize("n_samples", [0, 1, 16, 100, 1000])
def test_a_layer_that_is_chunked_is_the_dense_layer(n_samples):
    layer = FactorizedLinear((4, 8, 8, 4), (4, 8, 8, 4), factorization="blocktt", rank=2, dtype=np.float32, rng=0)
    rng = np.random.default_rng(0)
    cores = {name: integers(rng, core.shape, np.float32) for name, core in layer.weight.operands.items()}
    layer = FactorizedLinear.from_weight(layer.weight.with_operands(cores), implementation="factorized")
    x, dense = integers(rng, (n_samples, 1024), np.float32), layer.weight.to_matrix()
    assert layer.plan(1000).chunk_size < 1000
    y, pullback = layer.vjp(x)
    np.testing.assert_array_equal(y, x @ dense.T)
    np.testing.assert_array_equal(layer(x), x @ dense.T)
    np.testing.assert_array_equal(pullback(y % 5).x, (y % 5) @ dense)


@pytest.mark.parametrize("chunk_size", [1, 3, 16, 40])
@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
def test_chunks_add_no_more_than_the_sums_over_the_batch_can(factorization, chunk_size):
    """|g^ - g| <= gamma_K contract(|dy|, |other operands|), K the longest chain of roundings, over the batch too."""
    layer = FactorizedLinear((4, 3), (3, 5), factorization=factorization, rank=3, dtype=np.float32, rng=1)
    rng = np.random.default_rng(2)
    x, dy = (rng.standard_normal((40, n)).astype(np.float32) for n in (12, 15))
    network = layer.weight.layer_network
    found = plan(network, PlanOptions("factorized"), mode="training", batch_size=40, dtype=np.float32)
    cut = dataclasses.replace(found, chunk_size=chunk_size)
    arrays = [x.reshape(40, 4, 3), *layer.weight.operands.values()]
    cotangent = dy.reshape(40, 3, 5)

    def gradients(of, convert):
        _, tape = contract_with_tape(dataclasses.replace(of, dtype=np.dtype(np.float64)), [convert(a) for a in arrays])
        return list(tape.pull_back(convert(cotangent)).values())

    exact = gradients(found, lambda a: a.astype(np.float64))
    absolute = gradients(found, lambda a: np.abs(a).astype(np.float64))
    _, tape = contract_with_tape(cut, arrays)
    k = 0
    for pair in (step.pair for step in cut.steps):
        a, b, out, multiplied = (
            network.size(labels, 40) for labels in (pair.a, pair.b, pair.out, tuple({*pair.a, *pair.b}))
        )
        # how many products one entry of C, of dA or of dB is the sum of, over all chunks
        k += max(multiplied // out, multiplied // a, multiplied // b)
    gamma = k * 2.0**-24 / (1 - k * 2.0**-24)
    for gradient, reference, size in zip(tape.pull_back(cotangent).values(), exact, absolute, strict=True):
        assert np.all(np.abs(gradient - reference) <= (gamma + k * 2.0**-52) * size)


@given(cases(), st.sampled_from(IMPLEMENTATIONS), st.integers(0, 11), st.integers(1, 12), st.data())
def test_chunks_change_no_pushforward(case, implementation, batch_size, chunk_size, data):
    network, dtype = case.weight.layer_network, case.weight.dtype
    operands = [integers(case.rng, (batch_size, *case.weight.in_shape), dtype), *case.weight.operands.values()]
    tangents = [case.like(operand) if data.draw(st.booleans()) else None for operand in operands]
    whole = plan(network, PlanOptions(implementation), batch_size=batch_size, dtype=dtype)
    whole = dataclasses.replace(whole, chunk_size=max(batch_size, 1))
    cut = dataclasses.replace(whole, chunk_size=chunk_size)
    for found, expected in zip(
        push_forward(cut, operands, tangents), push_forward(whole, operands, tangents), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_pushforward_holds_a_chunk_beside_its_results():
    """Result and tangent for all samples; of one chunk, twice what a forward pass has, the sum and its terms."""
    layer = FactorizedLinear((4, 8, 8, 4), (4, 8, 8, 4), factorization="blocktt", rank=8, bias=False, rng=0)
    chosen = layer.with_options(implementation="factorized").plan(512)
    chosen = dataclasses.replace(chosen, chunk_size=16)
    x = np.ones((512, 4, 8, 8, 4))
    operands = [x, *layer.weight.operands.values()]
    push_forward(chosen, operands, operands)
    tracemalloc.start()
    result, change = push_forward(chosen, operands, operands)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    of_chunk = sum(chosen.network.size(step.pair.out, 16) for step in chosen.steps)
    assert result.nbytes + change.nbytes < most <= result.nbytes + change.nbytes + 8 * 3 * of_chunk
