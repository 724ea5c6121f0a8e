"""What all pictures share: the figure they are drawn on, their colours, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tlinear.dependency import dependency
from tlinear.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "bare_axes", "check_path", "count_on_log_scale", "new_figure", "plain_axes", "save"]

# Okabe and Ito's colours, which stay apart for colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK = "#333333"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many inches, which no window and no global state knows of.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    """
    with dependency("matplotlib", extra="plot", what="A plot"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def bare_axes(figure: Figure) -> Axes:
    """Axes of which only what is drawn on them is seen, one unit being as long in both directions."""
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_aspect("equal")
    return axes


def plain_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Name the axes, and leave out what carries no information."""
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def count_on_log_scale(axes: Axes) -> None:
    """A logarithmic x axis of whole numbers, written out: 200, 500, 1,000, and not as powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def check_path(path: Path, *, extra: str = "plot", what: str = "A plot") -> None:
    """Raise now what :func:`save` would raise after all the work; `what` needs matplotlib, which `extra` brings.

    Raises
    ------
    OptionError
        When the folder does not exist, or matplotlib writes no such kind of file.
    MissingDependencyError
        When matplotlib is not installed.

    Examples
    --------
    >>> check_path(Path("network.docx"))
    Traceback (most recent call last):
        ...
    tlinear.errors.OptionError: A plot cannot be saved as network.docx. End the name in one of ...
    """
    with dependency("matplotlib", extra=extra, what=what):
        from matplotlib.backend_bases import FigureCanvasBase
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise OptionError(f"A plot cannot be saved as {path}. End the name in one of {', '.join(sorted(kinds))}.")
    if not path.parent.is_dir():
        raise OptionError(f"A plot cannot be saved as {path}: there is no folder {path.parent}. Make it first.")


def save(figure: Figure, path: str | Path) -> None:
    """Write the picture to a file of the kind that its suffix says: ``.svg``, ``.png``, ``.pdf``.

    The same picture gives the same bytes: no date is written into it, and the names inside an SVG do not change.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What one of the ``draw_`` functions returned.
    path : path

    Raises
    ------
    OptionError
        When the folder does not exist, or matplotlib writes no such kind of file.

    Examples
    --------
    >>> import tempfile, tlinear.plot
    >>> weight = tlinear.TTTensor.random((4, 4), (2, 5), rank=3, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(tlinear.plot.draw_network(weight), Path(folder) / "network.svg")
    ...     "cores.0" in (Path(folder) / "network.svg").read_text()
    True
    """
    path = Path(path)
    check_path(path)
    import matplotlib as mpl

    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context({"svg.hashsalt": "tlinear", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata=undated.get(path.suffix.lower()))
