"""Train a dense network, compress its hidden layer in every format, and measure before and after fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

from tlinear.arrays import Array
from tlinear.decomposition import Decomposition
from tlinear.demo.data import Dataset, load
from tlinear.demo.network import Perceptron, accuracy, train
from tlinear.demo.result import Accuracy, Fit, Infeasible, Result, Row
from tlinear.demo.settings import Settings
from tlinear.demo.threads import one_blas_thread
from tlinear.demo.timing import interleaved_medians
from tlinear.errors import InfeasibleRankError
from tlinear.layer import FactorizedLinear
from tlinear.linear import Layer
from tlinear.progress import Progress, silent

__all__ = ["FORMATS", "Format", "Progress", "run"]


@dataclass(frozen=True)
class Format:
    """A way to compress the layer: its name in the table, and what ``from_linear`` is told."""

    label: str
    factorization: str
    n_modes: int


FORMATS = (
    Format("cp", "cp", 2),
    Format("tucker", "tucker", 2),
    Format("tt", "tt", 2),
    Format("blocktt", "blocktt", 2),
    Format("low-rank matrix (TT, 1 mode a side)", "tt", 1),
)
"""Every format, and the plain product of two thin matrices that they have to beat."""

_HIDDEN = 1


def run(settings: Settings, progress: Progress = silent) -> Result:
    """Everything, in order; the numbers but the times depend on the settings alone.

    Raises
    ------
    MissingDependencyError
        When a package of the ``[demo]`` extra is not installed.
    """
    started = time.perf_counter()
    # besides the compressed networks, the dense one and the one without the layer are fine-tuned
    n_networks = len(FORMATS) * len(settings.ranks) + 2
    meter = _Meter(progress, settings.epochs + n_networks * settings.fine_tune_epochs)
    meter.start(f"reading {settings.data}")
    dataset = load(settings.data, seed=settings.seed)
    with one_blas_thread() as blas:
        bench = _Bench(settings, dataset, meter)
        network = bench.train_dense()
        timed = network.input_of(_HIDDEN, dataset.test_images[: settings.timed_batch])
        dense = _Candidate("dense", network.layers[_HIDDEN])
        attempts = [dense, *bench.compress(dense.layer, n_timed=len(timed))]
        seconds = bench.time(attempts, timed)
        rows = tuple(bench.rows(network, attempts, seconds))
        meter.start("without the hidden layer: fine-tuning")
        without_layer = bench.fine_tune(network.replace(_HIDDEN))
    return Result(
        settings=settings,
        source=dataset.source,
        n_train=len(dataset.train_labels),
        n_test=len(dataset.test_labels),
        n_pixels=dataset.n_pixels,
        n_classes=dataset.n_classes,
        dtype=str(timed.dtype),
        n_timed=len(timed),
        rows=rows,
        without_layer=without_layer,
        blas=blas,
        seconds=time.perf_counter() - started,
    )


class _Meter:
    """Counts the epochs that are over."""

    def __init__(self, progress: Progress, n_epochs: int) -> None:
        self._progress, self._n_epochs, self._n_over, self._what = progress, n_epochs, 0, ""

    def start(self, what: str) -> None:
        self._what = what
        self._progress(what, self._n_over / self._n_epochs)

    def advance(self, n_epochs: int = 1) -> None:
        self._n_over += n_epochs
        self.start(self._what)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A layer that may stand in for the hidden one."""

    label: str
    layer: Layer
    fit: Fit | None = None


_Attempt: TypeAlias = _Candidate | Infeasible


@dataclass(frozen=True, eq=False)
class _Bench:
    """What every step of the experiment works with."""

    settings: Settings
    dataset: Dataset
    meter: _Meter

    def train_dense(self) -> Perceptron:
        settings, dataset = self.settings, self.dataset
        self.meter.start("training the dense network")
        sizes = (dataset.n_pixels, settings.hidden, settings.hidden, dataset.n_classes)
        network = Perceptron.random(sizes, dtype=dataset.train_images.dtype, rng=settings.seed)
        return self._train(network, settings.epochs, settings.learning_rate)

    def compress(self, dense: Layer, *, n_timed: int) -> Iterator[_Attempt]:
        for form in FORMATS:
            for asked in self.settings.ranks:
                self.meter.start(f"{form.label}, rank {asked:g}: decomposing")
                try:
                    layer = FactorizedLinear.from_linear(
                        dense,
                        rank=asked,
                        allocation=self.settings.allocation,
                        factorization=form.factorization,
                        n_tensorized_modes=form.n_modes,
                    )
                except InfeasibleRankError as error:
                    yield Infeasible(form.label, asked, str(error))
                else:
                    yield _Candidate(form.label, layer, _fit(asked, layer, n_timed))

    def time(self, attempts: Sequence[_Attempt], batch: Array) -> list[float]:
        """The seconds of a forward pass of each candidate's layer, in order."""
        self.meter.start("timing the layers")
        calls = [partial(attempt.layer, batch) for attempt in attempts if isinstance(attempt, _Candidate)]
        return interleaved_medians(calls, self.settings.timed_rounds)

    def rows(
        self, network: Perceptron, attempts: Sequence[_Attempt], seconds: Sequence[float]
    ) -> Iterator[Row | Infeasible]:
        """Fine-tunes every candidate in the network, the dense layer first."""
        n_dense, dense_seconds = network.layers[_HIDDEN].n_parameters, seconds[0]
        times = iter(seconds)
        for attempt in attempts:
            if isinstance(attempt, Infeasible):
                self.meter.advance(self.settings.fine_tune_epochs)
                yield attempt
                continue
            asked = "" if attempt.fit is None else f", rank {attempt.fit.asked:g}"
            self.meter.start(f"{attempt.label}{asked}: fine-tuning")
            n_parameters, elapsed = attempt.layer.n_parameters, next(times)
            yield Row(
                label=attempt.label,
                fit=attempt.fit,
                n_parameters=n_parameters,
                compression=n_dense / n_parameters,
                accuracy=self.fine_tune(network.replace(_HIDDEN, attempt.layer)),
                seconds=elapsed,
                time_ratio=elapsed / dense_seconds,
            )

    def fine_tune(self, network: Perceptron) -> Accuracy:
        """The accuracy before and after further training, on the same batches in the same order for all."""
        tuned = self._train(network, self.settings.fine_tune_epochs, self.settings.fine_tune_rate)
        images, labels = self.dataset.test_images, self.dataset.test_labels
        return Accuracy(accuracy(network, images, labels), accuracy(tuned, images, labels))

    def _train(self, network: Perceptron, epochs: int, learning_rate: float) -> Perceptron:
        return train(
            network,
            self.dataset.train_images,
            self.dataset.train_labels,
            epochs=epochs,
            batch_size=self.settings.batch_size,
            learning_rate=learning_rate,
            rng=self.settings.seed,
            after_epoch=self.meter.advance,
        )


def _fit(asked: int | float, layer: FactorizedLinear, n_timed: int) -> Fit:
    decomposition = cast(Decomposition, layer.decomposition)  # from_linear keeps it
    return Fit(
        asked=asked,
        rank=layer.rank,
        relative_error=decomposition.relative_error,
        converged=decomposition.converged,
        implementation=layer.plan(n_timed).implementation,
    )
