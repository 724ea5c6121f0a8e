"""What a forward pass remembers, and the pullback along it.

Step by step from the last: with ``C = A * B``, linear in both, ``dA = dC * conj(B)`` and ``dB = dC *
conj(A)``.  The input's cotangent goes through chunk by chunk as the input did, and the gradients of
the operands are summed over the chunks.  What no wanted gradient depends on is neither kept nor computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from tlinear.arrays import Array, Space
from tlinear.contraction.backward import Backward, Needs
from tlinear.contraction.execute import Kept, arrange_weights, chunks_of, contract_weights, pass_through, put_in_order
from tlinear.contraction.plan import Plan

__all__ = ["Tape", "contract_with_tape"]

Conj: TypeAlias = Callable[[Array], Array]


def _same(array: Array) -> Array:
    return array


def _widened(space: Space, array: Array) -> Array:
    """In single precision, if it was half: a sum over many chunks would soon be too large to be changed by another."""
    return space.astype(array, space.single_dtype(array.dtype))


class Tape(NamedTuple):
    """What the forward pass must remember for the backward pass.

    Attributes
    ----------
    plan : Plan
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
    wanted: tuple[int, ...]
    slots: list[Array]
    arranged: list[Array]
    chunks: list[list[Array | None]] | None

    def pull_back(self, cotangent: Array) -> dict[int, Array]:
        """The gradients of the wanted operands by number: the adjoint of the forward map."""
        plan, slots = self.plan, self.slots
        n, needs, space = len(plan.network.inputs), plan.needs(self.wanted), plan.space
        conj = space.conj if plan.dtype.kind == "c" else _same
        if plan.batch_steps:
            cotangents = self._pull_back_batch(cotangent, needs, conj)
        else:
            cotangents = {n + len(plan.steps) - 1: _as_last(plan, cotangent)}
        for number in needs.weight_steps:
            kernel, a, b = plan.weight_program[number]
            c = space.contiguous(cotangents.pop(n + number))
            if needs.slots[b]:
                cotangents[b] = kernel.restore(kernel.to_b(c, conj(slots[a])))
            if needs.slots[a]:
                met = kernel.arrange(conj(slots[b]))
                cotangents[a] = kernel.to_a(c, met if kernel.turn is None else kernel.turn(met))
        if plan.reductions:
            return {number: _of_operand(plan, number, cotangents[number]) for number in self.wanted}
        return {number: space.reshape(cotangents[number], plan.operand_shapes[number]) for number in self.wanted}

    def _pull_back_batch(self, cotangent: Array, needs: Needs, conj: Conj) -> dict[int, Array]:
        """The gradients of the input and of what it meets, those summed over the chunks."""
        plan, n_samples = self.plan, cotangent.shape[0]
        met = self.arranged.copy()
        sums: list[Array | None] = [None] * len(met)
        backward = plan.backward(min(n_samples, plan.chunk_size), self.wanted)
        for k, turn in backward.turns:
            met[k] = turn(met[k])
        if (
            plan.dtype.kind == "c"
        ):  # what has been copied is conjugated in place; a turn that moves nothing copies nothing
            whole = zip(met, self.arranged, strict=True)
            met = [plan.space.conj_of_own(a, source) for a, source in whole]
        cotangents: dict[int, Array] = {}
        if 0 < n_samples <= plan.chunk_size:
            starts = self._started_from(0, slice(0, n_samples), needs)
            c = _sweep(backward, _as_last(plan, cotangent), starts, met, sums, conj=conj)
            if backward.to_x is not None:
                cotangents[0] = backward.to_x(c, met[0])
            del c, starts
        else:
            widened = partial(_widened, plan.space)
            if needs.slots[0]:
                cotangents[0] = plan.space.empty((n_samples, *self.slots[0].shape[1:]), cotangent.dtype)
            for number, rows in enumerate(chunks_of(plan, n_samples)):
                backward = plan.backward(rows.stop - rows.start, self.wanted)
                starts = self._started_from(number, rows, needs)
                c = _sweep(backward, _as_last(plan, cotangent[rows, ...]), starts, met, sums, conj=conj, first=widened)
                if backward.to_x_into is not None:
                    backward.to_x_into(c, met[0], cotangents[0][rows, ...])
                del c, starts  # before the next chunk makes its own
        del met  # before the gradients are put in order
        for k, slot, restore in needs.met:
            total, sums[k], own = sums[k], None, self.arranged[k]
            cotangents[slot] = restore(
                plan.space.zeros_like(own) if total is None else plan.space.astype(total, own.dtype)
            )
        return cotangents

    def _started_from(self, number: int, rows: slice, needs: Needs) -> list[Array | None]:
        """What each step that has a batch started from in one chunk, as far as any wanted gradient depends on it."""
        if self.chunks is not None:
            return self.chunks[number]
        kernels = self.plan.batch_kernels(rows.stop - rows.start)
        x, starts = self.slots[0][rows, ...], list[Array | None]([None] * len(kernels))
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
    asked = plan.all_operands if wanted is None else tuple(sorted(wanted))
    slots = contract_weights(plan, operands)
    if not plan.batch_steps:
        return put_in_order(plan, slots[-1], 1), Tape(plan, asked, slots, [], [])
    arranged = arrange_weights(plan, slots)
    if plan.memory == "recompute":
        return pass_through(plan, slots[0], arranged), Tape(plan, asked, slots, arranged, None)
    kept = Kept(plan.needs(asked).keep, [])
    result = pass_through(plan, slots[0], arranged, kept)
    return result, Tape(plan, asked, slots, arranged, kept.chunks)


def _sweep(
    backward: Backward,
    c: Array,
    starts: Sequence[Array | None],
    met: Sequence[Array],
    sums: list[Array | None],
    *,
    conj: Conj,
    first: Conj = _same,
) -> Array:
    """A cotangent of some samples from the last step back to the first one needed; the gradients go to `sums`.

    Where others will be added to them, the `first` ones are made what can hold the sum.
    """
    for k, to_b, to_a in backward.steps:
        start = starts[k]
        if to_b is not None and start is not None:
            db, total = to_b(c, conj(start)), sums[k]
            if total is None:
                sums[k] = first(db)
            else:
                total += db
                sums[k] = total
            del db, total  # before the next one is computed
        if to_a is not None:
            c = to_a(c, met[k])
    return c


def _of_operand(plan: Plan, number: int, gradient: Array) -> Array:
    """The gradient of an operand, which may have been summed over the labels that it alone carries."""
    shape, axes = plan.operand_shapes[number], plan.reductions.get(number)
    space = plan.space
    if axes is None:
        return space.reshape(gradient, shape)
    reduced = space.reshape(gradient, tuple(n for k, n in enumerate(shape) if k not in axes))
    return space.expanded(reduced, axes, shape)


def _as_last(plan: Plan, cotangent: Array) -> Array:
    """A cotangent of the network's output as it lies for the last step."""
    return cotangent if plan.lies_in_order else plan.space.ordered(cotangent, plan.axes_of_last)
