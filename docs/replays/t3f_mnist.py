"""Replay of the t3f tutorial on tensor nets: MNIST with a TT-matrix layer, from scratch and by TT-SVD.

``python docs/replays/t3f_mnist.py [--quick | --write | --render]``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from replay import Replay, figure_with, run, say, styles, table
from sklearn.model_selection import train_test_split

from tlinear import FactorizedLinear, Linear
from tlinear.demo.data import SOURCES
from tlinear.demo.network import Perceptron, accuracy, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tlinear.linear import Layer

IN_SHAPE, OUT_SHAPE, CLASSES = (7, 4, 7, 4), (5, 5, 5, 5), 10
SCRATCH_RANK, SVD_RANK = 4, 16
N_TEST, BATCH = 1000, 64
SEEDS = range(5)

SCRATCH, DENSE, TRUNCATED, TUNED = "TT from scratch", "dense", "TT-SVD of the dense", "TT-SVD, fine-tuned"


@dataclass(frozen=True)
class Published:
    """What the tutorial prints: parameters and accuracy on 10,000 images; and how it trains."""

    parameters: int
    accuracy: float
    rate: float
    epochs: int


PUBLISHED = {
    SCRATCH: Published(7_985, 0.9645, 1e-2, 2),
    DENSE: Published(496_885, 0.9608, 1e-3, 5),
    TRUNCATED: Published(21_845, 0.6459, 0.0, 0),
    TUNED: Published(21_845, 0.9737, 1e-3, 2),
}
"""Of the outputs in docs/tutorials/tensor_nets.ipynb of Bihaqo/t3f at commit b7e59fe5, after the last epoch."""

MORE = 60_000 / (5_000 - N_TEST)
"""How many times as many images the tutorial has to train on: so many times as many epochs are as many steps."""


def images(seed: int) -> tuple[np.ndarray, ...]:
    """Training and test images and their labels, in equal parts of each digit; from -1 to 1 as in the tutorial."""
    _, pixels, labels = SOURCES["mnist5k"]()
    scaled = (pixels / 127.5 - 1.0).astype(np.float32)
    parts = train_test_split(scaled, labels, test_size=N_TEST, stratify=labels, random_state=seed)
    return tuple(np.asarray(part) for part in parts)


def network(hidden: Layer, last: Layer | None, seed: int) -> Perceptron:
    """The hidden layer, a ReLU, and a dense layer to the ten classes."""
    return Perceptron((hidden, last or Linear(hidden.out_features, CLASSES, dtype=np.float32, rng=seed)))


def measure(quick: bool) -> dict[str, Any]:
    """All four networks for each seed, which decides split, initial numbers and batches."""
    results: dict[str, Any] = {label: {"accuracies": []} for label in PUBLISHED}
    for seed in SEEDS[:1] if quick else SEEDS:
        say(f"seed {seed}")
        train_images, test_images, train_labels, test_labels = images(seed)

        def trained(start: Perceptron, label: str, seed: int = seed, data: tuple = (train_images, train_labels)):
            epochs = 1 if quick else round(PUBLISHED[label].epochs * MORE)
            rate = PUBLISHED[label].rate
            return train(start, *data, epochs=epochs, batch_size=BATCH, learning_rate=rate, rng=seed)

        tt = FactorizedLinear(
            IN_SHAPE, OUT_SHAPE, factorization="blocktt", rank=SCRATCH_RANK, dtype=np.float32, rng=seed
        )
        dense = trained(network(Linear(tt.in_features, tt.out_features, dtype=np.float32, rng=seed), None, seed), DENSE)
        truncated = FactorizedLinear.from_linear(
            dense.layers[0],
            in_tensorized_features=IN_SHAPE,
            out_tensorized_features=OUT_SHAPE,
            factorization="blocktt",
            rank=SVD_RANK,
        )
        networks = {
            SCRATCH: trained(network(tt, None, seed), SCRATCH),
            DENSE: dense,
            TRUNCATED: network(truncated, dense.layers[1], seed),
        }
        networks[TUNED] = trained(networks[TRUNCATED], TUNED)
        for label, found in networks.items():
            share = accuracy(found, test_images, test_labels)
            results[label]["parameters"] = sum(array.size for array in found.parameters().values())
            results[label]["accuracies"].append(share)
            say(f"  {label}: {share:.3f}")
    return {"networks": results, "n_train": len(train_labels), "n_test": len(test_labels)}


def spread(values: list[float]) -> tuple[float, float]:
    """The mean and the standard deviation, in percent; one value has none."""
    percent = 100 * np.array(values)
    return float(percent.mean()), float(percent.std(ddof=1)) if len(values) > 1 else 0.0


def blocks(measured: dict[str, Any]) -> dict[str, str]:
    """The table beside what the tutorial prints."""
    found = measured["networks"]
    mean = {label: spread(found[label]["accuracies"])[0] for label in PUBLISHED}
    same = all(found[label]["parameters"] == published.parameters for label, published in PUBLISHED.items())
    gaps = np.subtract(found[SCRATCH]["accuracies"], found[DENSE]["accuracies"])
    gained = np.subtract(found[TUNED]["accuracies"], found[DENSE]["accuracies"])
    gap, regained = spread(list(gaps)), spread(list(gained))
    falls = "costs accuracy" if mean[TRUNCATED] < mean[DENSE] else "costs NO accuracy"
    ends = (
        "ends above" if regained[0] > regained[1] else "ends level with" if regained[0] > -regained[1] else "ends below"
    )
    gain = "is reproduced" if regained[0] > regained[1] else "is not reproduced"
    tutorial = {label: 100 * (found.accuracy - PUBLISHED[DENSE].accuracy) for label, found in PUBLISHED.items()}
    verdict = (
        f"**The parameter counts are {'reproduced exactly' if same else 'NOT reproduced'}; TT-SVD {falls}, and "
        f"fine-tuning {ends} the dense network: the tutorial's gain over it {gain} with {measured['n_train']:,} images "
        "instead of 60,000.** Against the dense network of the same seed, the TT layer trained from scratch has "
        f"{gap[0]:+.1f} +- {gap[1]:.1f} points, where the tutorial has {tutorial[SCRATCH]:+.1f}; the fine-tuned one "
        f"{regained[0]:+.1f} +- {regained[1]:.1f}, where the tutorial has {tutorial[TUNED]:+.1f}."
    )
    rows = []
    for label, published in PUBLISHED.items():
        percent, deviation = spread(found[label]["accuracies"])
        count = found[label]["parameters"]
        rows.append(
            (
                label,
                f"{count:,}",
                f"{published.parameters:,}",
                "yes" if count == published.parameters else "NO",
                f"{percent:.1f} +- {deviation:.1f}",
                f"{100 * published.accuracy:.1f}",
            )
        )
    header = ("network", "parameters", "published", "the same", "test accuracy, %", "published, %")
    n_seeds = len(found[DENSE]["accuracies"])
    note = (
        f"Mean and standard deviation over {n_seeds} seeds, of {measured['n_test']:,} test images each; "
        f"{measured['n_train']:,} to train on."
    )
    return {"verdict": verdict, "table": f"{table(header, rows)}\n\n{note}"}


def draw(measured: dict[str, Any]) -> Figure:
    """Every seed's accuracy, and the published one."""
    figure, (axes,) = figure_with(1, width=7.0, height=3.4)
    labels = list(PUBLISHED)
    style = styles(labels)
    for k, label in enumerate(labels):
        values = 100 * np.array(measured["networks"][label]["accuracies"])
        offsets = np.linspace(-0.15, 0.15, len(values))
        axes.plot(values, k + offsets, linestyle="none", **style[label])
        published = 100 * PUBLISHED[label].accuracy
        marks = {"marker": "|", "markersize": 16, "color": "#777777", "linestyle": "none"}
        axes.plot(published, k, label="the tutorial, 60,000 images" if k == 0 else None, **marks)
    names = [f"{label}\n{PUBLISHED[label].parameters:,} parameters" for label in labels]
    axes.set_yticks(range(len(labels)), names)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy, %; a mark for each seed")
    figure.legend(loc="outside lower right", frameon=False)
    return figure


REPLAY = Replay("t3f_mnist", measure, blocks, draw)

if __name__ == "__main__":
    run(REPLAY)
