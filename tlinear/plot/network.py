"""The tensor-network diagram of a weight or a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlinear.contraction.network import Network
from tlinear.errors import NetworkError
from tlinear.formats import FactorizedTensor
from tlinear.plot.canvas import COLOURS, INK, bare_axes, new_figure
from tlinear.plot.diagram import Box, Wire, diagram_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_network", "network_of"]

_INCHES = 0.78
_COLOUR = {"batch": INK, "input": COLOURS[0], "output": COLOURS[1], "bond": INK, "unit": "#999999"}


def network_of(thing: Any) -> Network:
    """What is drawn: a network as it is, a tensor's, or that of a layer with its input.

    Raises
    ------
    NetworkError
        When it is none of these.
    """
    if isinstance(thing, Network):
        return thing
    if isinstance(thing, FactorizedTensor):
        return thing.network
    weight = getattr(thing, "weight", None)
    if isinstance(weight, FactorizedTensor):
        return weight.layer_network
    raise NetworkError(
        f"{type(thing).__name__} has no network to draw. Pass a factorized tensor, a FactorizedLinear, or a Network."
    )


def draw_network(thing: Any) -> Figure:
    """Draw operands as boxes and labels as lines: of a factorized tensor, or of a layer with its input ``x``.

    A line between boxes is summed over; one that ends in the open is an axis of the result.  Lines of the input are
    blue and leave downwards, lines of the output are orange and leave upwards; bonds are dark, and
    those of size 1 at the ends of a train dashed.  Beside each stand its symbol, as ``print(layer.plan(1))`` has it,
    and its size.

    Parameters
    ----------
    thing : FactorizedTensor, FactorizedLinear or Network

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`tlinear.plot.save`.

    Raises
    ------
    NetworkError
        When there is no network in it.
    MissingDependencyError
        When matplotlib is not installed.

    Examples
    --------
    >>> import tlinear
    >>> figure = draw_network(tlinear.BlockTTTensor.random((4, 4), (2, 5), rank=3, rng=0))
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_text().startswith("cores")]
    ['cores.0', 'cores.1']
    """
    diagram = diagram_of(network_of(thing))
    ends = [point for wire in diagram.wires for stroke in wire.strokes for point in stroke]
    ends += [(box.x + s * box.width / 2, box.y + s * box.height / 2) for box in diagram.boxes for s in (-1, 1)]
    left, right = min(x for x, _ in ends) - 0.45, max(x for x, _ in ends) + 0.45
    low, high = min(y for _, y in ends) - 0.45, max(y for _, y in ends) + 0.45
    figure = new_figure(max(_INCHES * (right - left), 2.5), _INCHES * (high - low))
    axes = bare_axes(figure)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    for wire in diagram.wires:
        _draw_wire(axes, wire)
    for box in diagram.boxes:
        _draw_box(axes, box)
    return figure


def _draw_box(axes: Axes, box: Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = box.x - box.width / 2, box.y - box.height / 2
    style = "round,pad=0,rounding_size=0.12"
    fill = "#EEEEEE" if box.name == "x" else "#FFF6DD"
    axes.add_patch(
        FancyBboxPatch(corner, box.width, box.height, style, facecolor=fill, edgecolor=INK, zorder=2, gid=box.name)
    )
    axes.text(box.x, box.y, box.name, ha="center", va="center", fontsize=9, color=INK, zorder=3)


def _draw_wire(axes: Axes, wire: Wire) -> None:
    colour = _COLOUR[wire.kind]
    style = (0, (2, 2)) if wire.kind == "unit" else "-"
    line: dict[str, Any] = {"color": colour, "linewidth": 1.6, "linestyle": style, "zorder": 1}
    for number, stroke in enumerate(wire.strokes):
        xs, ys = zip(*stroke, strict=True)
        axes.plot(xs, ys, solid_capstyle="round", gid=None if number else wire.symbol, **line)
        if number:  # where it joins the first
            axes.plot(xs[-1:], ys[-1:], "o", color=colour, markersize=4.5, zorder=1)
    (x, y), size = wire.text, "" if wire.size is None else str(wire.size)
    text: dict[str, Any] = {"fontsize": 9, "color": colour, "zorder": 3}
    start, end = wire.strokes[0][0], wire.strokes[0][-1]
    if end == wire.text and start[0] == end[0]:  # at the end in the open
        below = end[1] < start[1]
        label = f"{wire.symbol}={size}" if size else wire.symbol
        axes.text(x, y + (-0.08 if below else 0.08), label, ha="center", va="top" if below else "bottom", **text)
    elif wire.upright:
        axes.text(x - 0.07, y, wire.symbol, ha="right", va="center", **text)
        axes.text(x + 0.07, y, size, ha="left", va="center", **text)
    else:
        axes.text(x, y + 0.06, wire.symbol, ha="center", va="bottom", **text)
        axes.text(x, y - 0.07, size, ha="center", va="top", **text)
