"""What of a backward pass the wanted gradients depend on, worked out: for a plan, and for one size of its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from tlinear.contraction.kernel import Contract, ContractInto, Kernel, Read
from tlinear.contraction.step import Step

__all__ = ["Backward", "Needs"]


@dataclass(frozen=True)
class Needs:
    """What the wanted gradients depend on.

    Attributes
    ----------
    slots : tuple of bool
        For each operand and each result of a step, whether a wanted operand is in it.
    keep : tuple of bool
        For each step that has a batch, whether what it starts from is needed: for the gradient of what it meets.
    first : int
        The earliest of those steps whose pullback is needed; their number if none is.
    met : tuple of (int, int, function)
        The numbers of those steps that meet a wanted operand, the slots of what they meet, and what puts the gradient
        in its order.
    weight_steps : tuple of int
        The numbers of the steps without a batch that a wanted operand is in, the last one first.
    """

    slots: tuple[bool, ...]
    keep: tuple[bool, ...]
    first: int
    met: tuple[tuple[int, int, Read], ...]
    weight_steps: tuple[int, ...]

    @classmethod
    def of(cls, n_operands: int, steps: Sequence[Step], kernels: Sequence[Kernel], wanted: Sequence[int]) -> Self:
        """Those of the operands with the `wanted` numbers; `kernels` are of the steps that have a batch."""
        slots = [slot in wanted for slot in range(n_operands)]
        for step in steps:
            slots.append(slots[step.a] or slots[step.b])
        batch = [step for step in steps if step.pair.has_batch]
        return cls(
            slots=tuple(slots),
            keep=tuple(slots[step.b] for step in batch),
            first=next((k for k, step in enumerate(batch) if slots[step.a] or slots[step.b]), len(batch)),
            met=tuple((k, step.b, kernels[k].restore) for k, step in enumerate(batch) if slots[step.b]),
            weight_steps=tuple(k for k in reversed(range(len(steps) - len(batch))) if slots[n_operands + k]),
        )


class Backward(NamedTuple):
    """The way of a cotangent through the steps that have a batch, the last one first.

    Attributes
    ----------
    steps : tuple of (int, function or None, function or None)
        The number of a step, its pullback to what the input meets, and that to what the step starts from, but for
        the input; None where no wanted gradient depends on it.
    to_x, to_x_into : function or None
        The pullback of the first step to the input, as it is, and into an array.
    turns : tuple of (int, function)
        The numbers of the steps of which ``dC`` meets something that is in another order of memory, and what turns it.
    """

    steps: tuple[tuple[int, Contract | None, Contract | None], ...]
    to_x: Contract | None
    to_x_into: ContractInto | None
    turns: tuple[tuple[int, Read], ...]

    @classmethod
    def through(cls, kernels: Sequence[Kernel], needs: Needs) -> Self:
        """The way through these kernels to what `needs` says."""
        reaches_x, first = needs.slots[0], needs.first
        goes_on = [k > first or (k > 0 and reaches_x) for k in range(len(kernels))]
        steps = tuple(
            (k, kernels[k].to_b if needs.keep[k] else None, kernels[k].to_a if goes_on[k] else None)
            for k in range(len(kernels) - 1, first - 1, -1)
        )
        turns = tuple(
            (k, kernel.turn)
            for k, kernel in enumerate(kernels)
            if kernel.turn is not None and (goes_on[k] or (k == 0 and reaches_x))
        )
        to_x, to_x_into = (kernels[0].to_a, kernels[0].to_a_into) if reaches_x else (None, None)
        return cls(steps, to_x, to_x_into, turns)
