"""What a check came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tlinear.testing.case import Case
from tlinear.testing.verdict import Finding, Verdict

__all__ = ["Coverage", "Report"]

_MOST_SHOWN = 5
_ASPECTS = ("format", "order", "dtype", "batch axes", "bias", "layers")


@dataclass
class Coverage:
    """How many cases were judged of each kind, and by which tier each of their results.

    Attributes
    ----------
    combinations : Counter
        How many cases had each combination of format, order, dtype, batch axes, bias and layers.
    tiers : dict of str to Counter
        For each kind of result, how many were judged by which tier, or not at all.
    n_judged : int
        How many results were judged.
    """

    combinations: Counter[tuple[str, ...]] = field(default_factory=Counter)
    tiers: dict[str, Counter[str]] = field(default_factory=dict)
    n_judged: int = 0

    def count(self, case: Case, verdict: Verdict) -> None:
        """Count one case."""
        batch = f"{len(case.batch_shape)}{', empty' if 0 in case.batch_shape else ''}"
        self.combinations[
            case.format,
            str(len(case.in_shape) + len(case.out_shape)),
            str(case.dtype),
            batch,
            "no" if case.bias is None else "yes",
            str(case.n_layers),
        ] += 1
        self.n_judged += len(verdict.judged) + len(verdict.findings)
        for result, tier in (*verdict.judged.items(), *verdict.not_judged.items()):
            self.tiers.setdefault(kind_of(result), Counter())[tier] += 1

    def of(self, aspect: str) -> dict[str, Counter[str]]:
        """For each value of an aspect, such as 'dtype', how many cases of each format had it."""
        at = _ASPECTS.index(aspect)
        found: dict[str, Counter[str]] = {
            value: Counter() for value in sorted({each[at] for each in self.combinations})
        }
        for combination, n in self.combinations.items():
            found[combination[at]][combination[0]] += n
        return found

    def __str__(self) -> str:
        formats = list(self.of("format"))
        width = max(map(len, ("blocktt", *formats)))
        lines = ["  " + " " * 21 + " ".join(f"{name:>{width}}" for name in formats)]
        for aspect in _ASPECTS[1:]:
            lines += [
                f"  {'' if k else aspect:<11}{value:<10}" + " ".join(f"{counts[name]:>{width}}" for name in formats)
                for k, (value, counts) in enumerate(self.of(aspect).items())
            ]
        lines.append(f"  {len(self.combinations)} combinations of {', '.join(_ASPECTS)}")
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
        What is possible, but suspicious: one line for each kind of it.
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
        """Whether something was judged, and nothing is wrong."""
        return not self.failures and self.coverage.n_judged > 0

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED" if self.failures else "could not be judged"
        lines = [f"{self.name} {verdict}: {self.n_cases} cases, {self.source}"]
        for failure in self.failures:
            lines += ["", str(failure)]
        if self.warnings:
            shown = list(self.warnings[:_MOST_SHOWN])
            left = len(self.warnings) - len(shown)
            lines += ["", "possible, but suspicious:", *shown, *([f"and {left} kinds more"] if left else [])]
        return "\n".join([*lines, "", "judged:", str(self.coverage)])


def kind_of(result: str) -> str:
    """A result without the number of its operand: ``dcores`` of ``dcores.2``."""
    return result.partition(".")[0]
