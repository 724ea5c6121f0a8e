"""From which end a tensor train is cut off next: any order keeps the guarantee, and one takes the least time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Direction", "End", "cheapest_order", "cutting_order"]

End: TypeAlias = Literal["left", "right"]
Direction: TypeAlias = Literal["left", "right", "cheapest", "best"]

_PASS, _EIGEN = 40.0, 12.0
"""What an entry costs to be read, and an eigenvalue problem of size 1, in FLOPs of a matrix product."""


def cutting_order(sizes: Sequence[int], bonds: Sequence[int], direction: Direction) -> tuple[End, ...]:
    """The ends from which the d - 1 truncations are made, one after the other.

    Where nothing is truncated at the far end, that is cut off first: it changes nothing, and costs nothing.

    Examples
    --------
    >>> cutting_order((4, 5, 6), (2, 2), "right"), cutting_order((4, 5, 3), (2, 3), "left")
    (('right', 'right'), ('right', 'left'))
    """
    if direction == "cheapest":
        return cheapest_order(sizes, bonds)
    ends: tuple[End, End] = ("right", "left") if direction == "right" else ("left", "right")
    end, far = ends
    if end == "right":
        sizes, bonds = sizes[::-1], bonds[::-1]
    whole = 0
    while whole < len(bonds) and bonds[-1 - whole] == math.prod(sizes[-1 - whole :]):
        whole += 1
    return (far,) * whole + (end,) * (len(bonds) - whole)


def cheapest_order(sizes: Sequence[int], bonds: Sequence[int]) -> tuple[End, ...]:
    """The order of the least cost, found by comparing all: of those that cost the same, the one from the left.

    After a modes from the left and b from the right, what remains has the bonds there and the modes between, whatever
    the order they were cut off in, so that the best way to each (a, b) is found from the best ways to those before.

    Examples
    --------
    The last mode is halved at once, and all that follows costs half as much:

    >>> cheapest_order((30, 30, 8), (20, 4)), cheapest_order((8, 30, 30), (4, 20))
    (('right', 'left'), ('left', 'left'))
    """
    d, ranks = len(sizes), (1, *bonds, 1)
    best: dict[tuple[int, int], tuple[float, tuple[End, ...]]] = {(0, 0): (0.0, ())}
    for step in range(d - 1):
        for a in range(step + 1):
            b = step - a
            spent, ends = best[a, b]
            between = math.prod(sizes[a : d - b])
            entries = ranks[a] * between * ranks[d - b]
            ways: tuple[tuple[End, tuple[int, int], int, int], ...] = (
                ("left", (a + 1, b), ranks[a] * sizes[a], ranks[a + 1]),
                ("right", (a, b + 1), sizes[d - b - 1] * ranks[d - b], ranks[d - b - 1]),
            )
            for end, after, rows, rank in ways:
                cost = spent + _cost(rows, entries // rows, rank)
                if after not in best or cost < best[after][0]:
                    best[after] = cost, (*ends, end)
    return min((best[a, d - 1 - a] for a in reversed(range(d))), key=lambda found: found[0])[1]


def _cost(rows: int, columns: int, rank: int) -> float:
    """FLOPs of one truncation, or as many as would take its time."""
    if rank == rows:
        return 0.0
    short = min(rows, columns)
    return rows * columns * (short + 2.0 * rank + 2.0 * _PASS) + _EIGEN * short**3
