"""What every replay has in common: it measures, keeps what it found, and writes its page and figure from that.

A replay is a script.  ``python docs/replays/<name>.py`` measures and prints; ``--write`` also keeps the numbers in
``<name>.json`` and renders ``<name>.svg`` and the marked parts of ``<name>.md`` from them; ``--render`` does the latter
again without measuring; ``--quick`` is for seeing that everything works, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tlinear
from tlinear.demo.threads import one_blas_thread

# for the replays too, which find the trained weights there
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from benchmarks.processor import processor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
INDEX = "index"

STYLES = (
    ("#000000", "o"),
    ("#0072B2", "s"),
    ("#D55E00", "^"),
    ("#009E73", "D"),
    ("#CC79A7", "v"),
    ("#56B4E9", "P"),
    ("#E69F00", "X"),
)
"""Okabe and Ito's colours, which stay apart for colour-blind readers, and markers that stay apart in grey."""


@dataclass(frozen=True)
class Replay:
    """One replay.

    Attributes
    ----------
    name : str
        Of its page, numbers and figure.
    measure : callable
        ``measure(quick)`` gives all numbers as JSON can hold them.
    blocks : callable
        ``blocks(measured)`` gives the marked parts of the page by name, in Markdown; "verdict" begins in bold.
    draw : callable
        ``draw(measured)`` gives the figure.
    """

    name: str
    measure: Callable[[bool], dict[str, Any]]
    blocks: Callable[[dict[str, Any]], Mapping[str, str]]
    draw: Callable[[dict[str, Any]], Figure]

    def file(self, suffix: str) -> Path:
        """The page (``.md``), the numbers (``.json``) or the figure (``.svg``)."""
        return HERE / f"{self.name}{suffix}"

    def kept(self) -> dict[str, Any]:
        """The numbers that were written last, with the machine that they were measured on."""
        return json.loads(self.file(".json").read_text(encoding="utf-8"))

    def all_blocks(self, kept: Mapping[str, Any]) -> dict[str, str]:
        """The marked parts of the page, the machine included."""
        return {**self.blocks(kept["measured"]), "machine": machine_line(kept["machine"])}

    def save_figure(self, kept: Mapping[str, Any], path: Path) -> None:
        """The same bytes whenever the numbers and matplotlib are the same."""
        import matplotlib as mpl

        settings = {"svg.hashsalt": self.name, "svg.fonttype": "none", "font.family": "sans-serif"}
        with mpl.rc_context(settings):
            self.draw(kept["measured"]).savefig(path, metadata={"Date": None})


def run(replay: Replay) -> None:
    """The command line of a replay."""
    parser = argparse.ArgumentParser(description=f"The replay {replay.name}: measures, and prints the tables.")
    parser.add_argument("--quick", action="store_true", help="only see that everything works")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--write", action="store_true", help="keep the numbers; write the page and the figure")
    choice.add_argument("--render", action="store_true", help="write both again from the numbers kept")
    options = parser.parse_args()
    if options.quick and (options.write or options.render):
        parser.error("--quick measures too little to be kept. Leave it out, or --write and --render.")
    if options.render:
        kept = replay.kept()
    else:
        start = time.process_time()
        with one_blas_thread() as blas:
            measured = replay.measure(options.quick)
        kept = {"machine": machine(blas, time.process_time() - start), "measured": measured}
    for text in replay.all_blocks(kept).values():
        print(f"\n{text}")
    if options.write:
        replay.file(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if options.write or options.render:
        replay.save_figure(kept, replay.file(".svg"))
        fill(replay.file(".md"), replay.all_blocks(kept))
        fill(HERE / f"{INDEX}.md", {"verdicts": verdicts()})


def say(what: str) -> None:
    """Progress."""
    print(what, flush=True)


# ---------------------------------------------------------------- pages


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Put each text between its marks, ``<!-- name -->`` and ``<!-- end of name -->``."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        before, _, after = parts(text, name)
        text = f"{before}\n\n{block}\n\n{after}"
    page.write_text(text, encoding="utf-8")


def parts(text: str, name: str) -> tuple[str, str, str]:
    """A page up to a mark and with it, what stands between, and the rest."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"The page needs one {begin} and one {end}.")
    before, rest = text.split(begin)
    between, after = rest.split(end)
    return before + begin, between.strip("\n"), end + after


def verdicts() -> str:
    """The table of the index: the title of each page, and what its verdict begins with in bold."""
    rows = []
    for numbers in sorted(HERE.glob("*.json")):
        page = numbers.with_suffix(".md")
        text = page.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        _, headline, _ = parts(text, "verdict")[1].split("**", 2)
        rows.append((f"[{title}]({page.name})", headline))
    return table(("replay", "verdict"), rows, right=())


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] | None = None) -> str:
    """In Markdown; the columns `right`, all but the first unless given, are set to the right."""
    aligned = range(1, len(header)) if right is None else right
    marks = ["--:" if k in aligned else "---" for k in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, marks, *rows))


# ---------------------------------------------------------------- the machine


def machine(blas: str, seconds: float) -> dict[str, str]:
    """What the numbers depend on, and how long they took."""
    return {
        "took": f"{seconds / 60:.0f} processor minutes" if seconds > 120 else f"{seconds:.0f} processor seconds",
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "blas": blas,
        "tlinear": tlinear.__version__,
        "Python": platform.python_version(),
        "NumPy": version("numpy"),
        "SciPy": version("scipy"),
        "matplotlib": version("matplotlib"),
    }


def machine_line(found: Mapping[str, str]) -> str:
    """The same in words."""
    packages = ", ".join(f"{name} {found[name]}" for name in ("tlinear", "Python", "NumPy", "SciPy"))
    # not of a run before it was counted
    took = f"; a run took {found['took']}" if "took" in found else ""
    return f"Measured on: {found['processor']}; {found['blas']}; {packages}{took}."


# ---------------------------------------------------------------- figures


def styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each label, in order."""
    return {
        label: {"color": color, "marker": marker, "markersize": 5}
        for label, (color, marker) in zip(labels, cycle(STYLES), strict=False)
    }


def figure_with(n_panels: int, *, width: float = 4.2, height: float = 3.8) -> tuple[Figure, Sequence[Axes]]:
    """A figure of some panels in a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n_panels, height), layout="constrained")
    panels = figure.subplots(1, n_panels, squeeze=False)[0]
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels
