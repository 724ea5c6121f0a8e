"""A bar on a terminal, nothing elsewhere; what is judged does not depend on it."""

import builtins
import io
import sys

import pytest

from tlinear.progress import progress_bar, silent
from tlinear.testing import check
from tlinear.testing.mutants import right


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_nothing(capsys):
    with progress_bar() as progress:
        progress("judging", 0.5)
    assert progress is silent
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def without_rich(monkeypatch):
    find = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError("No module named 'rich'", name="rich")
        return find(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_terminal_without_rich_gets_a_line_that_is_wiped(monkeypatch, without_rich):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar() as progress:
        progress("judging cases", 0.5)
    assert " 50% judging cases" in terminal.getvalue()
    assert terminal.getvalue().splitlines()[-1].strip("\r ") == ""


def test_a_check_tells_fractions_that_never_fall():
    told = []
    report = check(
        right, formats=["dense"], dtypes=["float64"], max_examples=20, progress=lambda *args: told.append(args)
    )
    fractions = [fraction for _, fraction in told]
    assert report.passed
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert 0.9 < fractions[-1] <= 1.0
