"""What the judge found: about one result of one case, and about one case."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.testing.case import Case

__all__ = ["Finding", "Tier", "Verdict"]

Tier: TypeAlias = Literal["form", "exact", "certified", "bound", "identity"]


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    case : Case
    result : str
        Which result, by its name.
    tier : str
        By what it was judged: its 'form', 'exact' or 'certified' equality, the 'bound', or an 'identity'.
    message : str
        What is wrong, in a sentence.
    index : tuple of int, or None
        The entry that is farthest off.
    expected, found : number, or None
        What it should be, and is.
    step : str
        The first stage of the contraction that is wrong, where the implementation returns them.
    cause : str
        What computes just that, if a known mistake does.
    vector : str
        The identifier of the case and why it is there, where it is a test vector.
    """

    case: Case
    result: str
    tier: Tier
    message: str
    index: tuple[int, ...] | None = None
    expected: Any = None
    found: Any = None
    step: str = ""
    cause: str = ""
    vector: str = ""

    def __str__(self) -> str:
        lines = [f"{self.result} is wrong ({self.tier}): {self.message}"]
        if self.vector:
            lines.append(f"  vector    {self.vector}")
        lines.append(f"  case      {self.case}")
        if self.index is not None:
            lines.append(f"  entry     {self.result}[{', '.join(map(str, self.index))}]")
            lines.append(f"  expected  {_number(self.expected)}")
            lines.append(f"  got       {_number(self.found)}")
        if self.step:
            lines.append(f"  step      {self.step} is the first intermediate result that is wrong")
        if self.cause:
            lines.append(f"  cause     {self.cause}")
        return "\n".join(lines)


@dataclass
class Verdict:
    """What is to be said of one case.

    Attributes
    ----------
    findings : list of Finding
        What is wrong; empty if nothing is.
    warnings : dict of str to str
        What is possible, but suspicious: for each kind of it, one that shows it.
    judged : dict of str to str
        The tier by which each result was judged.
    not_judged : dict of str to str
        Why a result was not judged.
    """

    findings: list[Finding] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)
    judged: dict[str, Tier] = field(default_factory=dict)
    not_judged: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def add(self, other: Verdict) -> None:
        """Say what another says too."""
        self.findings += other.findings
        self.warnings |= {kind: text for kind, text in other.warnings.items() if kind not in self.warnings}
        self.judged |= other.judged
        self.not_judged |= other.not_judged


def _number(value: Any) -> str:
    return np.format_float_positional(value, unique=True, trim="0") if isinstance(value, np.floating) else str(value)


def as_arrays(results: Mapping[str, Any]) -> dict[str, Array]:
    """Every result as a NumPy array, also those that other libraries hold on this machine.

    Raises
    ------
    TypeError
        For what is no array.
    """
    return {name: _as_array(name, value) for name, value in results.items()}


def _as_array(name: str, value: Any) -> Array:
    for read in (np.asarray, _detached, _fetched, np.from_dlpack):
        try:
            array = read(value)
        except Exception:  # whatever another library raises, it is no array for this reader
            continue
        if array.dtype.kind in "biufc" or (array.dtype.kind == "O" and all(map(_is_number, array.flat))):
            return array
    raise TypeError(f"{name} is of type {type(value).__name__}, which is no array of numbers")


def _detached(value: Any) -> Array:
    return np.asarray(value.detach().cpu().resolve_conj().numpy())


def _fetched(value: Any) -> Array:
    """From a GPU, as CuPy has it."""
    return np.asarray(value.get())


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number)
