"""The plugin, in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tlinear

ROOT = Path(tlinear.__file__).parent.parent
PORT = """
from tlinear.testing.mutants import right

def run(case):
    return right(case)

def raises_for_no_samples(case):
    if 0 in case.batch_shape:
        raise RuntimeError("no samples")
    return right(case)
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "port.py").write_text(PORT)

    def pytest_in_a_process(*options):
        command = [sys.executable, "-m", "pytest", "-p", "tlinear.pytest_plugin", "-q", "-p", "no:cacheprovider"]
        command += ["-c", os.devnull, "--rootdir", str(tmp_path), "--pyargs", "tlinear.testing.conformance"]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return pytest_in_a_process


FEW = ("--tlinear-formats", "dense", "--tlinear-dtypes", "float64", "--tlinear-max-examples", "20")


def test_what_is_right_passes(run):
    code, shown = run("--tlinear-implementation", "port:run", *FEW)
    assert code == 0, shown
    assert " passed" in shown
    assert "failed" not in shown


def test_known_failures_are_expected_and_stale_ones_are_told(run, tmp_path):
    code, shown = run("--tlinear-implementation", "port:raises_for_no_samples", *FEW)
    assert code == 1
    assert "it raised RuntimeError: no samples" in shown
    assert "dense-empty_batch-0" in shown
    known = tmp_path / "known.txt"
    lines = [f"test_vector[dense-empty_batch-{k}-float64]  # no samples" for k in (0, 1)]
    lines += ["test_random_cases", "test_vector[dense-one_mode-0-float64]", "test_vector[dense-no_such-0]", ""]
    known.write_text("# what is known\n" + "\n".join(lines))
    code, shown = run("--tlinear-implementation", "port:raises_for_no_samples", *FEW, "--tlinear-xfail", str(known))
    assert code == 0, shown
    assert "3 xfailed, 1 xpassed" in shown
    assert "test_vector[dense-one_mode-0-float64] passes: take it out of the file" in shown
    assert "test_vector[dense-no_such-0] was not run" in shown


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 4, "Name what is to be judged by one of --tlinear-implementation and --tlinear-exec"),
        (("--tlinear-implementation", "port:run", "--tlinear-exec", "x"), 4, "Name what is to be judged by one of"),
        (("--tlinear-implementation", "port:nothing"), 4, "cannot be imported"),
        (("--tlinear-implementation", "port:run", "--tlinear-layers", "x"), 2, "--tlinear-layers x must be numbers"),
        (("--tlinear-implementation", "port:run", "--tlinear-dtypes", "int8"), 2, "'int8', which is not judged"),
        (("--tlinear-implementation", "port:run", "--tlinear-formats", "svd"), 2, "'svd' is not known"),
        (("--tlinear-implementation", "port:run", "--tlinear-xfail", "no-such-file"), 4, "cannot be read"),
        (("--tlinear-implementation", "port:run", "--tlinear-vectors", "no-such-file"), 2, "cannot be read"),
    ],
)
def test_bad_options_are_told(run, options, code, message):
    found, shown = run(*FEW, *options)
    assert found == code, shown
    assert message in shown
