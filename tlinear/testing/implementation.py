"""What is judged: something that takes cases and gives results, or says why it could not."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import OptionError
from tlinear.testing.case import Case, Results
from tlinear.testing.judge import Rules, judge
from tlinear.testing.verdict import Finding, Verdict, as_arrays

__all__ = [
    "Failure",
    "Function",
    "Implementation",
    "Outcome",
    "find_function",
    "find_module",
    "shared_memory",
    "verdict_of",
]


@dataclass(frozen=True)
class Failure:
    """Why there are no results.

    Attributes
    ----------
    message : str
    """

    message: str


Outcome: TypeAlias = Mapping[str, Any] | Failure


class Implementation(Protocol):
    """Something that can be judged."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """The results of each case, or why there are none."""
        ...


@dataclass(frozen=True)
class Function:
    """A Python function from a case to its results.

    Attributes
    ----------
    function : callable
    namespace : module, optional
        What converts the arrays of a case, by its ``asarray``, before the function sees them.
    """

    function: Callable[[Case], Results]
    namespace: Any = None

    @property
    def name(self) -> str:
        """That of the function."""
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """The results of each case, or why there are none."""
        outcomes, kept = [], []
        for case in cases:
            outcomes.append(self._one(case))
            kept.append(_copied(outcomes[-1]))
        for number, copies in enumerate(kept):
            now = _readable(outcomes[number])
            changed = [name for name, copy in copies.items() if not _equal(copy, now.get(name))]
            if changed:
                outcomes[number] = Failure(f"a later call changes {changed[0]}, which it returned before")
        return outcomes

    def _one(self, case: Case) -> Outcome:
        before = [array.copy() for _, array in case.arrays()]
        given = case if self.namespace is None else case.map(self._converted)
        try:
            results = self.function(given)
        except (Exception, SystemExit) as error:  # whatever an implementation raises is its verdict
            return Failure(f"it raised {type(error).__name__}: {error}")
        changed = []
        for (name, array), copy in zip(case.arrays(), before, strict=True):
            if not _equal(array, copy):
                array[...] = copy  # the case is judged again, and shown
                changed.append(name)
        return Failure(f"it changed {changed[0]}, which it was given") if changed else results

    def _converted(self, array: Any) -> Any:
        return self.namespace.asarray(np.array(array, order="C"))


def verdict_of(case: Case, outcome: Outcome, rules: Rules) -> Verdict:
    """What there is to say of an outcome."""
    if isinstance(outcome, Failure):
        return Verdict(findings=[Finding(case, "y", "form", f"{outcome.message}.")])
    return judge(case, outcome, rules)


def shared_memory(case: Case, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Which results lie in the memory of which arrays of the case."""
    if isinstance(outcome, Mapping):
        for name, array in _readable(outcome).items():
            for other, given in case.arrays():
                if np.may_share_memory(array, given) and np.shares_memory(array, given):
                    yield name, other


def _readable(outcome: Any) -> dict[str, Array]:
    """Those results that are arrays."""
    found: dict[str, Array] = {}
    for name, value in outcome.items() if isinstance(outcome, Mapping) else ():
        with contextlib.suppress(TypeError):
            found |= as_arrays({str(name): value})
    return found


def _copied(outcome: Any) -> dict[str, Array]:
    return {name: array.copy() for name, array in _readable(outcome).items()}


def _equal(one: Array, other: Array | None) -> bool:
    """Whether nothing differs; NaN is like NaN."""
    return other is not None and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


def find_function(given: str) -> Any:
    """The function of ``module:name``, which may lie in the current directory.

    Raises
    ------
    OptionError
        When there is none.
    """
    module, _, name = given.partition(":")
    if not module or not name:
        raise OptionError(f"{given!r} names no function. Give it as module:function, such as my_layer:run.")
    try:
        function = getattr(find_module(module), name)
    except (OptionError, AttributeError) as error:
        raise OptionError(f"{given!r} cannot be imported: {str(error).rstrip('.')}.") from None
    if not callable(function):
        raise OptionError(f"{given!r} is of type {type(function).__name__}, and cannot be called.")
    return function


def find_module(name: str) -> Any:
    """A module by its name, which may lie in the current directory.

    Raises
    ------
    OptionError
        When there is none, or it raises something.
    """
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        why = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise OptionError(f"importing {name!r} failed: {why.rstrip('.')}.") from None
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove("")
