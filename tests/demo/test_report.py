"""The table and its notes: what the result holds, in ASCII, and never cut."""

import dataclasses
import io
import re

import pytest

from tlinear.demo.report import notes, show
from tlinear.demo.result import Accuracy, Fit, Infeasible, Result, Row
from tlinear.demo.settings import Settings


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def result():
    return Result(
        settings=Settings(seed=7),
        source="somewhere",
        n_train=300,
        n_test=200,
        n_pixels=64,
        n_classes=10,
        dtype="float32",
        n_timed=128,
        rows=(
            Row("dense", None, 65792, 1.0, Accuracy(0.915, 0.92), 100e-6, 1.0),
            Row("cp", Fit(0.02, 20, 0.5, False, "factorized"), 1556, 42.28, Accuracy(0.4, 0.9), 50e-6, 0.5),
            Row(
                "tt",
                Fit(0.2, (1, 16, 24, 16, 1), 0.25, True, "reconstructed"),
                13056,
                5.04,
                Accuracy(0.5, 0.9),
                2e-3,
                20.0,
            ),
            Infeasible("a format with a long name", 0.0005, "rank=0.0005 is too little."),
        ),
        without_layer=Accuracy(0.1, 0.8),
        blas="1 BLAS thread (openblas)",
        seconds=12.3,
    )


def _shown(result, file):
    show(result, file)
    return file.getvalue()


def _line(text, start):
    return next(line.split() for line in text.splitlines() if line.strip().startswith(start))


def test_every_measurement_is_in_its_row(result):
    text = _shown(result, io.StringIO())
    assert _line(text, "dense") == ["dense", "65,792", "1.0x", "91.5", "92.0", "100", "1.00"]
    assert _line(text, "cp") == ["cp", "20", "1,556", "42.3x", "0.500*", "40.0", "90.0", "50", "0.50"]
    rank = ["1,", "16,", "24,", "16,", "1"]
    assert _line(text, "tt") == ["tt", *rank, "13,056", "5.0x", "0.250", "50.0", "90.0", "2,000+", "20.00"]
    assert _line(text, "a format") == ["a", "format", "with", "a", "long", "name", "0.0005", "is", "infeasible"]


def test_the_notes_say_what_was_measured(result):
    text = " ".join(notes(result))
    for part in (
        "somewhere, 300 images to train on and 200 to test on",
        "one image is 0.50 %",
        "10.0 before, 80.0 after",
        "128 test images",
        "1 BLAS thread (openblas)",
        "seed 7",
        "12.3 s",
        "a format with a long name: rank=0.0005 is too little.",
        "* the decomposition ran out of iterations",
        "+ implementation='auto' rebuilt the dense weight",
    ):
        assert part in text


def test_marks_that_are_not_used_are_not_explained(result):
    plain = dataclasses.replace(result, rows=result.rows[:1])
    assert not any("ran out" in note or "rebuilt" in note for note in notes(plain))


def test_a_file_gets_plain_ascii_but_for_the_rules(result):
    text = _shown(result, io.StringIO())
    assert text.replace("\N{BOX DRAWINGS LIGHT HORIZONTAL}", "").isascii()


@pytest.mark.parametrize("columns", [40, 80, 100, 120])
def test_a_terminal_gets_every_number_whole(result, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    text = re.sub("\\x1b[^m]*m", "", _shown(result, Terminal()))
    assert max(map(len, text.splitlines())) <= max(columns, 80)
    for number in ("65,792", "42.3x", "0.500*", "91.5", "2,000+", "20.00"):
        assert number in text
