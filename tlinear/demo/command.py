"""``tlinear demo``: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, get_args

from tlinear.decomposition import Allocation
from tlinear.demo import figure, report
from tlinear.demo.data import SOURCES
from tlinear.demo.experiment import run
from tlinear.demo.settings import QUICK, Settings
from tlinear.errors import MissingDependencyError, OptionError
from tlinear.parsing import number_rank
from tlinear.plot import check_path
from tlinear.progress import progress_bar

__all__ = ["PURPOSE", "add_arguments", "execute"]

PURPOSE = (
    "Train a network on real handwritten digits, compress its hidden layer in every format, and compare accuracy "
    "before and after fine-tuning, size and speed with the dense layer."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """State what the command takes."""
    parser.set_defaults(execute=execute)
    parser.add_argument("--quick", action="store_true", help="a small network and little training: a few seconds")
    parser.add_argument(
        "--plot", type=Path, metavar="PATH", default=Path("tlinear-demo.png"), help="save the plot there (%(default)s)"
    )
    parser.add_argument("--no-plot", dest="plot", action="store_const", const=None, help="save no plot")
    _add_setting(parser, "data", "the images", choices=list(SOURCES))
    _add_setting(parser, "seed", "decides the split, the initial network and the order of the batches", type=int)
    _add_setting(parser, "hidden", "features on both sides of the layer", type=int)
    _add_setting(
        parser,
        "ranks",
        "fractions of the dense parameters such as 0.05, or ranks such as 4",
        type=number_rank,
        nargs="+",
        metavar="RANK",
    )
    _add_setting(
        parser,
        "allocation",
        "how such a fraction is shared among the ranks of a tensor",
        choices=list(get_args(Allocation)),
    )
    _add_setting(parser, "epochs", "of the dense network's training", type=int)
    _add_setting(parser, "fine_tune_epochs", "of every network afterwards", type=int)


def _add_setting(parser: argparse.ArgumentParser, name: str, meaning: str, **options: Any) -> None:
    """An argument that stays absent unless given, because ``--quick`` has other defaults."""
    full, quick = (_text(getattr(settings, name)) for settings in (Settings(), QUICK))
    default = full if full == quick else f"{full}; {quick} with --quick"
    option = f"--{name.replace('_', '-')}"
    parser.add_argument(option, default=argparse.SUPPRESS, help=f"{meaning} ({default})", **options)


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def execute(options: argparse.Namespace) -> None:
    """Run the experiment; the progress goes to stderr, the table to stdout."""
    fields = {field.name for field in dataclasses.fields(Settings)}
    given = {name: value for name, value in vars(options).items() if name in fields}
    if "ranks" in given:
        given["ranks"] = tuple(given["ranks"])
    settings = dataclasses.replace(QUICK if options.quick else Settings(), **given)
    plot = _usable(options.plot)
    if sys.stdout is None:
        raise OptionError("The standard output is closed, and the table has nowhere to go. Open it.")
    with progress_bar() as progress:
        result = run(settings, progress)
    report.show(result, sys.stdout)
    if plot is not None:
        figure.save(result, plot)
        _say(f"the plot is saved as {plot}")


def _usable(plot: Path | None) -> Path | None:
    """The path if a plot can be saved there, None if none is wanted or matplotlib is not installed."""
    if plot is not None:
        try:
            check_path(plot, extra="demo", what="The demo")
        except MissingDependencyError as error:
            _say(f"no plot will be saved. {error}")
            return None
    return plot


def _say(message: str) -> None:
    print(f"tlinear: {message}", file=sys.stderr)
