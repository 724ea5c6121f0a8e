"""Powers of two: they take all entries near 1, so that no square overflows or vanishes, and are exact."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tlinear.arrays import Array, largest_part, times_power_of_two

__all__ = ["exponent_above", "exponent_of", "norm_of", "times_power_of_two"]

_BLOCK = 2**17
"""Entries that are widened at a time."""


def exponent_of(array: Array) -> int:
    """The least e with ``|x| < 2^e`` for the real and imaginary parts x of all entries; 0 for zeros."""
    return exponent_above(largest_part(array))


def exponent_above(number: Any) -> int:
    """The least e with ``number < 2^e``, of a number that is not negative; 0 for 0.

    Examples
    --------
    >>> exponent_above(8.0), exponent_above(0.0)
    (4, 0)
    """
    return int(np.frexp(number)[1])


def norm_of(array: Array) -> float:
    """The Frobenius norm, in double precision, without a wider copy of the whole.

    Examples
    --------
    >>> norm_of(np.array([3.0, 4.0], np.float32))
    5.0
    """
    flat = np.ravel(array, order="K")
    wide = np.result_type(array.dtype, np.float64)
    blocks = (flat[start : start + _BLOCK].astype(wide, copy=False) for start in range(0, flat.size, _BLOCK))
    return math.sqrt(sum(float(np.vdot(block, block).real) for block in blocks))
