"""What of a backward pass some gradients depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tlinear.contraction.step import Step

__all__ = ["Needs"]


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
    weight_steps : tuple of int
        The numbers of the steps without a batch that a wanted operand is in, the last one first.
    """

    slots: tuple[bool, ...]
    keep: tuple[bool, ...]
    first: int
    weight_steps: tuple[int, ...]

    @classmethod
    def of(cls, n_operands: int, steps: Sequence[Step], wanted: Sequence[int]) -> Self:
        """Those of the operands with the `wanted` numbers."""
        slots = [slot in wanted for slot in range(n_operands)]
        for step in steps:
            slots.append(slots[step.a] or slots[step.b])
        batch = [step for step in steps if step.pair.has_batch]
        n_weight = len(steps) - len(batch)
        first = next((k for k, step in enumerate(batch) if slots[step.a] or slots[step.b]), len(batch))
        in_weight = tuple(k for k in reversed(range(n_weight)) if slots[n_operands + k])
        return cls(tuple(slots), tuple(slots[step.b] for step in batch), first, in_weight)
