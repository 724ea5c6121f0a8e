"""External programs: those in docs/ports are right, broken copies of them are not, and others cannot be judged."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tlinear.cli import main
from tlinear.errors import ProgramError
from tlinear.testing import Program, check
from tlinear.testing.vectors import check_vectors, invalid_corpus

PORTS = Path(__file__).parents[2] / "docs" / "ports"


def compiled(source, folder):
    program = folder / "port"
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
    return str(program)


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def judged(capsys, *arguments):
    code = main(["check", *arguments])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


C_OPTIONS = ("--formats", "tt", "--dtypes", "float32,float64", "--max-examples", "100", "--small")
JS_OPTIONS = ("--dtypes", "float32,float64", "--layers", "1,2", "--max-examples", "100", "--max-modes", "2", "--small")


@needs("gcc")
def test_the_port_to_c_is_right(tmp_path, capsys):
    code, shown = judged(capsys, "--exec", compiled(PORTS / "tt.c", tmp_path), *C_OPTIONS)
    assert code == 0, shown
    assert "passed: 100 cases" in shown


@needs("gcc")
def test_a_broken_port_to_c_is_not(tmp_path, capsys):
    broken = tmp_path / "broken.c"
    source = (PORTS / "tt.c").read_text()
    line = "y[k] = bias->at[k % O]"
    assert line in source
    broken.write_text(source.replace(line, "y[k] = 2 * bias->at[k % O]"))
    code, shown = judged(capsys, "--exec", compiled(broken, tmp_path), *C_OPTIONS)
    assert code == 1
    for words in ("FAILED", "y is wrong", "tt (1,) -> (1,)", "a bias", "the bias is added twice"):
        assert words in shown


@needs("node")
def test_the_port_to_javascript_is_right(capsys):
    code, shown = judged(capsys, "--exec", f"node {PORTS / 'layer.js'}", *JS_OPTIONS)
    assert code == 0, shown


@needs("node")
def test_a_broken_port_to_javascript_is_not(tmp_path, capsys):
    broken = tmp_path / "broken.js"
    source = (PORTS / "layer.js").read_text()
    line = "operands.filter((other) => other !== operand)"
    assert line in source
    broken.write_text(source.replace(line, f"{line}.filter((other) => other.name !== 'weights')"))
    code, shown = judged(capsys, "--exec", f"node {broken}", "--formats", "cp", *JS_OPTIONS)
    assert code == 1
    assert "the gradients of the factors of CP leave out the weights" in shown


ECHO = "import sys; from pathlib import Path; given, wanted = map(Path, sys.argv[1:]); "


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise SystemExit('no such format')", "ended with 1. It said: no such format"),
        ("import os; os.kill(os.getpid(), 11)", "was killed by signal 11"),
        ("import time; time.sleep(60)", "took more than 0.5 s"),
        ("pass", "wrote neither results.json nor results.txt"),
        (ECHO + "(wanted / 'results.json').write_text('{')", "results.json is no JSON"),
        (ECHO + "(wanted / 'results.json').write_text('[]')", "is no object"),
        (ECHO + "(wanted / 'results.json').write_text('{}')", "gave no results of"),
        (ECHO + "(wanted / 'results.json').write_text('{\"777\": {}}')", "names cases that were not given"),
        (ECHO + "(wanted / 'results.txt').write_text('hello')", "comes before any 'case'"),
        (ECHO + "(wanted / 'results.txt').write_bytes(bytes([255, 0]))", "wrote what cannot be read"),
        (ECHO + "(wanted / 'results.json').write_text('[' * 100_000)", "results.json is no JSON"),
        (
            ECHO + '(wanted / \'results.json\').write_text(\'{"0": {"y": {"shape": [1], "data": [true]}}}\')',
            "no number: True",
        ),
        (
            ECHO
            + "(wanted / 'results.json').write_text('{\"0\": {\"y\": {\"shape\": [1], \"data\": [1' + '0' * 400 + ']}}}')",
            "no float64",
        ),
        (ECHO + "(wanted / 'results.json').mkdir()", "wrote neither results.json nor results.txt"),
        (ECHO + "(wanted / 'results.txt').write_text('case 0\\ny 1 99999999999999999999 1')", "has no number where"),
        (ECHO + "(wanted / 'results.txt').write_text('case 0\\ny 1 1 1_0')", "holds what is no number"),
        (ECHO + "(wanted / 'results.txt').write_text('case 0\\ny 70' + ' 1' * 71)", "at most 64 sizes"),
        (ECHO + "(wanted / 'results.txt').write_text('case 0\\ny 1 1 1\\ny 1 1 1')", "is there twice"),
        (ECHO + "(wanted / 'results.txt').open('wb').truncate(300_000_000)", "wrote more than 256 MB"),
    ],
)
def test_a_program_that_cannot_be_judged_is_neither_right_nor_wrong(program, message, capsys, tmp_path):
    script = tmp_path / "port.py"
    script.write_text(program)
    code, shown = judged(capsys, "--exec", f"{sys.executable} {script}", "--max-examples", "3", "--timeout", "0.5")
    assert code == 2
    assert message in shown
    assert "Traceback" not in shown


def test_a_program_that_is_not_there():
    with pytest.raises(ProgramError, match="cannot be started"):
        check(Program(("./no-such-program",)), max_examples=2)


@pytest.mark.parametrize("given", ["numpy", "numpy:no_such", "no_such_module:run", "numpy:pi"])
def test_a_function_that_is_not_there(given, capsys):
    code, shown = judged(capsys, "--function", given)
    assert code == 2
    assert given in shown


# ------------------------------------------------------------------------------------------------- the test vectors


@needs("gcc")
def test_the_port_to_c_passes_the_vectors_and_a_broken_one_is_kept_as_one(tmp_path, capsys):
    options = ("--vectors", "--formats", "tt", "--dtypes", "float32")
    code, shown = judged(capsys, "--exec", compiled(PORTS / "tt.c", tmp_path), *options)
    assert code == 0, shown
    assert "test vectors" in shown
    broken = tmp_path / "broken.c"
    broken.write_text((PORTS / "tt.c").read_text().replace("y[k] = bias->at[k % O]", "y[k] = 0"))
    program, kept = compiled(broken, tmp_path), tmp_path / "kept"
    code, shown = judged(capsys, "--exec", program, *options, "--save", str(kept))
    assert code == 1
    assert "the bias is not added" in shown
    assert "vector    tt-" in shown
    code, shown = judged(capsys, "--exec", program, "--vectors", str(kept), "--formats", "tt", "--dtypes", "float32")
    assert code == 1
    assert "tt-found-0" in shown


@needs("node")
def test_the_port_to_javascript_passes_the_vectors(capsys):
    options = ("--vectors", "--dtypes", "float64", "--layers", "1,2,3")
    code, shown = judged(capsys, "--exec", f"node {PORTS / 'layer.js'}", *options)
    assert code == 0, shown


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (ECHO + '(wanted / \'results.json\').write_text(\'{"0": {"error": "it does not fit"}}\')', 0),
        (ECHO + "(wanted / 'results.txt').write_text('case 0\\nerror it does not fit\\n')", 0),
        ("raise SystemExit('it does not fit')", 0),
        ("import os; os.kill(os.getpid(), 11)", 1),
        (ECHO + "(wanted / 'results.txt').write_text('case 0\\ny 1 1 7\\n')", 1),
    ],
    ids=["error in JSON", "error in words", "exit code", "crash", "results"],
)
def test_a_program_refuses_by_saying_so(tmp_path, program, code):
    script = tmp_path / "port.py"
    script.write_text(program)
    invalid = [vector for vector in invalid_corpus() if vector.id == "tt-ranks_disagree"]
    report = check_vectors(Program((sys.executable, str(script))), [], invalid)
    assert report.passed == (code == 0), str(report)


def test_vectors_that_cannot_be_read_are_told_by_the_command(tmp_path, capsys):
    code, shown = judged(capsys, "--exec", "true", "--vectors", str(tmp_path / "none.json"))
    assert code == 2
    assert "cannot be read" in shown
