"""Where the operands and the lines of a tensor-network diagram go: numbers alone, drawn by ``network``.

Two arrangements serve all formats.  Where every operand has a mode and no bond joins more than two, the
operands stand in a row, as TT and BlockTT do (folded in two where the row is long and no operand has modes of
both sides).  Where there is a hub, the core of Tucker or the bond of CP, the operands with input modes stand
below it and those with output modes above.  Lines of the input leave downwards, lines of the output upwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tlinear.contraction.network import BATCH, Label, Labels, Network

__all__ = ["Box", "Diagram", "Kind", "Wire", "diagram_of"]

Point: TypeAlias = tuple[float, float]
Kind: TypeAlias = Literal["batch", "input", "output", "bond", "unit"]

_HEIGHT = 0.6
_PITCH = 0.85
_GAP = 0.6
_LEG = 0.75
_STUB = 0.32
_FLOOR = 1.55
_MOST_IN_A_ROW = 7


@dataclass(frozen=True)
class Box:
    """An operand: a rectangle around a point, with its name and shape."""

    name: str
    x: float
    y: float
    width: float
    height: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Wire:
    """A label: strokes between the operands that carry it, or one that ends in the open.

    Attributes
    ----------
    label : int
        As the network has it.
    symbol : str
        As it is printed: ``i1``, ``o1``, ``r1``, ``b``.
    size : int or None
        None for the batch, whose size a network does not know.
    kind : {'batch', 'input', 'output', 'bond', 'unit'}
        A unit is a bond of size 1 that one operand alone carries.
    strokes : tuple of tuple of (float, float)
        Each a line through these points.
    text : (float, float)
        Where the symbol and the size are written.
    upright : bool
        Whether these stand beside each other, as at a vertical line, or above each other.
    """

    label: Label
    symbol: str
    size: int | None
    kind: Kind
    strokes: tuple[tuple[Point, ...], ...]
    text: Point
    upright: bool


@dataclass(frozen=True)
class Diagram:
    """Every operand of a network as a box, and every label as a wire, each once."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]


def diagram_of(network: Network) -> Diagram:
    """Where the operands and labels of a network are drawn.

    Examples
    --------
    >>> import tlinear
    >>> diagram = diagram_of(tlinear.TuckerTensor.random((4, 4), (2, 5), rank=2, rng=0).layer_network)
    >>> [box.name for box in diagram.boxes]
    ['x', 'core', 'factors.0', 'factors.1', 'factors.2', 'factors.3']
    >>> [wire.symbol for wire in diagram.wires]
    ['b', 'i1', 'i2', 'o1', 'o2', 'r1', 'r2', 'r3', 'r4']
    """
    return _Layout(network).diagram()


class _Layout:
    """The boxes as they are placed, and then the wires between them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.labels: Mapping[str, Labels] = dict(zip(network.names, network.inputs, strict=True))
        self.boxes: dict[str, Box] = {}
        self.legs: dict[tuple[str, Label], Point] = {}
        self.buses: dict[Label, tuple[float, float]] = {}

    def diagram(self) -> Diagram:
        weights = [name for name, labels in self.labels.items() if BATCH not in labels]
        hubs = [name for name in weights if not self._modes(name)]
        shared = [label for label in self._bonds() if len(self._carriers(label, weights)) > 2]
        if hubs or shared:
            self._around_hubs(weights, hubs, shared)
        else:
            self._in_rows(weights)
        for name in self.labels:
            if name not in weights:
                self._below(name)
        labels = sorted({label for labels in self.labels.values() for label in labels} | set(self.network.output))
        return Diagram(tuple(self.boxes[name] for name in self.labels), tuple(self._wire(label) for label in labels))

    # ------------------------------------------------------------ boxes

    def _in_rows(self, weights: Sequence[str]) -> None:
        """One row, or two of which the upper one runs back."""
        lower = [name for name in weights if not self._is_output(name)]
        upper = [name for name in weights if self._is_output(name)]
        one_sided = all(len({label < self.network.n_in for label in self._modes(name)}) == 1 for name in weights)
        if len(weights) > _MOST_IN_A_ROW and one_sided and weights == lower + upper and upper:
            width = max(self._row_width(lower), self._row_width(upper))
            self._row(lower, 0.0, right=width / 2)
            self._row(upper[::-1], _FLOOR, right=width / 2)
        else:
            self._row(weights, 0.0, right=self._row_width(weights) / 2)

    def _around_hubs(self, weights: Sequence[str], hubs: Sequence[str], shared: Sequence[Label]) -> None:
        """The hubs in the middle, one above the other, between the operands of the input and of the output."""
        lower = [name for name in weights if self._modes(name) and not self._is_output(name)]
        upper = [name for name in weights if self._is_output(name)]
        widths = [self._row_width(row) for row in (lower, upper)]
        self._row(lower, 0.0, right=widths[0] / 2)
        level, half = _FLOOR, max(*widths, 2 * _PITCH) / 2
        for label in shared:
            self.buses[label] = half, level
            level += _FLOOR
        for name in hubs:
            on_bus = [label for label in self.labels[name] if label in self.buses]
            if on_bus and len(self.labels[name]) == 1:  # beside its bus, as the weights of CP
                width = self._width(name)
                self._place(name, half + _GAP + width / 2, self.buses[on_bus[0]][1], width)
            else:
                self._place(name, 0.0, level, 2 * half)
                level += _FLOOR
        self._row(upper, level, right=widths[1] / 2)

    def _below(self, name: str) -> None:
        """The input, as wide as the lines that it sends up."""
        at = [self._leg_of(label).x for label in self._modes(name)]
        left, right = min(at) - _PITCH / 2, max(at) + _PITCH / 2
        self._place(name, (left + right) / 2, min(box.y for box in self.boxes.values()) - _FLOOR, right - left)

    def _row(self, names: Sequence[str], y: float, *, right: float) -> None:
        at = right - self._row_width(names)
        for name in names:
            width = self._width(name)
            self._place(name, at + width / 2, y, width)
            at += width + _GAP

    def _row_width(self, names: Sequence[str]) -> float:
        return sum(map(self._width, names)) + _GAP * max(len(names) - 1, 0)

    def _width(self, name: str) -> float:
        legs = [label < self.network.n_in for label in self._modes(name)]
        longest = max(map(len, self.labels))  # all alike, so that two rows stand above each other
        return max(_PITCH * max(legs.count(True), legs.count(False), 1), 0.1 * longest + 0.15)

    def _place(self, name: str, x: float, y: float, width: float) -> None:
        self.boxes[name] = Box(name, x, y, width, _HEIGHT, self.network.shape(self.labels[name], -1))

    def _modes(self, name: str) -> Labels:
        return tuple(label for label in self.labels[name] if 0 <= label < self.network.n_modes)

    def _bonds(self) -> list[Label]:
        return sorted({label for labels in self.labels.values() for label in labels if label >= self.network.n_modes})

    def _is_output(self, name: str) -> bool:
        modes = self._modes(name)
        return bool(modes) and min(modes) >= self.network.n_in

    def _carriers(self, label: Label, names: Sequence[str]) -> list[str]:
        return [name for name in names if label in self.labels[name]]

    # ------------------------------------------------------------ wires

    def _leg_of(self, label: Label) -> Box:
        """The place on the edge of its operand where the line of a mode begins, as a box without a size."""
        owner = next(name for name, labels in self.labels.items() if label in labels and BATCH not in labels)
        box, is_input = self.boxes[owner], label < self.network.n_in
        alike = [other for other in self._modes(owner) if (other < self.network.n_in) == is_input]
        x = box.x + _PITCH * (alike.index(label) - (len(alike) - 1) / 2)
        return Box(owner, x, box.y + (-_HEIGHT / 2 if is_input else _HEIGHT / 2), 0.0, 0.0, ())

    def _wire(self, label: Label) -> Wire:
        network = self.network
        size = None if label == BATCH else network.sizes[label]
        carriers = self._carriers(label, list(self.labels))
        kind: Kind = "bond"
        if label == BATCH:
            kind, box = "batch", self.boxes[carriers[0]]
            strokes, text = _leg(box.x, box.y - _HEIGHT / 2, -_LEG)
            upright = False
        elif label < network.n_modes:
            kind, start = "input" if label < network.n_in else "output", self._leg_of(label)
            upright = len(carriers) > 1
            if upright:
                end = min(self.boxes[name].y for name in carriers) + _HEIGHT / 2
                strokes, text = (((start.x, start.y), (start.x, end)),), (start.x, (start.y + end) / 2)
            else:
                strokes, text = _leg(start.x, start.y, -_LEG if kind == "input" else _LEG)
        elif label in self.buses:
            strokes, text, upright = self._bus(label, carriers)
        elif len(carriers) == 1:
            kind = "unit"
            strokes, text, upright = self._stub(label, carriers[0])
        else:
            strokes, text, upright = self._between(*(self.boxes[name] for name in carriers))
        return Wire(label, network.symbol(label), size, kind, strokes, text, upright)

    def _bus(self, label: Label, carriers: Sequence[str]) -> tuple[tuple[tuple[Point, ...], ...], Point, bool]:
        right, y = self.buses[label]
        left = min(self.boxes[name].x for name in carriers)
        strokes: list[tuple[Point, ...]] = [((left, y), (right, y))]
        for name in carriers:
            box = self.boxes[name]
            if box.y == y:
                strokes[0] = (*strokes[0], (box.x - box.width / 2, y))
            else:
                edge = box.y + (_HEIGHT / 2 if box.y < y else -_HEIGHT / 2)
                strokes.append(((box.x, edge), (box.x, y)))
        return tuple(strokes), (right + _GAP / 2, y), False

    def _stub(self, label: Label, name: str) -> tuple[tuple[tuple[Point, ...], ...], Point, bool]:
        """To the left for a first axis, to the right for a last one, else to where the operand has no mode."""
        box, axis = self.boxes[name], self.labels[name].index(label)
        sideways = {0: -1, len(self.labels[name]) - 1: 1}.get(axis, 0) * (-1 if self._runs_back(box) else 1)
        if sideways:
            edge = box.x + sideways * box.width / 2
            return (((edge, box.y), (edge + sideways * _STUB, box.y)),), (edge + sideways * _STUB * 0.7, box.y), False
        down = not any(mode < self.network.n_in for mode in self._modes(name))
        strokes, text = _leg(box.x, box.y + (-_HEIGHT / 2 if down else _HEIGHT / 2), -_STUB if down else _STUB)
        return strokes, text, False

    def _runs_back(self, box: Box) -> bool:
        """Whether the box stands in the upper of two rows without a hub between them."""
        return not self.buses and box.y == _FLOOR

    def _between(self, a: Box, b: Box) -> tuple[tuple[tuple[Point, ...], ...], Point, bool]:
        if a.y == b.y:
            a, b = sorted((a, b), key=lambda box: box.x)
            start, end = a.x + a.width / 2, b.x - b.width / 2
            if not any(a.x < box.x < b.x and box.y == a.y for box in self.boxes.values()):
                return (((start, a.y), (end, a.y)),), ((start + end) / 2, a.y), False
            # over the others, and what leaves them upwards
            start, end, top = a.x - a.width / 2, b.x + b.width / 2, a.y + _HEIGHT / 2 + _LEG + 0.5
            path = (start, a.y), (start - _STUB, a.y), (start - _STUB, top), (end + _STUB, top), (end + _STUB, a.y)
            return ((*path, (end, a.y)),), ((start + end) / 2, top), False
        low, high = sorted((a, b), key=lambda box: box.y)
        x_low, x_high = (
            (low.x, high.x) if low.width == high.width else (min(low, high, key=lambda box: box.width).x,) * 2
        )
        start_y, end_y = low.y + _HEIGHT / 2, high.y - _HEIGHT / 2
        return (((x_low, start_y), (x_high, end_y)),), ((x_low + x_high) / 2, (start_y + end_y) / 2), True


def _leg(x: float, y: float, length: float) -> tuple[tuple[tuple[Point, ...], ...], Point]:
    """A line that ends in the open, and where its text goes."""
    return (((x, y), (x, y + length)),), (x, y + length)
