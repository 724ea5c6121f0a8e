"""In which order of its axes each intermediate lies: chosen so that the next step reads it as it lies.

For each step of an order of contraction there are a few ways to do it (:func:`ways`): which labels
are the rows of the matrices, where the new labels go, whether an operand is rearranged first.  From
the operands to the result, each intermediate keeps the layouts that the cost model finds cheapest.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache, partial
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.order import Order, label_triples
from tlinear.contraction.pair import Pair
from tlinear.contraction.work import Manner, Work, Writing, manner_of, stand_together, work_of, writing_of

__all__ = ["Layouts", "ways"]

_KEPT = 5
"""Layouts of an intermediate that are followed; with 8 the search takes a fifth longer for plans .1 % faster."""
_MANY_LABELS = 3
_STEPS_KEPT = 512

# What a way is to the cost model: the rows, how the operands are read, and how the result is written.
_Kind: TypeAlias = tuple[Labels, Manner, Writing]
# A step to the layouts: how its operands lie, and the labels of its result.
_StepKey: TypeAlias = tuple[Labels, Labels, frozenset[int]]


class _Reading(NamedTuple):
    """How two operands are read: the fields of a pair that have the same names."""

    lying: Labels
    loops: tuple[Labels, ...] = ()
    rows: Labels = ()
    contracted: Labels = ()
    right: Labels = ()
    lines: bool = False


class _Way(NamedTuple):
    """How a result lies, as what pair it is written, and which kind of work that is."""

    lying: Labels
    out: Labels
    reading: _Reading
    kind: int


# For each order that a result may lie in, the least that it costs, and the way that costs it.
_Results: TypeAlias = dict[Labels, tuple[float, _Way]]


class _Taken(NamedTuple):
    """A step as it is done: the slots of its operands, how they lie, and the way."""

    a: int
    b: int
    lying_a: Labels
    lying_b: Labels
    way: _Way


class _Reached(NamedTuple):
    """A layout of an intermediate: the seconds of it and of all that it is made of, and the last step."""

    seconds: float
    taken: _Taken | None = None


class Layouts:
    """The layouts of a network's orders; what a step takes is worked out once for all orders that have it.

    Whatever has no batch takes as long for any size of the chunks, so that layouts for another size share it.

    Parameters
    ----------
    network : Network
    chunk_size : int
        How many samples are contracted at a time.
    seconds : callable
        What each of some works costs; it is told the labels that their first operands have.
    copy_seconds : callable
        What it costs to rearrange an array.
    least : callable
        What no layout of a step can undercut, by the labels of its operands and of its result.
    single : bool
        Whether the batch is one sample: an axis of size 1, which may stand anywhere.
    shared : Layouts, optional
        Those of another size of the chunks.
    """

    def __init__(
        self,
        network: Network,
        chunk_size: int,
        seconds: Callable[[Iterable[Work], Labels], list[float]],
        copy_seconds: Callable[[Labels], float],
        least: Callable[[Labels, Labels, Labels], float],
        *,
        single: bool,
        shared: Layouts | None = None,
    ) -> None:
        self.network = network
        self.size = lru_cache(maxsize=None)(partial(network.size, batch_size=chunk_size))
        self.seconds = seconds
        self.copy_seconds = copy_seconds
        self.least = least
        self.single = single
        self._with_batch: dict[_StepKey, _Results] = {}
        self._without_batch: dict[_StepKey, _Results] = {} if shared is None else shared._without_batch

    def best(self, order: Order) -> tuple[tuple[int, int, Pair], ...]:
        """The slots and the pair of each step, of the layouts that take the least time together.

        What it costs to make an intermediate depends on how it lies, and on nothing that is contracted besides.  So
        the least for each of its layouts is known from those of its two operands, however the steps are written.
        """
        network, n = self.network, len(self.network.inputs)
        triples = label_triples(network, order)
        summed_next = _summed_next(n, order, triples)
        reached = [{labels: _Reached(0.0)} for labels in network.reduced_inputs]
        for new, (step, (left, right, labels)) in enumerate(zip(order, triples, strict=True), start=n):
            a, b = _larger_first(network, step, (left, right))
            # how the result of the last step lies matters to nothing else
            kept = _KEPT if summed_next[new] is not None else 1
            reached.append(self._joined(reached, (a, b), labels, summed_next[new], kept))
        taken: dict[int, _Taken] = {}
        if order:
            wanted = [(n + len(order) - 1, next(iter(reached[-1])))]
            for slot, lying in wanted:
                step_taken = reached[slot][lying].taken
                if step_taken is not None:
                    taken[slot] = step_taken
                    wanted += [(step_taken.a, step_taken.lying_a), (step_taken.b, step_taken.lying_b)]
        return tuple(
            (a, b, Pair(network, lying_a, lying_b, way.out, *way.reading))
            for a, b, lying_a, lying_b, way in (taken[slot] for slot in sorted(taken))
        )

    def _joined(
        self,
        reached: Sequence[Mapping[Labels, _Reached]],
        slots: tuple[int, int],
        labels: Labels,
        summed: frozenset[int] | None,
        kept: int,
    ) -> dict[Labels, _Reached]:
        """The cheapest layouts of what two operands give, of all layouts that these may have."""
        a, b = slots
        keep = frozenset(labels)
        pairs = itertools.product(reached[a].items(), reached[b].items())
        by_cost = sorted(
            ((end_a.seconds + end_b.seconds, lying_a, lying_b) for (lying_a, end_a), (lying_b, end_b) in pairs),
            key=itemgetter(0),
        )
        least = self.least(by_cost[0][1], by_cost[0][2], labels)
        copying = self.copy_seconds(labels)
        found: dict[Labels, tuple[float, Labels, Labels, _Way]] = {}
        later: dict[Labels, float] = {}

        def rank(lying: Labels) -> float:
            return found[lying][0] + later[lying]

        most = math.inf
        for so_far, lying_a, lying_b in by_cost:
            if so_far + least > most:
                break
            for lying, (seconds, way) in self._results(lying_a, lying_b, keep).items():
                cost = so_far + seconds
                if lying not in found:
                    later[lying] = 0.0 if self._is_read(lying, summed) else copying
                elif found[lying][0] <= cost:
                    continue
                found[lying] = cost, lying_a, lying_b, way
            if len(found) >= kept:
                most = heapq.nsmallest(kept, map(rank, found))[-1]
        best = heapq.nsmallest(kept, found, key=lambda lying: (rank(lying), _descents(lying), lying))
        return {lying: _Reached(found[lying][0], _Taken(a, b, *found[lying][1:])) for lying in best}

    def _is_read(self, lying: Labels, summed: frozenset[int] | None) -> bool:
        """Whether what comes next reads a result as it lies: a step that sums over these labels, or else the caller."""
        if summed is None:
            return lying == self.network.output
        return _side_by_side(summed, lying)

    def _results(self, a: Labels, b: Labels, keep: frozenset[int]) -> _Results:
        """For each order that the result may lie in, the least that it costs, and the way that costs it."""
        known = self._with_batch if BATCH in a else self._without_batch
        found = known.get((a, b, keep))
        if found is None:
            found = known[a, b, keep] = {}
            kinds, ways_there = _ways_there(a, b, keep, self.single, self.network.n_in)
            costs = self._costs(a, b, ways_there[0].reading, kinds)
            for way in ways_there:
                cost, lying = costs[way.kind], way.lying
                if lying not in found or cost < found[lying][0]:
                    found[lying] = cost, way
        return found

    def _costs(self, a: Labels, b: Labels, reading: _Reading, kinds: Sequence[_Kind]) -> list[float]:
        """What each kind of work costs; in every reading as much is contracted, and as much is new."""
        size = self.size
        n_a, n_b, contracted, right = (size(labels) for labels in (a, b, reading.contracted, reading.right))
        works = (
            work_of(size, (n_a, n_b, size(rows), contracted, right), manner, writing) for rows, manner, writing in kinds
        )
        return self.seconds(works, a)


@lru_cache(maxsize=_STEPS_KEPT)
def _ways_there(
    a: Labels, b: Labels, keep: frozenset[int], single: bool, n_in: int
) -> tuple[Sequence[_Kind], Sequence[_Way]]:
    """The kinds of work that a step can be, and to each layout of the result the first way of every kind.

    They follow from the labels alone, so that they serve all batch sizes, and all layers that differ in sizes.
    """
    kinds: dict[_Kind, int] = {}
    found: dict[tuple[Labels, int], _Way] = {}
    for reading, outs in _readings(a, b, keep, single, n_in):
        lying, loops, rows, contracted, right, lines = reading
        groups = {"rows": rows, "contracted": contracted, "right": right}
        manner = manner_of(a, b, lying, loops=loops, lines=lines, **groups)
        for out in outs:
            writing = writing_of(a, b, out, loops=loops, lines=lines, **groups)
            kind = kinds.setdefault((rows, manner, writing), len(kinds))
            result = _batch_first(out) if single else out
            if (result, kind) not in found:
                found[result, kind] = _Way(result, out, reading, kind)
    return tuple(kinds), tuple(found.values())


def _summed_next(n: int, order: Order, triples: Sequence[tuple[Labels, Labels, Labels]]) -> list[frozenset[int] | None]:
    """For each slot, the labels that the step which it goes into sums over; None for the last."""
    slots: list[frozenset[int] | None] = [None] * (n + len(order))
    for (a, b), (left, right, out) in zip(order, triples, strict=True):
        slots[a] = slots[b] = frozenset(left) & frozenset(right) - frozenset(out)
    return slots


def _side_by_side(group: frozenset[int], labels: Labels) -> bool:
    places = [labels.index(label) for label in group]
    return not places or max(places) - min(places) == len(places) - 1


@lru_cache(maxsize=4096)
def _descents(labels: Labels) -> int:
    """How often a label follows a greater one: of layouts that cost the same, that of the modes is read at the end."""
    return sum(first > second for first, second in itertools.pairwise(labels))


def _batch_first(labels: Labels) -> Labels:
    return (BATCH, *(label for label in labels if label != BATCH)) if BATCH in labels else labels


def _larger_first(network: Network, step: tuple[int, int], operands: tuple[Labels, Labels]) -> tuple[int, int]:
    """The slot with the batch first, or else the larger one, which it is that is not rearranged."""
    first, second = ((BATCH in labels, network.size(labels), sorted(labels)) for labels in operands)
    return step if first >= second else step[::-1]


def ways(network: Network, a: Labels, b: Labels, keep: Set[int], *, single: bool = False) -> Iterator[Pair]:
    """Every way worth a thought to contract two arrays that lie as `a` and `b`, the batch perhaps of size 1."""
    for reading, outs in _readings(a, b, keep, single, network.n_in):
        for out in outs:
            yield Pair(network, a, b, out, *reading)


def _readings(
    a: Labels, b: Labels, keep: Set[int], single: bool, n_in: int
) -> Iterator[tuple[_Reading, Iterable[Labels]]]:
    """Every reading, with the orders that its result can be written in."""
    contracted = tuple(label for label in a if label in b and label not in keep)
    right = tuple(label for label in b if label not in a)
    if not contracted:
        yield _Reading(a, right=right), _products(a, b, right)
        return
    shared = {label for label in a if label in b and label in keep}
    if a[-1] == b[-1] and a[-1] in shared and not right:
        yield _Reading(a, contracted=contracted, lines=True), (tuple(label for label in a if label in keep),)
    for lying, summed in _orders(a, b, contracted, shared, single=single, n_in=n_in):
        left = [label for label in lying if label not in summed and label not in shared]
        for rows in _rows(lying, left, summed):
            loops = _loops(lying, shared, {*rows, *summed})
            for new in _arrangements(right):
                yield _Reading(lying, loops, rows, summed, new), _outs(loops, rows, new)


def _products(a: Labels, b: Labels, right: Labels) -> Iterator[Labels]:
    """The new labels in front of, behind, or before the first or behind the last of those that both have."""
    shared = [k for k, label in enumerate(a) if label in b]
    places = {0, len(a)} | ({shared[0], shared[-1] + 1} if shared else set())
    for place in sorted(places) if right else [0]:
        yield (*a[:place], *right, *a[place:])


def _orders(
    a: Labels, b: Labels, contracted: Labels, shared: set[int], *, single: bool, n_in: int
) -> Iterator[tuple[Labels, Labels]]:
    """The orders that A may lie in, and that of the labels to contract, which stand side by side in it."""
    others = tuple(label for label in a if label not in contracted and label != BATCH)
    if BATCH not in a:
        yield from ((lying, contracted) for lying in _sides_apart(others, contracted, n_in) if lying[-1] not in shared)
    if stand_together(contracted, a) and a[-1] not in shared:
        yield a, contracted
        if len(contracted) == 1 or contracted == tuple(label for label in b if label in contracted):
            return
    batch = tuple(label for label in a if label == BATCH)
    if single:
        batch, others = (), (*batch, *others)
    for summed in dict.fromkeys((contracted, tuple(label for label in b if label in contracted))):
        for lying in dict.fromkeys(
            ((*others, *summed, *batch), (*batch, *others, *summed), (*summed, *others, *batch))
        ):
            if lying[-1] not in shared and lying != a:
                yield lying, summed


def _sides_apart(others: Labels, contracted: Labels, n_in: int) -> Iterator[Labels]:
    """The labels to contract between the modes of the input and the rest: the result then has its sides apart too."""
    of_input = tuple(label for label in others if label < n_in)
    rest = tuple(label for label in others if label >= n_in)
    if of_input and rest:
        yield (*of_input, *contracted, *rest)
        yield (*rest, *contracted, *of_input)


def _rows(lying: Labels, left: Sequence[int], summed: Labels) -> Iterator[Labels]:
    """Runs of the labels that A alone has: BLAS needs the rows or the contracted labels to come last."""
    runs = _runs(lying, left)
    if lying[-1] in summed:
        candidates = [*(runs or [()]), *([(BATCH,)] if BATCH in left else [])]
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
    """All orders of a few labels; of many, the order they have, its reverse, and that of the modes."""
    if len(labels) <= _MANY_LABELS:
        yield from itertools.permutations(labels)
    else:
        yield from dict.fromkeys((labels, labels[::-1], tuple(sorted(labels))))


def _outs(loops: tuple[Labels, ...], rows: Labels, right: Labels) -> Iterable[Labels]:
    """The orders of a result that ends with the rows or the new labels."""
    loop = tuple(label for run in loops for label in run)
    return dict.fromkeys(
        ((*loop, *rows, *right), (*loop, *right, *rows), (*rows, *loop, *right), (*right, *loop, *rows))
    )
