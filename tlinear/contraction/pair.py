"""One pairwise contraction ``C = sum A * B`` as one call of matmul on views of the arrays as they lie.

An array is contiguous in the order of its labels.  The labels of A and B fall into four groups:

========== =========== =========== =========
group      in A        in B        in C
========== =========== =========== =========
shared     yes         yes         yes
left       yes         no          yes
contracted yes         yes         no
right      no          yes         yes
========== =========== =========== =========

With something to contract it is ``C[loops, rows, right] = A[loops, rows, contracted] @ B[shared,
contracted, right]``: the rows are some of the left labels, the loops are all others that A keeps.
BLAS reads and writes a matrix in which one of the two axes has a unit stride, whatever the other's.
So A is read as it lies where its rows and its contracted labels each stand side by side and one of
the two comes last, and C may lie in any order that ends with the rows or with the right labels.  B
is small, or has no batch, and is arranged once for all chunks of one.

With nothing to contract it is the broadcast product ``C = A * B``, of which the Khatri-Rao product
is an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH, Labels, Network

__all__ = ["Kernel", "Pair", "stand_together"]


@dataclass(frozen=True)
class Pair:
    """How two arrays that lie as `a` and `b` are contracted into one that lies as `out`.

    Attributes
    ----------
    network : Network
        Which knows the sizes of the labels.
    a, b, out : labels
        In the order that the arrays lie in.
    lying : labels
        The order that A is copied into first; `a` itself where it is read as it lies.
    loops : tuple of labels
        Runs of labels, for each of whose values there is one matrix product.
    rows, contracted, right : labels
        The axes of the matrices.

    Examples
    --------
    >>> net = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 4), (2, 3)), n_in=1, n_modes=2)
    >>> pair = Pair(net, a=(0, 2), b=(2, 1), out=(0, 1), lying=(0, 2), loops=(), rows=(0,), contracted=(2,), right=(1,))
    >>> kernel = Kernel(pair, batch_size=1)
    >>> kernel(np.ones((2, 3)), kernel.arrange(np.ones((3, 4)))).shape, pair.flops(1)
    ((2, 4), 48)
    """

    network: Network
    a: Labels
    b: Labels
    out: Labels
    lying: Labels
    loops: tuple[Labels, ...] = ()
    rows: Labels = ()
    contracted: Labels = ()
    right: Labels = ()

    @property
    def is_product(self) -> bool:
        """Whether nothing is summed over."""
        return not self.contracted

    @cached_property
    def has_batch(self) -> bool:
        """Whether it is done anew for every chunk of a batch."""
        return BATCH in self.out or BATCH in self.a

    @cached_property
    def copies_a(self) -> bool:
        """Whether A is rearranged first."""
        return self.a != self.lying

    @cached_property
    def copies_b(self) -> bool:
        """Whether B must be rearranged to be read as matrices."""
        if self.is_product:
            return False
        wanted = [label for label in self.b if label not in self.contracted and label not in self.right]
        together = stand_together(self.contracted, self.b) and stand_together(self.right, self.b)
        return not together or self.b[-1] in wanted

    def size(self, labels: Labels, batch_size: int) -> int:
        """The number of entries of an array with these labels."""
        return self.network.size(labels, batch_size)

    def flops(self, batch_size: int) -> int:
        """Real multiplications and additions, of real operands."""
        return self.size((*self.out, *self.contracted), batch_size) * (1 if self.is_product else 2)

    def backward_flops(self, batch_size: int) -> int:
        """Those of both pullbacks."""
        n = self.size((*self.out, *self.contracted), batch_size)
        return sum(n * (1 if set(self.out) == set(labels) else 2) for labels in (self.a, self.b))

    def entries_moved(self, batch_size: int) -> int:
        """Entries read and written: both operands, the result, and each operand that must be copied first."""
        a, b, out = (self.size(labels, batch_size) for labels in (self.a, self.b, self.out))
        return a + b + out + 2 * a * self.copies_a + 2 * b * self.copies_b

    def backward_entries_moved(self, batch_size: int) -> int:
        """Those of both pullbacks, the gradients of B for each loop among them."""
        return 2 * self.entries_moved(batch_size) + 2 * self.entries_summed(batch_size)

    def entries_summed(self, batch_size: int) -> int:
        """What the gradient of B is summed from: one matrix for each value of the loops, if there are several."""
        loops = tuple(label for run in self.loops for label in run)
        if set(loops) <= set(self.b):
            return 0
        return self.size((*loops, *self.contracted, *self.right), batch_size)


class Kernel:
    """A pair for one batch size, its shapes and axes worked out: forward, and the two pullbacks.

    With ``C = A * B``: ``dA = dC * conj(B)`` and ``dB = dC * conj(A)``, each summed over what the
    operand does not carry, so that a pair costs two of its own kind to differentiate.  Both read and
    write the views that the forward pass reads and writes.
    """

    def __init__(self, pair: Pair, batch_size: int) -> None:
        network = pair.network
        self.copies_a = pair.copies_a
        self.shape_a, self.shape_b = network.shape(pair.a, batch_size), network.shape(pair.b, batch_size)
        self.shape_out = network.shape(pair.out, batch_size)
        self.is_product = pair.is_product
        if self.is_product:
            runs = _common_runs(pair.out, (pair.a, pair.b))
            self.runs_a, self.runs_b = (_places(labels, runs) for labels in (pair.a, pair.b))
            self.runs_c = list(range(len(runs)))
            self.merged_a, self.axes_a = _spread(network, pair.a, runs, batch_size)
            self.merged_b, self.axes_b = _spread(network, pair.b, runs, batch_size)
            self.merged_c = tuple(network.size(run, batch_size) for run in runs)
            self.short_a = tuple(network.size(runs[k], batch_size) for k in self.runs_a)
            self.short_b = tuple(network.size(runs[k], batch_size) for k in self.runs_b)
            return
        self.copy_axes = tuple(pair.a.index(label) for label in pair.lying)
        self.copied_shape = tuple(self.shape_a[axis] for axis in self.copy_axes)
        loops, sizes = pair.loops, [network.size(run, batch_size) for run in pair.loops]
        self.merged_a, self.axes_a = _view(network, pair.lying, (*loops, pair.rows, pair.contracted), batch_size)
        self.merged_c, self.axes_c = _view(network, pair.out, (*loops, pair.rows, pair.right), batch_size)
        shared = [run for run in loops if run[0] in pair.b]
        order = tuple(label for group in (*shared, pair.contracted, pair.right) for label in group)
        self.order_b = tuple(pair.b.index(label) for label in order)
        self.ordered_b = network.shape(order, batch_size)
        matrices = (network.size(pair.contracted, batch_size), network.size(pair.right, batch_size))
        self.matrices_b = (*(n if run in shared else 1 for run, n in zip(loops, sizes, strict=True)), *matrices)
        self.summed = tuple(k for k, run in enumerate(loops) if run not in shared)

    def arrange(self, b: Array) -> Array:
        """B as the matrices that A meets: a copy where it does not lie so."""
        if self.is_product:
            return _read(b, self.merged_b, self.axes_b)
        return b.reshape(self.shape_b).transpose(self.order_b).reshape(self.matrices_b)

    def restore(self, db: Array) -> Array:
        """What :meth:`to_b` returned, as an array that lies as B."""
        if self.is_product:
            return db.reshape(self.shape_b)
        return db.reshape(self.ordered_b).transpose(np.argsort(self.order_b))

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """``C``, from A and arranged B; written into `out`, if given, which is contiguous."""
        if self.is_product:
            c = np.empty(self.merged_c, np.result_type(a, b)) if out is None else out.reshape(self.merged_c)
            np.multiply(_read(a, self.merged_a, self.axes_a), b, out=c)
            return c
        a = self._read_a(a)
        if out is None:
            if self.axes_c is None:
                return np.asarray(np.matmul(a, b))
            out = np.empty(self.merged_c, np.result_type(a, b))
        np.matmul(a, b, out=_read(out, self.merged_c, self.axes_c))
        return out

    def to_a(self, dc: Array, b: Array, out: Array | None = None) -> Array:
        """``dA`` from ``dC`` and ``conj(B)`` arranged; into `out`, if given, which is contiguous."""
        if self.is_product:
            dc = dc.reshape(self.merged_c)
            if len(self.runs_a) == len(self.runs_c):
                da = _read(dc * b, self.short_a, None) if self.axes_a is None else self._unspread(dc * b)
            else:
                b = b.reshape(tuple(n for k, n in enumerate(b.shape) if k in self.runs_b))
                in_b = sorted(self.runs_b)
                da = np.einsum(dc, self.runs_c, b, in_b, self.runs_a, order="C")
        else:
            empty = np.empty(self.merged_a, dc.dtype) if out is None or self.copies_a else out
            np.matmul(
                _read(dc, self.merged_c, self.axes_c),
                np.swapaxes(b, -1, -2),
                out=_read(empty, self.merged_a, self.axes_a),
            )
            da = empty
            if self.copies_a:
                da = np.ascontiguousarray(empty.reshape(self.copied_shape).transpose(np.argsort(self.copy_axes)))
        if out is None or da is out:
            return da
        out[...] = da.reshape(out.shape)
        return out

    def to_b(self, dc: Array, a: Array) -> Array:
        """``dB``, arranged, from ``dC`` and ``conj(A)``."""
        if self.is_product:
            dc, a = dc.reshape(self.merged_c), a.reshape(self.short_a)
            return np.asarray(np.einsum(dc, self.runs_c, a, self.runs_a, self.runs_b, order="C"))
        db = np.matmul(np.swapaxes(self._read_a(a), -1, -2), _read(dc, self.merged_c, self.axes_c))
        return np.asarray(np.sum(db, axis=self.summed)) if self.summed else np.asarray(db)

    def _read_a(self, a: Array) -> Array:
        if self.copies_a:
            a = np.ascontiguousarray(a.reshape(self.shape_a).transpose(self.copy_axes))
        return _read(a, self.merged_a, self.axes_a)

    def _unspread(self, dc: Array) -> Array:
        """What lies as C, with all of A's labels, as an array that lies as A."""
        return np.ascontiguousarray(dc.transpose(self.runs_a))


def stand_together(group: Sequence[int], labels: Labels) -> bool:
    """Whether the labels of a group stand side by side in `labels`, in the group's order."""
    if not group:
        return True
    start = labels.index(group[0])
    return labels[start : start + len(group)] == tuple(group)


def _view(
    network: Network, labels: Labels, groups: Sequence[Labels], batch_size: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The shape with each group merged, as they lie, and the axes that bring them into order; None for as is."""
    ranked = sorted(range(len(groups)), key=lambda k: labels.index(groups[k][0]) if groups[k] else len(labels))
    axes = tuple(ranked.index(k) for k in range(len(groups)))
    shape = tuple(network.size(groups[k], batch_size) for k in ranked)
    return shape, None if axes == tuple(range(len(axes))) else axes


def _spread(
    network: Network, labels: Labels, runs: Sequence[Labels], batch_size: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """As :func:`_view`, with an axis of size 1 for every run that `labels` do not have."""
    return _view(network, labels, [run if run[0] in labels else () for run in runs], batch_size)


def _places(labels: Labels, runs: Sequence[Labels]) -> list[int]:
    """Which runs `labels` consist of, in their order."""
    return sorted((k for k, run in enumerate(runs) if run[0] in labels), key=lambda k: labels.index(runs[k][0]))


def _common_runs(labels: Labels, others: Sequence[Labels]) -> list[Labels]:
    """`labels` cut wherever a label does not follow its predecessor in all of the others that have either."""
    runs: list[Labels] = []
    for label in labels:
        if runs and all(_follows(runs[-1][-1], label, other) for other in others):
            runs[-1] = (*runs[-1], label)
        else:
            runs.append((label,))
    return runs


def _follows(first: int, second: int, labels: Labels) -> bool:
    if first in labels and second in labels:
        return labels.index(second) == labels.index(first) + 1
    return first not in labels and second not in labels


def _read(array: Array, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> Array:
    array = array.reshape(shape)
    return array if axes is None else array.transpose(axes)
