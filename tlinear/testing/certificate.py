"""Certified bitwise: integers so small that no order of summation, on no machine, can round.

Let the arrays of a sum hold integers.  Whatever order they are contracted in, every intermediate is a
sum of at most n products of some of their entries, n the number of products in an entry of the whole;
each is an integer of magnitude at most

    n * product over the arrays of max(1, max |entries|)   (+ max |bias|)

where a complex entry counts ``|re| + |im|``.  A zero array does not excuse the others, hence the 1.  If
that is at most ``2^p``, with p the bits of the arithmetic, every sum and product on the way is exact: with
or without FMA, in any BLAS, on any GPU whose multiplier keeps p bits.  Equality is then equality.

p is 53 for float64, 24 for float32, 11 for float16 and for TF32, 8 for bfloat16.
"""

from __future__ import annotations

import math

import numpy as np

from tlinear.arrays import Array
from tlinear.testing.case import Case, remembered
from tlinear.testing.reference import Sum, sums_of

__all__ = ["bits_of", "is_certified", "largest_magnitude"]


def largest_magnitude(total: Sum) -> int:
    """What no intermediate of a sum of integers can exceed.

    Examples
    --------
    >>> two = np.full((2, 2), 2.0)
    >>> largest_magnitude(Sum([(two, (0, 1)), (two, (1, 2))], (0, 2)))
    8
    """
    magnitudes = total.magnitudes()
    product = math.prod(max(1, _most(array)) for array, _ in magnitudes.arrays)
    return product * max(1, total.n_terms) + (0 if magnitudes.bias is None else _most(magnitudes.bias))


def is_certified(case: Case, result: str, bits: int) -> bool:
    """Whether a result must have the same bits in every correct implementation whose arithmetic has `bits`."""
    return bits_of(case, result) <= bits


@remembered
def bits_of(case: Case, result: str) -> float:
    """The fewest bits with which a result is certified; infinite where not all numbers are whole."""
    sums = sums_of(case, result)
    arrays = [array for total in sums for array, _ in total.arrays]
    arrays += [total.bias for total in sums if total.bias is not None]
    if not all(map(_is_whole, arrays)):
        return math.inf
    return (sum(map(largest_magnitude, sums)) - 1).bit_length()


def _most(array: Array) -> int:
    return int(array.max()) if array.size else 0


def _is_whole(array: Array) -> bool:
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    return all(bool(np.all(np.isfinite(part)) and np.all(np.rint(part) == part)) for part in parts)
