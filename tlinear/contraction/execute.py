"""Do what a plan says: forward, its pullback, its pushforward, and its intermediates one by one.

Operands come in the order of the plan's network, all of one dtype.  What has no batch is contracted
once; then the input passes through the remaining steps chunk by chunk, so that the intermediates of
one chunk stay in the cache, and the gradients of the operands are summed over the chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.kernel import kernel_of
from tlinear.contraction.network import BATCH
from tlinear.contraction.plan import Plan

__all__ = ["Tape", "contract", "contract_with_tape", "intermediates", "push_forward"]

_DROPPED = np.empty(0)


def contract(plan: Plan, operands: Sequence[Array]) -> Array:
    """The network's result.  Every intermediate of the input is dropped as soon as it is used."""
    slots = _contract_weights(plan, operands, drop=True)
    if not plan.batch_steps:
        return _in_order(plan, slots[-1], 1)
    x, arranged = slots[0], _arranged(plan, slots)
    if len(x) <= plan.chunk_size:
        return _through(plan, x, arranged)
    result = _room_for_result(plan, len(x))
    for rows in _chunks(plan, len(x)):
        _through(plan, x[rows], arranged, result[rows])
    return result


def intermediates(plan: Plan, operands: Sequence[Array]) -> Iterator[tuple[str, str, Array]]:
    """Name, equation and array of each step's result, in order, for all samples at once."""
    batch_size = _batch_size(plan, operands)
    slots = _reduced(plan, operands)
    for step in plan.steps:
        kernel = kernel_of(step.pair, batch_size)
        result = kernel(slots[step.a], kernel.arrange(slots[step.b])).reshape(kernel.shape_out)
        slots.append(result)
        yield step.name, plan.equation(step), result


@dataclass(frozen=True)
class Tape:
    """What the forward pass must remember for the backward pass.

    Attributes
    ----------
    plan : Plan
    operand_shapes : tuple of shapes
    slots : list of arrays
        Every operand, and what was contracted of those without a batch.
    arranged : list of arrays
        What the input meets in each step that has a batch.
    chunks : list of lists of arrays, or None
        For each chunk of the batch, what each of those steps started from; None if that is computed anew.
    """

    plan: Plan
    operand_shapes: tuple[tuple[int, ...], ...]
    slots: list[Array]
    arranged: list[Array]
    chunks: list[list[Array]] | None

    def pull_back(self, cotangent: Array, wanted: Collection[int] | None = None) -> dict[int, Array]:
        """The gradients of the operands of the `wanted` numbers, by default of all: the adjoint of the forward map.

        Step by step from the last: with ``C = A * B``, linear in both, ``dA = dC * conj(B)`` and ``dB = dC *
        conj(A)``.  What no wanted gradient depends on is not computed.
        """
        plan, slots = self.plan, self.slots
        n = len(plan.network.inputs)
        operands = range(n) if wanted is None else sorted(wanted)
        needed = [slot in operands for slot in range(n)]
        for step in plan.steps:
            needed.append(needed[step.a] or needed[step.b])
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
        return {k: _expand(cotangents[k], plan.reductions[k], self.operand_shapes[k]) for k in operands}

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
        for number, rows in enumerate(_chunks(plan, n_samples)):
            chunk = self._started_from(number, rows)
            c = _as_last(plan, cotangent[rows])
            program = plan.batch_program(rows.stop - rows.start)
            for k in reversed(range(first, len(program))):
                kernel, b = program[k]
                if needed[b]:
                    db, total = kernel.to_b(c, _conj(chunk[k])), sums[k]
                    sums[k] = db if total is None else np.add(total, db, out=total)
                    del db, total  # before the next one is computed
                if k > first or needed[0]:
                    c = kernel.to_a(c, arranged[k], None if k else cotangents[0][rows])
            del chunk  # before the next one is computed
        for (kernel, b), meets, total in zip(plan.batch_program(n_samples), arranged, sums, strict=True):
            if needed[b]:
                cotangents[b] = kernel.restore(np.zeros_like(meets) if total is None else total)
        return cotangents

    def _started_from(self, number: int, rows: slice) -> list[Array]:
        """What each step that has a batch started from in one chunk."""
        if self.chunks is not None:
            return self.chunks[number]
        kept = [self.slots[0][rows]]
        program = self.plan.batch_program(rows.stop - rows.start)
        for (kernel, _), b in zip(program[:-1], self.arranged, strict=False):
            kept.append(kernel(kept[-1], b))
        return kept


def contract_with_tape(plan: Plan, operands: Sequence[Array], *, store: bool = True) -> tuple[Array, Tape]:
    """The network's result, and the tape that pulls a cotangent of it back to the operands.

    With `store` the tape holds every intermediate; without, those of the input are computed anew, chunk
    by chunk, when a cotangent comes.
    """
    slots = _contract_weights(plan, operands)
    shapes = tuple(operand.shape for operand in operands)
    if not plan.batch_steps:
        return _in_order(plan, slots[-1], 1), Tape(plan, shapes, slots, [], [])
    x, arranged = slots[0], _arranged(plan, slots)
    rows_of = _chunks(plan, len(x))
    chunks: list[list[Array]] | None = [[] for _ in rows_of] if store else None
    if len(rows_of) == 1:
        result = _through(plan, x, arranged, None, chunks[0] if chunks else None)
    else:
        result = _room_for_result(plan, len(x))
        for number, rows in enumerate(rows_of):
            _through(plan, x[rows], arranged, result[rows], chunks[number] if chunks else None)
    return result, Tape(plan, shapes, slots, arranged, chunks)


def push_forward(plan: Plan, operands: Sequence[Array], tangents: Sequence[Array | None]) -> tuple[Array, Array]:
    """The result and its tangent, given a tangent of each operand or None for zero.

    With ``C = A * B``, by the product rule ``dC = dA * B + A * dB``.
    """
    batch_size = _batch_size(plan, operands)
    slots = _reduced(plan, operands)
    moving = [None if array is None else _reduce(array, plan.reductions[k]) for k, array in enumerate(tangents)]
    for step in plan.steps:
        kernel = kernel_of(step.pair, batch_size)
        a, b, da, db = slots[step.a], kernel.arrange(slots[step.b]), moving[step.a], moving[step.b]
        slots.append(kernel(a, b))
        moved = None if da is None else kernel(da, b)
        if db is not None:
            other = kernel(a, kernel.arrange(db))
            moved = other if moved is None else moved + other
        moving.append(moved)
    result, last = _in_order(plan, slots[-1], batch_size), moving[-1]
    return result, np.zeros_like(result) if last is None else _in_order(plan, last, batch_size)


def _contract_weights(plan: Plan, operands: Sequence[Array], *, drop: bool = False) -> list[Array]:
    """Every operand, and the result of each step that has no batch; with `drop`, nothing once it is used."""
    slots = _reduced(plan, operands)
    for kernel, a, b in plan.weight_program:
        slots.append(kernel(slots[a], kernel.arrange(slots[b])))
        if drop:
            slots[a] = slots[b] = _DROPPED
    return slots


def _arranged(plan: Plan, slots: Sequence[Array]) -> list[Array]:
    """What the input meets in each step that has a batch, as it meets it."""
    return [kernel.arrange(slots[b]) for kernel, b in plan.batch_program(min(len(slots[0]), plan.chunk_size))]


def _through(
    plan: Plan, x: Array, arranged: Sequence[Array], out: Array | None = None, kept: list[Array] | None = None
) -> Array:
    """Some samples through the steps that have a batch, into `out` if given; what each step starts from is kept."""
    n_samples, into = len(x), out if plan.lies_in_order else None
    program = plan.batch_program(n_samples)
    last = len(program) - 1
    for k, (kernel, _) in enumerate(program):
        if kept is not None:
            kept.append(x)
        x = kernel(x, arranged[k], into if k == last else None)
    if into is not None:
        return into
    result = _in_order(plan, x, n_samples)
    if out is not None:
        out[...] = result
    return result


def _room_for_result(plan: Plan, n_samples: int) -> Array:
    return np.empty((n_samples, *plan.network.shape(plan.network.output[1:])), plan.dtype)


def _chunks(plan: Plan, n_samples: int) -> list[slice]:
    """The samples of each chunk; the last one may have fewer."""
    size = plan.chunk_size
    return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]


def _batch_size(plan: Plan, operands: Sequence[Array]) -> int:
    first = plan.network.inputs[0]
    return int(operands[0].shape[0]) if first[:1] == (BATCH,) else 1


def _reduced(plan: Plan, operands: Sequence[Array]) -> list[Array]:
    """The operands summed over the labels that they alone carry."""
    return [
        operand if not axes else operand.reshape(shape) if shape is not None else _reduce(operand, axes)
        for operand, axes, shape in zip(operands, plan.reductions, plan.reduced_shapes, strict=True)
    ]


def _reduce(array: Array, axes: tuple[int, ...]) -> Array:
    """An operand summed over the labels that it alone carries; most are bonds of size 1."""
    if all(array.shape[axis] == 1 for axis in axes):
        return np.squeeze(array, axis=axes) if axes else array
    return np.asarray(np.sum(array, axis=axes))


def _expand(gradient: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The gradient of an operand that was summed over `axes`."""
    if not axes or all(shape[axis] == 1 for axis in axes):
        return gradient.reshape(shape)
    reduced = tuple(n for k, n in enumerate(shape) if k not in axes)
    return np.broadcast_to(np.expand_dims(gradient.reshape(reduced), axes), shape).copy()


def _in_order(plan: Plan, last: Array, batch_size: int) -> Array:
    """The last step's result with its axes in the order of the network's output."""
    result = last.reshape(plan.network.shape(plan.last_labels, batch_size))
    return result if plan.lies_in_order else result.transpose(plan.output_axes)


def _as_last(plan: Plan, cotangent: Array) -> Array:
    """A cotangent of the network's output as it lies for the last step."""
    return cotangent if plan.lies_in_order else np.ascontiguousarray(cotangent.transpose(np.argsort(plan.output_axes)))


def _conj(array: Array) -> Array:
    return np.conj(array) if array.dtype.kind == "c" else array
