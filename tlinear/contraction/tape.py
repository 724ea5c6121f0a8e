"""What a forward pass remembers, and the pullback along it.

Step by step from the last: with ``C = A * B``, linear in both, ``dA = dC * conj(B)`` and ``dB = dC *
conj(A)``.  The input's cotangent goes through chunk by chunk as the input did, and the gradients of
the operands are summed over the chunks.  What no wanted gradient depends on is neither kept nor computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.execute import Starts, arrange_weights, chunks_of, contract_weights, pass_through, put_in_order
from tlinear.contraction.kernel import Kernel
from tlinear.contraction.needs import Needs
from tlinear.contraction.plan import Plan

__all__ = ["Tape", "contract_with_tape"]

Conj: TypeAlias = Callable[[Array], Array]


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
        n, needs = len(plan.network.inputs), plan.needs(self.wanted)
        conj = _conj if plan.dtype.kind == "c" else _same
        if plan.batch_steps:
            cotangents = self._pull_back_batch(cotangent, needs, conj)
        else:
            cotangents = {n + len(plan.steps) - 1: _as_last(plan, cotangent)}
        for number in needs.weight_steps:
            kernel, a, b = plan.weight_program[number]
            c = np.ascontiguousarray(cotangents.pop(n + number))
            if needs.slots[b]:
                cotangents[b] = kernel.restore(kernel.to_b(c, conj(slots[a])))
            if needs.slots[a]:
                cotangents[a] = kernel.to_a(c, kernel.turn(kernel.arrange(conj(slots[b]))))
        return {k: _expand(plan, k, cotangents[k], self.operand_shapes[k]) for k in self.wanted}

    def _pull_back_batch(self, cotangent: Array, needs: Needs, conj: Conj) -> dict[int, Array]:
        """The gradients of the input and of what it meets, those summed over the chunks."""
        plan, n_samples, first, reaches_x = self.plan, len(cotangent), needs.first, needs.slots[0]
        kernels = plan.batch_kernels(min(n_samples, plan.chunk_size))
        # those that a cotangent meets on its way to the operands
        turned = [
            kernel.turn(conj(met)) if k > first or reaches_x else met
            for k, (kernel, met) in enumerate(zip(kernels, self.arranged, strict=True))
        ]
        sums: list[Array | None] = [None] * len(kernels)

        def sweep(kernels: Sequence[Kernel], starts: list[Array | None], c: Array) -> Array:
            """Some samples from the last step back to the first one needed, but for the pullback to the input."""
            for k in range(len(kernels) - 1, first - 1, -1):
                start = starts[k]
                if start is not None:
                    db, total = kernels[k].to_b(c, conj(start)), sums[k]
                    sums[k] = db if total is None else np.add(total, db, out=total)
                    del db, total  # before the next one is computed
                if k > first or (k and reaches_x):
                    c = kernels[k].to_a(c, turned[k])
            return c

        cotangents: dict[int, Array] = {}
        if 0 < n_samples <= plan.chunk_size:
            c = sweep(kernels, self._started_from(0, slice(0, n_samples), needs), _as_last(plan, cotangent))
            if reaches_x:
                cotangents[0] = kernels[0].to_a(c, turned[0])
        else:
            if reaches_x:
                cotangents[0] = np.empty((n_samples, *self.slots[0].shape[1:]), plan.dtype)
            for number, rows in enumerate(chunks_of(plan, n_samples)):
                kernels = plan.batch_kernels(rows.stop - rows.start)
                c = sweep(kernels, self._started_from(number, rows, needs), _as_last(plan, cotangent[rows]))
                if reaches_x:
                    kernels[0].to_a_into(c, turned[0], cotangents[0][rows])
                del c  # before the next chunk makes its own
        for k, (kernel, b) in enumerate(zip(plan.batch_kernels(1), plan.met, strict=True)):
            if needs.slots[b]:
                total = sums[k]
                cotangents[b] = kernel.restore(np.zeros_like(self.arranged[k]) if total is None else total)
        return cotangents

    def _started_from(self, number: int, rows: slice, needs: Needs) -> list[Array | None]:
        """What each step that has a batch started from in one chunk, as far as any wanted gradient depends on it."""
        if self.chunks is not None:
            return self.chunks[number]
        kernels = self.plan.batch_kernels(rows.stop - rows.start)
        x, starts = self.slots[0][rows], list[Array | None]([None] * len(kernels))
        for k, kernel in enumerate(kernels):
            starts[k] = x if needs.keep[k] else None
            if not any(needs.keep[k + 1 :]):
                break
            x = kernel.forward(x, self.arranged[k])
        return starts


def contract_with_tape(
    plan: Plan, operands: Sequence[Array], wanted: Collection[int] | None = None
) -> tuple[Array, Tape]:
    """The network's result, and the tape that pulls a cotangent of it back to the `wanted` operands, by default all.

    The tape holds the intermediates that those gradients depend on; or, if the plan says so, those of the
    input are computed anew, chunk by chunk, when a cotangent comes.
    """
    asked = tuple(range(len(operands)) if wanted is None else sorted(wanted))
    shapes = tuple([operand.shape for operand in operands])
    slots = contract_weights(plan, operands)
    if not plan.batch_steps:
        return put_in_order(plan, slots[-1], 1), Tape(plan, shapes, asked, slots, [], [])
    arranged = arrange_weights(plan, slots)
    starts = Starts(plan.needs(asked).keep) if plan.memory == "store" else None
    result = pass_through(plan, slots[0], arranged, starts)
    return result, Tape(plan, shapes, asked, slots, arranged, None if starts is None else starts.chunks)


def _expand(plan: Plan, number: int, gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an operand of this shape, which may have been summed over the labels that it alone carries."""
    axes = plan.reductions.get(number)
    if axes is None:
        return gradient.reshape(shape)
    reduced = tuple(n for k, n in enumerate(shape) if k not in axes)
    return np.broadcast_to(np.expand_dims(gradient.reshape(reduced), axes), shape).copy()


def _as_last(plan: Plan, cotangent: Array) -> Array:
    """A cotangent of the network's output as it lies for the last step."""
    return cotangent if plan.lies_in_order else np.ascontiguousarray(cotangent.transpose(np.argsort(plan.output_axes)))


def _conj(array: Array) -> Array:
    return np.conj(array)


def _same(array: Array) -> Array:
    return array
