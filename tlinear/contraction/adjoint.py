"""How the pullbacks of a pair are done, as far as there is a choice."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Adjoint"]


@dataclass(frozen=True)
class Adjoint:
    """Chosen by the cost model.

    Attributes
    ----------
    turns_b : bool
        Whether B is copied, for that to A, so that its lines go over what is not summed.
    flattens_a, flattens_b : bool
        Whether the loops become rows in that to A, and in that to B, so that it is one product.
    """

    turns_b: bool = False
    flattens_a: bool = False
    flattens_b: bool = False
