"""Budget, integer or tuple -> the ranks that a factorization will have.

What differs between formats (how many bonds, which ranks are realizable, what they
cost) comes in as :class:`RankRules`; what is the same for all is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tlinear.errors import InfeasibleRankError, RankError
from tlinear.shapes import format_shape, is_integer

__all__ = ["Bonds", "Rank", "RankRules", "resolve_bonds"]

Bonds: TypeAlias = tuple[int, ...]
"""The ranks that are free to choose: those of the format's rank without the ends that are always 1."""

Rank: TypeAlias = int | tuple[int, ...] | None
"""The form that a format's ``rank`` has: an int for CP, None for dense, a tuple otherwise."""


@dataclass(frozen=True)
class RankRules:
    """What a format says about its ranks for one tensor shape.

    Attributes
    ----------
    factorization : str
        The format's name, for messages.
    shape : tuple of int
        The sizes of the modes.
    n_bonds : int
        How many ranks are free.
    realizable : callable
        The largest bonds, none above those given, that some tensor of this shape needs.
    n_parameters : callable
        The number of entries of all arrays together, for given bonds.
    scale : sequence of float
        What the bonds are kept proportional to while a budget is filled.
    form : callable
        From bonds to the form that the format's ``rank`` has.
    """

    factorization: str
    shape: tuple[int, ...]
    n_bonds: int
    realizable: Callable[[Bonds], Bonds]
    n_parameters: Callable[[Bonds], int]
    scale: Sequence[float]
    form: Callable[[Bonds], Rank]

    @property
    def dense_parameters(self) -> int:
        """The number of entries of the tensor itself."""
        return math.prod(self.shape)

    @property
    def largest(self) -> Bonds:
        """The largest useful bonds."""
        return self.realizable((self.dense_parameters,) * self.n_bonds)


def resolve_bonds(rules: RankRules, rank: Any) -> Bonds:
    """The bonds that `rank` stands for: an int, a tuple, a budget in (0, 1], or ``'same'`` (a budget of 1).

    Raises
    ------
    RankError
        When `rank` has none of these forms, or a tuple names a rank that no tensor of this shape needs.
    InfeasibleRankError
        When even rank 1 costs more than the budget.
    """
    if isinstance(rank, str) and rank == "same":
        return _budget(rules, 1.0)
    if rank is None and rules.form(()) is None:
        return ()
    if isinstance(rank, (float, np.floating)):
        if not 0.0 < rank <= 1.0:
            raise RankError(
                f"rank={rank!r} as a budget must lie in (0, 1]: it is the fraction of the {rules.dense_parameters} "
                "dense parameters to use at most. For a rank pass an int: 1 is rank one, 1.0 the whole budget."
            )
        return _budget(rules, float(rank))
    if is_integer(rank):
        if rank < 1:
            raise RankError(f"rank={rank} is below 1. Pass an int >= 1, a tuple of them, or a budget such as 0.5.")
        if rules.form(()) is None:
            raise RankError(f"rank={rank}: a {rules.factorization} tensor has no rank. Pass rank='same'.")
        return rules.realizable((int(rank),) * rules.n_bonds)
    if isinstance(rank, (tuple, list)) or (isinstance(rank, np.ndarray) and rank.ndim == 1):
        return _given(rules, tuple(rank))
    raise RankError(
        f"rank={rank!r} of type {type(rank).__name__} is not a rank. Pass an int, a tuple of ints, a float in (0, 1] "
        "as a fraction of the dense parameters, or 'same'."
    )


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
    offset = (len(rank) - len(bonds)) // 2
    if len(bonds) != rules.n_bonds:
        ends = f" (or {rules.n_bonds} without the two 1s)" if has_ends else ""
        raise RankError(
            f"rank={rank} has {len(rank)} entries, but a {rules.factorization} tensor of shape "
            f"{format_shape(rules.shape)} has {len(form)}{ends}; the largest useful rank is {form}."
        )
    useful = rules.realizable(bonds)
    for k, (asked, possible) in enumerate(zip(bonds, useful, strict=True)):
        if asked > possible:
            raise RankError(
                f"rank={rank}: entry {k + offset} is {asked}, but with the entries beside it no "
                f"{rules.factorization} tensor of shape {format_shape(rules.shape)} needs more than {possible}. "
                f"Pass {rules.form(useful)}."
            )
    return bonds


def _budget(rules: RankRules, fraction: float) -> Bonds:
    """The ranks in proportion to `rules.scale` that cost at most `fraction` of the dense parameters.

    First the largest common multiple of the scale that fits, then one more is wanted for each
    bond in turn while what can be realized of it fits: a rank may be of use only once its
    neighbours have grown too.  Two budgets are filled in the same order up to the first bond
    that only the larger can afford, so the parameters never decrease as the budget grows.
    """
    limit = math.floor(fraction * rules.dense_parameters)
    largest, ones = rules.largest, (1,) * rules.n_bonds

    def proportional(multiple: float) -> Bonds:
        return tuple(min(top, max(1, math.floor(multiple * s))) for top, s in zip(largest, rules.scale, strict=True))

    def fits(wanted: Bonds) -> bool:
        return rules.n_parameters(rules.realizable(wanted)) <= limit

    least = rules.n_parameters(ones)
    if least > limit:
        raise InfeasibleRankError(
            f"rank={fraction:g} allows {limit} of the {rules.dense_parameters} dense parameters of shape "
            f"{format_shape(rules.shape)}, but {rules.factorization} of rank 1 already has {least}. "
            + (
                f"The smallest feasible budget is {_least_fraction(least, rules.dense_parameters)!r}."
                if least <= rules.dense_parameters
                else "No budget up to 1 is feasible: choose more balanced modes."
            )
        )
    low, high = 0.0, max((top / s for top, s in zip(largest, rules.scale, strict=True)), default=0.0) + 1.0
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(proportional(middle)) else (low, middle)
    wanted = base = proportional(low)
    for k in sorted(range(rules.n_bonds), key=lambda k: ((base[k] + 1) / rules.scale[k], k)):
        more = (*wanted[:k], min(wanted[k] + 1, largest[k]), *wanted[k + 1 :])
        if fits(more):
            wanted = more
    return rules.realizable(wanted)


def _least_fraction(count: int, total: int) -> float:
    """The smallest float that is a budget of at least `count` of `total` parameters."""
    fraction = count / total
    return fraction if math.floor(fraction * total) >= count else math.nextafter(fraction, math.inf)
