"""One step of a plan: which slots are contracted, and how."""

from __future__ import annotations

from dataclasses import dataclass

from tlinear.contraction.pair import Pair

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """One pair of slots contracted into the next slot."""

    a: int
    b: int
    out: int
    name: str
    pair: Pair
