"""Check an implementation: draw cases, judge what it makes of them, and show the smallest that it gets wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky, FlakyFailure, NoSuchExample
from hypothesis.strategies import SearchStrategy

from tlinear.errors import OptionError
from tlinear.formats import FORMATS, find_format
from tlinear.shapes import is_integer
from tlinear.testing.case import Case, Results
from tlinear.testing.certificate import is_certified
from tlinear.testing.diagnosis import cause_of
from tlinear.testing.identities import IDENTITIES
from tlinear.testing.implementation import Failure, Function, Implementation, Outcome, verdict_of
from tlinear.testing.judge import Rules
from tlinear.testing.mutants import FEW_BITS
from tlinear.testing.reference import Convention
from tlinear.testing.report import Coverage, Report, kind_of
from tlinear.testing.strategies import DTYPES, cases
from tlinear.testing.verdict import Finding, Verdict, as_arrays

__all__ = ["Session", "check", "drawn"]

_AT_ONCE = 100
_IN_MEMORY = 1000
_SHRINKS = 200
_MOST_TRIED = 400
_MOST_KINDS = 4
_EXPLAINED_BY = 24
_IDENTITY_EVERY = 4


def check(
    implementation: Callable[[Case], Results] | Implementation,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    dtypes: Sequence[str] = DTYPES,
    n_layers: Sequence[int] = (1,),
    max_examples: int = 1000,
    max_modes: int = 4,
    large: bool = True,
    jvp: bool = False,
    seed: int = 0,
    convention: Convention = "adjoint",
    unit_roundoff: float | None = None,
    terms: int | None = None,
    namespace: Any = None,
) -> Report:
    r"""Judge an implementation of the layer, forward and backward, on random cases.

    Every result is judged by the strongest tier that applies: integers that nothing can round must be
    equal; other numbers must lie within the bound that rounding allows, entry by entry,
    :math:`|\hat y - y| \le \gamma_K \sum \prod |operands|`; and a share of the cases must keep the identities of
    :mod:`tlinear.testing.identities`.  What fails is shrunk to a small case, and compared with known mistakes.

    Parameters
    ----------
    implementation : callable
        From a :class:`Case` to a dict of arrays: ``y``, and as many of ``dx``, ``dbias`` and the gradients of the
        operands as it has.  Or an external program, as :class:`tlinear.testing.Program`.
    formats, dtypes, n_layers : sequences
        To draw from.
    max_examples : int
        How many cases.
    max_modes : int
        The most modes of one side.
    large : bool
        Whether there is a mode of 8, or a batch of 65 or 1000, now and then.
    jvp : bool
        Whether cases have tangents, along which ``jvp`` is the derivative of y.
    seed : int
        The same cases for the same seed.
    convention : {'adjoint', 'transpose'}
        Which gradient of complex arrays is meant, PyTorch's or JAX's.
    unit_roundoff : float, optional
        Of hardware that rounds otherwise than its dtype says, such as ``2**-11`` for TF32.
    terms : int, optional
        How many roundings an entry goes through there.
    namespace : module, optional
        An array library whose ``asarray`` makes its arrays of a case's, such as ``torch``.

    Returns
    -------
    Report
        ``report.passed``, ``report.failures``; printed it says what is wrong and what was judged.

    Raises
    ------
    OptionError, FactorizationError
        When an argument is none of the above.

    Examples
    --------
    >>> from tlinear import micro
    >>> def layer(case):
    ...     network = micro.tt([case.operands[name] for name in case.operands])
    ...     y = micro.forward(case.x.reshape(-1, case.in_features), network, case.in_shape, case.out_shape, case.bias)
    ...     return {"y": y.reshape(*case.batch_shape, case.out_features)}
    >>> check(layer, formats=["tt"], max_examples=20).passed
    True
    """
    _check_arguments(formats, dtypes, n_layers, max_examples)
    rules = Rules(convention, unit_roundoff, terms)
    judged: Implementation = Function(implementation, namespace) if callable(implementation) else implementation
    drawing = partial(
        cases, formats=formats, dtypes=dtypes, n_layers=n_layers, max_modes=max_modes, large=large, tangents=jvp
    )
    strategy = drawing()
    session = Session(judged, rules, seed)
    for part in range(0, max_examples, _IN_MEMORY):
        session.sweep(drawn(strategy, min(_IN_MEMORY, max_examples - part), seed + part))
    if session.worst and session.rounded:  # of certified cases there may be too few to tell why
        whole = drawing(values=("whole",))
        session.sweep(drawn(whole, _EXPLAINED_BY * len(formats), seed))
    failures = [session.shrunk(kind, strategy) for kind in list(session.worst)[:_MOST_KINDS]]
    return session.report(failures, f"seed {seed}")


class Session:
    """One check: what was found so far."""

    def __init__(self, implementation: Implementation, rules: Rules, seed: int) -> None:
        self.implementation, self.rules = implementation, rules
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.coverage = Coverage()
        self.worst: dict[tuple[str, str], Finding] = {}
        self.warnings: list[str] = []
        self.n_cases = 0
        self.failing: list[tuple[Case, Outcome]] = []
        self.passing: list[tuple[Case, Outcome]] = []
        self.rounded: list[tuple[Case, Outcome]] = []

    def sweep(self, drawn: Sequence[Case]) -> None:
        """Judge many cases; remember the smallest of each kind of finding."""
        for start in range(0, len(drawn), _AT_ONCE):
            batch = drawn[start : start + _AT_ONCE]
            outcomes = self.implementation.run(batch)
            for case, outcome in zip(batch, outcomes, strict=True):
                self._take(case, outcome, verdict_of(case, outcome, self.rules))
            certified = [k for k, case in enumerate(batch) if self._is_certified(case)]
            chosen = [k for k in certified[::_IDENTITY_EVERY] if not isinstance(outcomes[k], Failure)]
            self._keep_identities([batch[k] for k in chosen], [outcomes[k] for k in chosen])
            largest = max(range(len(batch)), key=lambda k: batch[k].dy.size)
            self._rerun([batch[largest]], [outcomes[largest]])

    def _take(self, case: Case, outcome: Outcome, verdict: Verdict) -> None:
        self.n_cases += 1
        self.coverage.count(case, verdict)
        self.warnings += verdict.warnings
        for finding in verdict.findings:
            self._remember(finding)
        if verdict.findings and all(finding.tier == "bound" for finding in verdict.findings):
            self.rounded = [*self.rounded, (case, outcome)][:_EXPLAINED_BY]
        elif self._is_certified(case):
            kept = self.failing if verdict.findings else self.passing
            if len(kept) < _EXPLAINED_BY:
                kept.append((case, outcome))

    def _remember(self, finding: Finding) -> None:
        kind = kind_of(finding.result), finding.tier if finding.tier in ("form", "identity") else "value"
        known = self.worst.get(kind)
        if known is None or _size(finding.case) < _size(known.case):
            self.worst[kind] = finding

    def _is_certified(self, case: Case) -> bool:
        bits = self.rules.arithmetic(case).bits
        return all(is_certified(case, name, bits) for name in case.results)

    def _keep_identities(self, chosen: Sequence[Case], outcomes: Sequence[Outcome]) -> None:
        asked: list[tuple[Any, list[Case], Outcome]] = []
        for case, outcome in zip(chosen, outcomes, strict=True):
            for identity in IDENTITIES:
                others = identity.others(replace(case, tangents=None), self.rng)
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
                if name not in second or not np.array_equal(first[name], second[name], equal_nan=True):
                    self.warnings.append(f"{name} is not the same when computed again: {case}")

    def report(self, failures: Sequence[Finding], source: str) -> Report:
        """What it comes to."""
        return Report(
            self.implementation.name, self.n_cases, tuple(failures), tuple(self.warnings), self.coverage, source
        )

    def shrunk(self, kind: tuple[str, str], strategy: SearchStrategy[Case]) -> Finding:
        """The smallest case that can be found to show this kind of finding."""
        known = self.worst[kind]
        if known.tier != "identity":
            known = self._smaller(kind, known, strategy)
        return replace(known, cause=self.cause(kind[0]))

    def _smaller(self, kind: tuple[str, str], known: Finding, strategy: SearchStrategy[Case]) -> Finding:
        found, n_tried = known, 0

        def shows(case: Case) -> bool:
            nonlocal found, n_tried
            n_tried += 1
            if n_tried > _MOST_TRIED:
                return False
            verdict = verdict_of(case, self.implementation.run([case])[0], self.rules)
            for finding in verdict.findings:
                same = kind_of(finding.result) == kind[0] and (finding.tier == "form") == (kind[1] == "form")
                if same:
                    if _size(case) <= _size(found.case):
                        found = finding
                    return True
            return False

        options = settings(
            max_examples=_SHRINKS,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        try:
            hypothesis.find(strategy, shows, settings=options, random=random.Random(self.seed))
        except (NoSuchExample, Flaky, FlakyFailure):  # nothing smaller, or not the same twice, or enough tried
            return known
        return found

    def cause(self, kind: str) -> str:
        """The known mistake that explains what was found of a kind of result, if one does."""
        if self.failing:
            taken = self.failing + self.passing
            return cause_of([case for case, _ in taken], [outcome for _, outcome in taken], kind)
        few = sum(self._is_rounding(*pair) for pair in self.rounded)
        return FEW_BITS if few > len(self.rounded) // 2 else ""  # in some, numbers may have underflown too

    def _is_rounding(self, case: Case, outcome: Outcome) -> bool:
        """Whether arithmetic of half of the bits explains an outcome, and does so easily."""
        half = 2.0 ** -(self.rules.arithmetic(case).bits // 2 - 2)
        verdict = verdict_of(case, outcome, replace(self.rules, unit_roundoff=half))
        return verdict.passed and not verdict.warnings


def _usable(case: Case, outcome: Outcome) -> dict[str, Any] | None:
    """The results as arrays, if they have the right form."""
    if isinstance(outcome, Failure):
        return None
    try:
        arrays = as_arrays({name: value for name, value in outcome.items() if value is not None})
    except TypeError:
        return None
    arrays = {name: array for name, array in arrays.items() if name not in case.stages}
    fits = "y" in arrays and all(name in case.results and a.shape == case.shape_of(name) for name, a in arrays.items())
    return arrays if fits and all(np.isfinite(array).all() for array in arrays.values()) else None


def drawn(strategy: SearchStrategy[Case], n: int, seed: int) -> list[Case]:
    """The cases of a seed."""
    found: list[Case] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=n,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def _size(case: Case) -> tuple[int, int]:
    return sum(array.size for _, array in case.arrays()), len(case.in_shape) + len(case.out_shape)


def _check_arguments(formats: Sequence[str], dtypes: Sequence[str], n_layers: Sequence[int], max_examples: int) -> None:
    for name, values in (("formats", formats), ("dtypes", dtypes), ("n_layers", n_layers)):
        if isinstance(values, str) or not len(values):
            raise OptionError(f"{name}={values!r} names nothing to draw from. Pass a list, such as {name}=[...].")
    for name in formats:
        find_format(name)
    for dtype in dtypes:
        if np.dtype(dtype).kind not in "fc":
            raise OptionError(f"dtypes holds {dtype!r}. Pass floating or complex dtypes, such as 'float32'.")
    if any(not is_integer(n) or n < 1 for n in n_layers):
        raise OptionError(f"n_layers={list(n_layers)} must be numbers of layers, each at least 1.")
    if not is_integer(max_examples) or max_examples < 1:
        raise OptionError(f"max_examples={max_examples!r} must be an integer of at least 1.")
