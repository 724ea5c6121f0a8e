"""The shapes that are compared for a layer, and in which order they are tried."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, permutations, product
from typing import TypeVar

from tlinear.balanced import few_most_balanced
from tlinear.errors import RankError, ShapeError
from tlinear.shapes import tensorize_shape
from tlinear.tensorization import MOST_SHAPES, Shape, Shapes, search_shapes

__all__ = ["candidates", "explore", "explore_by_search", "explore_in_order"]

Result = TypeVar("Result")
Key = tuple[float, ...]
SortKey = Callable[[Result], Key]

_FACTORIZATIONS = 3
"""How many exact factorizations of a side are tried for each number of modes."""
_PERMUTED = 3
"""The most modes of which all orders are tried."""
_BOUNDED_AT_ONCE = 32


def candidates(features: tuple[int, int], most_modes: int, pad: bool | float, *, ordered: bool) -> list[list[Shapes]]:
    """The shapes to compare, a list for each pair of numbers of modes; few modes and balanced shapes come first."""
    in_sides, out_sides = (
        {n: shapes for n in range(1, most_modes + 1) if (shapes := _side(n_features, n, pad, ordered=ordered))}
        for n_features in features
    )

    def place(pair: Shapes) -> int:
        return sum(sides[len(shape)].index(shape) for sides, shape in zip((in_sides, out_sides), pair, strict=True))

    counts = sorted(product(in_sides, out_sides), key=sum)
    return [sorted(product(in_sides[n], out_sides[m]), key=place) for n, m in counts]


def _side(features: int, n_modes: int, pad: bool | float, *, ordered: bool) -> list[Shape]:
    """The shapes of one side, the most balanced first, each ascending, then descending, then in its other orders."""
    sizes_tried = few_most_balanced(features, n_modes, _FACTORIZATIONS)
    with suppress(ShapeError):  # no padded shape is near enough
        sizes_tried.append(tensorize_shape(features, n_modes, pad=pad))
    shapes: list[Shape] = []
    for sizes in sorted(set(sizes_tried), key=_imbalance):
        others = sorted(permutations(sizes)) if n_modes <= _PERMUTED else []
        shapes += dict.fromkeys([sizes, sizes[::-1], *others]) if ordered else [sizes]
    return shapes


def _imbalance(sizes: Shape) -> tuple[int, int, int]:
    """As :func:`tlinear.tensorize_shape` compares shapes."""
    return max(sizes), sum(sizes), -min(sizes)


def explore(
    groups: Sequence[Sequence[Shapes]],
    evaluate: Callable[[Shape, Shape], Result],
    refused: dict[Shapes, RankError],
    key: SortKey[Result],
    limit: int | None,
) -> list[Result]:
    """The first of each group, then the others of the best group, the second best, .., up to `limit` in all.

    A candidate that has no rank does not count, and goes to `refused`.
    """

    def evaluated(group: Sequence[Shapes]) -> Iterator[Result]:
        for candidate in group:
            try:
                yield evaluate(*candidate)
            except RankError as error:
                refused[candidate] = error

    firsts = ((first, walk) for walk in map(evaluated, groups) for first in islice(walk, 1))
    begun = sorted(islice(firsts, limit), key=lambda pair: key(pair[0]))
    others = chain.from_iterable(walk for _, walk in begun)
    return list(islice(chain((first for first, _ in begun), others), limit))


def explore_in_order(
    found: Sequence[Shapes],
    bounds: Sequence[Callable[[Sequence[Shapes]], Sequence[Key | None]]],
    evaluate: Callable[[Shape, Shape], Result],
    key: SortKey[Result],
) -> Iterator[Result]:
    """What candidates are evaluated to, by their keys, those of equal keys in order; evaluated as late as can be.

    Each of the `bounds`, the quickest and loosest first, gives keys that are not above those of the candidates, or
    None for one that is not possible, which is left out.
    """
    waiting: list[tuple[Key, int, int]] = []
    done: dict[int, Result] = {}

    def bounded(stage: int, places: Sequence[int]) -> None:
        for place, least in zip(places, bounds[stage]([found[k] for k in places]), strict=True):
            if least is not None:
                heapq.heappush(waiting, (least, stage + 1, place))

    bounded(0, range(len(found)))
    while waiting:
        _, stage, place = heapq.heappop(waiting)
        if place in done:
            yield done.pop(place)
        elif stage == len(bounds):
            done[place] = evaluate(*found[place])
            heapq.heappush(waiting, (key(done[place]), stage + 1, place))
        else:
            places = [place]
            while waiting and waiting[0][1] == stage and len(places) < _BOUNDED_AT_ONCE:
                places.append(heapq.heappop(waiting)[2])
            bounded(stage, places)


def explore_by_search(
    groups: Sequence[Sequence[Shapes]],
    evaluate: Callable[[Shape, Shape], Result],
    refused: dict[Shapes, RankError],
    key: SortKey[Result],
    limit: int | None,
) -> list[Result]:
    """The first of each group, and what a search from there tries, from the best of them first, up to `limit` in all.

    A candidate that has no rank goes to `refused`.
    """
    found: dict[Shapes, Result] = {}

    def cost(shapes: Shapes) -> float:
        try:
            found[shapes] = found[shapes] if shapes in found else evaluate(*shapes)
        except RankError as error:
            refused[shapes] = error
            return math.inf
        return key(found[shapes])[0]

    for group in groups:
        if limit is None or len(found) < limit:
            any(cost(shapes) < math.inf for shapes in group)
    for start in sorted(found, key=lambda shapes: key(found[shapes])):
        room = MOST_SHAPES if limit is None else min(MOST_SHAPES, limit - len(found))
        search_shapes(start, cost, most=room + 1)
    return list(found.values())
