"""How a network is contracted: the pairs, in order, and the samples at a time, chosen by a cost model.

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
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import DType
from tlinear.contraction.cost import CostModel, flops_per_multiply
from tlinear.contraction.kernel import Kernel, kernel_of
from tlinear.contraction.layout import lay_out
from tlinear.contraction.memory import Footprint
from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.order import Order, factorized_orders, label_triples, reconstructed_order
from tlinear.contraction.pair import Pair
from tlinear.contraction.step import Step
from tlinear.errors import ImplementationError, ShapeError
from tlinear.shapes import is_integer

__all__ = ["Implementation", "Mode", "Plan", "Step", "check_implementation", "plan"]

Implementation: TypeAlias = Literal["factorized", "reconstructed", "auto"]
Mode: TypeAlias = Literal["forward", "training"]

_IMPLEMENTATIONS = get_args(Implementation)
_MODEL = CostModel()
_SMALLEST_CHUNK = 16
_PROGRAMS_KEPT = 64
_WORTH_A_SEARCH = 0.9


@dataclass(frozen=True)
class Plan:
    """What will be computed, in order.  ``print(plan)`` explains it.

    Attributes
    ----------
    network : Network
        What is contracted.
    implementation : {'factorized', 'reconstructed'}
        Whether the input meets the operands one by one, or the rebuilt weight.
    mode : {'forward', 'training'}
        Whether the backward pass is counted in the cost.
    batch_size : int
        The number of samples that the figures below are for.
    dtype : dtype
        What is computed in.
    steps : tuple of Step
        The pairs in order.
    chunk_size : int
        How many samples pass through the steps that have a batch at a time.
    """

    network: Network
    implementation: Literal["factorized", "reconstructed"]
    mode: Mode
    batch_size: int
    dtype: DType
    steps: tuple[Step, ...]
    chunk_size: int

    @cached_property
    def weight_steps(self) -> tuple[Step, ...]:
        """The steps that have no batch: done once a call."""
        return tuple(step for step in self.steps if not step.pair.has_batch)

    @cached_property
    def batch_steps(self) -> tuple[Step, ...]:
        """The steps that the input passes through, each from the one before: done for every chunk."""
        return tuple(step for step in self.steps if step.pair.has_batch)

    @cached_property
    def _batch_programs(self) -> dict[int, tuple[tuple[Kernel, int], ...]]:
        return {}

    def batch_program(self, n_samples: int) -> tuple[tuple[Kernel, int], ...]:
        """The batch steps, worked out for this many samples, with the slot of what the input meets in each."""
        found = self._batch_programs.get(n_samples)
        if found is None:
            if len(self._batch_programs) >= _PROGRAMS_KEPT:
                self._batch_programs.clear()
            found = self._batch_programs[n_samples] = tuple(
                (kernel_of(step.pair, n_samples), step.b) for step in self.batch_steps
            )
        return found

    @property
    def flops(self) -> int:
        """Real floating-point operations."""
        pairs, n = [step.pair for step in self.steps], self.batch_size
        forward = sum(pair.flops(n) for pair in pairs)
        backward = sum(pair.backward_flops(n) for pair in pairs) if self.mode == "training" else 0
        return (forward + backward) * flops_per_multiply(self.dtype)

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written by the steps, copies of rearranged operands included."""
        pairs, n = [step.pair for step in self.steps], self.batch_size
        forward = sum(pair.entries_moved(n) for pair in pairs)
        backward = sum(pair.backward_entries_moved(n) for pair in pairs) if self.mode == "training" else 0
        return (forward + backward) * self.dtype.itemsize

    @property
    def seconds(self) -> float:
        """The time that the cost model predicts, on the core its rates were measured on."""
        n_chunks, size = _n_chunks(self.batch_size, self.chunk_size), min(self.chunk_size, self.batch_size)
        pairs, training = [step.pair for step in self.steps], self.mode == "training"
        total = _MODEL.all_seconds(pairs, n_chunks, size, self.dtype, training=training)
        if not self.lies_in_order and self.batch_size > 1:
            n_entries = self.network.size(self.network.output, self.batch_size)
            total += _MODEL.copy_seconds(n_entries, self.dtype) * (2 if training else 1)
        return total

    @property
    def footprint(self) -> Footprint:
        """What is alive at once, for either policy of a training plan."""
        steps = (self.weight_steps, self.batch_steps)
        return Footprint(self.network, *steps, self.batch_size, self.chunk_size, self.lies_in_order)

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive at once of what is computed: intermediates, rearranged copies, result, gradients."""
        forward, footprint = self.mode == "forward", self.footprint
        return (
            footprint.forward_entries() if forward else footprint.training_entries(store=True)
        ) * self.dtype.itemsize

    @cached_property
    def reductions(self) -> tuple[tuple[int, ...], ...]:
        """For each operand, the axes that it is summed over before anything else."""
        network = self.network
        return tuple(
            tuple(labels.index(label) for label in lone)
            for labels, lone in zip(network.inputs, network.lone_labels, strict=True)
        )

    @cached_property
    def reduced_shapes(self) -> tuple[tuple[int, ...] | None, ...]:
        """The shape of an operand without the labels of size 1 that it alone carries; None if none or others are."""
        network = self.network
        return tuple(
            network.shape(labels) if lone and network.size(lone) == 1 and BATCH not in labels else None
            for labels, lone in zip(network.reduced_inputs, network.lone_labels, strict=True)
        )

    @cached_property
    def weight_program(self) -> tuple[tuple[Kernel, int, int], ...]:
        """The weight steps, worked out, with the slots of their operands."""
        return tuple((kernel_of(step.pair, 1), step.a, step.b) for step in self.weight_steps)

    @cached_property
    def output_axes(self) -> tuple[int, ...]:
        """The axes of the last result, in the order that the network's output asks for."""
        return tuple(self.last_labels.index(label) for label in self.network.output)

    @cached_property
    def last_labels(self) -> Labels:
        """The labels of the last result as it lies."""
        return self.steps[-1].pair.out if self.steps else self.network.reduced_inputs[0]

    @cached_property
    def lies_in_order(self) -> bool:
        """Whether the last result lies as the network's output asks for."""
        return self.last_labels == self.network.output

    def slot_name(self, slot: int) -> str:
        """The name of an operand or of a step's result."""
        n = len(self.network.names)
        return self.network.names[slot] if slot < n else self.steps[slot - n].name

    def equation(self, step: Step) -> str:
        """A step as it would be written: ``t1[b o1 r1] = x[b i1] * cores.0[..]``."""
        pair, describe = step.pair, self.network.describe
        left, right = self.slot_name(step.a) + describe(pair.a), self.slot_name(step.b) + describe(pair.b)
        return f"{step.name}{describe(pair.out)} = {left} * {right}"

    def __str__(self) -> str:
        scale = flops_per_multiply(self.dtype)
        lines = [
            f"Plan: {self.implementation}, {self.mode}, batch {self.batch_size}, {self.dtype}",
            f"  {self.network}",
        ]
        for step in self.steps:
            shape = self.network.shape(step.pair.out, self.batch_size)
            lines.append(f"  {self.equation(step)}")
            lines.append(f"      {shape}, {step.pair.flops(self.batch_size) * scale:,} FLOPs")
        lines.append(
            f"  in all {self.flops:,} FLOPs, {self.bytes_moved:,} bytes moved, at most {self.peak_bytes:,} bytes of "
            f"intermediates alive; predicted {self.seconds * 1e6:,.0f} us"
        )
        return "\n".join(lines)


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


def check_implementation(implementation: str) -> None:
    """Raise :class:`ImplementationError` unless `implementation` is one of the three."""
    if implementation not in _IMPLEMENTATIONS:
        known = ", ".join(map(repr, _IMPLEMENTATIONS))
        raise ImplementationError(f"implementation={implementation!r} is not known. Choose one of {known}.")


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
        return _MODEL.least_seconds(
            self.network, triples, self.batch_size, self.dtype, training=self.mode == "training"
        )

    def layout_seconds(self, pair: Pair, last: bool, chunk_size: int) -> float:
        """What a pair costs in chunks of this size, with the copy that puts a last result in order."""
        n_chunks, training = _n_chunks(self.batch_size, chunk_size), self.mode == "training"
        total = _MODEL.all_seconds([pair], n_chunks, chunk_size, self.dtype, training=training)
        if last and pair.out != self.network.output and self.batch_size > 1:
            total += _MODEL.copy_seconds(self.network.size(pair.out, self.batch_size), self.dtype)
        return total

    def copy_seconds(self, labels: Labels, chunk_size: int) -> float:
        """What it costs to rearrange an array in every chunk of this size."""
        n_chunks = _n_chunks(self.batch_size, chunk_size) if BATCH in labels else 1
        return n_chunks * _MODEL.copy_seconds(self.network.size(labels, chunk_size), self.dtype)


@lru_cache(maxsize=512)
def cached_plan(network: Network, implementation: Implementation, mode: Mode, batch_size: int, dtype: DType) -> Plan:
    """Search the orders that `implementation` admits, and keep the one of least predicted time."""
    problem = _Problem(network, mode, batch_size, dtype)
    if implementation == "reconstructed":
        return _reconstructed_plan(problem)
    factorized = _factorized_plan(problem)
    if implementation == "factorized" or problem.least_seconds(reconstructed_order(network)) >= factorized.seconds:
        return factorized
    return min(factorized, _reconstructed_plan(problem), key=lambda candidate: candidate.seconds)


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


def _n_chunks(batch_size: int, chunk_size: int) -> int:
    return -(-batch_size // chunk_size)


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
