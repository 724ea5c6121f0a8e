"""Powers of two: they take all entries near 1, so that no square overflows or vanishes, and are exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tlinear.arrays import Array, DType

__all__ = ["exponent_of", "share_exponent", "times_power_of_two"]


def exponent_of(array: Array) -> int:
    """The least e with ``|x| < 2^e`` for the real and imaginary parts x of all entries; 0 for zeros."""
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    return int(np.frexp(max(max(np.max(part), -np.min(part)) for part in parts))[1])


def times_power_of_two(array: Array, exponent: int, dtype: DType) -> Array:
    """``2^exponent array`` in `dtype`, rounded only once: the product is taken in the wider of both dtypes."""
    wide = array.astype(np.result_type(array.dtype, dtype), copy=False)
    if wide.dtype.kind == "c":
        scaled = np.ldexp(wide.real, exponent) + 1j * np.ldexp(wide.imag, exponent)
    else:
        scaled = np.ldexp(wide, exponent)
    return np.asarray(scaled).astype(dtype, copy=False)


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
