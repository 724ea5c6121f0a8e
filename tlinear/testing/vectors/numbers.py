"""The numbers of the vectors: the same on every machine, with every version of everything.

They come from the bits of a Mersenne Twister seeded with the identifier of the vector, which Python promises
to keep.  All are exact in float32, most of them small integers, so that no language needs more than reading
decimal numbers to have the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from tlinear.arrays import Array

__all__ = ["Kind", "Numbers"]

Kind: TypeAlias = Literal["whole", "units", "large", "rounded", "wide"]


class Numbers:
    """A source of arrays.

    Parameters
    ----------
    seed : str
    kind : str
        'whole': -2 to 3, but for 0; 'units': -1 and 1; 'large': integers of up to ten bits; 'rounded': twelve bits
        behind the binary point; 'wide': the same times a power of two from 2^-12 to 2^4.
    dtype : {'float64', 'complex128'}
    """

    def __init__(self, seed: str, kind: Kind, dtype: str = "float64") -> None:
        self._bits = random.Random(seed).getrandbits
        self._draw: Callable[[], float] = {
            "whole": lambda: float((-2, -1, 1, 2, 3)[self._below(5)]),
            "units": lambda: float(2 * self._below(2) - 1),
            "large": lambda: float(self._below(2047) - 1023),
            "rounded": self._rounded,
            "wide": lambda: math.ldexp(self._rounded(), self._below(17) - 12),
        }[kind]
        self._dtype = np.dtype(dtype)

    def _below(self, n: int) -> int:
        """An integer from 0 to n - 1; 32 bits make every one of them as likely, but for one in a million."""
        return self._bits(32) % n

    def _rounded(self) -> float:
        return math.ldexp(self._below(8191) - 4095, -12)

    def __call__(self, shape: Sequence[int]) -> Array:
        """An array of this shape."""
        n = math.prod(shape)
        per_entry = 2 if self._dtype.kind == "c" else 1
        reals = np.array([self._draw() for _ in range(n * per_entry)], np.float64)
        return (reals.view(np.complex128) if per_entry == 2 else reals).reshape(shape)
