"""The smallest ranks that let some modes keep their full size."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tlinear.ranks.rules import Bonds, RankRules

__all__ = ["smallest_beside_fixed", "smallest_bonds"]


def smallest_bonds(rules: RankRules) -> Bonds:
    """The ranks of fewest parameters: all 1, unless fixed modes need more of the others.

    Examples
    --------
    >>> rules = RankRules("lowrank", (6, 4), 24, ((6, (0,)), (4, (0,))), (1.0,), form=lambda bonds: bonds)
    >>> smallest_bonds(rules)
    (1,)
    """
    return smallest_beside_fixed(rules) if rules.fixed else (1,) * rules.n_bonds


def smallest_beside_fixed(rules: RankRules) -> Bonds:
    r"""The ranks of fewest parameters of a Tucker tensor in which the fixed modes keep their full size.

    A fixed rank needs a core whose other ranks have at least its size as their product:

    .. math:: s_k \le \prod_{j \ne k} R_j \quad \text{for all fixed } k,
              \qquad \text{that is} \qquad P \prod_{j \text{ fixed}} s_j \ge \max_{k \text{ fixed}} s_k^2

    with P the product of the free ranks.  For every product that free ranks can have, mode by mode
    (modes of equal size together, their ranks at most 1 apart), the cheapest of them is kept.

    Examples
    --------
    >>> rules = RankRules(
    ...     "tucker", (7, 9, 5), 315, ((1, (0, 1, 2)), (7, (0,)), (9, (1,)), (5, (2,))), (7.0, 9.0, 5.0),
    ...     form=lambda bonds: bonds, most=(7, 315, 315), fixed=(0,),
    ... )
    >>> smallest_beside_fixed(rules), rules.count((7, 2, 4))
    ((7, 2, 4), 143)
    """
    fixed = {k: rules.limits[k] for k in rules.fixed}
    kept = math.prod(fixed.values())
    needed = -(-(max(fixed.values()) ** 2) // kept)
    cheapest: dict[int, Bonds] = {1: tuple(fixed.get(k, 1) for k in range(rules.n_bonds))}
    for group in _alike(rules):
        found: dict[int, Bonds] = {}
        for before in cheapest.values():
            for bonds in _nearly_equal(before, group, rules.limits[group[0]]):
                product = math.prod(bonds) // kept
                if product not in found or rules.count(bonds) < rules.count(found[product]):
                    found[product] = bonds
                if product >= needed:
                    break
        cheapest = found
    enough = [bonds for product, bonds in cheapest.items() if product >= needed and rules.useful(bonds) == bonds]
    return min(enough, key=lambda bonds: (rules.count(bonds), bonds))


def _alike(rules: RankRules) -> list[list[int]]:
    """The free bonds, those that nothing tells apart together."""
    groups: list[list[int]] = []
    for k in range(rules.n_bonds):
        if k in rules.fixed:
            continue
        group = next((group for group in groups if (group[0], k) in rules.twins), None)
        if group is None:
            groups.append([k])
        else:
            group.append(k)
    return groups


def _nearly_equal(bonds: Bonds, group: list[int], most: int) -> Iterator[Bonds]:
    """`bonds` with the ranks of a group raised by one at a time, the first first, up to `most`."""
    ranks = list(bonds)
    yield bonds
    for _ in range(1, most):
        for k in group:
            ranks[k] += 1
            yield tuple(ranks)
