"""The experiment: complete rows that agree with the layers they are about, the same for the same seed."""

import dataclasses
import sys

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from tlinear import FactorizedLinear, Linear, tensorize_shape
from tlinear.demo.data import load
from tlinear.demo.experiment import FORMATS, run
from tlinear.demo.result import Infeasible, Row
from tlinear.demo.settings import Settings
from tlinear.demo.threads import one_blas_thread
from tlinear.errors import MissingDependencyError

# of the 256 weights, 25 are too few for the two formats that pair modes, and rank 64 represents any of them exactly
SMALL = Settings(hidden=16, ranks=(0.1, 0.5, 64), epochs=8, fine_tune_epochs=1, timed_rounds=2, timed_batch=32)


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def result(progress):
    return run(SMALL, lambda what, fraction: progress.append((what, fraction)))


def _without_times(result):
    rows = [dataclasses.replace(row, seconds=0, time_ratio=0) if isinstance(row, Row) else row for row in result.rows]
    return dataclasses.replace(result, rows=tuple(rows), seconds=0)


def test_the_dense_layer_comes_first(result):
    dense = result.rows[0]
    assert dense.label == "dense"
    assert dense.fit is None
    assert dense.n_parameters == Linear(16, 16).n_parameters
    assert dense.compression == dense.time_ratio == 1.0


def test_there_is_one_row_for_every_format_and_rank(result):
    asked = [(row.label, row.asked if isinstance(row, Infeasible) else row.fit.asked) for row in result.rows[1:]]
    assert asked == [(form.label, rank) for form in FORMATS for rank in SMALL.ranks]


def test_rows_agree_with_a_layer_of_their_rank(result):
    dense = result.measured[0]
    forms = {form.label: form for form in FORMATS}
    for row in result.measured[1:]:
        form = forms[row.label]
        modes = tensorize_shape(16, form.n_modes)
        layer = FactorizedLinear(modes, modes, factorization=form.factorization, rank=row.fit.rank)
        assert layer.rank == row.fit.rank
        assert row.n_parameters == layer.n_parameters
        assert row.compression == dense.n_parameters / layer.n_parameters
        if isinstance(row.fit.asked, float):
            assert layer.weight.n_parameters <= row.fit.asked * 256


def test_a_budget_that_cannot_be_met_is_a_row_that_says_so(result):
    infeasible = [row for row in result.rows if isinstance(row, Infeasible)]
    assert [(row.label, row.asked) for row in infeasible] == [("blocktt", 0.1), (FORMATS[-1].label, 0.1)]
    assert all("The smallest feasible budget is 0.125" in row.reason for row in infeasible)


def test_what_is_measured_is_in_range(result):
    for row in result.measured:
        assert 0.0 <= row.accuracy.before <= 1.0
        assert 0.0 <= row.accuracy.after <= 1.0
        assert row.seconds > 0.0
        assert row.time_ratio == row.seconds / result.measured[0].seconds
    assert result.n_train + result.n_test == 1797
    assert (result.n_timed, result.n_pixels, result.n_classes, result.dtype) == (32, 64, 10, "float32")


def test_a_direct_decomposition_of_full_rank_loses_nothing(result):
    dense = result.measured[0]
    for row in result.measured[1:]:
        if row.fit.asked == 64 and row.label != "cp":
            assert row.fit.relative_error < 1e-6
            assert row.accuracy.before == dense.accuracy.before


def test_a_larger_budget_has_a_smaller_error(result):
    for form in FORMATS:
        errors = [row.fit.relative_error for row in result.measured if row.label == form.label]
        assert errors == sorted(errors, reverse=True)


def test_training_gets_somewhere(result):
    """Far above what guessing one of ten digits gives."""
    assert result.rows[0].accuracy.before > 0.5


def test_the_progress_grows_from_nothing_to_the_end(result, progress):
    fractions = [fraction for _, fraction in progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert progress[0][0] == "reading digits"


def test_the_seed_decides_everything_but_the_times(result):
    assert _without_times(run(SMALL)) == _without_times(result)
    other = run(dataclasses.replace(SMALL, seed=1))
    assert [row.accuracy for row in other.measured] != [row.accuracy for row in result.measured]


def test_one_blas_thread_inside_and_as_before_afterwards():
    def n_threads():
        return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]

    with one_blas_thread():
        pass  # what it loads is loaded now
    before = n_threads()
    with one_blas_thread() as said:
        assert set(n_threads()) <= {1}
        assert said.startswith("1 BLAS thread (") or not n_threads()
    assert n_threads() == before


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(MissingDependencyError, match=r"threadpoolctl.*pip install '\.\[demo\]'"):
        run(SMALL)


@pytest.fixture
def recorded(monkeypatch):
    """A small run in which every measurement says what it was made on, and seconds are 1, 2, 3, .. in turn."""
    judged, timed = [], []

    def accuracy(network, images, labels):
        judged.append((network, images, labels))
        return len(judged)

    def medians(calls, n_rounds):
        timed.extend(calls)
        return [float(k + 1) for k in range(len(calls))]

    monkeypatch.setattr("tlinear.demo.experiment.accuracy", accuracy)
    monkeypatch.setattr("tlinear.demo.experiment.interleaved_medians", medians)
    return run(dataclasses.replace(SMALL, epochs=1)), judged, timed


def test_every_accuracy_is_of_the_test_images(recorded):
    _, judged, _ = recorded
    dataset = load(SMALL.data, seed=SMALL.seed)
    for _, images, labels in judged:
        assert images.tobytes() == dataset.test_images.tobytes()
        assert labels.tobytes() == dataset.test_labels.tobytes()


def test_every_row_is_judged_with_its_own_layer_before_and_after(recorded):
    result, judged, timed = recorded
    for k, (row, call) in enumerate(zip(result.measured, timed, strict=True)):
        before, after = judged[2 * k], judged[2 * k + 1]
        assert (row.accuracy.before, row.accuracy.after) == (2 * k + 1, 2 * k + 2)
        assert before[0].layers[1] is call.func
        assert type(after[0].layers[1]) is type(call.func)
        assert any(
            not np.array_equal(tuned, array)
            for tuned, array in zip(after[0].parameters().values(), before[0].parameters().values(), strict=True)
        )
    assert [len(network.layers) for network, _, _ in judged[-2:]] == [2, 2]
    assert (result.without_layer.before, result.without_layer.after) == (len(judged) - 1, len(judged))


def test_every_row_has_the_time_of_its_own_layer(recorded):
    result, _, timed = recorded
    assert [row.seconds for row in result.measured] == [float(k + 1) for k in range(len(timed))]
    assert [row.time_ratio for row in result.measured] == [float(k + 1) for k in range(len(timed))]
    for row, call in zip(result.measured, timed, strict=True):
        assert call.func.n_parameters == row.n_parameters
        (batch,) = call.args
        assert len(batch) == result.n_timed
        if row.fit is not None:
            assert row.fit.rank == call.func.rank
            assert row.fit.converged is call.func.decomposition.converged
            assert row.fit.relative_error == call.func.decomposition.relative_error
            assert row.fit.implementation == call.func.plan(result.n_timed).implementation
