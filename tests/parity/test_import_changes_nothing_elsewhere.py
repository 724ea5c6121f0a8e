"""Importing tlinear, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import tlinear


def run(script: str) -> str:
    """What the script prints, in the folder that this tlinear was imported from."""
    folder = Path(tlinear.__file__).parents[1]
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


def test_no_peer_is_imported():
    script = "import sys, tlinear; print({'torch', 'tensorly', 'tltorch'} & set(sys.modules))"
    assert run(script) == "set()\n"


def test_the_settings_of_numpy_and_tensorly_stay_as_they_are():
    """tltorch switches TensorLy's global backend to PyTorch by being imported."""
    script = """
import warnings
import numpy as np, tensorly

def settings():
    state = np.random.get_state()[1].tolist()
    return tensorly.get_backend(), np.geterr(), np.get_printoptions(), warnings.filters[:], state

before = settings()
import tlinear
layer = tlinear.FactorizedLinear((4, 4), (2, 5), rng=0)
layer.vjp(np.ones(16))[1](np.ones(10))
print(settings() == before, tensorly.get_backend())
"""
    assert run(script) == "True numpy\n"
