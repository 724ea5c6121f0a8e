"""What a plan has alive at each moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tlinear.contraction.plan import Plan
from tlinear.plot.canvas import COLOURS, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Alive", "draw_memory", "memory_timeline"]


class Alive(NamedTuple):
    """What is done at a moment, and the bytes alive meanwhile."""

    doing: str
    n_bytes: int


def memory_timeline(plan: Plan) -> tuple[Alive, ...]:
    """The moments of a plan one after another, and the bytes alive in each; their maximum is ``plan.peak_bytes``.

    Of a batch in several chunks it is the chunk that needs most.  The input, the operands and a cotangent
    are the caller's, and not counted.

    Examples
    --------
    >>> import tlinear
    >>> layer = tlinear.FactorizedLinear((8, 8), (8, 8), factorization="blocktt", rank=2, rng=0)
    >>> plan = layer.with_options(implementation="factorized").plan(batch_size=10)
    >>> for moment in memory_timeline(plan):
    ...     print(moment.doing, moment.n_bytes)
    arrange what the input meets ...
    contract t1 ...
    contract result ...
    >>> max(moment.n_bytes for moment in memory_timeline(plan)) == plan.peak_bytes
    True
    """
    return tuple(
        Alive(moment.doing + (f" {moment.step.name}" if moment.step else ""), moment.entries * plan.dtype.itemsize)
        for moment in plan.moments()
    )


def draw_memory(plan: Plan) -> Figure:
    """Draw the bytes that a plan has alive, moment by moment, downwards.

    The largest is ``plan.peak_bytes``, drawn in orange.

    Parameters
    ----------
    plan : Plan
        From ``layer.plan(batch_size, mode)``.

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
    >>> figure = draw_memory(layer.plan(100, "training"))
    >>> figure.axes[0].get_xlabel()
    'KiB alive'
    """
    timeline = memory_timeline(plan)
    unit, size = next(((u, s) for u, s in (("MiB", 2**20), ("KiB", 2**10)) if plan.peak_bytes >= s), ("bytes", 1))
    figure = new_figure(7.0, 0.24 * len(timeline) + 1.3)
    axes = figure.add_subplot()
    values = [moment.n_bytes / size for moment in timeline]
    colours = [COLOURS[1] if moment.n_bytes == plan.peak_bytes else COLOURS[5] for moment in timeline]
    axes.barh(range(len(values)), values, height=1.0, color=colours, edgecolor="white", linewidth=0.5)
    axes.set_yticks(range(len(values)), [moment.doing for moment in timeline], fontsize=8)
    axes.set_ylim(len(values) - 0.5, -0.5)
    kept = f", memory={plan.memory!r}" if plan.is_training else ""
    title = f"{plan.implementation}, {plan.mode}{kept}, batch {plan.batch_size:,}: at most {plan.peak_bytes:,} bytes"
    plain_axes(axes, title, f"{unit} alive", "")
    axes.grid(visible=False, axis="y")
    return figure
