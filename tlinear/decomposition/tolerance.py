"""The smallest ranks that keep a relative error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlinear.algorithms.report import relative_error
from tlinear.decomposition.fitting import Fitting
from tlinear.decomposition.result import Decomposition
from tlinear.errors import DecompositionError, RankError
from tlinear.formats import FactorizedTensor
from tlinear.ranks.budget import parameter_limit
from tlinear.ranks.resolve import as_budget, resolve_bonds
from tlinear.ranks.rules import Bonds, RankRules

__all__ = ["fit_within"]


def fit_within(work: Fitting, tolerance: float, rank: Any) -> Decomposition:
    """The smallest ranks that keep the tolerance.

    Rounding the operands to the dtype of the result adds to the error.  If that is too much, the
    fit is repeated with what rounding has left of the tolerance.
    """
    allowed, target = _Allowed.by(rank, work.rules), tolerance
    for _ in range(2):
        fit = work.fit_within(target, allowed.bonds)
        found = work.cls.from_operands(fit.operands, *work.split)
        if allowed.n_parameters is not None and found.n_parameters > allowed.n_parameters:
            return _within_budget(work, tolerance, found, allowed)
        allowed.check(found, tolerance)
        result = work.decomposition(fit, measured=True)
        if result.relative_error <= tolerance:
            return result
        fitted = work.reconstruct(fit.operands)
        rounding = relative_error(fitted, work.reconstruct(work.rounded(fit)[1]))
        excess = max(0.0, relative_error(work.scaled, fitted) - target)
        target = tolerance - (1.0 + tolerance) * rounding - excess - 8.0 * float(np.finfo(np.float64).eps)
        if target <= 0.0:
            break
    raise DecompositionError(
        f"tolerance={tolerance:g} is not reached: the relative error is {result.relative_error:.3g}, of which rounding "
        f"to {work.kept} is {rounding:.3g}. Pass a wider dtype, such as dtype='float64', or a larger tolerance."
    )


def _within_budget(work: Fitting, tolerance: float, found: FactorizedTensor, allowed: _Allowed) -> Decomposition:
    """What shares out the budget, if that keeps the tolerance; `found` does, but takes more."""
    limit = allowed.n_parameters or 0
    found_within = work.fit(work.allocate(resolve_bonds(work.rules, allowed.rank), limit))
    result = work.decomposition(found_within, measured=True)
    if result.relative_error <= tolerance:
        return result
    raise RankError(
        f"tolerance={tolerance:g} takes rank {found.rank}, {found.n_parameters} parameters, but rank={allowed.rank!r} "
        f"allows {limit}, of which rank {result.rank} has relative error {result.relative_error:.3g}. "
        "Raise the budget or the tolerance."
    )


@dataclass(frozen=True)
class _Allowed:
    """What a tolerance may take: the largest bonds, and where the rank is a budget, the parameters."""

    rank: Any
    rules: RankRules
    bonds: Bonds
    n_parameters: int | None

    @classmethod
    def by(cls, rank: Any, rules: RankRules) -> _Allowed:
        fraction = None if rank is None else as_budget(rules, rank)
        if fraction is None:
            bonds = rules.largest if rank is None else resolve_bonds(rules, rank)
            return cls(rank, rules, bonds, None)
        # a budget says how large a single bond may be, and of several how large all together
        bonds = resolve_bonds(rules, rank) if rules.n_bonds == 1 else rules.largest
        return cls(rank, rules, bonds, parameter_limit(rules, fraction))

    def check(self, found: FactorizedTensor, tolerance: float) -> None:
        """Raise :class:`RankError` when what was found is more than what is allowed."""
        takes = f"tolerance={tolerance:g} takes rank {found.rank}, {found.n_parameters} parameters"
        if any(bond > most for bond, most in zip(found.bonds, self.bonds, strict=True)):
            by = "max_rank" if self.rank is None else f"rank={self.rank!r} and max_rank"
            raise RankError(
                f"{takes}, but {by} allow no more than {self.rules.form(self.bonds)}. Raise these or the tolerance."
            )
        for k in self.rules.fixed:
            if found.bonds[k] < self.rules.largest[k]:
                raise RankError(
                    f"{takes}: the other ranks cannot keep mode {k} at its full size {self.rules.largest[k]}. "
                    "Lower the tolerance, or leave the mode out of fixed_modes."
                )
