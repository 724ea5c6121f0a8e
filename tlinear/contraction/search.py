"""The search for a plan, by a cost model.

opt_einsum proposes the orders; the cost model of floating-point operations and bytes
moved picks one, how each intermediate lies, and the chunks that a batch is cut into.
Rebuilding the weight first and multiplying by it afterwards is one more order of the
same network, so that ``'factorized'`` and ``'reconstructed'`` share every line of the
execution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import DType
from tlinear.capacity import check_limits
from tlinear.contraction.cost import CostModel
from tlinear.contraction.hardware import MODELS, Hardware
from tlinear.contraction.layout import Layouts
from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.options import Implementation, Mode, PlanOptions, check_mode, is_training
from tlinear.contraction.order import (
    Order,
    candidate_orders,
    label_triples,
    rebuilds_weight,
    takes_input_last,
)
from tlinear.contraction.pair import Pair
from tlinear.contraction.plan import Plan, n_chunks, n_pullbacks, weight_share
from tlinear.contraction.room import keep_room
from tlinear.contraction.step import Step
from tlinear.contraction.work import Work
from tlinear.errors import ImplementationError, MemoryLimitError, ShapeError
from tlinear.shapes import as_batch_size

__all__ = ["batch_bucket", "cached_plan", "plan", "plan_for"]

Taken: TypeAlias = Literal["factorized", "reconstructed"]

_SMALLEST_CHUNK = 4
_WORTH_STORING = 16


def plan(
    network: Network,
    options: PlanOptions | None = None,
    *,
    mode: Mode = "forward",
    batch_size: int = 1,
    dtype: DTypeLike = np.float64,
    hardware: Hardware = "cpu",
    taken_bytes: int = 0,
) -> Plan:
    """The cheapest plan for a network, with its figures for exactly this batch size.

    Of a memory limit, `taken_bytes` are what something else needs.

    Orders are searched once per network, dtype, mode and power-of-two bucket of batch sizes.  Where a memory limit
    rules out what would be taken without it, chunks and layouts are chosen anew for each batch size, which takes as
    long as a search does: some 10 to 100 ms.

    Raises
    ------
    ImplementationError
        When the path asked for is of the other implementation.
    OptionError
        When `mode` is not one of the known ones.
    MemoryLimitError
        When no plan keeps to the memory limit.
    ShapeError
        When `batch_size` is not an integer, or is negative.
    """
    check_mode(mode)
    n_samples = as_batch_size(batch_size)
    found = plan_for(
        network, options or PlanOptions(), mode, n_samples, np.dtype(dtype), hardware=hardware, taken_bytes=taken_bytes
    )
    return dataclasses.replace(found, batch_size=n_samples)


def plan_for(
    network: Network,
    options: PlanOptions,
    mode: Mode,
    batch_size: int,
    dtype: DType,
    *,
    hardware: Hardware = "cpu",
    taken_bytes: int = 0,
) -> Plan:
    """The plan for the bucket that a batch is in; where memory is limited, one that fits for exactly this batch.

    `taken_bytes` are those of the limit that something else needs.
    """
    if options.memory_limit is None:
        return cached_plan(network, options, mode, batch_bucket(batch_size), dtype, hardware)
    exact = _Problem(network, options, mode, batch_size, dtype, hardware)
    fitting = _fitting_plan(exact, options.memory_limit - taken_bytes)
    if isinstance(fitting, int):
        least, left = fitting, options.memory_limit - taken_bytes
        taken = "sample takes" if batch_size == 1 else "samples take"
        raise MemoryLimitError(
            f"{batch_size} {taken} at least {least:,} bytes beside the arguments, but {max(left, 0):,} of "
            f"memory_limit={options.memory_limit:,} are left for them. Raise the limit to {least + taken_bytes:,}, or "
            "pass fewer samples."
        )
    return fitting


def batch_bucket(batch_size: int) -> int:
    """The smallest power of two that is not below `batch_size`."""
    return 1 << max(batch_size - 1, 0).bit_length()


@dataclass(frozen=True)
class _Problem:
    """What a plan is searched for."""

    network: Network
    options: PlanOptions
    mode: Mode
    batch_size: int
    dtype: DType
    hardware: Hardware = "cpu"

    @cached_property
    def model(self) -> CostModel:
        return MODELS[self.hardware]

    @cached_property
    def chunk_sizes(self) -> list[int]:
        """The batch, and the powers of two below it that are worth a loop."""
        sizes = [max(self.batch_size, 1)]
        while sizes[-1] > _SMALLEST_CHUNK:
            sizes.append(1 << (sizes[-1] - 1).bit_length() - 1)
        return sizes

    @property
    def small_chunk(self) -> int:
        """A chunk size in the middle of those that may be chosen."""
        return self.chunk_sizes[len(self.chunk_sizes) // 2]

    @cached_property
    def orders(self) -> dict[Taken, list[Order]]:
        """The orders to compare, by whether they rebuild the weight."""
        network = self.network
        options, sizes = self.options, tuple(dict.fromkeys((self.batch_size, self.small_chunk)))
        orders = candidate_orders(network, sizes, options.search, options.path)
        rebuilding = {order for order in orders if rebuilds_weight(network, order)}
        return {
            "factorized": [order for order in orders if order not in rebuilding],
            # the input is multiplied by the weight itself, unless a path that was given has all its modes before
            "reconstructed": list(filter(takes_input_last, orders)) or [o for o in orders if o in rebuilding],
        }

    @property
    def is_training(self) -> bool:
        return is_training(self.mode)

    @property
    def memories(self) -> tuple[Literal["store", "recompute"], ...]:
        """The policies that may be chosen; without a backward pass nothing is stored or computed anew."""
        asked = self.options.memory
        return ("store",) if not self.is_training else ("store", "recompute") if asked == "auto" else (asked,)

    def least_seconds(self, order: Order) -> float:
        """What no layout of an order can undercut."""
        triples = label_triples(self.network, order)
        return min(
            sum(self.least_step_seconds(*_input_first(triple), size) for triple in triples) for size in self.chunk_sizes
        )

    def least_step_seconds(self, a: Labels, b: Labels, out: Labels, chunk_size: int) -> float:
        """Lower bound of one step in any layout, for all chunks of this size together."""
        n_times = n_chunks(self.batch_size, chunk_size) if BATCH in a else weight_share(self.mode)
        pullbacks = n_pullbacks(self.network, self.mode, a)
        return n_times * self.model.least_seconds(
            self.network, (a, b, out), chunk_size, self.dtype, pullbacks=pullbacks
        )

    def work_seconds(self, work: Work, n_times: int | None, pullbacks: int) -> float:
        """What a work costs that is done once for each of so many chunks, or None where it has no batch."""
        share = weight_share(self.mode)
        once = self.model.work_seconds(work, self.dtype, pullbacks=pullbacks, n_times=1 if n_times is None else n_times)
        return (share if n_times is None else n_times) * once + self.model.arranging_seconds(work, self.dtype) * share

    def copy_seconds(self, labels: Labels, chunk_size: int, line: int = 1) -> float:
        """What it costs to rearrange an array in every chunk of this size."""
        n = n_chunks(self.batch_size, chunk_size) if BATCH in labels else weight_share(self.mode)
        return n * self.model.copy_seconds(self.network.size(labels, chunk_size), self.dtype, line)


@lru_cache(maxsize=1)  # for the orders that rebuild the weight and those that do not
def _layouts(problem: _Problem) -> tuple[Layouts, ...]:
    """The layouts for the whole batch and for a small chunk."""
    # of the works that a search meets, three in four have been met before, of other labels
    known = lru_cache(maxsize=None)(problem.work_seconds)

    def seconds(chunk_size: int, works: Iterable[Work], a: Labels) -> list[float]:
        n_times = n_chunks(problem.batch_size, chunk_size) if BATCH in a else None
        pullbacks = n_pullbacks(problem.network, problem.mode, a)
        return [known(work, n_times, pullbacks) for work in works]

    def layouts(chunk_size: int, shared: Layouts | None = None) -> Layouts:
        return Layouts(
            problem.network,
            chunk_size,
            partial(seconds, chunk_size),
            partial(problem.copy_seconds, chunk_size=chunk_size),
            partial(problem.least_step_seconds, chunk_size=chunk_size),
            single=problem.batch_size == 1,
            shared=shared,
        )

    whole = layouts(problem.chunk_sizes[0])
    if problem.small_chunk == problem.chunk_sizes[0]:
        return (whole,)
    return whole, layouts(problem.small_chunk, whole)


def _input_first(triple: tuple[Labels, Labels, Labels]) -> tuple[Labels, Labels, Labels]:
    a, b, out = triple
    return (b, a, out) if BATCH in b else triple


@lru_cache(maxsize=512)
def cached_plan(  # noqa: PLR0917 (what is passed by position is found faster)
    network: Network, options: PlanOptions, mode: Mode, batch_size: int, dtype: DType, hardware: Hardware = "cpu"
) -> Plan:
    """Search the orders that the options admit, and keep the one of least predicted time, whatever its memory."""
    found = _fastest_plan(_Problem(network, options.ordering, mode, batch_size, dtype, hardware), options)
    if hardware == "cpu":
        keep_room(found.peak_bytes)
    return found


def _fastest_plan(problem: _Problem, options: PlanOptions) -> Plan:
    network = problem.network
    asked = _admitted(network, options.implementation, problem.dtype)
    orders = problem.orders
    if asked != "auto":
        if not orders[asked]:
            raise _no_order(problem, options, asked)
        return _best_plan(problem, asked)
    if not orders["factorized"] or not orders["reconstructed"]:
        return _best_plan(problem, "factorized" if orders["factorized"] else "reconstructed")
    factorized = _best_plan(problem, "factorized")
    least = min(map(problem.least_seconds, orders["reconstructed"]))
    if least >= factorized.seconds:
        return _chosen(factorized, "reconstructed", least, at_least=True)
    reconstructed = _best_plan(problem, "reconstructed")
    if reconstructed.seconds < factorized.seconds:
        return _chosen(reconstructed, "factorized", factorized.seconds)
    return _chosen(factorized, "reconstructed", reconstructed.seconds)


@lru_cache(maxsize=512)
def _fitting_plan(exact: _Problem, limit: int) -> Plan | int:
    """The fastest plan of any order, chunk and policy that has no more than `limit` bytes alive at once.

    If there is none, the bytes of the one that has fewest.
    """
    options, batch_size = exact.options, exact.batch_size
    bucket = batch_bucket(batch_size)
    unlimited = cached_plan(exact.network, options.unlimited, exact.mode, bucket, exact.dtype, exact.hardware)
    if dataclasses.replace(unlimited, batch_size=batch_size).peak_bytes <= limit:
        return unlimited
    problem = dataclasses.replace(exact, options=options.ordering, batch_size=bucket)
    asked = _admitted(exact.network, options.implementation, exact.dtype)
    layouts = _layouts(problem)
    sizes = [*exact.chunk_sizes, *(1 << k for k in reversed(range(4)))]
    found = [
        candidate
        for implementation, orders in problem.orders.items()
        if asked in ("auto", implementation)
        for order in orders
        for steps in _laid_out(layouts, order, implementation)
        for candidate in _candidates(
            exact, implementation, steps, [size for size in sizes if size <= max(batch_size, 1)]
        )
    ]
    fitting = [candidate for candidate in found if candidate.peak_bytes <= limit]
    if not fitting:
        return min(candidate.peak_bytes for candidate in found)
    taken = min(fitting, key=lambda candidate: candidate.seconds)
    return dataclasses.replace(taken, reason=f"the fastest that keeps to memory_limit={options.memory_limit:,}")


def _admitted(network: Network, implementation: Implementation, dtype: DType) -> Implementation:
    """What of `implementation` is possible: a weight that an array can have as many axes and bytes as."""
    if BATCH not in network.output:
        return implementation
    remedy = "Pass implementation='factorized', or choose fewer or smaller modes."
    try:
        check_limits("The dense weight", network.shape(range(network.n_modes)), dtype.itemsize, remedy)
    except (MemoryLimitError, ShapeError):
        if implementation == "reconstructed":
            raise
        return "factorized"
    return implementation


def _no_order(problem: _Problem, options: PlanOptions, asked: str) -> ImplementationError:
    does = "rebuilds" if asked == "factorized" else "does not rebuild"
    return ImplementationError(
        f"For up to {problem.batch_size} samples the order of contraction from optimize={options.optimize!r} {does} "
        f"the weight of {problem.network}, but implementation={asked!r} was asked for. Pass implementation='auto', or "
        "another order."
    )


def _chosen(taken: Plan, other: str, seconds: float, *, at_least: bool = False) -> Plan:
    """The plan that ``'auto'`` takes, which says why."""
    least = "at least " if at_least else ""
    reason = f"'auto' took {taken.implementation!r}: of {taken.batch_size} samples {other!r} would take {least}"
    return dataclasses.replace(taken, reason=f"{reason}{seconds * 1e6:,.0f} us, and this {taken.seconds * 1e6:,.0f} us")


@lru_cache(maxsize=512)
def _best_plan(problem: _Problem, implementation: Taken) -> Plan:
    """Search the orders by what they take at least, until none that is left can be faster than the best found."""
    orders = problem.orders[implementation]
    least = {order: problem.least_seconds(order) for order in orders}
    first, *others = sorted(orders, key=least.__getitem__)
    layouts = _layouts(problem)
    best = _plan_of(problem, layouts, first, implementation)
    for order in others:
        if least[order] < best.seconds:
            best = min(best, _plan_of(problem, layouts, order, implementation), key=lambda candidate: candidate.seconds)
    return best


def _plan_of(problem: _Problem, layouts: Sequence[Layouts], order: Order, implementation: Taken) -> Plan:
    """The best layout, chunk and policy of an order."""
    candidates = (
        candidate
        for steps in _laid_out(layouts, order, implementation)
        for candidate in _candidates(problem, implementation, steps, problem.chunk_sizes)
    )
    return min(candidates, key=lambda candidate: candidate.seconds)


def _laid_out(layouts: Sequence[Layouts], order: Order, implementation: Taken) -> Iterator[tuple[Step, ...]]:
    """The steps of an order, in each layout that differs from the ones before."""
    for pairs in dict.fromkeys(layout.best(order) for layout in layouts):
        rebuilt = len(order) - 1 if implementation == "reconstructed" and takes_input_last(order) else 0
        yield _steps(layouts[0].network, pairs, rebuilt=rebuilt)


def _candidates(
    problem: _Problem, implementation: Taken, steps: tuple[Step, ...], chunk_sizes: Sequence[int]
) -> Iterator[Plan]:
    for chunk in chunk_sizes:
        for memory in problem.memories:
            few = problem.options.memory_limit is not None and chunk < _WORTH_STORING <= problem.batch_size
            if few and memory == "store" and problem.is_training:
                continue  # what is stored is the same for any chunk, and many small arrays take more than their entries
            yield Plan(
                problem.network,
                implementation,
                problem.mode,
                problem.batch_size,
                problem.dtype,
                steps,
                max(chunk, 1),
                memory,
                hardware=problem.hardware,
            )


def _steps(network: Network, pairs: Sequence[tuple[int, int, Pair]], rebuilt: int = 0) -> tuple[Step, ...]:
    """Number and name the steps, those without a batch first; the result of number `rebuilt` is named ``weight``."""
    n = len(network.inputs)
    order = sorted(range(len(pairs)), key=lambda k: pairs[k][2].has_batch)
    slot = {**{k: k for k in range(n)}, **{n + old: n + new for new, old in enumerate(order)}}
    return tuple(
        Step(
            slot[pairs[old][0]],
            slot[pairs[old][1]],
            n + new,
            "result" if new == len(pairs) - 1 else "weight" if new == rebuilt - 1 else f"t{new + 1}",
            pairs[old][2],
        )
        for new, old in enumerate(order)
    )
