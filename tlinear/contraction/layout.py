"""In which order of its axes each intermediate lies: chosen so that the next step reads it as it lies.

For each step of an order of contraction there are a few ways to do it (:func:`ways`): which labels
are the rows of the matrices, where the new labels go, whether an operand is rearranged first.  A
beam search over the steps keeps the sequences that the cost model finds cheapest.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.order import Order, label_triples
from tlinear.contraction.pair import Pair, stand_together

__all__ = ["lay_out", "ways"]

_BEAM = 8
_MANY_LABELS = 3


@dataclass(frozen=True)
class _State:
    """How far a search has come: what the steps so far cost, also with the next one, and how the open slots lie."""

    seconds: float
    expected: float
    lying: Mapping[int, Labels]
    pairs: tuple[tuple[int, int, Pair], ...] = field(default=(), compare=False)


def lay_out(
    network: Network,
    order: Order,
    seconds: Callable[[Pair, bool], float],
    copy_seconds: Callable[[Labels], float],
    *,
    single: bool,
) -> tuple[tuple[int, int, Pair], ...]:
    """The slots and the pair of each step, of the sequence that takes the least time together.

    `seconds` says what a pair costs, and is told whether it is the last one; `copy_seconds` what it
    costs to rearrange an array.  Of a `single` sample the batch is an axis of size 1, and may stand anywhere.
    """
    n = len(network.inputs)
    summed_next = _summed_next(network, order)
    states = [_State(0.0, 0.0, dict(enumerate(network.reduced_inputs)))]
    for number, pair in enumerate(order):
        reached: dict[Labels, _State] = {}
        last = number == len(order) - 1
        for state in states:
            rest = {slot: labels for slot, labels in state.lying.items() if slot not in pair}
            keep = network.kept(rest.values())
            a, b = _larger_first(network, pair, state.lying)
            for way in ways(network, state.lying[a], state.lying[b], keep, single=single):
                cost = state.seconds + seconds(way, last)
                out = _batch_first(way.out) if single else way.out
                lying = {**rest, n + number: out}
                key = tuple(label for slot in sorted(lying) if slot >= n for label in (slot, *lying[slot]))
                if key not in reached or cost < reached[key].seconds:
                    ahead = 0.0 if _side_by_side(summed_next[n + number], out) else copy_seconds(out)
                    reached[key] = _State(cost, cost + ahead, lying, (*state.pairs, (a, b, way)))
        states = heapq.nsmallest(_BEAM, reached.values(), key=lambda state: state.expected)
    return states[0].pairs


def _summed_next(network: Network, order: Order) -> list[frozenset[int]]:
    """For each slot, the labels that the step which it goes into sums over."""
    slots: list[frozenset[int]] = [frozenset()] * (len(network.inputs) + len(order))
    for (a, b), (left, right, out) in zip(order, label_triples(network, order), strict=True):
        slots[a] = slots[b] = frozenset(left) & frozenset(right) - frozenset(out)
    return slots


def _side_by_side(group: frozenset[int], labels: Labels) -> bool:
    places = [k for k, label in enumerate(labels) if label in group]
    return not places or places[-1] - places[0] == len(places) - 1


def _batch_first(labels: Labels) -> Labels:
    return (BATCH, *(label for label in labels if label != BATCH)) if BATCH in labels else labels


def _larger_first(network: Network, pair: tuple[int, int], lying: Mapping[int, Labels]) -> tuple[int, int]:
    """The slot with the batch first, or else the larger one, which it is that is not rearranged."""
    a, b = sorted(pair, key=lambda slot: (BATCH not in lying[slot], -network.size(lying[slot]), pair.index(slot)))
    return a, b


def ways(network: Network, a: Labels, b: Labels, keep: set[int], *, single: bool = False) -> Iterator[Pair]:
    """Every way worth a thought to contract two arrays that lie as `a` and `b`, the batch perhaps of size 1."""
    contracted = tuple(label for label in a if label in b and label not in keep)
    right = tuple(label for label in b if label not in a)
    if not contracted:
        yield from _products(network, a, b, right)
        return
    shared = {label for label in a if label in b and label in keep}
    for lying, summed in _orders(a, b, contracted, shared, single):
        left = [label for label in lying if label not in summed and label not in shared]
        for rows in _rows(lying, left, summed):
            loops = _loops(lying, shared, {*rows, *summed})
            for new in _arrangements(right):
                for out in _outs(loops, rows, new):
                    yield Pair(network, a, b, out, lying, loops, rows, summed, new)


def _products(network: Network, a: Labels, b: Labels, right: Labels) -> Iterator[Pair]:
    """The new labels in front of, behind, or before the first or behind the last of those that both have."""
    shared = [k for k, label in enumerate(a) if label in b]
    places = {0, len(a)} | ({shared[0], shared[-1] + 1} if shared else set())
    for place in sorted(places) if right else [0]:
        yield Pair(network, a, b, (*a[:place], *right, *a[place:]), a, right=right)


def _orders(
    a: Labels, b: Labels, contracted: Labels, shared: set[int], single: bool
) -> Iterator[tuple[Labels, Labels]]:
    """The orders that A may lie in, and that of the labels to contract, which stand side by side in it."""
    if stand_together(contracted, a) and a[-1] not in shared:
        yield a, contracted
        if len(contracted) == 1 or contracted == tuple(label for label in b if label in contracted):
            return
    others = tuple(label for label in a if label not in contracted and label != BATCH)
    batch = tuple(label for label in a if label == BATCH)
    if single:
        batch, others = (), (*batch, *others)
    for summed in dict.fromkeys((contracted, tuple(label for label in b if label in contracted))):
        for lying in dict.fromkeys(
            ((*others, *summed, *batch), (*batch, *others, *summed), (*summed, *others, *batch))
        ):
            if lying[-1] not in shared and lying != a:
                yield lying, summed


def _rows(lying: Labels, left: Sequence[int], summed: Labels) -> Iterator[Labels]:
    """Runs of the labels that A alone has: BLAS needs the rows or the contracted labels to come last."""
    runs = _runs(lying, left)
    if lying[-1] in summed:
        candidates = (
            [(), *runs, *([(BATCH,)] if BATCH in left else [])]
            if not runs
            else [*runs, *([(BATCH,)] if BATCH in left else [])]
        )
    else:
        candidates = [runs[-1]]
        if len(runs[-1]) > 1:
            candidates.append(runs[-1][-1:])
    yield from dict.fromkeys(candidates)


def _runs(lying: Labels, wanted: Sequence[int]) -> list[Labels]:
    """The maximal runs of `lying` that consist of wanted labels."""
    return [tuple(run) for is_wanted, run in itertools.groupby(lying, key=lambda label: label in wanted) if is_wanted]


def _loops(lying: Labels, shared: set[int], used: set[int]) -> tuple[Labels, ...]:
    """What is left of `lying`, in runs that are shared or not."""
    runs = itertools.groupby(lying, key=lambda label: 0 if label in used else 1 if label in shared else 2)
    return tuple(tuple(run) for kind, run in runs if kind)


def _arrangements(labels: Labels) -> Iterator[Labels]:
    """All orders of a few labels; of many, the order they have and its reverse."""
    if len(labels) <= _MANY_LABELS:
        yield from itertools.permutations(labels)
    else:
        yield from (labels, labels[::-1])


def _outs(loops: tuple[Labels, ...], rows: Labels, right: Labels) -> Iterator[Labels]:
    """The orders of a result that ends with the rows or the new labels."""
    loop = tuple(label for run in loops for label in run)
    yield from dict.fromkeys(
        ((*loop, *rows, *right), (*loop, *right, *rows), (*rows, *loop, *right), (*right, *loop, *rows))
    )
