"""The array libraries and devices that a test is run on: those that are installed, NumPy first."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tlinear.arrays import NUMPY, Space, bring, find_space


@dataclass(frozen=True)
class Place:
    """An array library, and one of its devices."""

    name: str
    xp: Any
    device: Any = None

    @property
    def space(self) -> Space:
        return find_space(self.xp, self.device, NUMPY)

    @property
    def has_double(self) -> bool:
        return "no_float64" not in self.name

    def array(self, array: np.ndarray) -> Any:
        """The same numbers there; of double precision, in single where there is none."""
        if not self.has_double and array.dtype.char in "dD":
            array = array.astype(np.complex64 if array.dtype.kind == "c" else np.float32)
        return bring(array, self.space)

    def __repr__(self) -> str:
        return self.name


def _places():
    found = [Place("numpy", np)]
    for library in ("array_api_strict", "torch", "cupy"):
        try:
            xp = importlib.import_module(library)
        except ImportError:
            continue
        if library == "array_api_strict":
            found += [Place(f"strict-{name}", xp, xp.Device(name)) for name in ("CPU_DEVICE", "device1", "no_float64")]
        elif library == "torch":
            found.append(Place("torch", xp, "cpu"))
        elif xp.cuda.is_available():
            found.append(Place("cupy", xp))
    return found


PLACES = _places()
ELSEWHERE = [place for place in PLACES if place.xp is not np]
on_every_place = pytest.mark.parametrize("place", PLACES, ids=repr)
on_every_other_place = pytest.mark.parametrize("place", ELSEWHERE, ids=repr)
