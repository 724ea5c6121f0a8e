"""An external program as an implementation: it reads cases from a directory, and writes results to another."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlinear.errors import ProgramError, VectorError
from tlinear.testing.case import Case
from tlinear.testing.files import VERSION, array_from_json, case_to_json, dumps, results_from_text, text_of
from tlinear.testing.implementation import Failure, Outcome

__all__ = ["Program"]

_TAIL = 400


@dataclass(frozen=True)
class Program:
    """A program that is called as ``program CASES RESULTS`` with two directories.

    It finds ``cases.json`` in the first, and the same as words in ``cases.txt``; see :mod:`tlinear.testing.files`.
    It writes ``results.json``, an object from the number of a case to its arrays by name, or ``results.txt`` to the
    second.  What it refuses has ``error`` and why in place of the arrays.

    Attributes
    ----------
    command : tuple of str
        The program and arguments that come before the two directories.
    timeout : float
        Seconds that one call, of up to a hundred cases, may take.
    """

    command: tuple[str, ...]
    timeout: float = 60.0

    @property
    def name(self) -> str:
        """The command."""
        return " ".join(self.command)

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """The results of each case.

        Raises
        ------
        ProgramError
            When the program cannot be started, crashes, takes too long, or writes what cannot be read; it names the
            first case that this happens with alone, if there is one.
        """
        try:
            return self._call(cases)
        except ProgramError as error:
            culprit = self._culprit(cases)
            if culprit is None or len(cases) == 1:
                raise
            raise ProgramError(f"{error} It happens with this case alone: {culprit}.", error.exit_code) from None

    def _culprit(self, cases: Sequence[Case]) -> Case | None:
        for case in cases if len(cases) <= _FEW else cases[:: max(1, len(cases) // _FEW)]:
            try:
                self._call([case])
            except ProgramError:
                return case
        return None

    def _call(self, cases: Sequence[Case]) -> list[Outcome]:
        with tempfile.TemporaryDirectory(prefix="tlinear-") as folder:
            given, wanted = Path(folder, "cases"), Path(folder, "results")
            given.mkdir()
            wanted.mkdir()
            stored = [{"id": number} | case_to_json(case) for number, case in enumerate(cases)]
            Path(given, "cases.json").write_text(dumps({"version": VERSION, "cases": stored}))
            Path(given, "cases.txt").write_text(text_of(cases))
            self._execute(given, wanted)
            return self._read(wanted, cases)

    def _execute(self, given: Path, wanted: Path) -> None:
        try:
            done = subprocess.run(
                [*self.command, str(given), str(wanted)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except OSError as error:
            raise ProgramError(
                f"{self.name} cannot be started: {error.strerror}. Give the path of a program."
            ) from None
        except subprocess.TimeoutExpired:
            raise ProgramError(
                f"{self.name} took more than {self.timeout:g} s. Raise the timeout, or mend it."
            ) from None
        if done.returncode:
            ended = (
                f"was killed by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
            )
            said = (done.stderr or done.stdout).strip()[-_TAIL:] or "nothing"
            raise ProgramError(f"{self.name} {ended}. It said: {said}", max(0, done.returncode))

    def _read(self, wanted: Path, cases: Sequence[Case]) -> list[Outcome]:
        as_json, as_text = Path(wanted, "results.json"), Path(wanted, "results.txt")
        try:
            if as_json.exists():
                found = _from_json(as_json.read_text(), cases)
            elif as_text.exists():
                found = results_from_text(as_text.read_text(), cases)
            else:
                raise ProgramError(f"{self.name} wrote neither results.json nor results.txt into its second directory.")
        except (VectorError, UnicodeDecodeError) as error:
            raise ProgramError(f"{self.name} wrote what cannot be read. {error}") from None
        missing = [number for number, outcome in enumerate(found) if not isinstance(outcome, Failure) and not outcome]
        if missing:
            raise ProgramError(
                f"{self.name} gave no results of {len(missing)} of {len(cases)} cases, {missing[:5]} first."
            )
        return found


_FEW = 32


def _from_json(text: str, cases: Sequence[Case]) -> list[Outcome]:
    try:
        stored: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise VectorError(f"results.json is no JSON: {error}.") from None
    if not isinstance(stored, Mapping):
        raise VectorError("results.json is no object from the number of a case to its arrays.")
    unknown = set(stored) - {str(number) for number in range(len(cases))}
    if unknown:
        raise VectorError(f"results.json names cases that were not given: {sorted(unknown)[:5]}.")
    found: list[Outcome] = []
    for number, case in enumerate(cases):
        arrays = stored.get(str(number), {})
        if not isinstance(arrays, Mapping):
            raise VectorError(f"The results of case {number} are no object from names to arrays.")
        if isinstance(arrays.get("error"), str):
            found.append(Failure(f"it refused: {arrays['error']}"))
            continue
        found.append({name: array_from_json(a, case.dtype, f"{name} of case {number}") for name, a in arrays.items()})
    return found
