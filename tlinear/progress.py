"""Progress of a long command: a bar on the standard error of a terminal, and nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Progress", "progress_bar", "silent"]

Progress: TypeAlias = Callable[[str, float], None]
"""Told what is being done, and which fraction of all is over."""

_WIDTH = 79


def silent(what: str, fraction: float) -> None:
    """Ignore the progress."""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Draw a bar while the block runs, with rich where it is installed and as a line of text elsewhere.

    Only a terminal gets one: a file or a pipe gets nothing.

    Examples
    --------
    >>> with progress_bar() as progress:
    ...     progress("judging cases", 0.5)
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield silent
        return
    with contextlib.ExitStack() as stack:
        try:
            update = stack.enter_context(_rich_bar())
        except ModuleNotFoundError:
            update = stack.enter_context(_line_of_text())
        yield update


@contextmanager
def _rich_bar() -> Iterator[Progress]:
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("{task.description}", markup=False),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, fraction: bar.update(task, description=what, completed=fraction)


@contextmanager
def _line_of_text() -> Iterator[Progress]:
    def update(what: str, fraction: float) -> None:
        print(f"\r{f'{fraction:4.0%} {what}'[:_WIDTH]:{_WIDTH}}", end="", file=sys.stderr, flush=True)

    try:
        yield update
    finally:
        print(f"\r{'':{_WIDTH}}\r", end="", file=sys.stderr, flush=True)
