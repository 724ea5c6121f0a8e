"""The result as a picture: accuracy and time over the number of parameters."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from tlinear.demo.result import Result
from tlinear.dependency import dependency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "save"]

# Okabe and Ito's colours, which stay apart for colour-blind readers, and markers that stay apart in grey
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"))


def save(result: Result, path: Path) -> None:
    """Draw the result to a file of the kind that its suffix says."""
    draw(result).savefig(path, dpi=150)


def draw(result: Result) -> Figure:
    """Three panels over the parameters of the hidden layer: accuracy before and after fine-tuning, and time."""
    with dependency("matplotlib"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    before, after, ratio = figure.subplots(1, 3)
    dense, *others = result.measured
    _panel(before, "test accuracy before fine-tuning, %", 100 * dense.accuracy.before)
    _panel(after, "test accuracy after fine-tuning, %", 100 * dense.accuracy.after)
    _panel(ratio, "forward time / dense layer's", 1.0)
    for axes, share in ((before, result.without_layer.before), (after, result.without_layer.after)):
        axes.axhline(100 * share, color="grey", linestyle=":", label="layer left out")
    for label, (color, marker) in zip(dict.fromkeys(row.label for row in others), cycle(_STYLES), strict=False):
        rows = sorted((row for row in others if row.label == label), key=lambda row: row.n_parameters)
        parameters = [row.n_parameters for row in rows]
        for axes, values in (
            (before, [100 * row.accuracy.before for row in rows]),
            (after, [100 * row.accuracy.after for row in rows]),
            (ratio, [row.time_ratio for row in rows]),
        ):
            axes.plot(parameters, values, color=color, marker=marker, markersize=6, label=label)
    ratio.set_ylim(bottom=0)
    figure.suptitle(
        f"{result.settings.data}: the {result.settings.hidden} x {result.settings.hidden} hidden layer "
        f"({dense.n_parameters:,} parameters) compressed"
    )
    figure.legend(*before.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _panel(axes: Axes, title: str, dense: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("parameters of the hidden layer")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(dense, color="black", linestyle="--", label="dense")
