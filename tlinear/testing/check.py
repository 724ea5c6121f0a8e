"""Check an implementation: draw cases, judge what it makes of them, and show the smallest that it gets wrong."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky, FlakyFailure, NoSuchExample
from hypothesis.strategies import SearchStrategy

from tlinear.errors import OptionError
from tlinear.formats import FORMATS, find_format
from tlinear.progress import Progress, silent
from tlinear.shapes import is_integer
from tlinear.testing.arithmetic import judged_dtypes
from tlinear.testing.case import Case, Results
from tlinear.testing.implementation import Function, Implementation
from tlinear.testing.judge import Rules
from tlinear.testing.reference import Convention
from tlinear.testing.report import Report, kind_of
from tlinear.testing.session import EXPLAINED_BY, Session, size_of
from tlinear.testing.strategies import DTYPES, cases
from tlinear.testing.verdict import Finding

__all__ = ["check", "check_choices", "drawn"]

_IN_MEMORY = 1000
_SHRINKS = 200
_MOST_TRIED = 400
_MOST_KINDS = 4
_MOST_LAYERS = 64
_MOST_MODES = 32


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
    progress: Progress = silent,
) -> Report:
    r"""Judge an implementation of the layer, forward and backward, on random cases.

    Every result is judged by the strongest tier that applies: integers that nothing can round, and fractions, must
    be equal; other numbers must lie within the bound that rounding allows, entry by entry,
    :math:`|\hat y - y| \le \gamma_K \sum \prod |operands|`; and a share of the cases must keep the identities of
    :mod:`tlinear.testing.identities`.  What fails is shrunk to a small case, and compared with known mistakes.

    Parameters
    ----------
    implementation : callable
        From a :class:`Case` to a dict of arrays: ``y``, and as many of ``dx``, ``dbias`` and the gradients of the
        operands as it has.  Or an external program, as :class:`tlinear.testing.Program`.
    formats, dtypes, n_layers : sequences
        To draw from.  Beside the floating dtypes there are 'int64', and 'object', which are Python's fractions, for
        what computes in any arithmetic.
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
    progress : callable, optional
        Called with what is being done and the fraction of all cases that is judged.

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
    check_choices(formats, n_layers)
    for name, number, least, most in (
        ("max_examples", max_examples, 1, math.inf),
        ("max_modes", max_modes, 1, _MOST_MODES),
        ("seed", seed, 0, math.inf),
    ):
        if not is_integer(number) or not least <= number <= most:
            limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
            raise OptionError(f"{name}={number!r} must be an integer {limits}.")
    rules = Rules(convention, unit_roundoff, terms)
    judged: Implementation = Function(implementation, namespace) if callable(implementation) else implementation
    names = tuple(map(str, judged_dtypes(dtypes)))
    drawing = partial(
        cases, formats=formats, dtypes=names, n_layers=n_layers, max_modes=max_modes, large=large, tangents=jvp
    )
    strategy = drawing()
    session = Session(judged, rules, seed)
    for part in range(0, max_examples, _IN_MEMORY):
        n = min(_IN_MEMORY, max_examples - part)
        progress("drawing cases", part / max_examples)
        session.sweep(drawn(strategy, n, seed + part), _scaled(progress, part / max_examples, n / max_examples))
    if session.worst and session.rounded:  # of certified cases there may be too few to tell why
        whole = drawing(values=("whole",))
        session.sweep(drawn(whole, EXPLAINED_BY * len(formats), seed))
    kinds = sorted(session.worst, key=lambda kind: kind[1] == "identity")  # which say less of what is wrong
    failures = []
    for kind in kinds[:_MOST_KINDS]:
        progress(f"looking for the smallest case in which {kind[0]} is wrong", 1.0)
        failures.append(_shrunk(session, kind, strategy))
    return session.report(failures, f"seed {seed}")


def _scaled(progress: Progress, start: float, share: float) -> Progress:
    return lambda what, fraction: progress(what, start + share * fraction)


def _shrunk(session: Session, kind: tuple[str, str], strategy: SearchStrategy[Case]) -> Finding:
    """The smallest case that can be found to show this kind of finding."""
    known = session.worst[kind]
    if known.tier != "identity":
        known = _smaller(session, kind, known, strategy)
    return replace(known, cause=session.cause(kind[0]))


def _smaller(session: Session, kind: tuple[str, str], known: Finding, strategy: SearchStrategy[Case]) -> Finding:
    found, n_tried = known, 0

    def shows(case: Case) -> bool:
        nonlocal found, n_tried
        n_tried += 1
        if n_tried > _MOST_TRIED:
            return False
        for finding in session.verdict(case).findings:
            same = kind_of(finding.result) == kind[0] and (finding.tier == "form") == (kind[1] == "form")
            if same:
                if size_of(case) <= size_of(found.case):
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
    # nothing smaller, or not the same twice, or enough tried
    with contextlib.suppress(NoSuchExample, Flaky, FlakyFailure):
        hypothesis.find(strategy, shows, settings=options, random=random.Random(session.seed))
    return found


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


def check_choices(formats: Sequence[str], n_layers: Sequence[int]) -> None:
    """Raise :class:`OptionError` or :class:`FactorizationError` where these are none to draw from."""
    for name, values in (("formats", formats), ("n_layers", n_layers)):
        if isinstance(values, str) or not len(values):
            raise OptionError(f"{name}={values!r} names nothing to draw from. Pass a list, such as {name}=[...].")
    for name in formats:
        find_format(name)
    if any(not is_integer(n) or not 1 <= n <= _MOST_LAYERS for n in n_layers):
        raise OptionError(f"n_layers={list(n_layers)} must be numbers of layers, each from 1 to {_MOST_LAYERS}.")
