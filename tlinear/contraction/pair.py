"""One pairwise contraction ``C = sum A * B`` as permute, reshape and matmul.

The labels of A and B fall into four groups, each merged into one axis:

========== =========== =========== =========
group      in A        in B        in C
========== =========== =========== =========
shared     yes         yes         yes
left       yes         no          yes
contracted yes         yes         no
right      no          yes         yes
========== =========== =========== =========

With something to contract it is ``C[shared, left, right] = A[shared, left, contracted]
@ B[shared, contracted, right]``; with nothing to contract it is the broadcast product
``C[left, right, shared] = A[left, 1, shared] * B[1, right, shared]``, of which the
Khatri-Rao product is an example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH, Label, Labels, Network

__all__ = ["BatchShape", "Pair"]


@dataclass(frozen=True)
class BatchShape:
    """A shape of which one axis may be a multiple of the batch size."""

    sizes: tuple[int, ...]
    batch_axis: int | None

    @classmethod
    def of(cls, network: Network, groups: Sequence[Sequence[Label]]) -> BatchShape:
        """One axis a group, of the product of its labels' sizes."""
        axis = next((k for k, group in enumerate(groups) if BATCH in group), None)
        return cls(tuple(network.size(group) for group in groups), axis)

    def at(self, batch_size: int) -> tuple[int, ...]:
        """The shape for this many samples."""
        k = self.batch_axis
        if k is None:
            return self.sizes
        return (*self.sizes[:k], self.sizes[k] * batch_size, *self.sizes[k + 1 :])


@dataclass(frozen=True)
class Pair:
    """A compiled pairwise contraction of arrays labelled `a` and `b` into `out`.

    Examples
    --------
    >>> net = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 4), (2, 3)), n_in=1, n_modes=2)
    >>> pair = Pair.compile(net, (0, 2), (2, 1), {0, 1})
    >>> pair(np.ones((2, 3)), np.ones((3, 4)), 1).shape, pair.flops(1)
    ((2, 4), 48)
    """

    a: Labels
    b: Labels
    out: Labels
    is_product: bool
    axes_a: tuple[int, ...]
    axes_b: tuple[int, ...]
    merged_a: BatchShape
    merged_b: BatchShape
    split: BatchShape
    axes_out: tuple[int, ...] | None
    n_multiply: BatchShape
    n_moved: tuple[BatchShape, ...]

    @classmethod
    def compile(cls, network: Network, a: Labels, b: Labels, keep: set[Label], out: Labels | None = None) -> Pair:
        """Work out the axes.  `keep` says which labels the result has; `out`, if given, in which order."""
        # the larger array dictates the order inside a group that both carry, so that it is the one not copied
        larger, other = (a, b) if network.size(a) >= network.size(b) else (b, a)
        both = [label for label in larger if label in other]
        shared = [label for label in both if label in keep]
        contracted = [label for label in both if label not in keep]
        left = [label for label in a if label not in b]
        right = [label for label in b if label not in a]
        if contracted:
            groups_a, groups_b = [shared, left, contracted], [shared, contracted, right]
            order = [*shared, *left, *right]
            if not shared:
                groups_a, groups_b = groups_a[1:], groups_b[1:]
            merged_a, merged_b = BatchShape.of(network, groups_a), BatchShape.of(network, groups_b)
        else:
            groups_a, groups_b = [left, [], shared], [[], right, shared]
            order = [*left, *right, *shared]
            merged_a, merged_b = BatchShape.of(network, groups_a), BatchShape.of(network, groups_b)
        copies_a, copies_b = _needs_copy(a, groups_a), _needs_copy(b, groups_b)
        moved = [a, b, tuple(order)] + [a, a] * copies_a + [b, b] * copies_b
        return cls(
            a=a,
            b=b,
            out=tuple(order) if out is None else out,
            is_product=not contracted,
            axes_a=tuple(a.index(label) for group in groups_a for label in group),
            axes_b=tuple(b.index(label) for group in groups_b for label in group),
            merged_a=merged_a,
            merged_b=merged_b,
            split=BatchShape.of(network, [[label] for label in order]),
            axes_out=None if out is None else tuple(order.index(label) for label in out),
            n_multiply=BatchShape.of(network, [[*order, *contracted]]),
            n_moved=tuple(BatchShape.of(network, [labels]) for labels in moved),
        )

    def __call__(self, a: Array, b: Array, batch_size: int) -> Array:
        """Contract two arrays."""
        a = np.permute_dims(a, self.axes_a).reshape(self.merged_a.at(batch_size))
        b = np.permute_dims(b, self.axes_b).reshape(self.merged_b.at(batch_size))
        c = np.multiply(a, b) if self.is_product else np.matmul(a, b)
        c = c.reshape(self.split.at(batch_size))
        return c if self.axes_out is None else np.permute_dims(c, self.axes_out)

    @property
    def is_batched(self) -> bool:
        """Whether it is one matrix product for each value of the shared labels."""
        return len(self.merged_a.sizes) == 3 and not self.is_product

    def flops(self, batch_size: int) -> int:
        """Real multiplications and additions, of real operands."""
        return math.prod(self.n_multiply.at(batch_size)) * (1 if self.is_product else 2)

    def entries_moved(self, batch_size: int) -> int:
        """Entries read and written: both operands, the result, and each operand that must be copied first."""
        return sum(math.prod(shape.at(batch_size)) for shape in self.n_moved)


def _needs_copy(labels: Labels, groups: Sequence[Sequence[Label]]) -> bool:
    """Whether a contiguous array must be rearranged to be read with these groups as axes.

    It need not be when the labels of each group stand side by side in their order, and, if it is
    read as many matrices, their common group leads: BLAS wants a unit stride inside each matrix.
    """
    for group in groups:
        places = [labels.index(label) for label in group]
        if places and places != list(range(places[0], places[0] + len(places))):
            return True
    common = groups[0] if len(groups) == 3 and groups[1] else ()
    return bool(common) and labels[0] not in common
