"""Budget, integer or tuple -> the ranks that a factorization will have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tlinear.errors import RankError
from tlinear.ranks.budget import fill_budget, smallest_budget
from tlinear.ranks.rules import Bonds, RankRules
from tlinear.shapes import format_shape, is_integer

__all__ = ["DEFAULT_BUDGET", "as_budget", "resolve_bonds"]

DEFAULT_BUDGET = 0.1
"""Of a layer whose rank is not given: it is ten times smaller than the dense one, and found in seconds in every format.

CP takes 80 times as long for half of the parameters of 256 x 256 weights.
"""


def resolve_bonds(rules: RankRules, rank: Any) -> Bonds:
    """The bonds that `rank` stands for: an int, a tuple, a budget in (0, 1], ``'same'`` (a budget of 1) or the default.

    None is the budget :data:`DEFAULT_BUDGET`, or the smallest that is feasible where that is more.

    Raises
    ------
    RankError
        When `rank` has none of these forms, or a tuple names a rank that no tensor of this shape needs.
    InfeasibleRankError
        When even rank 1 costs more than the budget.
    """
    has_rank = rules.form(()) is not None
    if rank is None and not has_rank:
        return ()
    budget = as_budget(rules, rank)
    if budget == 1.0 and not has_rank:  # the identity, whatever its padding
        return ()
    if budget is not None:
        return fill_budget(rules, budget)
    if is_integer(rank):
        return _uniform(rules, int(rank))
    if isinstance(rank, (tuple, list)) or (isinstance(rank, np.ndarray) and rank.ndim == 1):
        return _given(rules, tuple(rank))
    raise RankError(
        f"rank={rank!r} of type {type(rank).__name__} is not a rank. Pass an int, a tuple of ints, a float in (0, 1] "
        "as a fraction of the dense parameters, 'same' for all of them, or None for the default."
    )


def as_budget(rules: RankRules, rank: Any) -> float | None:
    """The fraction of the dense parameters that `rank` stands for, or None when it is no budget."""
    if rank is None and rules.form(()) is not None:
        return min(max(DEFAULT_BUDGET, smallest_budget(rules)), 1.0)
    if isinstance(rank, str) and rank == "same":
        return 1.0
    if not isinstance(rank, (float, np.floating)):
        return None
    if not 0.0 < rank <= 1.0:
        raise RankError(
            f"rank={rank!r} as a budget must lie in (0, 1]: it is the fraction of the {rules.dense_parameters} "
            "dense parameters to use at most. For a rank pass an int: 1 is rank one, 1.0 the whole budget."
        )
    return float(rank)


def _uniform(rules: RankRules, rank: int) -> Bonds:
    if rank < 1:
        raise RankError(f"rank={rank} is below 1. Pass an int >= 1, a tuple of them, or a budget such as 0.5.")
    if rules.form(()) is None:
        raise RankError(f"rank={rank}: a {rules.factorization} tensor has no rank. Pass rank='same'.")
    bonds = tuple(top if k in rules.fixed else min(rank, top) for k, top in enumerate(rules.largest))
    useful = rules.useful(bonds)
    for k in rules.fixed:
        if useful[k] < bonds[k]:
            raise RankError(
                f"rank={rank} beside the fixed mode {k - rules.n_joint} of size {bonds[k]}: the ranks would be "
                f"{rules.form(bonds)}, of which the others allow it no more than {useful[k]}. "
                "Raise the rank, or fix fewer modes."
            )
    return useful


def _given(rules: RankRules, rank: tuple[Any, ...]) -> Bonds:
    form = rules.form(rules.largest)
    if not isinstance(form, tuple):
        wanted = "None" if form is None else "a single int"
        raise RankError(f"rank={rank}: the rank of a {rules.factorization} tensor is {wanted}, not a tuple.")
    if not all(is_integer(entry) and entry >= 1 for entry in rank):
        raise RankError(f"rank={rank} must hold integers >= 1 only, as in {form}.")
    bonds = tuple(int(entry) for entry in rank)
    has_ends = len(form) == rules.n_bonds + 2
    if has_ends and len(bonds) == len(form) and bonds[0] == bonds[-1] == 1:
        bonds = bonds[1:-1]
    elif has_ends and len(bonds) == len(form):
        raise RankError(
            f"rank={rank}: the rank of a {rules.factorization} tensor begins and ends with 1. "
            f"Pass {(1, *bonds[1:-1], 1)}, or what is between the 1s."
        )
    offset = (len(rank) - len(bonds)) // 2
    if len(bonds) != rules.n_bonds:
        ends = f" (or {rules.n_bonds} without the two 1s)" if has_ends else ""
        raise RankError(
            f"rank={rank} has {len(rank)} entries, but a {rules.factorization} tensor of shape "
            f"{format_shape(rules.shape)} has {len(form)}{ends}; the largest useful rank is {form}."
        )
    for k in rules.fixed:
        if bonds[k] != rules.largest[k]:
            raise RankError(
                f"rank={rank}: entry {k} is {bonds[k]}, but fixed_modes keeps mode {k - rules.n_joint} at its full "
                f"size {rules.largest[k]}. Pass that, or leave the mode out of fixed_modes."
            )
    for k, (asked, most) in enumerate(zip(bonds, rules.most or bonds, strict=True)):
        if asked > most and most < math.prod(rules.shape):
            raise RankError(
                f"rank={rank}: entry {k + offset} is {asked}, but max_rank allows {most}. "
                "Lower the entry or raise max_rank."
            )
    useful = rules.useful(bonds)
    for k, (asked, possible) in enumerate(zip(bonds, useful, strict=True)):
        if asked > possible:
            raise RankError(
                f"rank={rank}: entry {k + offset} is {asked}, but with the entries beside it no "
                f"{rules.factorization} tensor of shape {format_shape(rules.shape)} needs more than {possible}. "
                f"Pass {rules.form(useful)}."
            )
    return bonds
