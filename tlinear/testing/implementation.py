"""What is judged: something that takes cases and gives results, or says why it could not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from tlinear.errors import OptionError
from tlinear.testing.case import Case, Results
from tlinear.testing.judge import Rules, judge
from tlinear.testing.verdict import Finding, Verdict

__all__ = ["Failure", "Function", "Implementation", "Outcome", "find_function", "verdict_of"]


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
        return [self._one(case) for case in cases]

    def _one(self, case: Case) -> Outcome:
        before = [array.copy() for _, array in case.arrays()]
        given = case if self.namespace is None else case.map(self._converted)
        try:
            results = self.function(given)
        except Exception as error:  # whatever an implementation raises is its verdict
            return Failure(f"it raised {type(error).__name__}: {error}")
        for (name, array), copy in zip(case.arrays(), before, strict=True):
            if not np.array_equal(array, copy, equal_nan=True):
                return Failure(f"it changed {name}, which it was given")
        return results

    def _converted(self, array: Any) -> Any:
        return self.namespace.asarray(np.array(array, order="C"))


def verdict_of(case: Case, outcome: Outcome, rules: Rules) -> Verdict:
    """What there is to say of an outcome."""
    if isinstance(outcome, Failure):
        return Verdict(findings=[Finding(case, "y", "form", f"{outcome.message}.")])
    return judge(case, outcome, rules)


def find_function(given: str) -> Any:
    """The function of ``module:name``, which may lie in the current directory.

    Raises
    ------
    OptionError
        When there is none.
    """
    module, _, name = given.partition(":")
    if not name:
        raise OptionError(f"{given!r} names no function. Give it as module:function, such as my_layer:run.")
    sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{given!r} cannot be imported: {error}.") from None
    finally:
        sys.path.remove("")
    if not callable(function):
        raise OptionError(f"{given!r} is of type {type(function).__name__}, and cannot be called.")
    return function
