"""What a check came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tlinear.testing.case import Case
from tlinear.testing.verdict import Finding, Verdict

__all__ = ["Coverage", "Report"]

_MOST_SHOWN = 5
_ASPECTS = ("format", "modes", "dtype", "batch axes", "bias", "layers")


@dataclass
class Coverage:
    """How many cases were judged of each kind, and by which tier each of their results.

    Attributes
    ----------
    cases : dict of str to Counter
        For each aspect, how many cases had each value of it.
    tiers : dict of str to Counter
        For each kind of result, how many were judged by which tier, or not at all.
    """

    cases: dict[str, Counter[str]] = field(default_factory=lambda: {aspect: Counter() for aspect in _ASPECTS})
    tiers: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, case: Case, verdict: Verdict) -> None:
        """Count one case."""
        batch = f"{len(case.batch_shape)}{', empty' if 0 in case.batch_shape else ''}"
        values = (
            case.format,
            f"{len(case.in_shape)}+{len(case.out_shape)}",
            str(case.dtype),
            batch,
            "no" if case.bias is None else "yes",
            str(case.n_layers),
        )
        for aspect, value in zip(_ASPECTS, values, strict=True):
            self.cases[aspect][value] += 1
        for result, tier in verdict.judged.items():
            self.tiers.setdefault(kind_of(result), Counter())[tier] += 1
        for result, why in verdict.not_judged.items():
            self.tiers.setdefault(kind_of(result), Counter())[why] += 1

    def __str__(self) -> str:
        lines = [
            f"  {aspect:<11}" + ", ".join(f"{value}: {n}" for value, n in sorted(counts.items()))
            for aspect, counts in self.cases.items()
        ]
        lines += [
            f"  {result:<11}" + ", ".join(f"{tier}: {n}" for tier, n in counts.most_common())
            for result, counts in self.tiers.items()
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """What a check came to.

    Attributes
    ----------
    name : str
        Of the implementation.
    n_cases : int
    failures : tuple of Finding
        What is wrong, each shown by the smallest case that was found.
    warnings : tuple of str
        What is possible, but suspicious.
    coverage : Coverage
    source : str
        Where the cases come from, such as 'seed 0', which gives the same again.
    """

    name: str
    n_cases: int
    failures: Sequence[Finding]
    warnings: Sequence[str]
    coverage: Coverage
    source: str

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"{self.name} {verdict}: {self.n_cases} cases, {self.source}"]
        for failure in self.failures:
            lines += ["", str(failure)]
        if self.warnings:
            lines += ["", f"{len(self.warnings)} warnings, of which the first:", *self.warnings[:_MOST_SHOWN]]
        return "\n".join([*lines, "", "judged:", str(self.coverage)])


def kind_of(result: str) -> str:
    """A result without the number of its operand: ``dcores`` of ``dcores.2``."""
    return result.partition(".")[0]
