"""How a network is contracted: the pairs, in order, chosen by a cost model.

opt_einsum proposes the orders; the cost model of floating-point operations and bytes
moved picks one.  Rebuilding the weight first and multiplying by it afterwards is one
more order of the same network, so that ``'factorized'`` and ``'reconstructed'`` share
every line of the execution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import DType
from tlinear.contraction.network import BATCH, Network
from tlinear.contraction.order import Order, factorized_orders, reconstructed_order
from tlinear.contraction.pair import Pair
from tlinear.errors import ImplementationError, ShapeError
from tlinear.shapes import is_integer

__all__ = ["CostModel", "Implementation", "Mode", "Plan", "Step", "check_implementation", "plan"]

Implementation: TypeAlias = Literal["factorized", "reconstructed", "auto"]
Mode: TypeAlias = Literal["forward", "training"]


@dataclass(frozen=True)
class CostModel:
    """Seconds as FLOPs at the rate of a matrix product plus bytes at the rate of a copy.

    The rates are of the order that ``python tests/benchmarks/machine.py`` prints for one core of a
    server; what is chosen depends on their ratios alone, which differ less between machines.

    Attributes
    ----------
    gemm_bytes_per_second : float
        FLOP/s of a large real matrix product times the bytes of one entry: a core that does
        n FLOP/s in float64 does 2 n in float32.
    copy_bytes_per_second : float
        Bytes read and written per second.
    batched_slowdown : float
        How much lower the rate of FLOPs is when a pair is many small products instead of one; between
        that of matrices that lie one after the other and that of interleaved ones.
    call_seconds : float
        What one pair costs before it does anything.
    """

    gemm_bytes_per_second: float = 4.0e11
    copy_bytes_per_second: float = 1.0e10
    batched_slowdown: float = 12.0
    call_seconds: float = 4.0e-6

    def seconds(self, pairs: Sequence[Pair], batch_size: int, dtype: DType) -> float:
        """The predicted time of these pairs, one after the other."""
        slowdown = self.batched_slowdown
        flops = sum(pair.flops(batch_size) * (slowdown if pair.is_batched else 1.0) for pair in pairs)
        moved = sum(pair.entries_moved(batch_size) for pair in pairs) * dtype.itemsize
        entry = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
        compute = flops * _flops_per_multiply(dtype) * entry / self.gemm_bytes_per_second
        return compute + moved / self.copy_bytes_per_second + len(pairs) * self.call_seconds


def _flops_per_multiply(dtype: DType) -> int:
    """A complex product costs four real ones."""
    return 4 if dtype.kind == "c" else 1


@dataclass(frozen=True)
class Step:
    """One pair of slots contracted into the next slot, and the two pairs that pull a cotangent back.

    With ``C = A * B``: ``dA = dC * conj(B)`` and ``dB = dC * conj(A)``, each summed over what
    the operand does not carry, so that a step costs two steps of its own kind to differentiate.
    """

    a: int
    b: int
    out: int
    name: str
    network: Network
    forward: Pair

    @cached_property
    def to_a(self) -> Pair:
        """From ``dC`` and ``conj(B)`` to ``dA``."""
        pair = self.forward
        return Pair.compile(self.network, pair.out, pair.b, set(pair.a), pair.a)

    @cached_property
    def to_b(self) -> Pair:
        """From ``dC`` and ``conj(A)`` to ``dB``."""
        pair = self.forward
        return Pair.compile(self.network, pair.out, pair.a, set(pair.b), pair.b)


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
    """

    network: Network
    implementation: Literal["factorized", "reconstructed"]
    mode: Mode
    batch_size: int
    dtype: DType
    steps: tuple[Step, ...]
    cost_model: CostModel = CostModel()

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every contraction that the mode asks for."""
        backward = [pair for step in self.steps for pair in (step.to_b, step.to_a)] if self.mode == "training" else []
        return (*(step.forward for step in self.steps), *backward)

    @property
    def flops(self) -> int:
        """Real floating-point operations."""
        return sum(pair.flops(self.batch_size) for pair in self.pairs) * _flops_per_multiply(self.dtype)

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written by the steps, copies of rearranged operands included."""
        return sum(pair.entries_moved(self.batch_size) for pair in self.pairs) * self.dtype.itemsize

    @property
    def seconds(self) -> float:
        """The time that the cost model predicts, on the core its rates were measured on."""
        return self.cost_model.seconds(self.pairs, self.batch_size, self.dtype)

    @property
    def peak_bytes(self) -> int:
        """The most bytes of intermediates and result alive at once.

        Forward, an intermediate is dropped once used; in training all are kept, and the
        cotangents of one step, no larger than its own three arrays, come on top.  Operands,
        and the passing copies of rearranged ones, are not counted.
        """
        n = len(self.network.inputs)
        entries = {step.out: self.network.size(step.forward.out, self.batch_size) for step in self.steps}
        operands = {k: self.network.size(labels, self.batch_size) for k, labels in enumerate(self.network.inputs)}
        alive = peak = 0
        for step in self.steps:
            alive += entries[step.out]
            peak = max(peak, alive)
            if self.mode == "forward":
                alive -= sum(entries[slot] for slot in (step.a, step.b) if slot >= n)
        if self.mode == "training":
            sizes = operands | entries
            peak += max((sizes[step.a] + sizes[step.b] + sizes[step.out] for step in self.steps), default=0)
        return peak * self.dtype.itemsize

    @cached_property
    def reductions(self) -> tuple[tuple[int, ...], ...]:
        """For each operand, the axes that it is summed over before anything else."""
        network = self.network
        return tuple(
            tuple(labels.index(label) for label in lone)
            for labels, lone in zip(network.inputs, network.lone_labels, strict=True)
        )

    @cached_property
    def output_axes(self) -> tuple[int, ...]:
        """The axes of the last result, in the order that the network's output asks for."""
        labels = self.steps[-1].forward.out if self.steps else self.network.reduced_inputs[0]
        return tuple(labels.index(label) for label in self.network.output)

    def slot_name(self, slot: int) -> str:
        """The name of an operand or of a step's result."""
        n = len(self.network.names)
        return self.network.names[slot] if slot < n else self.steps[slot - n].name

    def equation(self, step: Step) -> str:
        """A step as it would be written: ``t1[b o1 r1] = x[b i1] * cores.0[..]``."""
        pair, describe = step.forward, self.network.describe
        left, right = self.slot_name(step.a) + describe(pair.a), self.slot_name(step.b) + describe(pair.b)
        return f"{step.name}{describe(pair.out)} = {left} * {right}"

    def __str__(self) -> str:
        scale = _flops_per_multiply(self.dtype)
        lines = [
            f"Plan: {self.implementation}, {self.mode}, batch {self.batch_size}, {self.dtype}",
            f"  {self.network}",
        ]
        for step in self.steps:
            shape = self.network.shape(step.forward.out, self.batch_size)
            lines.append(f"  {self.equation(step)}")
            lines.append(f"      {shape}, {step.forward.flops(self.batch_size) * scale:,} FLOPs")
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
    if implementation not in get_args(Implementation):
        known = ", ".join(map(repr, get_args(Implementation)))
        raise ImplementationError(f"implementation={implementation!r} is not known. Choose one of {known}.")


def batch_bucket(batch_size: int) -> int:
    """The smallest power of two that is not below `batch_size`."""
    return 1 << max(batch_size - 1, 0).bit_length()


@lru_cache(maxsize=512)
def cached_plan(network: Network, implementation: Implementation, mode: Mode, batch_size: int, dtype: DType) -> Plan:
    """Search the orders that `implementation` admits, and keep the one of least predicted time."""
    candidates: list[Plan] = []
    if implementation in ("factorized", "auto"):
        for order in factorized_orders(network, batch_size):
            steps = _steps(network, order)
            if not _rebuilds_weight(network, steps):
                candidates.append(Plan(network, "factorized", mode, batch_size, dtype, steps))
    if implementation in ("reconstructed", "auto"):
        order = reconstructed_order(network)
        steps = _steps(network, order, rebuilt=len(order) - 1)
        candidates.append(Plan(network, "reconstructed", mode, batch_size, dtype, steps))
    return min(candidates, key=lambda candidate: candidate.seconds)


def _rebuilds_weight(network: Network, steps: Sequence[Step]) -> bool:
    """Whether some intermediate of the layer's network is the dense weight, which only ``'reconstructed'`` may form."""
    modes = set(range(network.n_modes))
    return BATCH in network.output and any(
        modes <= set(step.forward.out) and BATCH not in step.forward.out for step in steps
    )


def _steps(network: Network, order: Order, rebuilt: int = 0) -> tuple[Step, ...]:
    """Compile an order; the result of step number `rebuilt` is named ``weight``."""
    open_labels = dict(enumerate(network.reduced_inputs))
    steps: list[Step] = []
    for number, pair in enumerate(order, start=1):
        out = len(network.inputs) + len(steps)
        # the batch leads every intermediate that has it
        a, b = sorted(pair, key=lambda slot: (BATCH not in open_labels[slot], pair.index(slot)))
        left, right = open_labels.pop(a), open_labels.pop(b)
        forward = Pair.compile(network, left, right, network.kept(open_labels.values()))
        last = number == len(order)
        name = "result" if last else "weight" if number == rebuilt else f"t{number}"
        steps.append(Step(a, b, out, name, network, forward))
        open_labels[out] = forward.out
    return tuple(steps)
