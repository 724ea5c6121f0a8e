"""What the ranks of a format cost, which can be, and the most parameters that fit a budget, by exact enumeration.

Written from the table of operands alone, as a judge of the package's own rules.  Rank tuples are
enumerated mode by mode; two beginnings that cost the same and leave the same choice are one.
"""

import math
from collections import Counter

import numpy as np

MAX_STATES = 200_000
"""Where more beginnings would be open at once, the best is not looked for."""

Sizes = tuple[int, ...]
Bonds = tuple[int, ...]


class CP:
    """Weights, and a matrix for each mode."""

    @staticmethod
    def n_bonds(sizes: Sizes) -> int:
        return 1

    @staticmethod
    def count(sizes: Sizes, bonds: Bonds) -> int:
        return bonds[0] * (sum(sizes) + 1)

    @staticmethod
    def is_realizable(sizes: Sizes, bonds: Bonds) -> bool:
        return bonds[0] <= math.prod(sizes) // max(sizes)

    @staticmethod
    def best(sizes: Sizes, limit: int) -> int | None:
        each = sum(sizes) + 1
        return each * min(limit // each, math.prod(sizes) // max(sizes))


class Tucker:
    """A core, and a matrix for each mode."""

    @staticmethod
    def n_bonds(sizes: Sizes) -> int:
        return len(sizes)

    @staticmethod
    def count(sizes: Sizes, bonds: Bonds) -> int:
        return math.prod(bonds) + sum(s * r for s, r in zip(sizes, bonds, strict=True))

    @staticmethod
    def is_realizable(sizes: Sizes, bonds: Bonds) -> bool:
        return all(r <= s for s, r in zip(sizes, bonds, strict=True)) and max(bonds) ** 2 <= math.prod(bonds)

    @staticmethod
    def best(sizes: Sizes, limit: int) -> int | None:
        """Over the groups of equal sizes; a state is the core's entries, the matrices' entries, the largest rank."""
        groups, rest = Counter(sizes), sum(sizes)
        core, matrices, largest = np.array([1]), np.array([0]), np.array([1])
        for size, n_modes in sorted(groups.items()):
            rest -= size * n_modes
            options = np.array(_nearly_equal(size, n_modes)).T
            if len(core) * options.shape[1] > MAX_STATES:
                return None
            core = np.multiply.outer(core, options[0]).ravel()
            matrices = np.add.outer(matrices, options[1]).ravel()
            largest = np.maximum.outer(largest, options[2]).ravel()
            open_ = np.flatnonzero(core + matrices + rest <= limit)
            keys = (core[open_] * (limit + 1) + matrices[open_]) * (max(sizes) + 1) + largest[open_]
            kept = open_[np.unique(keys, return_index=True)[1]]
            core, matrices, largest = core[kept], matrices[kept], largest[kept]
        return int(np.max((core + matrices)[largest**2 <= core]))


def _nearly_equal(size: int, n_modes: int) -> list[tuple[int, int, int]]:
    """Product, cost of the matrices, and maximum of all ranks of equal modes that differ by at most 1."""
    options = []
    for low in range(1, size + 1):
        for n_higher in range(n_modes if low < size else 1):
            product = low ** (n_modes - n_higher) * (low + 1) ** n_higher
            options.append((product, size * (low * n_modes + n_higher), low + (n_higher > 0)))
    return options


class Chain:
    """A core for each mode, that shares a bond with the next."""

    @staticmethod
    def n_bonds(sizes: Sizes) -> int:
        return len(sizes) - 1

    @staticmethod
    def count(sizes: Sizes, bonds: Bonds) -> int:
        ranks = (1, *bonds, 1)
        return sum(ranks[k] * size * ranks[k + 1] for k, size in enumerate(sizes))

    @staticmethod
    def is_realizable(sizes: Sizes, bonds: Bonds) -> bool:
        ranks = (1, *bonds, 1)
        return all(ranks[k] <= size * ranks[k + 1] and ranks[k + 1] <= ranks[k] * size for k, size in enumerate(sizes))

    @classmethod
    def best(cls, sizes: Sizes, limit: int) -> int | None:
        """The two halves of the chain meet in a bond: for each cost of the left half the costliest right that fits."""
        middle = len(sizes) // 2
        left, right = cls._half(sizes, middle, limit), cls._half(sizes[::-1], len(sizes) - middle, limit)
        if left is None or right is None:
            return None
        ranks, costs = left
        stride = limit + 1
        keys = np.sort(right[0] * stride + right[1])
        found = np.searchsorted(keys, ranks * stride + limit - costs, side="right") - 1
        meets = (found >= 0) & (keys[found] // stride == ranks)
        return int(np.max(costs[meets] + keys[found[meets]] % stride))

    @staticmethod
    def _half(sizes: Sizes, n_cores: int, limit: int) -> tuple[np.ndarray, np.ndarray] | None:
        """All pairs of the bond after `n_cores` cores and their cost, such that the rest may still fit."""
        ranks, costs = np.array([1]), np.array([0])
        for k in range(n_cores):
            size, following, rest = sizes[k], sizes[k + 1], sum(sizes[k + 2 :])
            most = np.minimum(ranks * size, math.prod(sizes[k + 1 :]))
            most = np.minimum(most, (limit - rest - costs) // (ranks * size + following))
            least = -(-ranks // size)
            n = np.maximum(most - least + 1, 0)
            if n.sum() > MAX_STATES:
                return None
            before, costs = np.repeat(ranks, n), np.repeat(costs, n)
            ranks = np.repeat(least, n) + np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
            keys = np.unique(ranks * (limit + 1) + costs + before * size * ranks)
            ranks, costs = keys // (limit + 1), keys % (limit + 1)
        return ranks, costs
