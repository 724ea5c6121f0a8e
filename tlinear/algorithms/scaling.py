"""Powers of two: they take all entries near 1, so that no square overflows or vanishes, and are exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlinear.arrays import Array, DType, largest_part

__all__ = ["exponent_above", "exponent_of", "norm_of", "share_exponent", "times_power_of_two"]

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


def times_power_of_two(array: Array, exponent: int, dtype: DType) -> Array:
    """``2^exponent array`` in `dtype`, rounded only once: the product is taken in the wider of both dtypes."""
    wide = array.astype(np.result_type(array.dtype, dtype), copy=False)
    if wide.dtype.kind == "c":
        scaled = np.empty(wide.shape, wide.dtype)
        _scale(wide.real, exponent, scaled.real)
        _scale(wide.imag, exponent, scaled.imag)
    else:
        scaled = _scale(wide, exponent)
    return scaled.astype(dtype, copy=False)


def _scale(array: Array, exponent: int, out: Array | None = None) -> Array:
    """A product where the power is a normal number of the dtype: a function that is called for each entry is slower."""
    limits = np.finfo(array.dtype)
    if limits.minexp <= exponent < limits.maxexp:
        return np.asarray(np.multiply(array, np.ldexp(limits.dtype.type(1), exponent), out=out))
    return np.asarray(np.ldexp(array, exponent, out=out))


def share_exponent(operands: Mapping[str, Array], exponent: int, dtype: DType) -> dict[str, int]:
    """The powers of two that the operands are multiplied by, `exponent` in all.

    The first takes everything, unless its entries would overflow in `dtype`, or lose digits
    because they become subnormal; what is too much for it goes to the next.
    """
    limits, shares = np.finfo(dtype), dict.fromkeys(operands, 0)
    for name, operand in operands.items():
        size = exponent_of(operand)
        most, least = limits.maxexp - 1 - size, min(0, limits.minexp + limits.nmant - size)
        shares[name] = min(max(exponent, least), most)
        exponent -= shares[name]
    shares[name] += exponent
    return shares


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
