"""What a format's network says about its ranks: what they cost, and how large one can usefully be.

Both are asked of many candidates at once: an array of shape ``(n_bonds, n)`` holds n of
them as its columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import Array

__all__ = ["Bonds", "Monomial", "Rank", "RankRules", "as_bonds"]

Bonds: TypeAlias = tuple[int, ...]
"""The ranks that are free to choose: those of the format's rank without the ends that are always 1."""

Rank: TypeAlias = int | tuple[int, ...] | None
"""The form that a format's ``rank`` has: an int for CP, None for dense, a tuple otherwise."""

Monomial: TypeAlias = tuple[int, tuple[int, ...]]
"""``c R_j R_k ..``: a coefficient, and the bonds that are multiplied with it."""

_INT64_IS_SAFE_BELOW = 2**62


@dataclass(frozen=True)
class RankRules:
    """The ranks that one factorization of one shape can have.

    Attributes
    ----------
    factorization : str
        The format's name, for messages.
    shape : tuple of int
        The sizes of the modes.
    dense_parameters : int
        What a budget is a fraction of.
    operands : tuple of (int, tuple of int)
        The number of entries of each operand, as a monomial in the bonds.
    scale : tuple of float
        What the bonds are kept proportional to while a budget is filled.
    form : callable
        From bonds to the form that the format's ``rank`` has.
    most : tuple of int, optional
        A limit for each bond, on top of what is useful.
    fixed : tuple of int
        The bonds that must have the rank that `most` gives them.
    n_joint : int
        How many modes come before the input's first: 1 for joint layers.

    Examples
    --------
    A 6x4 matrix as the product of a 6xR and an Rx4 matrix:

    >>> rules = RankRules("lowrank", (6, 4), 24, ((6, (0,)), (4, (0,))), (1.0,), form=lambda bonds: bonds)
    >>> rules.count((3,)), rules.useful((9,))
    (30, (4,))
    """

    factorization: str
    shape: tuple[int, ...]
    dense_parameters: int
    operands: tuple[Monomial, ...]
    scale: tuple[float, ...]
    form: Callable[[Bonds], Rank]
    most: Bonds | None = None
    fixed: tuple[int, ...] = ()
    n_joint: int = 0

    @property
    def n_bonds(self) -> int:
        """How many ranks are free."""
        return len(self.scale)

    @cached_property
    def bounds(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        r"""For each bond the sets of operands that bound it.

        With R the bond and :math:`A_1 .. A_m` the operands that carry it, the tensor depends on
        them through :math:`\sum_{r \le R} A_1[.., r] \otimes .. \otimes A_m[.., r]` alone.  With
        all but :math:`A_j` expanded in unit vectors, that sum has one term for each index of the
        others besides r, so that

        .. math:: R \le \min_j \prod_{i \ne j} |A_i| / R

        is always enough.
        """
        carriers = [[i for i, (_, bonds) in enumerate(self.operands) if k in bonds] for k in range(self.n_bonds)]
        return tuple(tuple(tuple(i for i in group if i != j) for j in group) for group in carriers)

    @cached_property
    def limits(self) -> Bonds:
        """Of each bond the least of `most` and the bounds that are numbers, free of other bonds."""
        limits = list(self.most or (math.prod(self.shape),) * self.n_bonds)
        for k, group in enumerate(self.bounds):
            numbers = [math.prod(self.operands[i][0] for i in others) for others in group if self._is_number(others)]
            limits[k] = min([limits[k], *numbers])
        return tuple(limits)

    @cached_property
    def largest(self) -> Bonds:
        """The largest useful bonds."""
        return self.useful(self.limits)

    @cached_property
    def dtype(self) -> type:
        """An integer dtype in which nothing overflows that is computed of bonds up to the largest."""
        top = self.largest
        sizes = [self._size_at(i, top) for i in range(len(self.operands))]
        products = [math.prod(sizes[i] for i in others) for _, others in self._products]
        powers = [top[k] ** (len(others) + 1) for k, others in self._products]
        return np.int64 if max([sum(sizes), *products, *powers]) < _INT64_IS_SAFE_BELOW else object

    @cached_property
    def _products(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The bounds that are not numbers: a bond, and the operands whose sizes without it bound it together."""
        return tuple(
            (k, others) for k, group in enumerate(self.bounds) for others in group if not self._is_number(others)
        )

    def _is_number(self, operands: tuple[int, ...]) -> bool:
        return all(len(self.operands[i][1]) == 1 for i in operands)

    def count(self, bonds: Bonds) -> int:
        """The number of entries of all operands together."""
        return sum(self._size_at(i, bonds) for i in range(len(self.operands)))

    def useful(self, bonds: Bonds) -> Bonds:
        """The largest bonds, none above `bonds`, that some tensor of this shape needs."""
        ranks = [min(pair) for pair in zip(bonds, self.limits, strict=True)]
        while True:
            before = ranks.copy()
            for k, others in (*self._products, *reversed(self._products)):
                ranks[k] = min(ranks[k], math.prod(self._size_at(i, ranks) // ranks[k] for i in others))
            if ranks == before:
                return tuple(ranks)

    def n_parameters(self, bonds: Array) -> Array:
        """The number of entries of all operands together, for each column."""
        return np.asarray(sum(self._sizes(bonds)))

    def realizable(self, bonds: Array) -> Array:
        """The largest useful bonds for each column: every bound is applied until none has an effect."""
        bonds = np.minimum(bonds, _column(self.limits, bonds.dtype))
        sizes = self._sizes(bonds)
        above = np.zeros(bonds.shape[1], dtype=bool)
        for k, others in self._products:
            above |= bonds[k] ** (len(others) + 1) > math.prod(sizes[i] for i in others)
        while np.any(above):
            before = bonds[:, above]
            after = self._bounded(before.copy())
            bonds[:, above] = after
            above[above] = np.any(before != after, axis=0)
        return bonds

    def _bounded(self, bonds: Array) -> Array:
        """Every bound applied, in both directions of the bonds, in place."""
        for k, others in (*self._products, *reversed(self._products)):
            np.minimum(bonds[k], math.prod(self._size(i, bonds) // bonds[k] for i in others), out=bonds[k])
        return bonds

    def admits(self, bonds: Array) -> Array:
        """Whether the fixed bonds are the largest, and twins differ by at most 1, for each column."""
        fixed = list(self.fixed)
        admitted = np.asarray(np.all(bonds[fixed] == _column(self.largest, bonds.dtype)[fixed], axis=0))
        for j, k in self.twins:
            admitted &= abs(bonds[j] - bonds[k]) <= 1
        return admitted

    def _sizes(self, bonds: Array) -> list[Array]:
        """The number of entries of each operand, for each column."""
        return [self._size(i, bonds) for i in range(len(self.operands))]

    def _size(self, operand: int, bonds: Array) -> Array:
        coefficient, factors = self.operands[operand]
        size = np.full(bonds.shape[1], coefficient, dtype=bonds.dtype)
        for k in factors:
            size *= bonds[k]
        return size

    def _size_at(self, operand: int, bonds: Sequence[int]) -> int:
        coefficient, factors = self.operands[operand]
        return coefficient * math.prod(bonds[k] for k in factors)

    @cached_property
    def twins(self) -> tuple[tuple[int, int], ...]:
        """The pairs of bonds that can change places without a change of scale, of any limit, or of any count."""
        free = [k for k in range(self.n_bonds) if k not in self.fixed]
        return tuple(
            (j, k)
            for j, k in combinations(free, 2)
            if self.scale[j] == self.scale[k] and self.limits[j] == self.limits[k] and self._can_swap(j, k)
        )

    def _can_swap(self, j: int, k: int) -> bool:
        swap = {j: k, k: j}
        swapped = [(c, tuple(sorted(swap.get(bond, bond) for bond in bonds))) for c, bonds in self.operands]
        return sorted(swapped) == sorted((c, tuple(sorted(bonds))) for c, bonds in self.operands)


def _column(bonds: Bonds, dtype: DTypeLike) -> Array:
    return np.array(bonds, dtype=dtype).reshape(-1, 1)


def as_bonds(column: Array) -> Bonds:
    """One column as a tuple of Python ints."""
    return tuple(int(bond) for bond in column)
