"""The range of a floating dtype, by powers of two."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tlinear.arrays.bfloat16 import is_bfloat16
from tlinear.errors import RangeError

__all__ = ["Limits", "limits_of"]


class Limits(NamedTuple):
    """What the numbers of a dtype can be; of a complex one, their real and imaginary parts.

    Attributes
    ----------
    minexp : int
        The smallest normal number is ``2^minexp``.
    maxexp : int
        All numbers are below ``2^maxexp``.
    nmant : int
        The digits behind the first, so that the unit roundoff is ``2^-(nmant + 1)``.
    """

    minexp: int
    maxexp: int
    nmant: int

    def rounds_to_infinity(self, number: Any, exponent: int = 0) -> bool:
        """Whether ``2^exponent number``, which is not negative, is too large; never true of NaN and infinity.

        Examples
        --------
        >>> half = limits_of(np.dtype(np.float16))
        >>> half.rounds_to_infinity(65519.0), half.rounds_to_infinity(65520.0), half.rounds_to_infinity(1.0, 16)
        (False, True, True)
        """
        if not 0.0 < number < np.inf:
            return False
        fraction, size = np.frexp(number)
        size = int(size) + exponent
        # the largest number is half a unit in the last place below the first that is rounded up to 2^maxexp
        return size > self.maxexp or (size == self.maxexp and bool(fraction >= 1.0 - 2.0 ** -(self.nmant + 2)))

    def check(
        self, what: str, number: Any, dtype: Any, exponent: int = 0, *, remedy: str = "Pass a dtype of wider range"
    ) -> None:
        """Raise :class:`RangeError` where ``2^exponent number`` is too large, `what` being whose number it is."""
        if self.rounds_to_infinity(number, exponent):
            wider = "float32" if self.maxexp < 128 else "float64"
            raise RangeError(
                f"{what} has entries of up to {_written(number, exponent)}, but {dtype} holds no more than "
                f"{_written(2.0 - 2.0**-self.nmant, self.maxexp - 1)}. "
                + (f"{remedy}, such as {wider}." if self.maxexp < 1024 else "Scale it down first.")
            )

    def check_not_lost(self, what: str, largest: Any, dtype: Any, exponent: int = 0) -> None:
        """Raise :class:`RangeError` where ``2^exponent largest`` is rounded to zero, and is the largest of its kind."""
        least = self.minexp - self.nmant - 1
        if largest > 0.0 and np.frexp(largest)[1] + exponent <= least:
            raise RangeError(
                f"{what} has no entry above {_written(largest, exponent)}, and {dtype} rounds to zero what is below "
                f"{_written(1.0, least)}. Pass a dtype of wider range, such as float64, or scale it up first."
            )


@lru_cache(maxsize=64)
def limits_of(dtype: np.dtype[Any]) -> Limits:
    """Those of a dtype of NumPy's.

    Examples
    --------
    >>> limits_of(np.dtype(np.complex64))
    Limits(minexp=-126, maxexp=128, nmant=23)
    """
    if is_bfloat16(dtype):  # float32 with fewer digits
        return Limits(-126, 128, 7)
    known = np.finfo(dtype)
    return Limits(int(known.minexp), int(known.maxexp), int(known.nmant))


def _written(number: Any, exponent: int) -> str:
    """``2^exponent number`` in decimal, or where Python has no such float as a power of two."""
    fraction, size = np.frexp(number)
    try:
        return f"{math.ldexp(float(fraction), int(size) + exponent):.6g}"
    except OverflowError:
        return f"2^{int(size) + exponent}"
