"""What a layer of a shape costs at least, told of many shapes without a plan of any."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from tlinear.contraction.fewest_flops import fewest_flops
from tlinear.contraction.network import Network
from tlinear.errors import RankError
from tlinear.formats import FactorizedTensor
from tlinear.formats.rank_rules import rank_rules
from tlinear.ranks.budget import least_bonds, parameter_limit
from tlinear.ranks.fixed import smallest_bonds
from tlinear.ranks.resolve import as_budget, resolve_bonds
from tlinear.ranks.rules import Bonds, RankRules
from tlinear.tensorization import Shapes

__all__ = ["Bound", "LeastCost"]

Refused: TypeAlias = MutableMapping[Shapes, RankError]
Cost: TypeAlias = tuple[int, Any]
"""Parameters and FLOPs."""
Bound: TypeAlias = Callable[[Sequence[Shapes], Refused], list[Cost | None]]


@dataclass(frozen=True)
class LeastCost:
    """Bounds of what layers of one format, number of features, rank and batch cost.

    Examples
    --------
    >>> from tlinear import TTTensor
    >>> least = LeastCost(TTTensor, 16 * 10, 0.5, 1)
    >>> least.quickly([((4, 4), (2, 5)), ((16,), (10,))], {}), least.closely([((4, 4), (2, 5))], {})
    ([(15, 63.9...), (26, 51.9...)], [(79, 235.9...)])
    """

    cls: type[FactorizedTensor]
    dense_parameters: int
    rank: Any
    batch_size: int

    def quickly(self, candidates: Sequence[Shapes], refused: Refused) -> list[Cost | None]:
        """By ranks that are no larger than those of the budget; None for what has no rank, which is `refused`."""

        def bonds(rules: RankRules) -> Bonds:
            budget = as_budget(rules, self.rank)
            if budget is None or rules.count(smallest_bonds(rules)) > parameter_limit(rules, budget):
                return resolve_bonds(rules, self.rank)
            return least_bonds(rules, budget)

        return self._costs(candidates, bonds, refused)

    def closely(self, candidates: Sequence[Shapes], refused: Refused) -> list[Cost | None]:
        """By the ranks themselves, of which the parameters are then not a bound, but those of the layer."""
        return self._costs(candidates, lambda rules: resolve_bonds(rules, self.rank), refused)

    def _costs(
        self, candidates: Sequence[Shapes], bonds: Callable[[RankRules], Bonds], refused: Refused
    ) -> list[Cost | None]:
        costs: dict[Shapes, Cost | None] = dict.fromkeys(candidates)
        networks: dict[Shapes, Network] = {}
        for shapes in costs:
            try:
                found = bonds(rank_rules(self.cls, *shapes, dense_parameters=self.dense_parameters))
            except RankError as error:
                refused[shapes] = error
                continue
            networks[shapes] = self.cls.network_for(*shapes, found)
        for _, group in groupby(sorted(networks, key=_n_modes), key=_n_modes):
            alike = list(group)
            flops = fewest_flops([networks[shapes].with_input() for shapes in alike], self.batch_size)
            costs |= {shapes: (networks[shapes].n_parameters, float(n)) for shapes, n in zip(alike, flops, strict=True)}
        return [costs[shapes] for shapes in candidates]


def _n_modes(shapes: Shapes) -> tuple[int, int]:
    return len(shapes[0]), len(shapes[1])
