"""bfloat16, a dtype that NumPy has where ml_dtypes is installed.

It is known by its name, so that ml_dtypes is imported only when a dtype is asked for by that name.  Nothing is computed
in it: arrays of it are widened first, and results are rounded to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlinear.dependency import dependency

__all__ = ["find_bfloat16", "is_bfloat16", "promote", "round_to_bfloat16"]


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is bfloat16."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def find_bfloat16() -> np.dtype[Any]:
    """The dtype itself.

    Raises
    ------
    MissingDependencyError
        When ml_dtypes is not installed.
    """
    with dependency("ml_dtypes", extra="files", what="A NumPy array of bfloat16"):
        import ml_dtypes
    return np.dtype(ml_dtypes.bfloat16)


def promote(dtypes: tuple[np.dtype[Any], ...]) -> np.dtype[Any]:
    """The dtype that a product of bfloat16 and others has: that of float16 and these, and of the two halves float32."""
    halves = [np.dtype(np.float16) if is_bfloat16(dtype) else dtype for dtype in dtypes]
    result = np.result_type(*halves)
    if result != np.float16:
        return result
    return next(filter(is_bfloat16, dtypes)) if np.float16 not in dtypes else np.dtype(np.float32)


def round_to_bfloat16(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`array` in bfloat16, `dtype`, rounded once to the nearest, ties to even.

    ml_dtypes rounds double precision twice, first to float32.  Where that step is not exact it is made to end in an odd
    last digit, from which the second step sees on which side of a tie the number lies.

    Examples
    --------
    >>> above_a_tie = np.array([1 + 2.0**-8 + 2.0**-40])
    >>> float(round_to_bfloat16(above_a_tie, find_bfloat16())[0]) == 1 + 2.0**-7
    True
    """
    if array.dtype.itemsize <= 4:
        return array.astype(dtype, order="C")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, order="C")
    bits, above, below, is_negative = single.view(np.uint32), single > array, single < array, np.signbit(single)
    is_even = bits & np.uint32(1) == 0
    # the neighbour on the other side of the number: towards zero where rounding went away from it
    np.subtract(bits, 1, out=bits, where=is_even & np.where(is_negative, below, above))
    np.add(bits, 1, out=bits, where=is_even & np.where(is_negative, above, below))
    return single.astype(dtype)
