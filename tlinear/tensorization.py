"""Which of the shapes of the same numbers of modes keeps most of a weight: a search by trying."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, combinations, permutations, product
from typing import Literal, TypeAlias

__all__ = ["MOST_SHAPES", "Shape", "Shapes", "Tensorization", "search_shapes"]

Tensorization: TypeAlias = Literal["balanced", "search"]
Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = tuple[Shape, Shape]
"""The modes of the input and of the output."""

MOST_SHAPES = 128
"""How many shapes are tried, at most."""


def search_shapes(
    start: Shapes,
    error: Callable[[Shapes], float],
    *,
    free: tuple[bool, bool] = (True, True),
    most: int = MOST_SHAPES,
) -> Shapes:
    """The best shapes of all, or that a descent from `start` finds, each side keeping its product and number of modes.

    Where there are no more than `most`, all are tried.  Else it begins with the best of `start` and the most unbalanced
    shapes, of both sides ascending and descending.  A step moves a prime factor from one mode of a side to another,
    or exchanges two modes, and is the best of all these; where none lowers the error, it is the best of those that
    do so on both sides at once.  It ends where none of these does either.

    Parameters
    ----------
    start : pair of tuple of int
    error : callable
        What is to be small, of a pair of shapes; infinite for one that is not possible.
    free : pair of bool
        Which sides may change.
    most : int
        How many pairs of shapes are tried, at most.

    Examples
    --------
    >>> search_shapes(((4, 6), (3, 5)), lambda shapes: sum(abs(n - 2) for side in shapes for n in side[:1]))
    ((2, 12), (3, 5))
    """
    known: dict[Shapes, float] = {}

    def value(shapes: Shapes) -> float:
        if shapes not in known:
            if len(known) >= most:
                return math.inf
            known[shapes] = error(shapes)
        return known[shapes]

    first, second = (_reached(side, most) if is_free else [side] for side, is_free in zip(start, free, strict=True))
    if len(first) * len(second) <= most:
        return min(product(first, second), key=value)
    first, second = (_extremes(side) if is_free else [side] for side, is_free in zip(start, free, strict=True))
    best = min(product(first, second), key=value)
    while len(known) < most:
        moved, other = (tuple(_moved(side)) if is_free else () for side, is_free in zip(best, free, strict=True))
        one_side = chain(product(moved, best[1:]), product(best[:1], other))
        for steps in (one_side, product(moved, other)):
            found = min(steps, key=value, default=best)
            if value(found) < value(best):
                best = found
                break
        else:
            break
    return best


def _extremes(shape: Shape) -> list[Shape]:
    """A shape and the most unbalanced one of the same product and number of modes, each in both directions."""
    rest, smallest = math.prod(shape), []
    for _ in shape[1:]:
        smallest.append(next(_primes(rest), 1))
        rest //= smallest[-1]
    skew = (*smallest, rest)
    return list(dict.fromkeys([shape, shape[::-1], skew, skew[::-1]]))


def _reached(shape: Shape, most: int) -> list[Shape]:
    """The shapes that steps lead to, the nearest first; the search is given up beyond `most`."""
    found = {shape: None}
    for near in (queue := [shape]):
        if len(found) > most:
            break
        fresh = [other for other in _moved(near) if other not in found]
        found |= dict.fromkeys(fresh)
        queue += fresh
    return list(found)


def _moved(shape: Shape) -> Iterator[Shape]:
    """The shapes of the same product that are one step away: none has a mode of size 1 that this one has not."""
    found = {shape}
    for source, target in permutations(range(len(shape)), 2):
        for prime in _primes(shape[source]):
            sizes = list(shape)
            sizes[source] //= prime
            sizes[target] *= prime
            if sizes[source] > 1 and tuple(sizes) not in found:
                found.add(tuple(sizes))
                yield tuple(sizes)
    for first, second in combinations(range(len(shape)), 2):
        sizes = list(shape)
        sizes[first], sizes[second] = sizes[second], sizes[first]
        if tuple(sizes) not in found:
            found.add(tuple(sizes))
            yield tuple(sizes)


def _primes(number: int) -> Iterator[int]:
    """The primes that divide a number, ascending, each once."""
    prime = 2
    while prime * prime <= number:
        if number % prime == 0:
            yield prime
            while number % prime == 0:
                number //= prime
        prime += 1
    if number > 1:
        yield number
