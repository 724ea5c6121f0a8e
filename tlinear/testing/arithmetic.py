"""How a dtype rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlinear.arrays import DType
from tlinear.errors import DTypeError

__all__ = ["Arithmetic", "arithmetic_of"]


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
    """

    bits: int
    unit_roundoff: float
    smallest: float


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
    return Arithmetic(limits.nmant + 1, float(limits.eps) / 2, float(limits.smallest_subnormal))
