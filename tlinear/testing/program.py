"""An external program as an implementation: it reads cases from a directory, and writes results to another."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlinear.errors import OptionError, ProgramError, VectorError
from tlinear.testing.case import Case
from tlinear.testing.files import VERSION, array_from_json, case_to_json, dumps, results_from_text, text_of
from tlinear.testing.implementation import Failure, Outcome

__all__ = ["Program"]

_TAIL = 400
_FEW = 32
_LOOK_EVERY = 0.5
_MOST_WRITTEN = 256 * 10**6
_WRITTEN = ("results.json", "results.txt")
_NOT_STARTED = -1


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

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise OptionError("The command is empty. Give the path of a program, such as './port'.")
        if not 0.0 < self.timeout < math.inf:
            raise OptionError(f"timeout={self.timeout} must be a number of seconds above 0.")

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """The results of each case.

        Raises
        ------
        OptionError
            When a case holds fractions, of which no decimal number is equal.
        ProgramError
            When the program cannot be started, crashes, takes too long, or writes what cannot be read; it names the
            first case that this happens with alone, if there is one.
        """
        if any(case.dtype.kind == "O" for case in cases):
            raise OptionError("A program is given decimal numbers, and no fractions. Leave 'object' out of the dtypes.")
        try:
            return self._call(cases)
        except ProgramError as error:
            culprit = None if error.exit_code == _NOT_STARTED else self._culprit(cases)
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
        said = Path(given.parent, "said")
        with said.open("wb") as output:
            try:
                running = subprocess.Popen(
                    [*self.command, str(given), str(wanted)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise ProgramError(
                    f"{self.name} cannot be started: {why}. Give the path of a program.", _NOT_STARTED
                ) from None
            try:
                self._watch(running, (said, *(Path(wanted, name) for name in _WRITTEN)))
            finally:  # and with it whatever it has started
                with contextlib.suppress(OSError):
                    os.killpg(running.pid, signal.SIGKILL)
                running.wait()
        code = running.returncode
        if code:
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
            raise ProgramError(f"{self.name} {ended}. It said: {_tail(said) or 'nothing.'}", max(0, code))

    def _watch(self, running: subprocess.Popen[bytes], written: Sequence[Path]) -> None:
        """Wait until the program ends; not longer than it may take, nor until it has filled the disk."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                running.wait(min(_LOOK_EVERY, max(0.0, end - time.monotonic())))
                late = False
            except subprocess.TimeoutExpired:
                late = True
            for path in written:
                if path.exists() and path.stat().st_size > _MOST_WRITTEN:
                    raise ProgramError(f"{self.name} wrote more than {_MOST_WRITTEN // 10**6} MB. Mend it.")
            if not late:
                return
            if time.monotonic() >= end:
                raise ProgramError(f"{self.name} took more than {self.timeout:g} s. Raise the timeout, or mend it.")

    def _read(self, wanted: Path, cases: Sequence[Case]) -> list[Outcome]:
        as_json, as_text = (Path(wanted, name) for name in _WRITTEN)
        try:
            if as_json.is_file():
                found = _from_json(as_json.read_text(encoding="utf-8"), cases)
            elif as_text.is_file():
                found = results_from_text(as_text.read_text(encoding="utf-8"), cases)
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


def _tail(file: Path) -> str:
    """The last of what was said."""
    with file.open("rb") as said:
        said.seek(max(0, file.stat().st_size - _TAIL))
        return said.read().decode(errors="replace").strip()


def _from_json(text: str, cases: Sequence[Case]) -> list[Outcome]:
    try:
        stored: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
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
