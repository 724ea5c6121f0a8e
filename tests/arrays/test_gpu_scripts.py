"""What is written for a GPU runs from end to end without one: on array-api-strict, on a device that is not the host."""

import subprocess
import sys
from pathlib import Path

import pytest
from processes import with_package

pytest.importorskip("array_api_strict")
ROOT = Path(__file__).parents[2]


def run(*command):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=with_package())


def test_tests_for_a_gpu_pass_on_the_mock():
    done = run("-m", "pytest", "-q", "--numprocesses=0", "-p", "no:cacheprovider", "tests/gpu", "--mock", "-rs")
    assert done.returncode == 0, done.stdout
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all(" has no float16" in line or " has no bfloat16" in line for line in skipped), skipped
    assert " passed" in done.stdout


def test_benchmark_for_a_gpu_prints_its_table_on_the_mock():
    sizes = ("--layers", "seed", "--batches", "4", "16", "--repeats", "1", "--formats", "cp", "tt")
    done = run("tests/benchmarks/gpu.py", "--mock", *sizes)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 16->10")]
    assert len(rows) == 2 * 2 * 2
    assert len({line.count("|") for line in rows}) == 1
    assert "On a mock, not a GPU" in done.stdout


def test_without_a_gpu_both_say_so():
    try:
        import cupy

        has_gpu = cupy.cuda.is_available()
    except ImportError:
        has_gpu = False
    if has_gpu:
        pytest.skip("there is a GPU here")
    done = run("tests/benchmarks/gpu.py")
    assert done.returncode != 0
    assert "--mock" in done.stderr
