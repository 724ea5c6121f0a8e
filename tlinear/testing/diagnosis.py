"""Which known mistake explains what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tlinear.arrays import Array
from tlinear.testing.case import Case
from tlinear.testing.implementation import Failure, Outcome
from tlinear.testing.mutants import MUTANTS, right
from tlinear.testing.report import kind_of
from tlinear.testing.verdict import as_arrays

__all__ = ["cause_of"]


def cause_of(cases: Sequence[Case], outcomes: Sequence[Outcome], kind: str) -> str:
    """The cause of the one mistake that computes the same as an implementation in all of these cases.

    If there is none, of the one that computes the same results of this kind.  Of several, the first; nothing where
    there is none, or where what was computed is right.

    Parameters
    ----------
    cases, outcomes : sequences
        Several cases, of certified numbers, and what an implementation made of them.
    kind : str
        Of the result that is to be explained.

    Examples
    --------
    >>> case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, np.ones((3, 2)), np.ones((3, 1)), np.ones(1))
    >>> cause_of([case], [{"y": np.full((3, 1), 2.0)}], "y")
    'the bias is not added'
    """
    whole, part = list(MUTANTS), list(MUTANTS)
    differs: dict[str, set[str]] = {"": set(), kind: set()}
    for case, outcome in zip(cases, outcomes, strict=True):
        if isinstance(outcome, Failure) or not (whole or part):
            continue
        found = as_arrays({name: value for name, value in outcome.items() if name in case.results})
        expected, computed = right(case), {m.name: m.compute(case) for m in MUTANTS if m in whole or m in part}
        whole = [mutant for mutant in whole if _same(computed[mutant.name], found, "")]
        part = [mutant for mutant in part if _same(computed[mutant.name], found, kind)]
        for names, mutants in (("", whole), (kind, part)):
            differs[names] |= {m.name for m in mutants if not _same(computed[m.name], expected, names)}
    explain = [mutant for mutant in whole if mutant.name in differs[""]]
    explain += [mutant for mutant in part if mutant.name in differs[kind]]
    return explain[0].cause if explain else ""


def _same(one: Mapping[str, Array], other: Mapping[str, Array], kind: str) -> bool:
    """Whether two have the same results of a kind, or at all."""
    names = [name for name in one if name in other and kind in ("", kind_of(name))]
    return all(np.array_equal(one[name], other[name]) for name in names)
