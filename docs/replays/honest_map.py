"""Which format keeps most of a trained weight at which budget: errors of the weight and of its outputs.

``python docs/replays/honest_map.py [--quick | --write | --render]``

It needs trained weights, which ``tests/weights/minilm.py`` says how to install.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from replay import Replay, run, say, styles, table
from weights.activations import CALIBRATION, HELD_OUT, output_error, second_moments, tokens
from weights.minilm import matrix

from tlinear import Calibration, FactorizedLinear, Linear, resolve_rank, tensorize_shape
from tlinear.demo.data import load
from tlinear.demo.network import Perceptron, train
from tlinear.errors import InfeasibleRankError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGETS = (0.0005, 0.002, 0.01, 0.05, 0.1, 0.25, 0.5)
MATRIX = "matrix"
FORMATS = {
    MATRIX: ("tt", (1,)),
    "TT": ("tt", (2, 3)),
    "BlockTT": ("blocktt", (2, 3)),
    "Tucker": ("tucker", (2, 3)),
    "CP": ("cp", (2, 3)),
}
"""By label: the factorization, and the numbers of modes on each side that are tried."""

ITERATIONS = 50
"""Of the calibration, and of the algorithms that iterate."""

MODERATE = 0.05
MINILM, FC = "MiniLM", "fc layers on images"
NAMED = {MINILM: "MiniLM's matrices", FC: "the layers on images"}
NAMES = ("0.query", "3.value", "5.intermediate")
FEED_FORWARD = (384, 1536)
"""In- and output of the last of them."""

FC_WIDTHS, FC_EPOCHS, SEED = (128, 256), 10, 0
COLUMNS = (
    ("weight", "error of the weight, plain"),
    ("output", "error of held-out outputs, plain"),
    ("calibrated", "error of held-out outputs, calibrated"),
)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained layer, and the second moments of its inputs: those to calibrate by, and others."""

    group: str
    name: str
    weight: np.ndarray
    calibration: np.ndarray
    held_out: np.ndarray


def minilm(quick: bool) -> Iterator[Trained]:
    """Matrices of a sentence encoder, given what they get when it reads English text."""
    rows = 4 if quick else 96
    names = NAMES[:1] if quick else NAMES
    seen = {kind: second_moments(kind, min(rows, len(tokens(kind))), names) for kind in (CALIBRATION, HELD_OUT)}
    for name in names:
        yield Trained(MINILM, name, matrix(name), seen[CALIBRATION][name], seen[HELD_OUT][name])


def fully_connected(quick: bool) -> Iterator[Trained]:
    """The first layers of networks on images, as fc6 is VGG's first linear one; trained here, and given real images."""
    data = load("mnist5k", seed=SEED)
    wide = (images.astype(np.float64) for images in (data.train_images, data.test_images))
    moments = [images.T @ images for images in wide]
    for width in FC_WIDTHS[:1] if quick else FC_WIDTHS:
        network = train(
            Perceptron.random((data.n_pixels, width, data.n_classes), dtype=np.float32, rng=SEED),
            data.train_images,
            data.train_labels,
            epochs=1 if quick else FC_EPOCHS,
            batch_size=100,
            learning_rate=1e-3,
            rng=SEED,
        )
        yield Trained(FC, f"{data.n_pixels} -> {width}", network.layers[0].weight, *moments)


def compressed(layer: Trained, factorization: str, n_modes: int, budget: float, inputs: Calibration | None):
    """The layer in a format; None where the budget is too small for rank 1."""
    options = {"max_iterations": ITERATIONS} if factorization in ("cp", "tucker") else None
    try:
        return FactorizedLinear.from_linear(
            Linear.from_arrays(layer.weight),
            factorization=factorization,
            n_tensorized_modes=n_modes,
            rank=budget,
            calibration=inputs,
            decomposition_options=options,
        )
    except InfeasibleRankError:
        return None


def errors(layer: Trained, label: str, budget: float) -> dict[str, Any] | None:
    """Of the number of modes with the least error of the weight, plain, and on the calibration, calibrated."""
    factorization, modes = FORMATS[label]
    inputs = Calibration(second_moment=layer.calibration, max_iterations=ITERATIONS)
    plain = [compressed(layer, factorization, n, budget, None) for n in modes]
    calibrated = [compressed(layer, factorization, n, budget, inputs) for n in modes]
    if not any(plain):
        return None
    best = min(filter(None, plain), key=lambda found: found.decomposition.relative_error)
    best_calibrated = min(filter(None, calibrated), key=lambda found: found.decomposition.relative_output_error)
    dense = layer.weight.astype(np.float64)

    def held_out(found: FactorizedLinear) -> float:
        return output_error(dense, found.weight.astype(np.float64).to_matrix(), layer.held_out)

    return {
        "parameters": best.weight.n_parameters,
        "weight": float(best.decomposition.relative_error),
        "output": held_out(best),
        "calibrated": held_out(best_calibrated),
        "modes": [len(found.in_tensorized_features) for found in (best, best_calibrated)],
    }


def measure(quick: bool) -> dict[str, Any]:
    """Every layer in every format at every budget."""
    rows = []
    for layer in (*minilm(quick), *fully_connected(quick)):
        for label in FORMATS:
            for budget in (0.002, 0.05) if quick else BUDGETS:
                found = errors(layer, label, budget)
                if found is not None:
                    rows.append({"group": layer.group, "name": layer.name, "format": label, "budget": budget} | found)
            say(f"{layer.name}: {label}")
    return {"rows": rows}


def means(measured: dict[str, Any]) -> dict[tuple[str, float, str], dict[str, float]]:
    """By group, budget and format, over the layers of the group; only where every layer of it can be had."""
    rows = measured["rows"]
    sizes = {group: len({row["name"] for row in rows if row["group"] == group}) for group in (MINILM, FC)}
    collected: dict[tuple[str, float, str], list[dict[str, float]]] = {}
    for row in rows:
        collected.setdefault((row["group"], row["budget"], row["format"]), []).append(row)
    return {
        key: {column: float(np.mean([row[column] for row in own])) for column, _ in COLUMNS}
        for key, own in collected.items()
        if len(own) == sizes[key[0]]
    }


def winners(measured: dict[str, Any]) -> dict[tuple[str, float, str], str]:
    """By group, budget and column, the format with the least error."""
    found = means(measured)
    return {
        (group, budget, column): min(
            (label for label in FORMATS if (group, budget, label) in found),
            key=lambda label: found[group, budget, label][column],
        )
        for group, budget in sorted({key[:2] for key in found})
        for column, _ in COLUMNS
    }


def counted(labels: Iterable[str]) -> str:
    """How often each is there, the most frequent first."""
    return ", ".join(f"{label} {n}" for label, n in Counter(labels).most_common())


def blocks(measured: dict[str, Any]) -> dict[str, str]:
    """Where each format wins, and the errors themselves."""
    found, best = means(measured), winners(measured)
    budgets = sorted({key[1] for key in found})
    shares, by_budget, small = [], [], []
    for group in (MINILM, FC):
        moderate = [key for key in best if key[0] == group and key[1] >= MODERATE]
        ahead = [best[key] for key in moderate]
        others = counted(label for label in ahead if label != MATRIX)
        shares.append(f"{ahead.count(MATRIX)} of {len(ahead)} comparisons on {NAMED[group]} ({others})")
        at = {budget: counted(best[key] for key in moderate if key[1] == budget) for _, budget, _ in moderate}
        by_budget.append(f"on {NAMED[group]} {'; '.join(f'at {budget:g} {labels}' for budget, labels in at.items())}")
        budget, label = min((key[1], label) for key, label in best.items() if key[::2] == (group, "calibrated"))
        error = found[group, budget, label]["calibrated"]
        small.append(f"{error:.2f} with {label} on {NAMED[group]} at {budget:g}")
    verdict = (
        f"**At budgets from {MODERATE:g} the plain low-rank matrix has the least error in {' and in '.join(shares)}.** "
        f"A comparison is one budget in one of the three errors of the table. By budget: {'; and '.join(by_budget)}. "
        f"Where the budget is below rank 1 of the matrix only tensors are left; the least error of held-out outputs, "
        f"calibrated, is then {'; '.join(small)}."
    )
    parts = []
    for group in (MINILM, FC):
        lines = []
        for budget in budgets:
            if not any(key[:2] == (group, budget) for key in found):
                continue
            cells = [f"{budget:g}"]
            for label in FORMATS:
                own = found.get((group, budget, label))
                texts = [
                    f"**{own[column]:.3f}**" if best[group, budget, column] == label else f"{own[column]:.3f}"
                    for column, _ in COLUMNS
                    if own is not None
                ]
                cells.append(" / ".join(texts) or "-")
            lines.append(cells)
        names = list(dict.fromkeys(row["name"] for row in measured["rows"] if row["group"] == group))
        errors_of = table(("budget", *FORMATS), lines, right=range(1 + len(FORMATS)))
        parts.append(f"{group}, mean over {', '.join(names)}\n\n{errors_of}")
    return {
        "verdict": verdict,
        "table": "\n\n".join(parts),
        "modes": numbers_of_modes(measured),
        "operations": operations(budgets),
    }


def numbers_of_modes(measured: dict[str, Any]) -> str:
    """How often two modes on each side are better than three."""
    tensors = [label for label, (_, modes) in FORMATS.items() if len(modes) > 1]
    lines = []
    for group in (MINILM, FC):
        for column, title in enumerate(
            ("error of the weight, plain", "error of outputs on the calibration, calibrated")
        ):
            cells = []
            for label in tensors:
                rows = [row for row in measured["rows"] if (row["group"], row["format"]) == (group, label)]
                modes = [row["modes"][column] for row in rows if row["budget"] >= MODERATE]
                cells.append(f"{modes.count(2)} of {len(modes)}")
            lines.append((f"{NAMED[group]}, {title}", *cells))
    return table((f"budgets from {MODERATE:g}", *tensors), lines)


def operations(budgets: Sequence[float]) -> str:
    """What many components of CP cost a layer that is contracted with them."""
    n_in, n_out = FEED_FORWARD
    large = [budget for budget in budgets if budget >= MODERATE]
    modes = [tensorize_shape(features, min(FORMATS["CP"][1])) for features in (n_in, n_out)]
    ranks = [resolve_rank("cp", *modes, budget) for budget in large]
    lines = [
        ("rank of CP", *(f"{rank:,}" for rank in ranks)),
        ("products, times the dense layer's", *(f"{rank * (n_in + n_out) / (n_in * n_out):.1f}" for rank in ranks)),
    ]
    return table((f"{n_in} -> {n_out}", *(f"{budget:g}" for budget in large)), lines)


def draw(measured: dict[str, Any]) -> Figure:
    """Each error over the budget: a row of panels for each group of layers."""
    from matplotlib.figure import Figure

    found, style = means(measured), styles(FORMATS)
    figure = Figure(figsize=(11.5, 7.0), layout="constrained")
    panels = figure.subplots(2, len(COLUMNS), sharex=True, sharey=True)
    for row, group in zip(panels, (MINILM, FC), strict=True):
        for axes, (column, title) in zip(row, COLUMNS, strict=True):
            for label in FORMATS:
                points = [(key[1], own[column]) for key, own in sorted(found.items()) if key[::2] == (group, label)]
                if points:
                    axes.plot(*zip(*points, strict=True), label=label, **style[label])
            axes.set_title(f"{group}: {title}", fontsize="small")
            axes.set_xscale("log")
            axes.set_ylim(0.0, 1.05)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("budget, fraction of the dense parameters")
        axes.xaxis.set_major_formatter("{x:g}")
    for row in panels:
        row[0].set_ylabel("relative error")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


REPLAY = Replay("honest_map", measure, blocks, draw)

if __name__ == "__main__":
    run(REPLAY)
