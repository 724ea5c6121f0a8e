"""Arrays read in an order that is not theirs, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tlinear.arrays import Array

__all__ = [
    "column_major",
    "column_major_back",
    "first_only",
    "modes_restored",
    "modes_reversed",
    "sides_swapped",
    "sides_swapped_back",
    "swapped_back",
    "transposed",
    "transposed_back",
    "without_last",
]


def modes_reversed(array: Array, shape: tuple[int, ...]) -> Array:
    """The last axis, read as modes of which the first runs fastest."""
    lead = array.shape[:-1]
    axes = (*range(len(lead)), *reversed(range(len(lead), len(lead) + len(shape))))
    return array.reshape(*lead, *shape[::-1]).transpose(axes).reshape(array.shape)


def modes_restored(array: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of :func:`modes_reversed`."""
    return modes_reversed(array, shape[::-1])


def swapped_back(gradient: Array, core: Array) -> Array:
    """The gradient of a core whose rank axes were swapped."""
    return np.swapaxes(gradient.reshape(np.swapaxes(core, 0, -1).shape), 0, -1)


def column_major(core: Array) -> Array:
    """The same numbers, the first axis running fastest."""
    return core.ravel().reshape(core.shape, order="F")


def column_major_back(gradient: Array, core: Array) -> Array:
    """Its inverse."""
    return gradient.ravel(order="F").reshape(core.shape)


def transposed(factor: Array) -> Array:
    """A factor whose numbers are those of its transpose."""
    return factor.reshape(factor.shape[::-1]).T


def transposed_back(gradient: Array, factor: Array) -> Array:
    """Its inverse."""
    return gradient.T.reshape(factor.shape)


def sides_swapped(core: Array) -> Array:
    """A core whose numbers are those of another order of its two modes."""
    return np.swapaxes(core, 1, 2).reshape(core.shape) if core.ndim == 4 else core


def sides_swapped_back(gradient: Array, core: Array) -> Array:
    """Its inverse."""
    return np.swapaxes(gradient.reshape(np.swapaxes(core, 1, 2).shape), 1, 2) if core.ndim == 4 else gradient


def without_last(array: Array, labels: Iterable[int], bonds: Iterable[int]) -> Array:
    """An operand whose last component of every rank is zero."""
    cut = array.copy()
    for axis, label in enumerate(labels):
        if label in bonds and array.shape[axis] > 1:
            np.moveaxis(cut, axis, 0)[-1] = 0
    return cut


def first_only(array: Array, labels: Iterable[int], bonds: Iterable[int]) -> Array:
    """An operand of which only the first component of some ranks is not zero."""
    cut = array.copy()
    for axis, label in enumerate(labels):
        if label in bonds:
            np.moveaxis(cut, axis, 0)[1:] = 0
    return cut
