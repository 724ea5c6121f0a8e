"""Replay of Novikov et al., Tensorizing Neural Networks (2015): the first fully connected layer of VGG as a TT-matrix.

``python docs/replays/novikov_fc6.py [--quick | --write | --render]``
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from replay import Replay, figure_with, run, say, styles, table

from tlinear import FactorizedLinear, Linear
from tlinear.demo.timing import interleaved_medians

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_SHAPE, OUT_SHAPE = (2, 7, 8, 8, 7, 4), (4, 4, 4, 4, 4, 4)
PUBLISHED = {1: 713_614, 2: 194_622, 4: 50_972}
"""The compression factor by rank."""

BATCHES = (1, 100)
ROUNDS, REPEATS = 15, 3
WAYS = {"planned": None, "core by core": "sweep"}


def sweep(n_cores: int) -> list[tuple[int, int]]:
    """The order in which the layer is usually written: x with the first core, the result with the second, and so on."""
    return [(0, 1), *((0, n) for n in range(n_cores - 1, 0, -1))]


def count() -> list[dict[str, Any]]:
    """The parameters of the weight at each rank, and how many times fewer they are."""
    dense = math.prod(IN_SHAPE) * math.prod(OUT_SHAPE)
    rows = []
    for rank, published in PUBLISHED.items():
        layer = FactorizedLinear(IN_SHAPE, OUT_SHAPE, factorization="blocktt", rank=rank, bias=False, rng=0)
        n = layer.n_parameters
        rows.append({"rank": rank, "parameters": n, "dense": dense, "factor": dense // n, "published": published})
    return rows


def measure(quick: bool) -> dict[str, Any]:
    """Count, and time a forward pass of the dense layer and of the TT-matrix at each rank, in turns."""
    modes = slice(0, 3) if quick else slice(None)
    in_shape, out_shape = IN_SHAPE[modes], OUT_SHAPE[modes]
    rng = np.random.default_rng(0)
    dense = Linear(math.prod(in_shape), math.prod(out_shape), bias=False, dtype=np.float32, rng=rng)
    times = []
    for batch in BATCHES:
        say(f"timing, batch {batch}")
        x = rng.standard_normal((batch, dense.in_features), dtype=np.float32)
        calls: dict[str, Callable[[], object]] = {"dense": partial(dense, x)}
        for rank in PUBLISHED:
            layer = FactorizedLinear(
                in_shape, out_shape, factorization="blocktt", rank=rank, bias=False, dtype=np.float32, rng=rng
            ).with_options(implementation="factorized")
            for way, order in WAYS.items():
                optimize = None if order is None else sweep(len(in_shape))
                calls[f"{way} {rank}"] = partial(layer.with_options(optimize=optimize), x)
        # each repeat has medians of its own, so that their ratios have a spread
        seconds = [interleaved_medians(list(calls.values()), 2 if quick else ROUNDS) for _ in range(REPEATS)]
        for rank in PUBLISHED:
            for way in WAYS:
                k = list(calls).index(f"{way} {rank}")
                ratios = sorted(medians[0] / medians[k] for medians in seconds)
                times.append({"batch": batch, "rank": rank, "way": way, "ratios": ratios})
    return {"counts": count(), "times": times}


def times_as_fast(ratios: list[float]) -> str:
    """The middle one of the repeats, and the others."""
    return f"{ratios[len(ratios) // 2]:.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g})"


def blocks(measured: dict[str, Any]) -> dict[str, str]:
    """The factors beside the published ones, and how many times as fast as the dense layer each way is."""
    counts, times = measured["counts"], measured["times"]
    same = all(row["factor"] == row["published"] for row in counts)
    found = {(row["batch"], row["rank"], row["way"]): row["ratios"] for row in times}
    largest = max(PUBLISHED)
    one, many = (found[batch, largest, "planned"] for batch in BATCHES)
    swept = found[BATCHES[-1], largest, "core by core"]
    faster = " and ".join(str(batch) for batch in BATCHES if found[batch, largest, "planned"][0] > 1.0) or "- none"
    verdict = (
        f"**The compression factors are {'reproduced exactly' if same else 'NOT reproduced'}; at rank {largest} the "
        f"layer is faster than the dense one at batch {faster}.** There a forward pass in the planned order is "
        f"{one[1]:.3g} times as fast as the dense layer on one input, and {many[1]:.3g} times on {BATCHES[-1]}; core "
        f"by core, as the layer is usually written, {swept[1]:.3g} times on {BATCHES[-1]}."
    )
    counted = table(
        ("TT-rank", "parameters of the weight", "of the dense one", "factor, rounded down", "published", "the same"),
        (
            (
                str(row["rank"]),
                f"{row['parameters']:,}",
                f"{row['dense']:,}",
                f"{row['factor']:,}",
                f"{row['published']:,}",
                "yes" if row["factor"] == row["published"] else "NO",
            )
            for row in counts
        ),
        right=range(5),
    )
    timed = table(
        ("TT-rank", *(f"batch {batch}, {way}" for batch in BATCHES for way in WAYS)),
        (
            (str(rank), *(times_as_fast(found[batch, rank, way]) for batch in BATCHES for way in WAYS))
            for rank in PUBLISHED
        ),
        right=range(5),
    )
    return {"verdict": verdict, "counts": counted, "times": timed}


def draw(measured: dict[str, Any]) -> Figure:
    """How many times as fast as the dense layer, over the rank."""
    figure, panels = figure_with(len(BATCHES))
    style = styles(("", *WAYS))
    for axes, batch in zip(panels, BATCHES, strict=True):
        for way in WAYS:
            rows = [row for row in measured["times"] if (row["batch"], row["way"]) == (batch, way)]
            ratios = np.array([row["ratios"] for row in rows])
            middle = ratios[:, ratios.shape[1] // 2]
            spread = np.abs(ratios[:, [0, -1]].T - middle)
            axes.errorbar([row["rank"] for row in rows], middle, spread, capsize=3, label=way, **style[way])
        axes.axhline(1.0, color="black", linestyle="--", label="dense")
        axes.set(title=f"batch {batch}", xlabel="TT-rank", xscale="log", yscale="log")
        axes.set_xticks(list(PUBLISHED), [str(rank) for rank in PUBLISHED])
        axes.minorticks_off()
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(min(low, 0.8), high)
        ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000) if t <= high]
        axes.set_yticks(ticks, [str(t) for t in ticks])
    panels[0].set_ylabel("times as fast as the dense layer")
    panels[0].legend(frameon=False)
    return figure


REPLAY = Replay("novikov_fc6", measure, blocks, draw)

if __name__ == "__main__":
    run(REPLAY)
