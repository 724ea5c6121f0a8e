"""Judge the results of one case: their form first, then by the strongest tier that applies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import OptionError
from tlinear.testing.arithmetic import Arithmetic, arithmetic_of
from tlinear.testing.bound import Bound, bound_of
from tlinear.testing.case import Case, remembered
from tlinear.testing.certificate import is_certified
from tlinear.testing.exact import first_difference, is_exact
from tlinear.testing.reference import Convention, reference, sums_of, widened
from tlinear.testing.verdict import Finding, Tier, Verdict, as_arrays

__all__ = ["Rules", "judge"]


@dataclass(frozen=True)
class Rules:
    """By what implementations are judged, beyond what the case says.

    Attributes
    ----------
    convention : {'adjoint', 'transpose'}
        Which gradient of a complex array is meant: ``dx = dy conj(W)^T``, as in PyTorch, or ``dy W^T``, as in JAX.
    unit_roundoff : float, optional
        Of hardware that rounds otherwise than the dtype says, such as ``2**-11`` for TF32.
    terms : int, optional
        How many roundings an entry goes through there.
    """

    convention: Convention = "adjoint"
    unit_roundoff: float | None = None
    terms: int | None = None

    def __post_init__(self) -> None:
        if self.convention not in ("adjoint", "transpose"):
            raise OptionError(f"convention={self.convention!r} is not known. Choose 'adjoint' or 'transpose'.")
        u, terms = self.unit_roundoff, self.terms
        if u is not None and not 0.0 < u < 1.0:
            raise OptionError(f"unit_roundoff={u!r} must lie between 0 and 1, such as 2**-24 for float32.")
        if terms is not None and terms < 1:
            raise OptionError(f"terms={terms!r} must be at least 1.")

    def arithmetic(self, case: Case) -> Arithmetic:
        """How the implementation of a case may round."""
        given, u = arithmetic_of(case.dtype), self.unit_roundoff
        return given if u is None else replace(given, bits=math.floor(-math.log2(u)), unit_roundoff=u)


_PLAIN = Rules()


def judge(case: Case, results: Mapping[str, Any] | Any, rules: Rules = _PLAIN) -> Verdict:
    """What there is to say of the results of a case.

    Parameters
    ----------
    case : Case
    results : dict of arrays
        By the names of :attr:`Case.results`; what is missing is not judged, but for ``y``.
    rules : Rules

    Examples
    --------
    >>> case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.array([[1.0, 2.0]]), dy=np.ones((1, 1)))
    >>> judge(case, {"y": np.array([[3.0]])}).passed
    True
    >>> print(judge(case, {"y": np.array([[4.0]])}).findings[0])
    y is wrong (certified): an integer that no rounding touches differs.
      case      dense (2,) -> (1,), rank None, batch (1,), no bias, float64
      entry     y[0, 0]
      expected  3.0
      got       4.0
    """
    verdict = Verdict()
    if not isinstance(results, Mapping):
        verdict.findings.append(Finding(case, "y", "form", f"a dict of arrays was expected, not {_kind(results)}."))
        return verdict
    for name in results:
        if name not in case.results and name not in case.stages:
            verdict.findings.append(Finding(case, str(name), "form", f"is none of {', '.join(case.results)}."))
    if results.get("y") is None:
        verdict.findings.append(Finding(case, "y", "form", "it is missing."))
    for name in case.results:
        if results.get(name) is None:
            verdict.not_judged[name] = "not returned"
            continue
        verdict.add(_judge_one(case, name, results[name], rules))
    return _with_stages(case, results, rules, verdict)


def _with_stages(case: Case, results: Mapping[str, Any], rules: Rules, verdict: Verdict) -> Verdict:
    """The verdict with that of the stages: what is wrong because a stage is, names the first of these."""
    stages = Verdict()
    for name in case.stages:
        if results.get(name) is not None:
            stages.add(_judge_one(case, name, results[name], rules))
    first = next((finding.result for finding in stages.findings), "")
    verdict.findings = [
        replace(finding, step=first) if finding.result == "y" else finding for finding in verdict.findings
    ]
    verdict.add(stages)
    return verdict


def _judge_one(case: Case, name: str, value: Any, rules: Rules) -> Verdict:
    verdict = Verdict()
    try:
        found = as_arrays({name: value})[name]
    except TypeError as error:
        verdict.findings.append(Finding(case, name, "form", f"{error}."))
        return verdict
    shape = case.shape_of(name)
    if found.shape != shape:
        verdict.findings.append(Finding(case, name, "form", f"it has shape {found.shape} instead of {shape}."))
        return verdict
    if is_exact(case.dtype):
        verdict.judged[name] = "exact"
        expected = reference(case, name, rules.convention)
        verdict.findings += _unequal(case, name, "exact", (expected, found), "an exact number differs.")
        return verdict
    if found.dtype != case.dtype:
        verdict.findings.append(Finding(case, name, "form", f"its dtype is {found.dtype} instead of {case.dtype}."))
        return verdict
    if is_certified(case, name, rules.arithmetic(case).bits):
        verdict.judged[name] = "certified"
        expected = _certified(case, name, rules.convention)
        message = "an integer that no rounding touches differs."
        verdict.findings += _unequal(case, name, "certified", (expected, found), message)
        return verdict
    verdict.add(_within_bound(case, name, found, rules))
    return verdict


@remembered
def _certified(case: Case, name: str, convention: Convention) -> Array:
    """What a certified result must be; remembered, for a case is often judged again."""
    wide = case.map(lambda array: array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))
    return reference(wide, name, convention).astype(case.dtype)


@remembered
def _expected(case: Case, name: str, rules: Rules) -> tuple[Array, Bound | None]:
    """What a result is in wider arithmetic, and how far it may be off; remembered, too."""
    wide = widened(case)
    sums, expected = sums_of(wide, name, rules.convention), reference(wide, name, rules.convention)
    of_reference = 0.0 if is_exact(expected.dtype) else float(np.finfo(expected.dtype).eps) / 2
    is_complex, arithmetic = case.dtype.kind == "c", rules.arithmetic(case)
    bound = bound_of(sums, arithmetic, is_complex=is_complex, terms=rules.terms, of_reference=of_reference)
    return expected, bound


def _within_bound(case: Case, name: str, found: Array, rules: Rules) -> Verdict:
    verdict = Verdict()
    expected, bound = _expected(case, name, rules)
    if bound is None:
        verdict.not_judged[name] = "so many roundings that no error can be told from them"
        return verdict
    verdict.judged[name] = "bound"
    error = np.asarray(abs(found.astype(expected.dtype) - expected), np.float64)
    most, typical = bound.error.reshape(found.shape), bound.typical.reshape(found.shape)
    overflown = ~np.isfinite(found) & bound.may_overflow
    wrong = ~((error <= most + bound.flushed) | overflown)
    if wrong.any():
        excess = np.where(np.isnan(error), np.inf, error - most)
        index = np.unravel_index(int(np.argmax(np.where(wrong, excess, -np.inf))), found.shape)
        message = f"it is off by {error[index]:.3g}; {bound.n_roundings} roundings explain {most[index]:.3g} at most."
        blank = Finding(case, name, "bound", message)
        verdict.findings.append(_at(blank, expected, found, index))
        return verdict
    if overflown.any():
        verdict.warnings[f"{name} overflows"] = f"{name} overflows, as it may in some order of contraction: {case}"
    if np.any((error > most) & ~overflown):
        verdict.warnings[f"{name} flushed"] = f"{name} takes subnormal numbers for zero: {case}"
    elif np.any((error > typical) & ~overflown):
        worst = float(np.max(np.where(overflown, 0.0, error) / np.where(typical > 0, typical, np.inf)))
        verdict.warnings[f"{name} unusual"] = f"{name} is off by {worst:.2g} times what is usual: {case}"
    return verdict


def _unequal(case: Case, name: str, tier: Tier, arrays: tuple[Array, Array], message: str) -> list[Finding]:
    index = first_difference(*arrays)
    return [] if index is None else [_at(Finding(case, name, tier, message), *arrays, index)]


def _at(finding: Finding, expected: Array, found: Array, index: tuple[Any, ...]) -> Finding:
    """The finding, shown at one entry."""
    value = found.dtype.type(expected[index]) if found.dtype.kind in "fc" else expected[index]
    return replace(finding, index=tuple(int(k) for k in index), expected=value, found=found[index])


def _kind(value: Any) -> str:
    return f"an object of type {type(value).__name__}"
