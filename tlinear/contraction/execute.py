"""Do what a plan says: forward, its pushforward, and its intermediates one by one; for its pullback see ``tape``.

Operands come in the order of the plan's network, all of one dtype.  What has no batch is contracted
once; then the input passes through the remaining steps chunk by chunk, so that the intermediates of
one chunk stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.compile import kernel_of
from tlinear.contraction.kernel import Kernel, Read
from tlinear.contraction.network import BATCH
from tlinear.contraction.plan import Plan

__all__ = [
    "Kept",
    "arrange_weights",
    "chunks_of",
    "contract",
    "contract_weights",
    "intermediates",
    "pass_through",
    "push_forward",
    "put_in_order",
    "reduce_operand",
]

_DROPPED = np.empty(0)


def contract(plan: Plan, operands: Sequence[Array]) -> Array:
    """The network's result, in its order, in any shape.  Every intermediate is dropped as soon as it is used."""
    slots = contract_weights(plan, operands, drop=True)
    if not plan.batch_steps:
        return put_in_order(plan, slots[-1], 1)
    return pass_through(plan, slots[0], arrange_weights(plan, slots))


def contract_weights(plan: Plan, operands: Sequence[Array], *, drop: bool = False) -> list[Array]:
    """Every operand, and the result of each step that has no batch; with `drop`, nothing once it is used."""
    slots = _reduced(plan, operands)
    for kernel, a, b in plan.weight_program:
        slots.append(kernel.forward(slots[a], kernel.arrange(slots[b])))
        if drop:
            slots[a] = slots[b] = _DROPPED
    return slots


def arrange_weights(plan: Plan, slots: Sequence[Array]) -> list[Array]:
    """What the input meets in each step that has a batch, as it meets it."""
    return [arrange(slots[b]) for arrange, b in plan.arranging]


def pass_through(plan: Plan, x: Array, arranged: Sequence[Array], kept: Kept | None = None) -> Array:
    """The input through the steps that have a batch, chunk by chunk; what they start from is `kept`, if wanted."""
    n_samples = x.shape[0]
    if n_samples <= plan.chunk_size:
        return put_in_order(plan, _through(plan.batch_kernels(n_samples), x, arranged, kept), n_samples)
    result = _room_for_result(plan, x)
    for rows in chunks_of(plan, n_samples):
        *kernels, last = plan.batch_kernels(rows.stop - rows.start)
        if plan.lies_in_order:
            start = _through(kernels, x[rows, ...], arranged, kept)
            if kept is not None:
                kept.chunks[-1].append(start if kept.wanted[-1] else None)
            last.forward_into(start, arranged[-1], result[rows, ...])
            del start  # before the next chunk makes its own
        else:
            made = _through((*kernels, last), x[rows, ...], arranged, kept)
            result[rows, ...] = put_in_order(plan, made, rows.stop - rows.start)
            del made
    return result


class Kept(NamedTuple):
    """What the steps that have a batch start from, chunk by chunk; None for those that are not wanted."""

    wanted: Sequence[bool]
    chunks: list[list[Array | None]]


def _through(kernels: Sequence[Kernel], x: Array, arranged: Sequence[Array], kept: Kept | None) -> Array:
    """Some samples through some of the steps that have a batch, from the first."""
    if kept is None:
        for kernel, met in zip(kernels, arranged, strict=False):
            x = kernel.forward(x, met)
        return x
    chunk: list[Array | None] = []
    kept.chunks.append(chunk)
    for kernel, met, is_wanted in zip(kernels, arranged, kept.wanted, strict=False):
        chunk.append(x if is_wanted else None)
        x = kernel.forward(x, met)
    return x


def intermediates(plan: Plan, operands: Sequence[Array]) -> Iterator[tuple[str, str, Array]]:
    """Name, equation and array of each step's result, in order, for all samples at once."""
    batch_size = _batch_size(plan, operands)
    slots = _reduced(plan, operands)
    for step in plan.steps:
        kernel = kernel_of(step.pair, batch_size, space=plan.space)
        made = kernel.forward(slots[step.a], kernel.arrange(slots[step.b]))
        result = plan.space.reshape(made, kernel.shape_out)
        slots.append(result)
        yield step.name, plan.equation(step), result


def push_forward(plan: Plan, operands: Sequence[Array], tangents: Sequence[Array | None]) -> tuple[Array, Array]:
    """The result and its tangent, given a tangent of each operand or None for zero.

    With ``C = A * B``, by the product rule ``dC = dA * B + A * dB``.
    """
    slots = _reduced(plan, operands)
    moving = [None if array is None else reduce_operand(plan, k, array) for k, array in enumerate(tangents)]
    for kernel, a, b in plan.weight_program:
        meets, moved = kernel.arrange(slots[b]), _arranged(kernel.arrange, moving[b])
        moving.append(_product_rule(kernel, slots[a], moving[a], meets, moved))
        slots.append(kernel.forward(slots[a], meets))
    if not plan.batch_steps:
        result, last = put_in_order(plan, slots[-1], 1), moving[-1]
        return result, plan.space.zeros_like(result) if last is None else put_in_order(plan, last, 1)
    arranged = arrange_weights(plan, slots)
    tangents_met = [_arranged(arrange, moving[b]) for arrange, b in plan.arranging]
    x, dx = slots[0], moving[0]
    result, change = _room_for_result(plan, x), _room_for_result(plan, x)
    for rows in chunks_of(plan, x.shape[0]):
        c, dc, n = x[rows, ...], None if dx is None else dx[rows, ...], rows.stop - rows.start
        for kernel, met, moved in zip(plan.batch_kernels(n), arranged, tangents_met, strict=True):
            dc = _product_rule(kernel, c, dc, met, moved)
            c = kernel.forward(c, met)
        shape = plan.output_shape(n)
        result[rows, ...] = plan.space.reshape(put_in_order(plan, c, n), shape)
        change[rows, ...] = 0 if dc is None else plan.space.reshape(put_in_order(plan, dc, n), shape)
    return result, change


def _arranged(arrange: Read, b: Array | None) -> Array | None:
    return None if b is None else arrange(b)


def _product_rule(kernel: Kernel, a: Array, da: Array | None, b: Array, db: Array | None) -> Array | None:
    """``dA * B + A * dB``, B and dB arranged; None stands for zero."""
    if da is None or db is None:
        return kernel.forward(da, b) if da is not None else kernel.forward(a, db) if db is not None else None
    total = kernel.forward(da, b)
    total += kernel.forward(a, db)
    return total


def _room_for_result(plan: Plan, x: Array) -> Array:
    return plan.space.empty(plan.output_shape(x.shape[0]), x.dtype)


def chunks_of(plan: Plan, n_samples: int) -> Iterator[slice]:
    """The samples of each chunk; the last one may have fewer."""
    size = plan.chunk_size
    return (slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size))


def _batch_size(plan: Plan, operands: Sequence[Array]) -> int:
    first = plan.network.inputs[0]
    return int(operands[0].shape[0]) if first[:1] == (BATCH,) else 1


def _reduced(plan: Plan, operands: Sequence[Array]) -> list[Array]:
    """The operands summed over the labels that they alone carry."""
    slots = list(operands)
    for number in plan.reductions:
        slots[number] = reduce_operand(plan, number, slots[number])
    return slots


def reduce_operand(plan: Plan, number: int, operand: Array) -> Array:
    """An operand summed over the labels that it alone carries."""
    axes = plan.reductions.get(number)
    return operand if axes is None else plan.space.sum(operand, axes)


def put_in_order(plan: Plan, last: Array, n_samples: int) -> Array:
    """The last step's result in the order of the network's output; as it comes, where it lies so."""
    if plan.lies_in_order:
        return last
    space = plan.space
    lying = space.reshape(last, plan.network.shape(plan.last_labels, n_samples))
    return space.transpose(lying, plan.output_axes)
