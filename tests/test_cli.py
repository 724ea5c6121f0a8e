"""The command line: exit codes, where each output goes, and one line for whatever cannot be done."""

import subprocess
import sys

import pytest
from one_line import fails

import tlinear
from tlinear.cli import main


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"tlinear {tlinear.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["demo", "--data", "cifar"], ["demo", "--ranks", "few"], ["demo", "--seed", "0.5"]]
)
def test_arguments_that_cannot_be_read_exit_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "tlinear" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "-1"], "seed=-1"),
        (["--hidden", "97"], "97 features"),
        (["--ranks", "1.5"], "rank=1.5"),
        (["--epochs", "0"], "epochs=0"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_2(capsys, arguments, says):
    assert says in fails(capsys, ["demo", *arguments])


def test_the_module_runs_and_imports_no_extra():
    code = (
        "import runpy, sys; sys.argv = ['tlinear', '--version']\n"
        "try: runpy.run_module('tlinear', run_name='__main__')\n"
        "except SystemExit as stopped: print(stopped.code)\n"
        "extras = {'sklearn', 'mlxtend', 'matplotlib', 'rich', 'threadpoolctl', 'pandas'}\n"
        "print(sorted(extras.intersection(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"tlinear {tlinear.__version__}", "0", "[]"]
