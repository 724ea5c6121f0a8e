"""The predicted peak is what tracemalloc sees, and recomputing holds the input only."""

import tracemalloc

import numpy as np
import pytest

from tlinear import FactorizedLinear

LAYERS = [((8, 8, 12), (8, 8, 12), 0.1), ((4, 8, 8, 4), (4, 8, 8, 4), 8), ((2, 7, 8, 8), (4, 4, 4, 4), 4)]


def peak(call):
    call()
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("factorization", ["cp", "tucker", "tt", "blocktt"])
@pytest.mark.parametrize(("in_shape", "out_shape", "rank"), LAYERS)
@pytest.mark.parametrize(("memory", "dtype"), [("store", np.complex64), ("recompute", np.float32)])
def test_predicted_peak_is_within_a_tenth_of_what_is_allocated(factorization, in_shape, out_shape, rank, memory, dtype):
    layer = FactorizedLinear(in_shape, out_shape, factorization=factorization, rank=rank, dtype=dtype, rng=0)
    layer = layer.with_options(memory=memory)
    for batch_size in (100, 512):
        x = np.ones((batch_size, layer.in_features), dtype)
        dy = np.ones((batch_size, layer.out_features), dtype)

        def train(x=x, dy=dy):
            y, pullback = layer.vjp(x)
            return y, pullback(dy)

        trained = layer.plan(batch_size, "training")
        predicted = trained.peak_bytes
        found = [(layer.plan(batch_size).peak_bytes, peak(lambda x=x: layer(x))), (predicted, peak(train))]
        large = [(own, seen) for own, seen in found if seen > 2_000_000]
        assert all(abs(own - seen) < 0.1 * seen for own, seen in large), found


def test_recomputing_takes_the_memory_of_a_chunk():
    layer = FactorizedLinear(
        (4, 8, 8, 4),
        (4, 8, 8, 4),
        factorization="blocktt",
        rank=8,
        dtype=np.float32,
        implementation="factorized",
        rng=0,
    )
    training = layer.plan(1024, "training")
    stored, recomputed = (training.footprint.training_entries(store=store) for store in (True, False))
    chunk = training.chunk_size / 1024
    assert recomputed < 3 * 1024 * 1024 + 2 * chunk * stored + 10 * layer.n_parameters * 64
    assert stored > 2 * recomputed


@pytest.mark.parametrize(("in_features", "out_features", "n_samples"), [(768, 512, 400), (512, 512, 2000)])
def test_the_sums_over_the_chunks_are_counted(in_features, out_features, n_samples):
    """A dense weight as large as the batch, of which every chunk has a gradient."""
    layer = FactorizedLinear(
        (in_features,), (out_features,), factorization="dense", bias=False, implementation="reconstructed", rng=0
    )
    x, dy = np.ones((n_samples, in_features)), np.ones((n_samples, out_features))
    training = layer.plan(n_samples, "training")

    def train():
        y, pullback = layer.vjp(x)
        return y, pullback(dy)

    assert abs(training.peak_bytes - peak(train)) < 0.1 * training.peak_bytes


def test_a_frozen_plan_counts_what_a_call_makes_and_not_what_is_held():
    layer = FactorizedLinear(
        (3, 8, 8, 12), (12, 3, 4, 8), factorization="blocktt", rank=4, implementation="reconstructed", bias=False, rng=0
    )
    frozen, x = layer.freeze(), np.ones((200, 2304))
    predicted = frozen.plan(200).peak_bytes
    assert abs(predicted - peak(lambda: frozen(x))) < 0.1 * predicted
    limited = layer.with_options(memory_limit=predicted + 4096).freeze()
    np.testing.assert_array_equal(limited(x), frozen(x))


def test_the_result_of_a_single_chunk_is_counted_once():
    layer = FactorizedLinear((2, 8), (12, 12), factorization="tt", rank=2, rng=0, bias=False).with_options(
        memory="recompute"
    )
    x, dy = np.ones((1000, 16)), np.ones((1000, 144))

    def train():
        y, pullback = layer.vjp(x)
        return y, pullback(dy)

    predicted = layer.plan(1000, "training").peak_bytes
    assert abs(predicted - peak(train)) < 0.1 * predicted
