"""What a forward pass remembers, and the pullback along it.

Step by step from the last: with ``C = A * B``, linear in both, ``dA = dC * conj(B)`` and ``dB = dC *
conj(A)``.  The input's cotangent goes through chunk by chunk as the input did, and the gradients of
the operands are summed over the chunks.  What no wanted gradient depends on is neither kept nor computed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.execute import Starts, arrange_weights, chunks_of, contract_weights, pass_through, put_in_order
from tlinear.contraction.plan import Plan

__all__ = ["Tape", "contract_with_tape"]


@dataclass(frozen=True)
class Tape:
    """What the forward pass must remember for the backward pass.

    Attributes
    ----------
    plan : Plan
    operand_shapes : tuple of shapes
    wanted : tuple of int
        The numbers of the operands whose gradients are asked for.
    slots : list of arrays
        Every operand, and what was contracted of those without a batch.
    arranged : list of arrays
        What the input meets in each step that has a batch.
    chunks : list of lists of arrays, or None
        For each chunk of the batch, what each of those steps started from; None if that is computed anew.
    """

    plan: Plan
    operand_shapes: tuple[tuple[int, ...], ...]
    wanted: tuple[int, ...]
    slots: list[Array]
    arranged: list[Array]
    chunks: list[list[Array | None]] | None

    def pull_back(self, cotangent: Array) -> dict[int, Array]:
        """The gradients of the wanted operands by number: the adjoint of the forward map."""
        plan, slots = self.plan, self.slots
        n, needed = len(plan.network.inputs), plan.needed_for(self.wanted)
        if plan.batch_steps:
            cotangents = self._pull_back_batch(cotangent, needed)
        else:
            cotangents = {n + len(plan.steps) - 1: _as_last(plan, cotangent)}
        for number in reversed(range(len(plan.weight_program))):
            kernel, a, b = plan.weight_program[number]
            if not needed[n + number]:
                continue
            c = np.ascontiguousarray(cotangents.pop(n + number))
            if needed[b]:
                cotangents[b] = kernel.restore(kernel.to_b(c, _conj(slots[a])))
            if needed[a]:
                cotangents[a] = kernel.to_a(c, kernel.arrange(_conj(slots[b])))
        return {k: _expand(cotangents[k], plan.reductions[k], self.operand_shapes[k]) for k in self.wanted}

    def _pull_back_batch(self, cotangent: Array, needed: Sequence[bool]) -> dict[int, Array]:
        """The gradients of the input and of what it meets, those summed over the chunks."""
        plan, n_samples = self.plan, len(cotangent)
        arranged = [_conj(b) for b in self.arranged]
        sums: list[Array | None] = [None] * len(arranged)
        cotangents: dict[int, Array] = {}
        if needed[0]:
            cotangents[0] = np.empty((n_samples, *self.slots[0].shape[1:]), plan.dtype)
        # the earliest step that any wanted gradient depends on
        first = next((k for k, step in enumerate(plan.batch_steps) if needed[step.a] or needed[step.b]), len(sums))
        for number, rows in enumerate(chunks_of(plan, n_samples)):
            chunk = self._started_from(number, rows, needed)
            c = _as_last(plan, cotangent[rows])
            program = plan.batch_program(rows.stop - rows.start)
            for k in reversed(range(first, len(program))):
                kernel, b = program[k]
                start, total = chunk[k], sums[k]
                if start is not None:
                    db = kernel.to_b(c, _conj(start))
                    sums[k] = db if total is None else np.add(total, db, out=total)
                    del db  # before the next one is computed
                del start, total
                if k > first or needed[0]:
                    c = kernel.to_a(c, arranged[k], None if k else cotangents[0][rows])
            del chunk  # before the next one is computed
        for (kernel, b), meets, total in zip(plan.batch_program(1), arranged, sums, strict=True):
            if needed[b]:
                cotangents[b] = kernel.restore(np.zeros_like(meets) if total is None else total)
        return cotangents

    def _started_from(self, number: int, rows: slice, needed: Sequence[bool]) -> list[Array | None]:
        """What each step that has a batch started from in one chunk, as far as any wanted gradient depends on it."""
        if self.chunks is not None:
            return self.chunks[number]
        keep = _to_keep(self.plan, needed)
        program = self.plan.batch_program(rows.stop - rows.start)
        x, starts = self.slots[0][rows], list[Array | None]([None] * len(program))
        for k, (kernel, _) in enumerate(program):
            starts[k] = x if keep[k] else None
            if not any(keep[k + 1 :]):
                break
            x = kernel(x, self.arranged[k])
        return starts


def contract_with_tape(
    plan: Plan, operands: Sequence[Array], wanted: Collection[int] | None = None
) -> tuple[Array, Tape]:
    """The network's result, and the tape that pulls a cotangent of it back to the `wanted` operands, by default all.

    The tape holds the intermediates that those gradients depend on; or, if the plan says so, those of the
    input are computed anew, chunk by chunk, when a cotangent comes.
    """
    asked = tuple(range(len(operands)) if wanted is None else sorted(wanted))
    shapes = tuple(operand.shape for operand in operands)
    slots = contract_weights(plan, operands)
    if not plan.batch_steps:
        return put_in_order(plan, slots[-1], 1), Tape(plan, shapes, asked, slots, [], [])
    arranged = arrange_weights(plan, slots)
    starts = Starts(_to_keep(plan, plan.needed_for(asked))) if plan.memory == "store" else None
    result = pass_through(plan, slots[0], arranged, starts)
    return result, Tape(plan, shapes, asked, slots, arranged, None if starts is None else starts.chunks)


def _to_keep(plan: Plan, needed: Sequence[bool]) -> list[bool]:
    """For each step that has a batch, whether what it starts from is needed: for the gradient of what it meets."""
    return [needed[step.b] for step in plan.batch_steps]


def _expand(gradient: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The gradient of an operand that was summed over `axes`."""
    if not axes or all(shape[axis] == 1 for axis in axes):
        return gradient.reshape(shape)
    reduced = tuple(n for k, n in enumerate(shape) if k not in axes)
    return np.broadcast_to(np.expand_dims(gradient.reshape(reduced), axes), shape).copy()


def _as_last(plan: Plan, cotangent: Array) -> Array:
    """A cotangent of the network's output as it lies for the last step."""
    return cotangent if plan.lies_in_order else np.ascontiguousarray(cotangent.transpose(np.argsort(plan.output_axes)))


def _conj(array: Array) -> Array:
    return np.conj(array) if array.dtype.kind == "c" else array
