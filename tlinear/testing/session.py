"""One check: what was judged so far, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlinear.progress import Progress, silent
from tlinear.testing.case import Case
from tlinear.testing.certificate import is_certified
from tlinear.testing.diagnosis import cause_of
from tlinear.testing.exact import is_exact
from tlinear.testing.identities import IDENTITIES
from tlinear.testing.implementation import Failure, Implementation, Outcome, shared_memory, verdict_of
from tlinear.testing.judge import Rules
from tlinear.testing.mutants import FEW_BITS
from tlinear.testing.report import Coverage, Report, kind_of
from tlinear.testing.verdict import Finding, Verdict, as_arrays

__all__ = ["EXPLAINED_BY", "Session", "size_of"]

EXPLAINED_BY = 24
"""How many cases a cause must explain."""

_AT_ONCE = 100
_IDENTITY_EVERY = 4
_RERUN = 3


class Session:
    """One check.

    Parameters
    ----------
    implementation : Implementation
    rules : Rules
    seed : int

    Attributes
    ----------
    n_cases : int
    worst : dict
        Of each kind of result, and each kind of finding, the one with the smallest case.
    rounded : list
        Cases in which numbers are farther off than rounding explains, and nothing else is wrong.
    """

    def __init__(self, implementation: Implementation, rules: Rules, seed: int) -> None:
        self.implementation, self.rules, self.seed = implementation, rules, seed
        self.worst: dict[tuple[str, str], Finding] = {}
        self.rounded: list[tuple[Case, Outcome]] = []
        self._rng = np.random.default_rng(seed)
        self.n_cases, self._coverage = 0, Coverage()
        self._warnings: dict[str, list[str]] = {}
        self._failing: list[tuple[Case, Outcome]] = []
        self._passing: list[tuple[Case, Outcome]] = []

    def sweep(self, drawn: Sequence[Case], progress: Progress = silent) -> None:
        """Judge many cases; remember the smallest of each kind of finding."""
        for start in range(0, len(drawn), _AT_ONCE):
            batch = drawn[start : start + _AT_ONCE]
            progress("running the implementation", start / len(drawn))
            outcomes = self.implementation.run(batch)
            for number, (case, outcome) in enumerate(zip(batch, outcomes, strict=True), start):
                progress("judging cases", number / len(drawn))
                self._take(case, outcome, verdict_of(case, outcome, self.rules))
            progress("running the identities", (start + len(batch)) / len(drawn))
            certified = [k for k, case in enumerate(batch) if self._is_certified(case)]
            chosen = [k for k in certified[::_IDENTITY_EVERY] if not isinstance(outcomes[k], Failure)]
            self._keep_identities([batch[k] for k in chosen], [outcomes[k] for k in chosen])
            largest = sorted(range(len(batch)), key=lambda k: batch[k].dy.size)[-_RERUN:]
            self._rerun([batch[k] for k in largest], [outcomes[k] for k in largest])

    def verdict(self, case: Case) -> Verdict:
        """What there is to say of one more case, which is not counted."""
        return verdict_of(case, self.implementation.run([case])[0], self.rules)

    def _take(self, case: Case, outcome: Outcome, verdict: Verdict) -> None:
        self.n_cases += 1
        self._coverage.count(case, verdict)
        for kind, text in verdict.warnings.items():
            self._warn(kind, text)
        for name, other in shared_memory(case, outcome):
            self._warn(f"{name} shared", f"{name} shares memory with {other}, and changes where that does: {case}")
        for finding in verdict.findings:
            self._remember(finding)
        if verdict.findings and all(finding.tier == "bound" for finding in verdict.findings):
            self.rounded = [*self.rounded, (case, outcome)][:EXPLAINED_BY]
        elif self._is_certified(case):
            kept = self._failing if verdict.findings else self._passing
            if len(kept) < EXPLAINED_BY:
                kept.append((case, outcome))

    def _warn(self, kind: str, text: str) -> None:
        self._warnings.setdefault(kind, []).append(text)

    def _remember(self, finding: Finding) -> None:
        kind = kind_of(finding.result), finding.tier if finding.tier in ("form", "identity") else "value"
        known = self.worst.get(kind)
        if known is None or size_of(finding.case) < size_of(known.case):
            self.worst[kind] = finding

    def _is_certified(self, case: Case) -> bool:
        """Whether every result must be equal to what is right."""
        if is_exact(case.dtype):
            return True
        bits = self.rules.arithmetic(case).bits
        return all(is_certified(case, name, bits) for name in case.results)

    def _keep_identities(self, chosen: Sequence[Case], outcomes: Sequence[Outcome]) -> None:
        asked: list[tuple[Any, list[Case], Outcome]] = []
        for case, outcome in zip(chosen, outcomes, strict=True):
            for identity in IDENTITIES:
                given = case if identity.name == "duality" else replace(case, tangents=None)
                others = identity.others(given, self._rng)
                if others is not None and all(map(self._is_certified, others)):
                    asked.append((identity, [case, *others], outcome))
        flat = [other for _, group, _ in asked for other in group[1:]]
        found = iter(self.implementation.run(flat) if flat else [])
        for identity, group, outcome in asked:
            outcomes_ = [outcome, *(next(found) for _ in group[1:])]
            results = [_usable(case, one) for case, one in zip(group, outcomes_, strict=True)]
            if any(one is None for one in results):
                continue
            broken = identity.broken(group, results, self.rules.convention)
            if broken is not None:
                message = f"{identity.name}: {identity.statement}; {broken[1]}."
                self._remember(Finding(group[0], broken[0], "identity", message))

    def _rerun(self, batch: Sequence[Case], outcomes: Sequence[Outcome]) -> None:
        for case, before, after in zip(batch, outcomes, self.implementation.run(batch), strict=True):
            first, second = _usable(case, before), _usable(case, after)
            if first is None or second is None:
                continue
            for name in first:
                if name not in second or not np.array_equal(first[name], second[name]):
                    self._warn(f"{name} rerun", f"{name} is not the same when computed again: {case}")

    def count_refusals(self, n: int) -> None:
        """Count layers that are none, and were refused."""
        self._coverage.n_judged += n

    def report(self, failures: Sequence[Finding], source: str) -> Report:
        """What it comes to."""
        warnings = [
            first + (f" (and {len(others)} more)" if others else "") for first, *others in self._warnings.values()
        ]
        return Report(self.implementation.name, self.n_cases, tuple(failures), tuple(warnings), self._coverage, source)

    def cause(self, kind: str) -> str:
        """The known mistake that explains what was found of a kind of result, if one does."""
        if self._failing:
            taken = self._failing + self._passing
            return cause_of([case for case, _ in taken], [outcome for _, outcome in taken], kind)
        few = sum(self._is_rounding(*pair) for pair in self.rounded)
        return FEW_BITS if few > len(self.rounded) // 2 else ""  # in some, numbers may have underflown too

    def _is_rounding(self, case: Case, outcome: Outcome) -> bool:
        """Whether arithmetic of half of the bits explains an outcome, and does so easily."""
        half = 2.0 ** -(self.rules.arithmetic(case).bits // 2 - 2)
        verdict = verdict_of(case, outcome, replace(self.rules, unit_roundoff=half))
        return verdict.passed and not verdict.warnings


def _usable(case: Case, outcome: Outcome) -> dict[str, Any] | None:
    """The results as arrays, if they have the right form, and are numbers."""
    if isinstance(outcome, Failure):
        return None
    try:
        arrays = as_arrays({name: value for name, value in outcome.items() if value is not None})
    except (TypeError, AttributeError):
        return None
    arrays = {name: array for name, array in arrays.items() if name not in case.stages}
    fits = "y" in arrays and all(name in case.results and a.shape == case.shape_of(name) for name, a in arrays.items())
    finite = fits and all(array.dtype.kind == "O" or np.isfinite(array).all() for array in arrays.values())
    return arrays if finite else None


def size_of(case: Case) -> tuple[int, int]:
    """By which one case is smaller than another."""
    return sum(array.size for _, array in case.arrays()), len(case.in_shape) + len(case.out_shape)
