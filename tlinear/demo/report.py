"""The result as a table, and the notes that say what was measured.

Every text is ASCII, so that any terminal and any file can hold it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import numpy as np

from tlinear import __version__
from tlinear.demo.result import Infeasible, Result, Row
from tlinear.dependency import dependency
from tlinear.ranks.rules import Rank

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["notes", "show", "table"]

_NARROW, _WIDE = 80, 120
"""The least columns that the numbers need, and those that the whole table takes, for an output without a width."""

_NUMBERS = (
    "para-\nmeters",
    "compres-\nsion",
    "weight\nerror ",
    "test %\nbefore",
    "test %\nafter",
    "time\nus ",
    "x\ndense",
)
_NOT_CONVERGED, _RECONSTRUCTED = "*", "+"


def show(result: Result, file: TextIO) -> None:
    """Write the table and the notes.

    Raises
    ------
    MissingDependencyError
        When rich is not installed.
    """
    with dependency("rich"):
        from rich.console import Console
    width = max(_NARROW, Console(file=file).width) if file.isatty() else _WIDE
    console = Console(file=file, width=width, highlight=False)
    console.print(table(result))
    for note in notes(result):
        console.print(note, markup=False)


def table(result: Result) -> Table:
    """One row for each layer; on a narrow terminal its texts are folded, never cut."""
    with dependency("rich"):
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
    hidden, pixels, classes = result.settings.hidden, result.n_pixels, result.n_classes
    grid = Table(
        title=f"{result.settings.data}: the {hidden} x {hidden} hidden layer of a "
        f"{pixels}-{hidden}-{hidden}-{classes} network",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    grid.add_column("hidden layer", min_width=8, overflow="fold")
    grid.add_column("rank", min_width=10, overflow="fold")
    for header in _NUMBERS:
        grid.add_column(header, justify="right", no_wrap=True)
    for above, row in zip((None, *result.rows), result.rows, strict=False):
        if above is not None and row.label != above.label:
            grid.add_section()
        grid.add_row(*(_infeasible_cells(row) if isinstance(row, Infeasible) else _cells(row)))
    return grid


def _cells(row: Row) -> tuple[str, ...]:
    fit = row.fit
    return (
        row.label,
        "" if fit is None else _rank(fit.rank),
        f"{row.n_parameters:,}",
        f"{row.compression:.1f}x",
        "" if fit is None else _marked(f"{fit.relative_error:.3f}", _NOT_CONVERGED, not fit.converged),
        f"{100 * row.accuracy.before:.1f}",
        f"{100 * row.accuracy.after:.1f}",
        _marked(f"{1e6 * row.seconds:,.0f}", _RECONSTRUCTED, fit is not None and fit.implementation == "reconstructed"),
        f"{row.time_ratio:.2f}",
    )


def _infeasible_cells(row: Infeasible) -> tuple[str, ...]:
    return row.label, f"{row.asked:g} is infeasible"


def _rank(rank: Rank) -> str:
    return ", ".join(str(entry) for entry in rank) if isinstance(rank, tuple) else str(rank)


def _marked(text: str, mark: str, is_marked: bool) -> str:
    """With the mark, or a blank in its place that keeps the digits above each other."""
    return text + (mark if is_marked else " ")


def notes(result: Result) -> Iterator[str]:
    """What the columns are, and what they were measured on."""
    settings, without = result.settings, result.without_layer
    fits = [row.fit for row in result.measured if row.fit is not None]
    yield f"Data: {result.source}, {result.n_train:,} images to train on and {result.n_test:,} to test on."
    yield (
        f"Training: Adam in {result.dtype}, batches of {settings.batch_size}, epochs: {settings.epochs}, "
        f"learning rate: {settings.learning_rate:g} falling to 0."
    )
    yield (
        "Fine-tuning, the same for every row: all parameters of the network, through the manual backward, epochs: "
        f"{settings.fine_tune_epochs}, learning rate: {settings.fine_tune_rate:g} falling to 0."
    )
    shared = {"proportional": "in proportion to the modes", "spectrum": "by the weight's singular values"}
    yield f"rank: a budget is shared among the ranks {shared[settings.allocation]} (--allocation)."
    yield "parameters, compression: of the hidden layer, bias included; the dense layer's over this one's."
    yield "weight error: |W - W'| / |W| in the Frobenius norm, before fine-tuning."
    if not all(fit.converged for fit in fits):
        reason = "the decomposition ran out of iterations, or CP components that cancel had not settled"
        yield f"    {_NOT_CONVERGED} {reason}."
    yield (
        "test %: test images classified correctly, before and after fine-tuning; one image is "
        f"{100 / result.n_test:.2f} %. With the hidden layer left out altogether: {100 * without.before:.1f} before, "
        f"{100 * without.after:.1f} after."
    )
    yield (
        f"time: forward pass of the hidden layer alone on {result.n_timed} test images, the median of "
        f"{settings.timed_rounds} rounds in which all rows take turns; {result.blas}, {os.cpu_count()} cores."
    )
    if any(fit.implementation == "reconstructed" for fit in fits):
        yield f"    {_RECONSTRUCTED} implementation='auto' rebuilt the dense weight, expecting that to be faster."
    for row in result.rows:
        if isinstance(row, Infeasible):
            yield f"{row.label}: {row.reason}"
    yield (
        f"tlinear {__version__}, numpy {np.__version__}, Python {platform.python_version()}, seed {settings.seed}; "
        f"{result.seconds:.1f} s in all."
    )
