"""A pair for one batch size, its shapes and axes worked out: forward, and the two pullbacks.

With ``C = A * B``: ``dA = dC * conj(B)`` and ``dB = dC * conj(A)``, each summed over what the operand
does not carry, so that a pair costs two of its own kind to differentiate.  Both read and write the
views that the forward pass reads and writes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import Labels, Network
from tlinear.contraction.pair import Pair, common_runs

__all__ = ["Kernel", "kernel_of"]

Axes = tuple[int, ...]


class Kernel(ABC):
    """What a pair does to arrays of one batch size.  Arrays may come in any shape: they are read in order."""

    shape_out: tuple[int, ...]

    @abstractmethod
    def arrange(self, b: Array) -> Array:
        """B as A meets it: a copy where it does not lie so."""

    @abstractmethod
    def restore(self, db: Array) -> Array:
        """What :meth:`to_b` returned, with the labels of B as axes."""

    @abstractmethod
    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """``C``, from A and arranged B; written into `out`, if given, which is contiguous."""

    @abstractmethod
    def to_a(self, dc: Array, b: Array, out: Array | None = None) -> Array:
        """``dA`` from ``dC`` and ``conj(B)`` arranged; written into `out`, if given, which is contiguous."""

    @abstractmethod
    def to_b(self, dc: Array, a: Array) -> Array:
        """``dB``, arranged, from ``dC`` and ``conj(A)``."""


def kernel_of(pair: Pair, batch_size: int) -> Kernel:
    """The kernel of a pair.

    Examples
    --------
    >>> net = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 4), (2, 3)), n_in=1, n_modes=2)
    >>> pair = Pair(net, a=(0, 2), b=(2, 1), out=(0, 1), lying=(0, 2), loops=(), rows=(0,), contracted=(2,), right=(1,))
    >>> kernel = kernel_of(pair, batch_size=1)
    >>> kernel(np.ones((2, 3)), kernel.arrange(np.ones((3, 4)))).shape
    (2, 4)
    """
    if pair.is_product:
        return _Product(pair, batch_size)
    return _Matmul(pair, batch_size) if pair.loops else _Dot(pair, batch_size)


class _Matrices(Kernel):
    """What is done to the operands of a matrix product, of one or of many: A may be copied first, B arranged."""

    def __init__(self, pair: Pair, batch_size: int) -> None:
        network = pair.network
        self.shape_a, self.shape_b = network.shape(pair.a, batch_size), network.shape(pair.b, batch_size)
        self.shape_out = network.shape(pair.out, batch_size)
        self.copy_axes = tuple(pair.a.index(label) for label in pair.lying) if pair.copies_a else None
        self.copied_shape = network.shape(pair.lying, batch_size)
        # the size of every loop that B has, 1 for one that it has not, and the two axes of a matrix
        self.matrices_b = (
            *(network.size(run, batch_size) if run[0] in pair.b else 1 for run in pair.loops),
            network.size(pair.contracted, batch_size),
            network.size(pair.right, batch_size),
        )
        self.order_b = tuple(pair.b.index(label) for label in pair.order_b)
        self.lies_b = pair.order_b == pair.b
        self.ordered_b = network.shape(pair.order_b, batch_size)
        self.turns_b = pair.work(batch_size).turns_b
        self.turned_b = tuple(pair.b.index(label) for label in pair.turned_order_b)

    def arrange(self, b: Array) -> Array:
        if self.turns_b:
            turned = np.ascontiguousarray(b.reshape(self.shape_b).transpose(self.turned_b))
            return turned.reshape(self.matrices_b[:-2] + self.matrices_b[:-3:-1]).mT
        if not self.lies_b:
            b = b.reshape(self.shape_b).transpose(self.order_b)
        return b.reshape(self.matrices_b)

    def restore(self, db: Array) -> Array:
        return db.reshape(self.shape_b) if self.lies_b else _unpermute(db.reshape(self.ordered_b), self.order_b)

    def _copied(self, a: Array) -> Array:
        """A as it is read: a copy in another order where it does not lie so."""
        return a if self.copy_axes is None else np.ascontiguousarray(a.reshape(self.shape_a).transpose(self.copy_axes))

    def _copied_back(self, copied: Array, axes: Axes, out: Array | None) -> Array:
        """What :meth:`_copied` came from; written into `out`, if given."""
        da = _unpermute(copied.reshape(self.copied_shape), axes)
        if out is None:
            return np.ascontiguousarray(da)
        out[...] = da.reshape(out.shape)
        return out


class _Dot(_Matrices):
    """One product of two matrices."""

    def __init__(self, pair: Pair, batch_size: int) -> None:
        super().__init__(pair, batch_size)
        inner, right = self.matrices_b
        rows = pair.network.size(pair.rows, batch_size)
        # whether A lies as [contracted, rows], and C as [right, rows]
        self.turns_a = bool(pair.rows) and pair.lying[0] not in pair.rows
        self.turns_c = bool(pair.rows and pair.right) and pair.out[0] not in pair.rows
        self.matrix_a = (inner, rows) if self.turns_a else (rows, inner)
        self.matrix_c = (right, rows) if self.turns_c else (rows, right)
        self.lies_turned_b = pair.lies_turned_b

    def restore(self, db: Array) -> Array:
        return db.T.reshape(self.shape_b) if self.lies_turned_b else super().restore(db)

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        a = self._matrix_a(a)
        into = None if out is None else out.reshape(self.matrix_c)
        c = b.T.dot(a.T, into) if self.turns_c else a.dot(b, into)
        return c if out is None else out

    def to_a(self, dc: Array, b: Array, out: Array | None = None) -> Array:
        dc = self._matrix_c(dc)
        into = None if out is None or self.copy_axes is not None else out.reshape(self.matrix_a)
        da = b.dot(dc.T, into) if self.turns_a else dc.dot(b.T, into)
        if self.copy_axes is not None:
            return self._copied_back(da, self.copy_axes, out)
        return da if out is None else out

    def to_b(self, dc: Array, a: Array) -> Array:
        a, dc = self._matrix_a(a), self._matrix_c(dc)
        # the transpose of a product, if B lies that way
        return np.asarray(dc.T.dot(a).T if self.lies_turned_b else a.T.dot(dc))

    def _matrix_a(self, a: Array) -> Array:
        a = self._copied(a).reshape(self.matrix_a)
        return a.T if self.turns_a else a

    def _matrix_c(self, c: Array) -> Array:
        c = c.reshape(self.matrix_c)
        return c.T if self.turns_c else c


class _Matmul(_Matrices):
    """One call of matmul on stacks of matrices."""

    def __init__(self, pair: Pair, batch_size: int) -> None:
        super().__init__(pair, batch_size)
        network = pair.network
        self.merged_a, self.axes_a = _view(network, pair.lying, (*pair.loops, pair.rows, pair.contracted), batch_size)
        self.merged_c, self.axes_c = _view(network, pair.out, (*pair.loops, pair.rows, pair.right), batch_size)
        self.summed = tuple(k for k, run in enumerate(pair.loops) if run[0] not in pair.b)
        self.parts = []
        if self.summed:
            axis, n, step = pair.summed_at_once(batch_size)
            before = (slice(None),) * axis
            self.parts = [(*before, slice(start, start + step)) for start in range(0, max(n, 1), step)]

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        a = self._matrices_a(a)
        if out is None:
            if self.axes_c is None:
                return _matmul(a, b)
            out = np.empty(self.merged_c, a.dtype)
        _matmul(a, b, self._matrices_c(out))
        return out

    def to_a(self, dc: Array, b: Array, out: Array | None = None) -> Array:
        dc, b = self._matrices_c(dc), b.mT
        if self.copy_axes is not None:
            copied = self._to_lying(dc, b, np.empty(self.merged_a, dc.dtype))
            return self._copied_back(copied, self.copy_axes, out)
        if out is not None:
            return self._to_lying(dc, b, out)
        if self.axes_a is None:
            return _matmul(dc, b)
        return self._to_lying(dc, b, np.empty(self.merged_a, dc.dtype))

    def to_b(self, dc: Array, a: Array) -> Array:
        at, c = self._matrices_a(a).mT, self._matrices_c(dc)
        if not self.summed:
            return _matmul(at, c)
        # some values of a loop at a time, so that what is summed stays in the cache
        total = None
        for part in self.parts:
            db = np.add.reduce(_matmul(at[part], c[part]), axis=self.summed)
            total = db if total is None else np.add(total, db, out=total)
        return np.asarray(total)

    def _to_lying(self, dc: Array, b: Array, out: Array) -> Array:
        merged = out.reshape(self.merged_a)
        _matmul(dc, b, merged if self.axes_a is None else merged.transpose(self.axes_a))
        return out

    def _matrices_a(self, a: Array) -> Array:
        a = self._copied(a).reshape(self.merged_a)
        return a if self.axes_a is None else a.transpose(self.axes_a)

    def _matrices_c(self, c: Array) -> Array:
        c = c.reshape(self.merged_c)
        return c if self.axes_c is None else c.transpose(self.axes_c)


class _Product(Kernel):
    """One broadcast multiplication; its pullbacks sum over the runs of labels that an operand does not have."""

    def __init__(self, pair: Pair, batch_size: int) -> None:
        network = pair.network
        self.shape_out = network.shape(pair.out, batch_size)
        self.shape_b = network.shape(pair.b, batch_size)
        runs = common_runs(pair.out, (pair.a, pair.b))
        self.runs_a, self.runs_b = (_places(labels, runs) for labels in (pair.a, pair.b))
        self.runs_c = list(range(len(runs)))
        self.merged_c = tuple(network.size(run, batch_size) for run in runs)
        self.merged_a = tuple(self.merged_c[k] for k in self.runs_a)
        self.merged_b = tuple(self.merged_c[k] for k in self.runs_b)
        self.spread_a, self.axes_a = _spread(network, pair.a, runs, batch_size)
        self.spread_b, self.axes_b = _spread(network, pair.b, runs, batch_size)

    def arrange(self, b: Array) -> Array:
        b = b.reshape(self.spread_b)
        return b if self.axes_b is None else b.transpose(self.axes_b)

    def restore(self, db: Array) -> Array:
        return db.reshape(self.shape_b)

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        a = a.reshape(self.spread_a)
        if self.axes_a is not None:
            a = a.transpose(self.axes_a)
        c = np.empty(self.merged_c, a.dtype) if out is None else out.reshape(self.merged_c)
        np.multiply(a, b, out=c)
        return c

    def to_a(self, dc: Array, b: Array, out: Array | None = None) -> Array:
        dc = dc.reshape(self.merged_c)
        if self.runs_a == self.runs_c:
            da = np.asarray(dc * b)
        else:
            runs_b = sorted(self.runs_b)
            b = b.reshape([self.merged_c[k] for k in runs_b])
            da = np.asarray(np.einsum(dc, self.runs_c, b, runs_b, self.runs_a, order="C"))
        if out is None:
            return da
        out[...] = da.reshape(out.shape)
        return out

    def to_b(self, dc: Array, a: Array) -> Array:
        dc, a = dc.reshape(self.merged_c), a.reshape(self.merged_a)
        return np.asarray(np.einsum(dc, self.runs_c, a, self.runs_a, self.runs_b, order="C"))


def _matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """``a @ b``; columns times rows, which NumPy gives to no BLAS, as the products that they are."""
    return np.asarray((np.multiply if a.shape[-1] == 1 else np.matmul)(a, b, out=out))


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


def _unpermute(array: Array, axes: Axes) -> Array:
    """What ``array.transpose(axes)`` came from."""
    return array.transpose([axes.index(k) for k in range(len(axes))])
