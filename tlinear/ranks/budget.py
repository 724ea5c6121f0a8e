"""The ranks that make the most of a budget, near a fixed proportion to each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import InfeasibleRankError, RankError
from tlinear.ranks.fixed import smallest_beside_fixed
from tlinear.ranks.rules import Bonds, RankRules, as_bonds
from tlinear.shapes import format_shape

__all__ = ["fill_budget", "parameter_limit"]

_MOST_RAISED = 2
_PATTERNS_TRIED = 512
_COLUMNS_AT_ONCE = 2**13
_GRID = 48
_MULTIPLES_TO_ENUMERATE = 64
_MOST_MULTIPLES = 10**7


def parameter_limit(rules: RankRules, fraction: float) -> int:
    """The number of parameters that `fraction` of the dense ones allows."""
    return math.floor(fraction * rules.dense_parameters)


def fill_budget(rules: RankRules, fraction: float) -> Bonds:
    r"""The bonds that use the most of a budget, among those that are near the proportional ones.

    With s the scale of the bonds, ``useful`` the largest useful bonds not above those given, and
    n of them, the family to choose from does not depend on the budget:

    .. math:: \{ \mathrm{useful}(\lfloor t s \rfloor + e) : \; t > 0, \; e \in \{0, 1, 2\}^n \}

    without those in which two bonds that nothing tells apart differ by more than 1; where n is
    large, fewer e are tried (:func:`_patterns`).  So the parameters never decrease as the budget
    grows, and to permute modes permutes their ranks.  Among members of equal count wins the best
    balanced, that of the largest ``min_k R_k / s_k``, and then that of larger ranks on earlier modes.

    The search is exact.  Both the useful bonds and their count grow with t, so that it starts
    from the largest t that fits and ends where even all bonds raised stay below the best found.

    With fixed modes the smallest ranks that keep them are a member too.

    Raises
    ------
    InfeasibleRankError
        When even the smallest ranks cost more than the budget.
    """
    limit = parameter_limit(rules, fraction)
    if rules.n_bonds == 0:
        _check_feasible(rules, (), fraction, limit)
        return ()
    family = _Family(rules)
    _check_feasible(rules, family.smallest, fraction, limit)
    best, winners = rules.count(family.smallest), {family.smallest}
    for multiples in family.descend_from(limit):
        if np.max(rules.n_parameters(family.at(multiples, family.most_raised))) <= best:
            break
        columns = family.members(multiples)
        counts = rules.n_parameters(columns)
        fitting = counts <= limit
        if not np.any(fitting):
            continue
        top = int(np.max(counts[fitting]))
        if top > best:
            best, winners = top, set()
        winners.update(as_bonds(column) for column in columns[:, counts == best].T)
    return max(winners, key=family.preference)


def _check_feasible(rules: RankRules, smallest: Bonds, fraction: float, limit: int) -> None:
    least, dense = rules.count(smallest), rules.dense_parameters
    if least <= limit:
        return
    described = f"of rank {rules.form(smallest)}, with its fixed modes at full size," if rules.fixed else "of rank 1"
    if least <= dense:
        remedy = f"The smallest feasible budget is {_least_fraction(least, dense)!r}."
    else:
        remedy = "No budget up to 1 is feasible: " + (
            "fix fewer modes." if rules.fixed else "choose more balanced modes, or keep so small a weight dense."
        )
    raise InfeasibleRankError(
        f"rank={fraction!r} allows {limit} of the {dense} dense parameters of shape {format_shape(rules.shape)}, "
        f"but {rules.factorization} {described} already has {least}. {remedy}"
    )


def _least_fraction(count: int, total: int) -> float:
    """The smallest float that is a budget of at least `count` of `total` parameters."""
    fraction = math.nextafter(count / total, 0.0)
    while math.floor(fraction * total) >= count:
        fraction = math.nextafter(fraction, 0.0)
    while math.floor(fraction * total) < count:
        fraction = math.nextafter(fraction, math.inf)
    return fraction


class _Family:
    """The candidates: ``useful(floor(t s) + e)`` for the multiples t and the patterns e."""

    def __init__(self, rules: RankRules) -> None:
        self.rules = rules
        self.scale = np.array(rules.scale, dtype=np.float64).reshape(-1, 1)
        self.largest: Array = np.array(rules.largest, dtype=rules.dtype).reshape(-1, 1)
        self.least: Array = np.ones_like(self.largest)
        self.least[list(rules.fixed)] = self.largest[list(rules.fixed)]
        self.patterns = _patterns(rules.scale)
        self.most_raised = int(np.max(self.patterns, initial=0))
        self.first = 0.5 / max(rules.scale, default=1.0)
        self.last = max((top / s for top, s in zip(rules.largest, rules.scale, strict=True)), default=1.0)

    def at(self, multiples: Array, raised: int = 0) -> Array:
        """``useful(floor(t s) + raised)`` for every multiple t."""
        return self.rules.realizable(np.minimum(self._floors(multiples) + raised, self.largest))

    def members(self, multiples: Array) -> Array:
        """All candidates of these multiples."""
        raised = self._floors(multiples)[:, :, np.newaxis] + self.patterns[:, np.newaxis, :]
        columns = raised.reshape(self.rules.n_bonds, multiples.size * self.patterns.shape[1])
        columns = self.rules.realizable(np.minimum(columns, self.largest))
        return columns[:, self._allowed(columns)]

    def _allowed(self, columns: Array) -> Array:
        allowed = self._keeps_fixed(columns)
        for j, k in self.rules.twins:
            allowed &= abs(columns[j] - columns[k]) <= 1
        return allowed

    def _keeps_fixed(self, columns: Array) -> Array:
        fixed = list(self.rules.fixed)
        return np.asarray(np.all(columns[fixed] == self.largest[fixed], axis=0))

    def _floors(self, multiples: Array) -> Array:
        """``floor(t s)`` within the limits; it has reached m exactly where ``t >= m / s`` in floating point."""
        floors = np.floor(multiples * self.scale)
        floors += (floors + 1.0) / self.scale <= multiples
        floors -= floors / self.scale > multiples
        largest = self.largest.astype(np.float64)
        return np.clip(_integers(np.minimum(floors, largest), self.rules.dtype), self.least, self.largest)

    @cached_property
    def smallest(self) -> Bonds:
        """The ranks of fewest parameters: all 1, unless fixed modes need more of the others."""
        return smallest_beside_fixed(self.rules) if self.rules.fixed else (1,) * self.rules.n_bonds

    def descend_from(self, limit: int) -> Iterator[Array]:
        """The multiples at which the floors change, from the largest that may fit downwards, some at a time."""
        n_together = max(1, _COLUMNS_AT_ONCE // self.patterns.shape[1])
        low, high = self._bracket(limit)
        step = _MULTIPLES_TO_ENUMERATE / np.sum(self.scale)
        while True:
            multiples = self._events(low, high)[::-1]
            for start in range(0, multiples.size, n_together):
                yield multiples[start : start + n_together]
            if low <= self.first:
                return
            low, high, step = max(self.first, low - step), low, 2.0 * step

    def _bracket(self, limit: int) -> tuple[float, float]:
        """The multiples between which the fitting ones end: at the lower everything fits, at the upper nothing."""
        low, high = self.first, self.last
        while np.sum(self.scale) * (high - low) > _MULTIPLES_TO_ENUMERATE:
            grid = np.geomspace(low, high, _GRID)
            floors = self._floors(grid)
            columns = np.minimum(np.concatenate((floors, floors + self.most_raised), axis=1), self.largest)
            fits, fits_raised = np.split(self.rules.n_parameters(self.rules.realizable(columns)) <= limit, 2)
            n_raised, n_fitting = int(np.sum(fits_raised)), int(np.sum(fits))
            narrower = float(grid[max(n_raised - 1, 0)]), float(grid[min(n_fitting, _GRID - 1)])
            if (low, high) == narrower:
                break
            low, high = narrower
        return low, high

    def _events(self, low: float, high: float) -> Array:
        """`low`, and the multiples ``m / s`` up to `high` at which a floor reaches another m, ascending."""
        if np.sum(self.scale) * (high - low) > _MOST_MULTIPLES:
            raise RankError(
                f"A budget for modes as unlike as {format_shape(self.rules.shape)} has too many ranks to choose from. "
                "Pass the rank as an int or a tuple, or choose more balanced modes."
            )
        steps = [np.array([low])]
        for s, top in zip(self.rules.scale, self.rules.largest, strict=True):
            steps.append(np.arange(max(2, math.ceil(low * s)), min(top, math.floor(high * s) + 1) + 1) / s)
        events = np.unique(np.concatenate(steps))
        return events[(low <= events) & (events <= high)]

    def preference(self, bonds: Bonds) -> tuple[float, list[tuple[float, int]], Bonds]:
        """The greater, the better; the first two do not depend on the order of the modes."""
        pairs = sorted(zip(self.rules.scale, bonds, strict=True))
        return min((bond / s for s, bond in pairs), default=1.0), pairs, bonds


@lru_cache
def _patterns(scale: tuple[float, ...]) -> Array:
    """Which bonds are raised by how much, as columns.

    Up to two each, or one each, where these are not too many; else one for those of the
    largest scales, however many, and for any one bond besides.
    """
    n = len(scale)
    for most in range(_MOST_RAISED, 0, -1):
        if (most + 1) ** n <= _PATTERNS_TRIED:
            return np.array(list(product(range(most + 1), repeat=n)), dtype=np.int64).T.reshape(n, -1)
    by_scale = sorted(range(n), key=lambda k: -scale[k])
    raised = {frozenset((*by_scale[:j], *by_scale[k : k + 1])) for j in range(n + 1) for k in range(n)}
    patterns = np.zeros((n, len(raised)), dtype=np.int64)
    for column, bonds in enumerate(sorted(raised, key=sorted)):
        patterns[list(bonds), column] = 1
    return patterns


def _integers(floats: Array, dtype: type) -> Array:
    return floats.astype(np.int64) if dtype is np.int64 else np.vectorize(int, otypes=[object])(floats)
