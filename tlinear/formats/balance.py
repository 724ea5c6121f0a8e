"""Operands of the same tensor whose slices are as large as those that they meet.

A tensor is linear in each of its operands.  So one operand may give powers of two to another, and each slice along a
label that several operands share may give its own: that changes neither the tensor nor a digit of any entry.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tlinear.arrays import Array, Space, to_numpy
from tlinear.contraction.network import Label, Labels

__all__ = ["Exponent", "Gauges", "Meetings"]

Exponent: TypeAlias = int | Array
"""Of the power of two that an operand is multiplied by; an array of those of its slices."""

Gauges: TypeAlias = dict[str, Array]
"""By operand, the exponents of the powers of two that its slices are multiplied by."""

_SWEEPS = 8
"""Over the shared labels.  Where the slices of an operand differ by a factor for each label, one evens them out."""


@dataclass(frozen=True)
class Meetings:
    """How large the slices of operands are that meet along the labels that they share.

    Attributes
    ----------
    levels : dict of str to array
        The exponent of the largest entry of each slice, one axis a shared label; minus infinity where all are zero.
    labels : dict of str to list of int
        Of these axes.
    axes : dict of str to list of int
        Which axes of the operand they are.
    n_axes : dict of str to int
        How many that has.
    """

    levels: dict[str, Array]
    labels: dict[str, list[Label]]
    axes: dict[str, list[int]]
    n_axes: dict[str, int]

    @classmethod
    def of(cls, operands: Mapping[str, Array], labels: Mapping[str, Labels], space: Space) -> Meetings:
        """Those of operands, each of whose axes has a label."""
        n_operands = Counter(label for carried in labels.values() for label in set(carried))
        traced = {label for carried in labels.values() for label, n in Counter(carried).items() if n > 1}
        shared = {label for label, n in n_operands.items() if n > 1} - traced
        axes = {name: [k for k, label in enumerate(labels[name]) if label in shared] for name in operands}
        levels = {}
        for name, array in operands.items():
            largest = to_numpy(space.peaks(array, tuple(k for k in range(array.ndim) if k not in axes[name])))
            exponents = np.where(np.isfinite(largest), np.frexp(largest)[1], 0).astype(np.float64)
            levels[name] = np.where(largest == 0.0, -np.inf, exponents)
        carried = {name: [labels[name][k] for k in axes[name]] for name in operands}
        return cls(levels, carried, axes, {name: array.ndim for name, array in operands.items()})

    @property
    def shared(self) -> list[Label]:
        """The labels, each once."""
        return list(dict.fromkeys(label for carried in self.labels.values() for label in carried))

    def balanced(self, exponent: int) -> tuple[Gauges, int]:
        """Exponents that take what meets along a label to the same size, and each operand near 1; and what they leave.

        Label by label, as Osborne balances a matrix.  Of each term of the tensor, the exponents and what is left of
        them come to `exponent`.
        """
        gauges = {name: np.zeros(level.shape) for name, level in self.levels.items()}
        left = exponent - self._take_near_one(gauges)
        for _ in range(_SWEEPS):
            moved = False
            for label in self.shared:
                sizes = self._sizes(gauges, label)
                steps = _steps_to_the_mean(np.array(list(sizes.values())))
                for name, step in zip(sizes, steps, strict=True):
                    gauges[name] += self._along(name, label, step)
                moved |= bool(np.any(steps))
            if not moved:
                break
        return gauges, left - self._take_near_one(gauges)

    def magnification(self, gauges: Gauges, shares: Mapping[str, int]) -> float:
        """The exponent of the most that comes of a unit lost by an entry, where operands are as the `shares` have them.

        The unit is that of the operand as the gauges balance it, times the slices that it then meets.
        """
        most = -math.inf
        for name, gauge in gauges.items():
            magnified = gauge - shares[name]
            for label in self.labels[name]:
                met = np.sum([size for other, size in self._sizes(gauges, label).items() if other != name], axis=0)
                magnified = magnified + self._along(name, label, met)
            most = max(most, float(np.max(magnified[np.isfinite(self.levels[name])], initial=-np.inf)))
        return most

    def of_entries(self, gauges: Gauges) -> dict[str, Exponent]:
        """The exponents of slices as those of the entries of each operand, to which they are broadcast."""
        return {
            name: np.expand_dims(
                gauge.astype(np.intc), [k for k in range(self.n_axes[name]) if k not in self.axes[name]]
            )
            for name, gauge in gauges.items()
        }

    def _sizes(self, gauges: Gauges, label: Label) -> dict[str, Array]:
        """The exponents of the slices of all operands that carry a label."""
        found = {}
        for name, carried in self.labels.items():
            if label in carried:
                others = tuple(k for k, other in enumerate(carried) if other != label)
                found[name] = np.asarray(np.max(self.levels[name] + gauges[name], axis=others))
        return found

    def _along(self, name: str, label: Label, vector: Array) -> Array:
        """A vector over the slices of a label, to be broadcast over those of all labels of an operand."""
        return np.expand_dims(vector, [k for k, other in enumerate(self.labels[name]) if other != label])

    def _take_near_one(self, gauges: Gauges) -> int:
        """Take each operand to a largest entry near 1, and say how many powers of two that is in all."""
        taken = 0
        for name, level in self.levels.items():
            top = np.max(level + gauges[name])
            if np.isfinite(top):
                gauges[name] -= top
                taken -= int(top)
        return taken


def _steps_to_the_mean(levels: Array) -> Array:
    """What takes the levels of each column to their mean, in whole numbers whose sum is zero.

    A slice that is zero in one operand has no effect: in the others it is taken to the least of the means.
    """
    counts = np.all(np.isfinite(levels), axis=0)
    means, rest = np.divmod(np.sum(levels[:, counts], axis=0), len(levels))
    wanted = np.full(levels.shape, np.min(means) if np.any(counts) else 0.0)
    wanted[:, counts] = means + (np.arange(len(levels))[:, None] < rest)
    return np.where(np.isfinite(levels), wanted - np.where(np.isfinite(levels), levels, 0.0), 0.0)
