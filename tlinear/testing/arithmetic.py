"""How a dtype rounds, and which dtypes are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import DType
from tlinear.errors import DTypeError, OptionError

__all__ = ["JUDGED", "Arithmetic", "arithmetic_of", "judged_dtypes"]

JUDGED = ("float16", "float32", "float64", "complex64", "complex128", "int64", "object")
"""The dtypes of cases; ``object`` holds Python's fractions, which like integers are judged by equality alone."""


@dataclass(frozen=True)
class Arithmetic:
    """Of the real numbers, or the parts of the complex ones.

    Attributes
    ----------
    bits : int
        The p for which every integer up to ``2^p`` is exact.
    unit_roundoff : float
        ``2^-p``: a result that neither overflows nor underflows is off by at most this times itself.
    smallest : float
        The smallest subnormal number.
    smallest_normal : float
        What is below may be flushed to zero, where hardware has no subnormal numbers.
    largest : float
    """

    bits: int
    unit_roundoff: float
    smallest: float
    smallest_normal: float
    largest: float


def arithmetic_of(dtype: DType) -> Arithmetic:
    """The arithmetic of a floating dtype.

    Examples
    --------
    >>> arithmetic_of(np.dtype("float32")).bits, arithmetic_of(np.dtype("complex128")).bits
    (24, 53)
    """
    if dtype.kind not in "fc":
        raise DTypeError(f"{dtype} does not round. Pass float16, float32, float64 or a complex dtype.")
    limits = np.finfo(dtype)
    return Arithmetic(
        limits.nmant + 1,
        float(limits.eps) / 2,
        float(limits.smallest_subnormal),
        float(limits.smallest_normal),
        float(limits.max),
    )


def judged_dtypes(given: Sequence[DTypeLike]) -> tuple[DType, ...]:
    """The dtypes that these name.

    Raises
    ------
    OptionError
        When there are none, or one of them is none of :data:`JUDGED`.

    Examples
    --------
    >>> judged_dtypes(["float32", float])
    (dtype('float32'), dtype('float64'))
    """
    if isinstance(given, str) or not len(given):
        raise OptionError(f"dtypes={given!r} names nothing to draw from. Pass a list, such as dtypes=['float32'].")
    found = []
    for name in given:
        try:
            dtype = np.dtype(name)
        except (TypeError, ValueError, SyntaxError):
            dtype = None
        if dtype is None or str(dtype) not in JUDGED:
            raise OptionError(f"dtypes holds {name!r}, which is not judged. Choose from {', '.join(JUDGED)}.")
        found.append(dtype)
    return tuple(found)
