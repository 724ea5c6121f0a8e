"""Do what a plan says: forward, its pullback, its pushforward, and its intermediates one by one.

Operands come in the order of the plan's network, all of one dtype.  What has no batch is contracted
once; then the input passes through the remaining steps chunk by chunk, so that the intermediates of
one chunk stay in the cache, and the gradients of the operands are summed over the chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH
from tlinear.contraction.pair import Kernel
from tlinear.contraction.plan import Plan

__all__ = ["Tape", "contract", "contract_with_tape", "intermediates", "push_forward"]


def contract(plan: Plan, operands: Sequence[Array]) -> Array:
    """The network's result.  Every intermediate is dropped as soon as it is used."""
    slots = _operand_slots(plan, operands)
    for step, kernel in zip(plan.weight_steps, plan.weight_kernels, strict=True):
        slots[step.out] = kernel(slots.pop(step.a), kernel.arrange(slots.pop(step.b)))
    if not plan.batch_steps:
        return _in_order(plan, slots[max(slots)], 1)
    x, result, arranged = _batch(plan, operands, slots)
    for rows in _chunks(plan, len(x)):
        _forward(plan, x[rows], arranged, result[rows])
    return result


def intermediates(plan: Plan, operands: Sequence[Array]) -> Iterator[tuple[str, str, Array]]:
    """Name, equation and array of each step's result, in order, for all samples at once."""
    batch_size = _batch_size(plan, operands)
    slots = _operand_slots(plan, operands)
    for step in plan.steps:
        kernel = Kernel(step.pair, batch_size)
        result = kernel(slots.pop(step.a), kernel.arrange(slots.pop(step.b))).reshape(kernel.shape_out)
        slots[step.out] = result
        yield step.name, plan.equation(step), result


@dataclass(frozen=True)
class Tape:
    """What the forward pass must remember for the backward pass: every operand and intermediate.

    Attributes
    ----------
    plan : Plan
    operand_shapes : tuple of shapes
    slots : dict of int to array
        Every operand, and what was contracted of those without a batch.
    chunks : list of lists of arrays
        For each chunk of the batch, what each of the remaining steps started from.
    """

    plan: Plan
    operand_shapes: tuple[tuple[int, ...], ...]
    slots: dict[int, Array]
    chunks: list[list[Array]]

    def pull_back(self, cotangent: Array) -> list[Array]:
        """The gradient of every operand: the adjoint of the forward map, step by step from the last.

        With ``C = A * B``, linear in both, ``dA = dC * conj(B)`` and ``dB = dC * conj(A)``.
        """
        plan = self.plan
        cotangents: dict[int, Array] = {}
        if plan.batch_steps:
            self._pull_back_batch(cotangent, cotangents)
        else:
            cotangents[len(plan.network.inputs) + len(plan.steps) - 1] = _as_last(plan, cotangent)
        for step, kernel in zip(reversed(plan.weight_steps), reversed(plan.weight_kernels), strict=True):
            c = cotangents.pop(step.out)
            a, b = _conj(self.slots[step.a]), _conj(self.slots[step.b])
            cotangents[step.b] = kernel.restore(kernel.to_b(c, a))
            cotangents[step.a] = kernel.to_a(c, kernel.arrange(b))
        return [
            _expand(cotangents[k], axes, shape)
            for k, (axes, shape) in enumerate(zip(plan.reductions, self.operand_shapes, strict=True))
        ]

    def _pull_back_batch(self, cotangent: Array, cotangents: dict[int, Array]) -> None:
        plan = self.plan
        steps, n_samples = plan.batch_steps, len(cotangent)
        kernels = plan.kernels(min(plan.chunk_size, n_samples))
        arranged = [_conj(kernel.arrange(self.slots[step.b])) for step, kernel in zip(steps, kernels, strict=True)]
        sums = [np.zeros(b.shape, plan.dtype) for b in arranged]
        dx = np.empty((n_samples, *plan.network.shape(plan.network.reduced_inputs[0][1:])), plan.dtype)
        for rows, chunk in zip(_chunks(plan, n_samples), self.chunks, strict=True):
            c = _as_last(plan, cotangent[rows])
            kernels = plan.kernels(rows.stop - rows.start)
            for k in reversed(range(len(steps))):
                sums[k] += kernels[k].to_b(c, _conj(chunk[k])).reshape(sums[k].shape)
                c = kernels[k].to_a(c, arranged[k], None if k else dx[rows])
        cotangents[0] = dx
        for step, kernel, total in zip(steps, kernels, sums, strict=True):
            cotangents[step.b] = kernel.restore(total)


def contract_with_tape(plan: Plan, operands: Sequence[Array]) -> tuple[Array, Tape]:
    """The network's result, and the tape that pulls a cotangent of it back to the operands."""
    slots = _operand_slots(plan, operands)
    shapes = tuple(operand.shape for operand in operands)
    for step, kernel in zip(plan.weight_steps, plan.weight_kernels, strict=True):
        slots[step.out] = kernel(slots[step.a], kernel.arrange(slots[step.b]))
    if not plan.batch_steps:
        return _in_order(plan, slots[max(slots)], 1), Tape(plan, shapes, slots, [])
    x, result, arranged = _batch(plan, operands, slots)
    chunks: list[list[Array]] = []
    for rows in _chunks(plan, len(x)):
        chunks.append(_forward(plan, x[rows], arranged, result[rows]))
    return result, Tape(plan, shapes, slots, chunks)


def push_forward(plan: Plan, operands: Sequence[Array], tangents: Sequence[Array | None]) -> tuple[Array, Array]:
    """The result and its tangent, given a tangent of each operand or None for zero.

    With ``C = A * B``, by the product rule ``dC = dA * B + A * dB``.
    """
    batch_size = _batch_size(plan, operands)
    slots = _operand_slots(plan, operands)
    moving = {k: _reduce(array, plan.reductions[k]) for k, array in enumerate(tangents) if array is not None}
    for step in plan.steps:
        kernel = Kernel(step.pair, batch_size)
        a, b = slots.pop(step.a), kernel.arrange(slots.pop(step.b))
        da, db = moving.pop(step.a, None), moving.pop(step.b, None)
        slots[step.out] = kernel(a, b)
        if da is not None:
            moving[step.out] = kernel(da, b)
        if db is not None:
            other = kernel(a, kernel.arrange(db))
            moving[step.out] = moving[step.out] + other if da is not None else other
    result = _in_order(plan, slots[max(slots)], batch_size)
    return result, _in_order(plan, moving[max(moving)], batch_size) if moving else np.zeros_like(result)


def _forward(plan: Plan, x: Array, arranged: Sequence[Array], out: Array) -> list[Array]:
    """One chunk through the steps that have a batch, its result written into `out`; what each step started from."""
    kernels = plan.kernels(len(x))
    arrays = [x]
    for kernel, b in zip(kernels[:-1], arranged[:-1], strict=True):
        arrays.append(kernel(arrays[-1], b))
    if plan.lies_in_order:
        kernels[-1](arrays[-1], arranged[-1], out)
    else:
        out[...] = _in_order(plan, kernels[-1](arrays[-1], arranged[-1]), len(x))
    return arrays


def _batch(plan: Plan, operands: Sequence[Array], slots: dict[int, Array]) -> tuple[Array, Array, list[Array]]:
    """The input, room for the result, and what each step that has a batch meets, arranged for it."""
    x, network = operands[0], plan.network
    kernels = plan.kernels(min(plan.chunk_size, len(x)))
    arranged = [kernel.arrange(slots[step.b]) for step, kernel in zip(plan.batch_steps, kernels, strict=True)]
    return slots[0], np.empty((len(x), *network.shape(network.output[1:])), plan.dtype), arranged


def _chunks(plan: Plan, n_samples: int) -> list[slice]:
    """The samples of each chunk; the last one may have fewer."""
    size = plan.chunk_size
    return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]


def _batch_size(plan: Plan, operands: Sequence[Array]) -> int:
    first = plan.network.inputs[0]
    return int(operands[0].shape[0]) if first[:1] == (BATCH,) else 1


def _reduce(array: Array, axes: tuple[int, ...]) -> Array:
    """An operand summed over the labels that it alone carries; most are bonds of size 1."""
    if all(array.shape[axis] == 1 for axis in axes):
        return np.squeeze(array, axis=axes) if axes else array
    return np.asarray(np.sum(array, axis=axes))


def _expand(gradient: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The gradient of an operand that :func:`_reduce` had summed over `axes`."""
    reduced = tuple(n for k, n in enumerate(shape) if k not in axes)
    gradient = gradient.reshape(reduced)
    return np.broadcast_to(np.expand_dims(gradient, axes), shape).copy() if axes else gradient


def _operand_slots(plan: Plan, operands: Sequence[Array]) -> dict[int, Array]:
    return {k: _reduce(array, plan.reductions[k]) for k, array in enumerate(operands)}


def _in_order(plan: Plan, last: Array, batch_size: int) -> Array:
    """The last step's result with its axes in the order of the network's output."""
    return last.reshape(plan.network.shape(plan.last_labels, batch_size)).transpose(plan.output_axes)


def _as_last(plan: Plan, cotangent: Array) -> Array:
    """A cotangent of the network's output as it lies for the last step."""
    return cotangent if plan.lies_in_order else np.ascontiguousarray(cotangent.transpose(np.argsort(plan.output_axes)))


def _conj(array: Array) -> Array:
    return np.conj(array) if array.dtype.kind == "c" else array
