"""Do what a plan says: forward, its pullback, its pushforward, and its intermediates one by one.

Operands come in the order of the plan's network, all of one dtype.  The batch label's
size is read off the first operand, so that one plan serves every batch of its bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH
from tlinear.contraction.plan import Plan

__all__ = ["Tape", "contract", "contract_with_tape", "intermediates", "push_forward"]


def contract(plan: Plan, operands: Sequence[Array]) -> Array:
    """The network's result.  Every intermediate is dropped as soon as it is used."""
    batch_size = _batch_size(plan, operands)
    slots = _operand_slots(plan, operands)
    for step in plan.steps:
        slots[step.out] = step.forward(slots.pop(step.a), slots.pop(step.b), batch_size)
    return _result(plan, slots)


def intermediates(plan: Plan, operands: Sequence[Array]) -> Iterator[tuple[str, str, Array]]:
    """Name, equation and array of each step's result, in order."""
    batch_size = _batch_size(plan, operands)
    slots = _operand_slots(plan, operands)
    for step in plan.steps:
        result = step.forward(slots.pop(step.a), slots.pop(step.b), batch_size)
        slots[step.out] = result
        yield step.name, plan.equation(step), result


@dataclass(frozen=True)
class Tape:
    """What the forward pass must remember for the backward pass: every operand and intermediate."""

    plan: Plan
    operand_shapes: tuple[tuple[int, ...], ...]
    slots: dict[int, Array]
    batch_size: int

    def pull_back(self, cotangent: Array) -> list[Array]:
        """The gradient of every operand: the adjoint of the forward map, step by step from the last.

        With ``C = A * B``, linear in both, ``dA = dC * conj(B)`` and ``dB = dC * conj(A)``.
        """
        plan, batch_size = self.plan, self.batch_size
        last = len(plan.network.inputs) + len(plan.steps) - 1
        cotangents = {last: np.permute_dims(cotangent, np.argsort(plan.output_axes))}
        for step in reversed(plan.steps):
            c = cotangents.pop(step.out)
            a, b = self.slots[step.a], self.slots[step.b]
            cotangents[step.b] = step.to_b(c, _conj(a), batch_size)
            cotangents[step.a] = step.to_a(c, _conj(b), batch_size)
        return [
            np.broadcast_to(np.expand_dims(cotangents[k], axes), shape).copy() if axes else cotangents[k]
            for k, (axes, shape) in enumerate(zip(plan.reductions, self.operand_shapes, strict=True))
        ]


def contract_with_tape(plan: Plan, operands: Sequence[Array]) -> tuple[Array, Tape]:
    """The network's result, and the tape that pulls a cotangent of it back to the operands."""
    batch_size = _batch_size(plan, operands)
    slots = _operand_slots(plan, operands)
    for step in plan.steps:
        slots[step.out] = step.forward(slots[step.a], slots[step.b], batch_size)
    result = _result(plan, slots)
    return result, Tape(plan, tuple(operand.shape for operand in operands), slots, batch_size)


def push_forward(plan: Plan, operands: Sequence[Array], tangents: Sequence[Array | None]) -> tuple[Array, Array]:
    """The result and its tangent, given a tangent of each operand or None for zero.

    With ``C = A * B``, by the product rule ``dC = dA * B + A * dB``.
    """
    batch_size = _batch_size(plan, operands)
    slots = _operand_slots(plan, operands)
    moving = {k: _reduce(array, plan.reductions[k]) for k, array in enumerate(tangents) if array is not None}
    for step in plan.steps:
        a, b = slots.pop(step.a), slots.pop(step.b)
        da, db = moving.pop(step.a, None), moving.pop(step.b, None)
        slots[step.out] = step.forward(a, b, batch_size)
        if da is not None:
            moving[step.out] = step.forward(da, b, batch_size)
        if db is not None:
            other = step.forward(a, db, batch_size)
            moving[step.out] = moving[step.out] + other if da is not None else other
    result = _result(plan, slots)
    return result, _result(plan, moving) if moving else np.zeros_like(result)


def _batch_size(plan: Plan, operands: Sequence[Array]) -> int:
    first = plan.network.inputs[0]
    return int(operands[0].shape[0]) if first[:1] == (BATCH,) else 1


def _reduce(array: Array, axes: tuple[int, ...]) -> Array:
    """An operand summed over the labels that it alone carries; most are bonds of size 1."""
    if all(array.shape[axis] == 1 for axis in axes):
        return np.squeeze(array, axis=axes) if axes else array
    return np.asarray(np.sum(array, axis=axes))


def _operand_slots(plan: Plan, operands: Sequence[Array]) -> dict[int, Array]:
    return {k: _reduce(array, plan.reductions[k]) for k, array in enumerate(operands)}


def _result(plan: Plan, slots: dict[int, Array]) -> Array:
    return np.permute_dims(slots[max(slots)], plan.output_axes)


def _conj(array: Array) -> Array:
    return np.conj(array) if array.dtype.kind == "c" else array
