"""A plan as a picture: which operands meet in which step, and what each step costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlinear.contraction.plan import Plan
from tlinear.plot.canvas import COLOURS, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Place", "draw_plan", "places_of"]

_ROW = 0.36
_COLUMN = 0.85
_TOP = 0.62
_APART = 0.7


@dataclass(frozen=True)
class Place:
    """Where an operand or the result of a step stands: the rows are the steps, downwards.

    Attributes
    ----------
    slot : int
        The operand's number, or the step's number behind them.
    name : str
    column : int
    row : float
        Of a step its number, from 0 on; an operand stands in the row of the step that takes it, or a little above
        where a column begins with it.
    """

    slot: int
    name: str
    column: int
    row: float


def places_of(plan: Plan) -> tuple[Place, ...]:
    """Every operand and every step of a plan once, such that no two lines lie on each other.

    The result of a step stands in the column of its first operand, so that the input runs straight down; the second
    operand comes from a column further right.

    Examples
    --------
    >>> import tlinear
    >>> layer = tlinear.FactorizedLinear((8, 8), (8, 8), factorization="blocktt", rank=2, rng=0)
    >>> for place in places_of(layer.with_options(implementation="factorized").plan(batch_size=1)):
    ...     print(place.name, place.column, place.row)
    result 0 1
    t1 0 0
    x 0 -0.62
    cores.0 1 0
    cores.1 1 1
    """
    n = len(plan.network.names)
    rows = {step.out: number for number, step in enumerate(plan.steps)}
    taken: list[tuple[int, float, float]] = []
    places: list[Place] = []

    def first_row(slot: int) -> float:
        """The row in which the column of a slot begins."""
        while slot >= n:
            row, slot = rows[slot], plan.steps[slot - n].a
        return row - _TOP

    def free_column(least: int, top: float, bottom: float) -> int:
        column = least
        while any(c == column and top - _APART < low and high - _APART < bottom for c, high, low in taken):
            column += 1
        taken.append((column, top, bottom))
        return column

    def place(slot: int, column: int, row: float) -> None:
        """A slot in a column that is free for it, and what it is made of."""
        places.append(Place(slot, plan.slot_name(slot), column, row))
        if slot < n:
            return
        step = plan.steps[slot - n]
        place(step.a, column, rows[step.a] if step.a >= n else rows[slot] - _TOP)
        if step.b < n:
            place(step.b, free_column(column + 1, rows[slot], rows[slot]), rows[slot])
        else:
            place(step.b, free_column(column + 1, first_row(step.b), rows[slot]), rows[step.b])

    if plan.steps:
        last = plan.steps[-1].out
        place(last, free_column(0, first_row(last), rows[last]), rows[last])
    else:
        place(0, 0, 0.0)
    return tuple(places)


def draw_plan(plan: Plan) -> Figure:
    """Draw the steps of a plan downwards, and beside each the labels and bytes of its result, and its FLOPs.

    What has a batch is blue and done for every chunk; what is made of operands alone is green and done once.

    Parameters
    ----------
    plan : Plan
        From ``layer.plan(batch_size)``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.

    Examples
    --------
    >>> import tlinear
    >>> layer = tlinear.FactorizedLinear((8, 8), (8, 8), factorization="blocktt", rank=2, rng=0)
    >>> figure = draw_plan(layer.with_options(implementation="factorized").plan(batch_size=1))
    >>> [axes.get_title() for axes in figure.axes]
    ['', 'FLOPs', 'bytes of the result']
    """
    places = {place.slot: place for place in places_of(plan)}
    columns = 1 + max(place.column for place in places.values())
    n_rows = max(len(plan.steps), 1)
    labels = [step.name + plan.network.describe(step.pair.out) for step in plan.steps]
    text = 0.075 * max(map(len, labels), default=1)
    tree = _COLUMN * columns + text + 0.6
    figure = new_figure(tree + 2.8, _ROW * (n_rows + 1.4) + 0.9)
    axes, flops, entries = figure.subplots(1, 3, width_ratios=(tree, 1.4, 1.4), sharey=True)
    axes.set_xlim(-0.6, columns + (text + 0.1) / _COLUMN)
    axes.set_ylim(n_rows - 0.4, -1.3)
    axes.set_axis_off()
    _draw_tree(axes, plan, places)
    for number, label in enumerate(labels):
        axes.text(columns - 0.3, number, label, va="center", fontsize=8.5, family="monospace", color=INK)
    table = plan.to_dict()["steps"]
    sizes = [plan.network.size(step.pair.out, plan.batch_size) * plan.dtype.itemsize for step in plan.steps]
    colours = [_colour(plan, number) for number in range(len(plan.steps))]
    _bars(flops, "FLOPs", [row["flops"] for row in table], colours)
    _bars(entries, "bytes of the result", sizes, colours)
    figure.suptitle(
        f"{plan.implementation}, {plan.mode}, batch {plan.batch_size:,}, {plan.dtype}: {plan.flops:,} FLOPs, at most "
        f"{plan.peak_bytes:,} bytes alive",
        fontsize="medium",
    )
    return figure


def _colour(plan: Plan, number: int) -> str:
    return COLOURS[0] if plan.steps[number].pair.has_batch else COLOURS[2]


def _draw_tree(axes: Axes, plan: Plan, places: Mapping[int, Place]) -> None:
    n = len(plan.network.names)
    for number, step in enumerate(plan.steps):
        out, a, b = places[step.out], places[step.a], places[step.b]
        line: dict[str, Any] = {"linewidth": 1.6, "zorder": 1, "solid_capstyle": "round"}
        axes.plot([a.column, out.column], [a.row, out.row], color=_line_colour(plan, step.a), **line)
        axes.plot([b.column, b.column, out.column], [b.row, out.row, out.row], color=_line_colour(plan, step.b), **line)
        axes.plot([out.column], [out.row], "o", color=_colour(plan, number), markersize=6, zorder=2, gid=step.name)
    for slot, place in places.items():
        if slot < n:
            box = {"boxstyle": "round,pad=0.2", "facecolor": "#EEEEEE" if slot == 0 else "#FFF6DD", "edgecolor": INK}
            axes.text(
                place.column,
                place.row,
                place.name,
                ha="center",
                va="center",
                fontsize=8,
                bbox=box,
                zorder=3,
                gid=place.name,
            )


def _line_colour(plan: Plan, slot: int) -> str:
    n = len(plan.network.names)
    return _colour(plan, slot - n) if slot >= n else INK


def _bars(axes: Axes, title: str, values: list[int], colours: list[str]) -> None:
    axes.set_title(title, fontsize=9)
    axes.barh(range(len(values)), values, height=0.55, color=colours)
    most = max([1, *values])  # of no samples all are zero, and an axis has a length
    for number, value in enumerate(values):
        axes.text(value + 0.03 * most, number, f"{value:,}", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, 1.75 * most)
    axes.set_axis_off()
