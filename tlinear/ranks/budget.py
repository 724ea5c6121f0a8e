"""The ranks that make the most of a budget, near a fixed proportion to each other.

All of it is done in integers, so that it is right for any size; where they fit, in those of 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import product

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import InfeasibleRankError
from tlinear.ranks.fixed import smallest_bonds
from tlinear.ranks.rules import Bonds, RankRules, as_bonds
from tlinear.shapes import format_shape

__all__ = ["fill_budget", "least_bonds", "parameter_limit", "smallest_budget"]

_MOST_RAISED = 2
_PATTERNS_TRIED = 512
_ENTRIES_TRIED = 2**18
_CHANGES_LISTED = 2**10
_STRIDE = 2**9


def parameter_limit(rules: RankRules, fraction: float) -> int:
    """The number of parameters that `fraction` of the dense ones allows, exactly.

    Examples
    --------
    >>> rules = RankRules("dense", (2**99, 3**50), 2**99 * 3**50, (), (), form=lambda bonds: None)
    >>> parameter_limit(rules, 0.25) == 2**97 * 3**50
    True
    """
    return math.floor(Fraction(fraction) * rules.dense_parameters)


def fill_budget(rules: RankRules, fraction: float) -> Bonds:
    r"""The bonds that use the most of a budget, among those that are near the proportional ones.

    With s the scale of the bonds, ``useful`` the largest useful bonds not above those given, and
    n of them, the family to choose from does not depend on the budget:

    .. math:: \{ \mathrm{useful}(\lfloor t s \rfloor + e) : \; t > 0, \; e \in \{0, 1, 2\}^n \}

    without those in which two bonds that nothing tells apart differ by more than 1; where n is
    large, fewer e are tried (:func:`_patterns`).  So the parameters never decrease as the budget
    grows, and to permute modes permutes their ranks.  Among members of equal count wins the best
    balanced, that of the largest ``min_k R_k / s_k``, and then that of larger ranks on earlier modes.

    The search is exact, whatever the size.  For each e the useful bonds and their count grow with t, so that the last
    that fits is found by halving.

    With fixed modes the smallest ranks that keep them are a member too.

    Raises
    ------
    InfeasibleRankError
        When even the smallest ranks cost more than the budget.

    Examples
    --------
    A matrix of 2^70 x 2^70 entries as a product of two, of a quarter of its parameters:

    >>> n = 2**70
    >>> rules = RankRules("lowrank", (n, n), n * n, ((n, (0,)), (n, (0,))), (1.0,), form=lambda bonds: bonds)
    >>> fill_budget(rules, 0.25) == (n // 8,)
    True
    """
    limit, smallest = parameter_limit(rules, fraction), smallest_bonds(rules)
    _check_feasible(rules, smallest, fraction, limit)
    if rules.n_bonds == 0:
        return ()
    columns = _Multiples(rules).last_fitting(limit)
    counts = rules.n_parameters(columns)
    kept = (counts <= limit) & rules.admits(columns)
    best = np.max(counts[kept], initial=rules.count(smallest))
    winners = {smallest, *map(as_bonds, columns[:, kept & (counts == best)].T)}
    return max(winners, key=lambda bonds: (rules.count(bonds), *_preference(rules, bonds)))


def least_bonds(rules: RankRules, fraction: float) -> Bonds:
    """Bonds none of which is above those of a budget that is feasible; found in a tenth of the time.

    Examples
    --------
    >>> rules = RankRules("lowrank", (6, 4), 24, ((6, (0,)), (4, (0,))), (1.0,), form=lambda bonds: bonds)
    >>> least_bonds(rules, 0.9), fill_budget(rules, 0.9)
    ((1,), (2,))
    """
    if rules.n_bonds == 0:
        return ()
    multiples, limit = _Multiples(rules), parameter_limit(rules, fraction)
    most = multiples.most_raised
    multiple = _last(lambda T: rules.count(multiples.raised(T, most)) <= limit, 0, multiples.end)
    return rules.useful(multiples.raised(multiple, 0))


def smallest_budget(rules: RankRules) -> float:
    """The smallest float that is a feasible budget, which is above 1 where there is none.

    Examples
    --------
    >>> rules = RankRules("lowrank", (6, 4), 24, ((6, (0,)), (4, (0,))), (1.0,), form=lambda bonds: bonds)
    >>> smallest_budget(rules) == 10 / 24
    True
    """
    count, dense = rules.count(smallest_bonds(rules)), rules.dense_parameters
    fraction = count / dense  # rounded, down or up
    return fraction if Fraction(fraction) * dense >= count else math.nextafter(fraction, math.inf)


def _check_feasible(rules: RankRules, smallest: Bonds, fraction: float, limit: int) -> None:
    least, dense = rules.count(smallest), rules.dense_parameters
    if least <= limit:
        return
    described = f"of rank {rules.form(smallest)}, with its fixed modes at full size," if rules.fixed else "of rank 1"
    if least <= dense:
        remedy = f"The smallest feasible budget is {smallest_budget(rules)!r}."
    else:
        remedy = "No budget up to 1 is feasible: " + (
            "fix fewer modes." if rules.fixed else "choose more balanced modes, or keep so small a weight dense."
        )
    raise InfeasibleRankError(
        f"rank={fraction!r} allows {limit} of the {dense} dense parameters of shape {format_shape(rules.shape)}, "
        f"but {rules.factorization} {described} already has {least}. {remedy}"
    )


class _Multiples:
    """Multiples t of the scale as integers T, between two of which in a row each floor changes once at most.

    The scale is of floating-point numbers, which are fractions with a power of two below.
    """

    def __init__(self, rules: RankRules) -> None:
        self.rules = rules
        scale = [Fraction(s) for s in rules.scale]
        denominator = max(s.denominator for s in scale)
        self.scale = [int(s * denominator) for s in scale]
        self.shift = (math.ceil(sum(scale)) * denominator).bit_length()
        self.largest = rules.largest
        self.least = tuple(top if k in rules.fixed else 1 for k, top in enumerate(self.largest))
        self.end = max(-(-(top << self.shift) // s) for top, s in zip(self.largest, self.scale, strict=True))
        self.patterns = _patterns(rules.scale)
        self.most_raised = int(np.max(self.patterns, initial=0))

    def floors(self, multiple: int) -> list[int]:
        """``floor(t s)``."""
        return [multiple * s >> self.shift for s in self.scale]

    def raised(self, multiple: int, raised: int) -> Bonds:
        """``floor(t s) + raised`` within the limits."""
        limits = zip(self.floors(multiple), self.least, self.largest, strict=True)
        return tuple(min(max(n, low) + raised, top) for n, low, top in limits)

    def last_fitting(self, limit: int) -> Array:
        """For each pattern e the last of its members that costs no more than the limit, and perhaps others."""

        def fits(multiple: int, raised: int) -> bool:
            bonds = self.raised(multiple, raised)
            return self.rules.count(bonds) <= limit or self.rules.count(self.rules.useful(bonds)) <= limit

        # up to the first every pattern fits, if any does, and from the second on none
        first = _last(lambda T: fits(T, self.most_raised), 0, self.end)
        second = _last(lambda T: fits(T, 0), first, self.end) + 1
        n_changes = sum(self.floors(second)) - sum(self.floors(first))
        return (self._listed if n_changes <= _CHANGES_LISTED else self._halved)(limit, first, second)

    def _listed(self, limit: int, first: int, second: int) -> Array:
        """All floors from the first to the second multiple are listed; the last that fits is found by its place."""
        common = math.lcm(*self.scale)
        before, after = self.floors(first), self.floors(second)
        changes = sorted(
            (m * (common // s), k) for k, s in enumerate(self.scale) for m in range(before[k] + 1, after[k] + 1)
        )
        listed = [before]
        for place, (multiple, k) in enumerate(changes):
            if place and multiple == changes[place - 1][0]:
                listed[-1][k] += 1
            else:
                listed.append([n + (j == k) for j, n in enumerate(listed[-1])])
        floors, members = self._clipped(np.array(listed, dtype=object).T), self._members
        low, high = np.zeros(self.patterns.shape[1], dtype=np.intp), np.full(self.patterns.shape[1], len(listed))
        while np.any(high - low > 1):
            middle = (low + high) // 2
            is_low = self.rules.n_parameters(members(floors[:, middle])) <= limit
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        return members(floors[:, low])

    def _halved(self, limit: int, first: int, second: int) -> Array:
        """The same where they are too many to be listed."""
        scale = np.array(self.scale, dtype=object).reshape(-1, 1)
        low, high = (np.full(self.patterns.shape[1], end, dtype=object) for end in (first, second))
        while np.any(high - low > 1):
            middle = (low + high) // 2
            is_low = self.rules.n_parameters(self._members(self._clipped(middle * scale >> self.shift))) <= limit
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        reached = high * scale >> self.shift
        # where each of these floors is reached, which may lie between the two
        changes = [floor * scale // s for floor, s in zip(reached, self.scale, strict=True)]
        return np.concatenate(
            [self._members(self._clipped(floors)) for floors in (low * scale >> self.shift, reached, *changes)], axis=1
        )

    def _clipped(self, floors: Array) -> Array:
        least, largest = (np.array(bonds, dtype=object).reshape(-1, 1) for bonds in (self.least, self.largest))
        return np.asarray(np.minimum(np.maximum(floors, least), largest), dtype=self.rules.dtype)

    def _members(self, floors: Array) -> Array:
        top: Array = np.array(self.largest, dtype=self.rules.dtype).reshape(-1, 1)
        return self.rules.realizable(np.minimum(floors + self.patterns, top))


def _last(fits: Callable[[int], bool], low: int, end: int) -> int:
    """The last of `low` .. `end` that fits, where those before it do too; `low` where none does."""
    step = max(1, (end - low) // _STRIDE)
    while low + step <= end and fits(low + step):
        low, step = low + step, 2 * step
    high = min(low + step, end + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _preference(rules: RankRules, bonds: Bonds) -> tuple[Fraction, list[tuple[float, int]], Bonds]:
    """The greater, the better; the first two do not depend on the order of the modes."""
    pairs = sorted(zip(rules.scale, bonds, strict=True))
    return min(Fraction(bond) / Fraction(s) for s, bond in pairs), pairs, bonds


@lru_cache
def _patterns(scale: tuple[float, ...]) -> Array:
    """Which bonds are raised by how much, as columns.

    Up to two each, or one each, where these are not too many; else one for those of the
    largest scales, however many, and, where those are not too many, for any one bond besides.
    """
    n = len(scale)
    for most in range(_MOST_RAISED, 0, -1):
        if (most + 1) ** n <= _PATTERNS_TRIED:
            return np.array(list(product(range(most + 1), repeat=n)), dtype=np.int64).T.reshape(n, -1)
    by_scale = sorted(range(n), key=lambda k: -scale[k])
    besides = range(n if n**3 <= 2 * _ENTRIES_TRIED else 0)
    raised = {frozenset(by_scale[:j]) for j in range(n + 1)}
    raised |= {frozenset((*by_scale[:j], by_scale[k])) for j in range(n + 1) for k in besides}
    patterns = np.zeros((n, len(raised)), dtype=np.int64)
    for column, bonds in enumerate(sorted(raised, key=sorted)):
        patterns[list(bonds), column] = 1
    return patterns
