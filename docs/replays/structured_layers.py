"""Replay in small of Qiu et al., Compute Better Spent (2024): structured layers against dense ones at equal FLOPs.

``python docs/replays/structured_layers.py [--quick | --write | --render]``

The Block Tensor-Train of that paper, which is not this package's BlockTT, is added here as a format of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from replay import Replay, figure_with, run, say, styles, table
from scipy.ndimage import shift
from sklearn.model_selection import train_test_split

from tlinear import FactorizedLinear, Linear
from tlinear.arrays import Array
from tlinear.contraction.network import Labels
from tlinear.demo.data import SOURCES
from tlinear.demo.network import Perceptron, accuracy, cross_entropy, train
from tlinear.demo.timing import interleaved_medians
from tlinear.formats import FactorizedTensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tlinear.linear import Layer


@dataclass(frozen=True, eq=False, repr=False)
class BlockDiagonalPair(FactorizedTensor):
    """``W[i1, i2, o1, o2] = sum_r right[i1, i2, o2, r] left[i1, o1, o2, r]``.

    The paper's Block Tensor-Train of two cores: a matrix for each i1 mixes i2, and then one for each o2 mixes i1.
    With r = 1 it is a Monarch matrix.
    """

    right: Array
    left: Array

    factorization: ClassVar[str] = "block diagonal pair"

    @property
    def n_modes(self) -> int:
        return 4

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        i1, i2, o1, o2, r = range(5)
        return {"right": (i1, i2, o2, r), "left": (i1, o1, o2, r)}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return (4,)


SIDE, CLASSES, N_HIDDEN = 28, 10, 3
DENSE_WIDTHS = (32, 64)
"""Each gives a budget: the FLOPs of a dense network of this width."""

N_TEST, COPIES, FARTHEST, BATCH, EPOCHS = 1000, 5, 2, 100, 3
RATES = (2e-3, 5e-3, 1.2e-2)
TUNING_SEED, SEEDS = 100, range(5)


@dataclass(frozen=True)
class Choice:
    """What is chosen for a structure."""

    width: int
    rank: int | None
    rate: float


@dataclass(frozen=True)
class Structure:
    """What the layers are made of; `ranks` are tried, and so is every learning rate."""

    label: str
    ranks: tuple[int | None, ...]
    format: str | type[FactorizedTensor] | None = None
    is_square: bool = True
    """Whether features are pairs of modes of the same size, so that widths are squares."""

    def layer(self, features: tuple[int, int], rank: int | None, rng: np.random.Generator | int) -> Layer:
        """One layer of it."""
        if self.format is None:
            return Linear(*features, dtype=np.float32, rng=rng)
        shapes = [(math.isqrt(n),) * 2 if self.is_square else (n,) for n in features]
        bonds = (rank,) if self.format is BlockDiagonalPair else rank
        layer = FactorizedLinear(*shapes, factorization=self.format, rank=bonds, dtype=np.float32, rng=rng)
        return layer.with_options(implementation="factorized")

    def network(self, width: int, rank: int | None, rng: np.random.Generator | int) -> Perceptron:
        """All layers but the last are of the structure."""
        generator = np.random.default_rng(rng)
        sizes = (SIDE * SIDE, *[width] * N_HIDDEN)
        layers = [self.layer(pair, rank, generator) for pair in pairwise(sizes)]
        return Perceptron((*layers, Linear(width, CLASSES, dtype=np.float32, rng=generator)))

    def widths(self) -> Iterator[int]:
        """Those that there are, in order."""
        return (n * n if self.is_square else 4 * n for n in range(2, 500))


DENSE = Structure("dense", (None,), is_square=False)
STRUCTURES = (
    DENSE,
    Structure("low-rank", (8, 16), "tt", is_square=False),
    Structure("Monarch", (1,), BlockDiagonalPair),
    Structure("paper's BTT", (2, 4), BlockDiagonalPair),
    Structure("BlockTT (TT-matrix)", (2, 8), "blocktt"),
    Structure("TT", (8, 16), "tt"),
)
PAPERS = ("Monarch", "paper's BTT")


def flops(network: Perceptron) -> float:
    """Of the products of a forward pass, for one image."""

    def of(layer: Layer) -> float:
        if isinstance(layer, FactorizedLinear):
            return layer.plan(BATCH).flops / BATCH
        return 2.0 * layer.in_features * layer.out_features

    return sum(map(of, network.layers))


def widest(structure: Structure, rank: int | None, budget: float) -> int:
    """The greatest width whose network takes no more FLOPs than the budget."""
    best = 0
    for width in structure.widths():
        if flops(structure.network(width, rank, 0)) > budget:
            break
        best = width
    return best


@dataclass(frozen=True, eq=False)
class Images:
    """Shifted copies to train on, and images to test on."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array

    @classmethod
    def of(cls, seed: int, copies: int) -> Images:
        """Each image to train on is shifted by up to two pixels each way, anew in each copy."""
        _, pixels, labels = SOURCES["mnist5k"]()
        scaled = (pixels / pixels.max()).astype(np.float32)
        train, test, train_labels, test_labels = train_test_split(
            scaled, labels, test_size=N_TEST, stratify=labels, random_state=seed
        )
        rng = np.random.default_rng(seed)
        moves = rng.integers(-FARTHEST, FARTHEST + 1, (copies * len(train), 2))
        pictures = np.tile(train, (copies, 1)).reshape(-1, SIDE, SIDE)
        moved = np.array([shift(picture, move, order=0) for picture, move in zip(pictures, moves, strict=True)])
        return cls(moved.reshape(len(moved), -1), np.tile(train_labels, copies), test, test_labels)


def outcome(structure: Structure, choice: Choice, images: Images, seed: int, epochs: int) -> list[float]:
    """The loss on all that was trained on, and the accuracy on the test images."""
    with np.errstate(over="ignore", invalid="ignore"):  # a rate that is too high may diverge, and is then not chosen
        network = train(
            structure.network(choice.width, choice.rank, seed),
            images.train,
            images.train_labels,
            epochs=epochs,
            batch_size=BATCH,
            learning_rate=choice.rate,
            rng=seed,
        )
        loss, _ = cross_entropy(network(images.train), images.train_labels)
        return [float(loss), accuracy(network, images.test, images.test_labels)]


def step(network: Perceptron, images: Array) -> Callable[[], object]:
    """A forward and a backward pass."""

    def call() -> object:
        logits, pullback = network.vjp(images)
        return pullback(logits)

    return call


def measure(quick: bool) -> dict[str, Any]:
    """For each budget: rank and rate of each structure chosen on one seed, and what they give on others."""
    copies, epochs = (1, 1) if quick else (COPIES, EPOCHS)
    tuning = Images.of(TUNING_SEED, copies)
    sets = {seed: Images.of(seed, copies) for seed in (SEEDS[:2] if quick else SEEDS)}
    rows = []
    for dense_width in DENSE_WIDTHS[:1] if quick else DENSE_WIDTHS:
        budget = flops(DENSE.network(dense_width, None, 0))
        chosen = []
        for structure in STRUCTURES:
            tries = [
                (outcome(structure, choice, tuning, TUNING_SEED, epochs)[0], choice)
                for rank in (structure.ranks[:1] if quick else structure.ranks)
                for width in [widest(structure, rank, budget)]
                for choice in (Choice(width, rank, rate) for rate in (RATES[1:2] if quick else RATES))
            ]
            _, best = min(tries, key=lambda found: (math.isnan(found[0]), found[0]))
            network = structure.network(best.width, best.rank, 0)
            chosen.append(network)
            results = [outcome(structure, best, images, seed, epochs) for seed, images in sets.items()]
            losses, accuracies = zip(*results, strict=True)
            say(f"budget of width {dense_width}: {structure.label}, width {best.width}: loss {np.mean(losses):.4f}")
            rows.append(
                {
                    "dense_width": dense_width,
                    "structure": structure.label,
                    "width": best.width,
                    "rank": best.rank,
                    "rate": best.rate,
                    "parameters": sum(array.size for array in network.parameters().values()),
                    "flops": flops(network),
                    "losses": losses,
                    "accuracies": accuracies,
                }
            )
        batch = tuning.train[:BATCH]
        seconds = interleaved_medians([step(network, batch) for network in chosen], 3 if quick else 50)
        for row, network_seconds in zip(rows[-len(chosen) :], seconds, strict=True):
            row["time"] = network_seconds / seconds[0]
    return {"rows": rows, "n_train": len(tuning.train) // copies, "n_test": N_TEST}


def against_dense(rows: list[dict[str, Any]], what: str, dense_width: int, label: str) -> tuple[float, float]:
    """The mean of the difference on the same seed, and its standard error."""
    values = {row["structure"]: np.array(row[what]) for row in rows if row["dense_width"] == dense_width}
    differences = values[label] - values[DENSE.label]
    return float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(len(differences)))


def decided(difference: tuple[float, float], sign: int) -> bool:
    """Whether a difference has this sign by more than two standard errors."""
    return sign * difference[0] > 2.0 * difference[1]


def blocks(measured: dict[str, Any]) -> dict[str, str]:
    """The table, and whether the paper's structures were better than the dense layers."""
    rows = measured["rows"]
    budgets = sorted({row["dense_width"] for row in rows})
    losses = {(b, s): against_dense(rows, "losses", b, s) for b in budgets for s in PAPERS}
    gains = {(b, s): against_dense(rows, "accuracies", b, s) for b in budgets for s in PAPERS}
    lower, higher = sum(decided(d, -1) for d in losses.values()), sum(decided(d, 1) for d in gains.values())
    slower = [row["time"] for row in rows if row["structure"] in PAPERS]
    word = "Reproduced in small" if lower == len(losses) else "NOT reproduced" if lower == 0 else "Reproduced in part"
    verdict = (
        f"**{word}: at equal FLOPs the paper's structures end with a lower training loss than dense layers in "
        f"{lower} of {len(losses)} comparisons, and with a higher test accuracy in {higher}.** A comparison is decided "
        "by two standard errors of the difference on the same seeds. It is not time that is saved: a step of theirs "
        f"takes {min(slower):.1f} to {max(slower):.1f} times as long. The other structures, at the larger budget: "
        + "; ".join(
            f"{s.label} {_difference(against_dense(rows, 'losses', budgets[-1], s.label))} in training loss"
            for s in STRUCTURES
            if s.label not in PAPERS and s is not DENSE
        )
        + "."
    )
    header = (
        "budget: dense of width",
        "structure",
        "width",
        "rank",
        "learning rate",
        "parameters",
        "kFLOPs",
        "training loss",
        "test accuracy, %",
        "time of a step",
    )
    cells = [
        (
            str(row["dense_width"]),
            row["structure"],
            str(row["width"]),
            "" if row["rank"] is None else str(row["rank"]),
            f"{row['rate']:g}",
            f"{row['parameters']:,}",
            f"{row['flops'] / 1e3:.1f}",
            _spread(row["losses"], 3),
            _spread(100 * np.array(row["accuracies"]), 1),
            f"{row['time']:.1f}",
        )
        for row in rows
    ]
    n_seeds = len(rows[0]["losses"])
    note = (
        f"Mean and standard deviation over {n_seeds} seeds; {measured['n_train']:,} images to train on, "
        f"{measured['n_test']:,} to test on. FLOPs: of a forward pass of one image. Time: of a forward and a backward "
        f"pass of {BATCH} images, the dense network's being 1. Learning rates tried: {', '.join(map(str, RATES))}."
    )
    aligned = [k for k in range(len(header)) if k != 1]
    return {"verdict": verdict, "table": f"{table(header, cells, right=aligned)}\n\n{note}"}


def _spread(values: Any, digits: int) -> str:
    return f"{np.mean(values):.{digits}f} +- {np.std(values, ddof=1):.{digits}f}"


def _difference(found: tuple[float, float]) -> str:
    return f"{found[0]:+.3f} +- {found[1]:.3f}"


def draw(measured: dict[str, Any]) -> Figure:
    """Loss and accuracy over the FLOPs."""
    figure, panels = figure_with(2, width=4.6)
    rows, labels = measured["rows"], [structure.label for structure in STRUCTURES]
    style = styles(labels)
    for k, label in enumerate(labels):
        own = [row for row in rows if row["structure"] == label]
        # side by side, so that error bars do not cover each other
        x = [row["flops"] / 1e3 * (1.0 + 0.02 * (k - 2.5)) for row in own]
        for axes, what, scale in zip(panels, ("losses", "accuracies"), (1.0, 100.0), strict=True):
            values = scale * np.array([row[what] for row in own])
            axes.errorbar(x, values.mean(axis=1), values.std(axis=1, ddof=1), capsize=3, label=label, **style[label])
    for axes, title in zip(panels, ("training loss", "test accuracy, %"), strict=True):
        axes.set(title=title, xlabel="kFLOPs of a forward pass of one image", xscale="log")
        ticks = sorted({round(row["flops"] / 1e3) for row in rows if row["structure"] == DENSE.label})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    panels[0].set_yscale("log")
    low, high = panels[0].get_ylim()
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if low < tick < high]
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[0].minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return figure


REPLAY = Replay("structured_layers", measure, blocks, draw)

if __name__ == "__main__":
    run(REPLAY)
