"""What cannot be judged is told in one line, and is neither a pass nor a traceback."""

import sys

import pytest

from tlinear.cli import main
from tlinear.testing.report import Coverage, Report

MODULE = """
import sys
from tlinear.testing.mutants import right as run
"""


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """The exit code and the words of a command, in a folder with modules."""
    monkeypatch.chdir(tmp_path)
    modules = {
        "layer_right": MODULE,
        "layer_raises": "raise RuntimeError('no GPU')",
        "layer_leaves": "import sys; sys.exit(0)",
        "layer_misspelled": "def run(case)",
        "layer_needy": "import no_such_library",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    def run(*arguments):
        try:
            code = main(["check", *arguments])
        except SystemExit as stopped:  # of argparse
            code = stopped.code
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


RIGHT = ("--function", "layer_right:run", "--formats", "dense", "--dtypes", "float64")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--max-examples", "0"), "max_examples=0 must be an integer of at least 1"),
        (("--max-examples", "-3"), "max_examples=-3 must be an integer"),
        (("--max-examples", "x"), "invalid int value: 'x'"),
        (("--max-modes", "0"), "max_modes=0 must be an integer from 1 to 32"),
        (("--max-modes", "1000"), "max_modes=1000 must be an integer from 1 to 32"),
        (("--seed", "-1"), "seed=-1 must be an integer of at least 0"),
        (("--dtypes", "int8"), "dtypes holds 'int8', which is not judged"),
        (("--dtypes", "nonsense"), "dtypes holds 'nonsense'"),
        (("--dtypes", "(2,)f8"), "dtypes holds '(2'"),
        (("--dtypes", ">f8"), "dtypes holds '>f8'"),
        (("--dtypes", "longdouble"), "dtypes holds 'longdouble'"),
        (("--dtypes", ""), "names nothing to draw from"),
        (("--formats", "svd"), "'svd' is not known"),
        (("--formats", ","), "names nothing to draw from"),
        (("--layers", "x"), "'x' cannot be read. Write integers with commas between them"),
        (("--layers", "0"), "n_layers=[0] must be numbers of layers"),
        (("--layers", "1000000"), "each from 1 to 64"),
        (("--layers", ""), "names nothing to draw from"),
        (("--unit-roundoff", "nan"), "must lie between 0 and 1"),
        (("--terms", "0"), "terms=0 must be at least 1"),
        (("--timeout", "nan"), "must be a number of seconds above 0"),
        (("--timeout", "0"), "must be a number of seconds above 0"),
        (("--invalid",), "Give --vectors too"),
        (("--vectors", "--seed", "0", "--small"), "--seed, --small: of random cases, which --vectors judges none of"),
        (("--vectors", "no-such-folder"), "cannot be read"),
        (("--vectors", "/dev/null"), "is no file"),
        (("--vectors", "."), "holds no vectors"),
        (("--vectors", "--layers", "7"), "No vector is of formats dense"),
        (("--namespace", "no_such_library"), "importing 'no_such_library' failed"),
        (("--convention", "jax"), "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_asked_for(told, arguments, words):
    code, shown = told(*RIGHT, *arguments)
    assert code == 2, shown
    assert words in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--function", "layer_raises:run"), "RuntimeError: no GPU"),
        (("--function", "layer_leaves:run"), "SystemExit: 0"),
        (("--function", "layer_misspelled:run"), "SyntaxError"),
        (("--function", "layer_needy:run"), "No module named 'no_such_library'"),
        (("--function", ":run"), "names no function"),
        (("--function", "..layer_right:run"), "cannot be imported"),
        (("--exec", ""), "The command is empty"),
        (("--exec", "'"), "cannot be split into words"),
        (("--exec", "/dev/null"), "cannot be started"),
        (("--exec", "."), "cannot be started"),
        (("--exec", "true", "--namespace", "torch"), "which a program is not given"),
        (("--exec", "true", "--dtypes", "object"), "Leave 'object' out of the dtypes"),
        ((), "one of the arguments --exec --function is required"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_there_to_be_judged(told, arguments, words):
    code, shown = told("--max-examples", "9", *arguments)
    assert code == 2, shown
    assert words in shown
    assert "Traceback" not in shown
    assert "It happens with this case alone" not in shown


def test_a_report_of_nothing_is_no_pass():
    report = Report("layer", 3, (), (), Coverage(), "seed 0")
    assert not report.passed
    assert "layer could not be judged: 3 cases" in str(report)
