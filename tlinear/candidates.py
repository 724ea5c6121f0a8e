"""The shapes that are compared for a layer, and in which order they are tried."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, permutations, product
from typing import TypeVar

from tlinear.errors import RankError, ShapeError
from tlinear.shapes import tensorize_shape
from tlinear.tensorization import MOST_SHAPES, Shape, Shapes, search_shapes

__all__ = ["candidates", "explore", "explore_by_search"]

Result = TypeVar("Result")
SortKey = Callable[[Result], tuple[float, ...]]

_FACTORIZATIONS = 3
"""How many exact factorizations of a side are tried for each number of modes."""
_PERMUTED = 3
"""The most modes of which all orders are tried."""


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
    sizes_tried = heapq.nsmallest(_FACTORIZATIONS, _factorizations(features, n_modes, 2), key=_imbalance)
    with suppress(ShapeError):  # no padded shape is near enough
        sizes_tried.append(tensorize_shape(features, n_modes, pad=pad))
    shapes: list[Shape] = []
    for sizes in sorted(set(sizes_tried), key=_imbalance):
        others = sorted(permutations(sizes)) if n_modes <= _PERMUTED else []
        shapes += dict.fromkeys([sizes, sizes[::-1], *others]) if ordered else [sizes]
    return shapes


def _factorizations(features: int, n_modes: int, smallest: int) -> Iterator[Shape]:
    """Every way to write `features` as a product of `n_modes` ascending sizes, none below `smallest`."""
    if n_modes == 1:
        yield (features,)
        return
    size = smallest
    while size**n_modes <= features:
        if features % size == 0:
            yield from ((size, *larger) for larger in _factorizations(features // size, n_modes - 1, size))
        size += 1


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
