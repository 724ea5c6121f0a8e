"""Copies of arrays with their axes in another order.

NumPy copies an array in another order entry by entry, in loops over the last axis.  Where a line of a
few entries stays together, it is copied as one item of as many bytes instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tlinear.arrays import Array

__all__ = ["permuted"]

# The items that NumPy has loops of their own for; others are moved as bytes.
_ITEMS = {8: np.dtype(np.uint64), 16: np.dtype(np.complex128)}
_LONGEST_LINE = 128
_FEW_ENTRIES = 512


def permuted(shape: tuple[int, ...], axes: tuple[int, ...]) -> Callable[[Array], Array]:
    """What copies arrays of this many entries so that their axes lie in this order; the shape is left open.

    Examples
    --------
    >>> array = np.arange(24).reshape(2, 3, 4)
    >>> permuted((2, 3, 4), (1, 0, 2))(array).ravel()[:8]
    array([ 0,  1,  2,  3, 12, 13, 14, 15])
    """
    stays = len(axes)
    while stays and axes[stays - 1] == stays - 1:
        stays -= 1
    line, n_entries = math.prod(shape[stays:]), math.prod(shape)
    outer, outer_axes = shape[:stays], axes[:stays]

    def copy(array: Array) -> Array:
        n_bytes = line * array.itemsize
        if n_bytes > _LONGEST_LINE or not array.flags.c_contiguous:
            return np.ascontiguousarray(array.reshape(shape).transpose(axes))
        item = _ITEMS.get(n_bytes) or np.dtype((np.void, n_bytes))
        lines = array.reshape(-1).view(item).reshape(outer)
        return np.ascontiguousarray(lines.transpose(outer_axes)).reshape(-1).view(array.dtype)

    def plainly(array: Array) -> Array:
        return np.ascontiguousarray(array.reshape(shape).transpose(axes))

    return copy if line > 1 and n_entries > _FEW_ENTRIES else plainly
