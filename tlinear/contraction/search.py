"""The search for a plan, by a cost model.

opt_einsum proposes the orders; the cost model of floating-point operations and bytes
moved picks one, how each intermediate lies, and the chunks that a batch is cut into.
Rebuilding the weight first and multiplying by it afterwards is one more order of the
same network, so that ``'factorized'`` and ``'reconstructed'`` share every line of the
execution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import DType
from tlinear.contraction.layout import lay_out
from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.order import Order, factorized_orders, label_triples, reconstructed_order
from tlinear.contraction.pair import Pair
from tlinear.contraction.plan import MODEL, Implementation, Mode, Plan, check_implementation, n_chunks
from tlinear.contraction.step import Step
from tlinear.errors import ImplementationError, ShapeError
from tlinear.shapes import MOST_MODES, is_integer

__all__ = ["batch_bucket", "cached_plan", "plan"]

_SMALLEST_CHUNK = 16
_WORTH_A_SEARCH = 0.9


def plan(
    network: Network,
    *,
    implementation: Implementation = "auto",
    mode: Mode = "forward",
    batch_size: int = 1,
    dtype: DTypeLike = np.float64,
) -> Plan:
    """The cheapest plan for a network, with its figures for exactly this batch size.

    Orders are searched once per network, dtype, mode and power-of-two bucket of batch sizes.

    Raises
    ------
    ImplementationError
        When `implementation` or `mode` is not one of the known ones.
    ShapeError
        When `batch_size` is not an integer, or is negative.
    """
    check_implementation(implementation)
    if mode not in get_args(Mode):
        raise ImplementationError(f"mode={mode!r} is not known. Choose one of {', '.join(map(repr, get_args(Mode)))}.")
    if not is_integer(batch_size) or batch_size < 0:
        raise ShapeError(f"batch_size={batch_size!r} is not a number of samples. Pass an integer, 0 or more.")
    found = cached_plan(network, implementation, mode, batch_bucket(int(batch_size)), np.dtype(dtype))
    return dataclasses.replace(found, batch_size=int(batch_size))


def batch_bucket(batch_size: int) -> int:
    """The smallest power of two that is not below `batch_size`."""
    return 1 << max(batch_size - 1, 0).bit_length()


@dataclass(frozen=True)
class _Problem:
    """What a plan is searched for."""

    network: Network
    mode: Mode
    batch_size: int
    dtype: DType

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

    def least_seconds(self, order: Order) -> float:
        """What no layout of an order can undercut."""
        triples = label_triples(self.network, order)
        return MODEL.least_seconds(self.network, triples, self.batch_size, self.dtype, training=self.mode == "training")

    def layout_seconds(self, pair: Pair, last: bool, chunk_size: int) -> float:
        """What a pair costs in chunks of this size, with the copy that puts a last result in order."""
        n, training = n_chunks(self.batch_size, chunk_size), self.mode == "training"
        total = MODEL.all_seconds([pair], n, chunk_size, self.dtype, training=training)
        if last and pair.out != self.network.output and self.batch_size > 1:
            total += MODEL.copy_seconds(self.network.size(pair.out, self.batch_size), self.dtype)
        return total

    def copy_seconds(self, labels: Labels, chunk_size: int) -> float:
        """What it costs to rearrange an array in every chunk of this size."""
        n = n_chunks(self.batch_size, chunk_size) if BATCH in labels else 1
        return n * MODEL.copy_seconds(self.network.size(labels, chunk_size), self.dtype)


@lru_cache(maxsize=512)
def cached_plan(network: Network, implementation: Implementation, mode: Mode, batch_size: int, dtype: DType) -> Plan:
    """Search the orders that `implementation` admits, and keep the one of least predicted time."""
    problem = _Problem(network, mode, batch_size, dtype)
    has_axes_left = network.n_modes <= MOST_MODES
    if implementation == "reconstructed":
        if not has_axes_left:
            raise ShapeError(
                f"The weight has {network.n_modes} modes, but an array can have {MOST_MODES} axes. Pass "
                "implementation='factorized', or choose fewer modes."
            )
        return _reconstructed_plan(problem)
    factorized = _factorized_plan(problem)
    if implementation == "factorized" or not has_axes_left:
        return factorized
    least = problem.least_seconds(reconstructed_order(network))
    if least >= factorized.seconds:
        return _chosen(factorized, "reconstructed", least, at_least=True)
    reconstructed = _reconstructed_plan(problem)
    if reconstructed.seconds < factorized.seconds:
        return _chosen(reconstructed, "factorized", factorized.seconds)
    return _chosen(factorized, "reconstructed", reconstructed.seconds)


def _chosen(taken: Plan, other: str, seconds: float, *, at_least: bool = False) -> Plan:
    """The plan that ``'auto'`` takes, which says why."""
    least = "at least " if at_least else ""
    reason = f"'auto' took {taken.implementation!r}: of {taken.batch_size} samples {other!r} would take {least}"
    return dataclasses.replace(taken, reason=f"{reason}{seconds * 1e6:,.0f} us, and this {taken.seconds * 1e6:,.0f} us")


@lru_cache(maxsize=512)
def _factorized_plan(problem: _Problem) -> Plan:
    """The orders by what they take at least, until none that is left can be much faster than the best found."""
    network = problem.network
    orders = dict.fromkeys(
        order
        for size in dict.fromkeys((problem.batch_size, problem.small_chunk))
        for order in factorized_orders(network, size)
        if not _rebuilds_weight(network, order)
    )
    least = {order: problem.least_seconds(order) for order in orders}
    first, *others = sorted(orders, key=least.__getitem__)
    best = _plan_of(problem, first, "factorized")
    for order in others:
        if least[order] < _WORTH_A_SEARCH * best.seconds:
            best = min(best, _plan_of(problem, order, "factorized"), key=lambda candidate: candidate.seconds)
    return best


@lru_cache(maxsize=512)
def _reconstructed_plan(problem: _Problem) -> Plan:
    return _plan_of(problem, reconstructed_order(problem.network), "reconstructed")


def _plan_of(problem: _Problem, order: Order, implementation: Literal["factorized", "reconstructed"]) -> Plan:
    """The best layout and chunk of an order; the layout is searched for the whole batch and for a small chunk."""
    candidates = []
    for size in dict.fromkeys((problem.chunk_sizes[0], problem.small_chunk)):
        pairs = lay_out(
            problem.network,
            order,
            partial(problem.layout_seconds, chunk_size=size),
            partial(problem.copy_seconds, chunk_size=size),
            single=problem.batch_size == 1,
        )
        steps = _steps(problem.network, pairs, rebuilt=len(order) - 1 if implementation == "reconstructed" else 0)
        candidates += [
            Plan(problem.network, implementation, problem.mode, problem.batch_size, problem.dtype, steps, chunk)
            for chunk in problem.chunk_sizes
        ]
    return min(candidates, key=lambda candidate: candidate.seconds)


def _rebuilds_weight(network: Network, order: Order) -> bool:
    """Whether some intermediate of the layer's network is the dense weight, which only ``'reconstructed'`` may form."""
    modes = set(range(network.n_modes))
    held = [set(labels) for labels in network.inputs]
    for a, b in order:
        held.append(held[a] | held[b])
    return BATCH in network.output and any(
        modes <= labels and BATCH not in labels for labels in held[len(network.inputs) :]
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
