"""The kernels that are products of matrices: one, or a stack of them.

Both read and write the arrays as they lie wherever BLAS can; where it cannot, they are copied in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.adjoint import Adjoint
from tlinear.contraction.kernel import Contract, ContractInto, Kernel, Read, as_is
from tlinear.contraction.network import Labels, Network
from tlinear.contraction.pair import Pair
from tlinear.contraction.permute import permuted

__all__ = ["dot_kernel", "matmul_kernel"]

Axes: TypeAlias = tuple[int, ...]
Shape: TypeAlias = tuple[int, ...]

# Columns times rows: einsum is faster than multiply, whose loops have one number beside a line, but for small ones.
_OUTER = "...ij,...jk->...ik"
_LARGE_OUTER = 1 << 16
_LARGE_OUTERS = 1 << 11


# ------------------------------------------------------------------------------------------------------ one product


def dot_kernel(pair: Pair, batch_size: int, adjoint: Adjoint) -> Kernel:
    """One product of two matrices: the loops, if any, are of one value."""
    network = pair.network
    rows, inner, right = (network.size(labels, batch_size) for labels in (pair.rows, pair.contracted, pair.right))
    # whether A lies as [contracted, rows], and C as [right, rows]
    turns_a = bool(pair.rows) and pair.lying.index(pair.contracted[0]) < pair.lying.index(pair.rows[0])
    turns_c = bool(pair.rows and pair.right) and pair.out.index(pair.right[0]) < pair.out.index(pair.rows[0])
    copied = _copier(pair, batch_size)
    a, at = _matrix(rows, inner, turned=turns_a, copied=copied)
    c, ct = _matrix(rows, right, turned=turns_c)
    forward, to_a, to_b = _times(inner, rows * right), _times(right, rows * inner), _times(rows, inner * right)
    turned_b = pair.b == pair.turned_order_b != pair.order_b
    restore = _restorer(pair, batch_size, turned=turned_b)
    from_copy = _back_from_copy(pair, batch_size)
    shape_c, shape_a = ((right, rows) if turns_c else (rows, right)), ((inner, rows) if turns_a else (rows, inner))

    if turns_c:

        def run(x: Array, b: Array) -> Array:
            return forward(b.T, at(x))

        def run_into(x: Array, b: Array, out: Array) -> Array:
            forward(b.T, at(x), out.reshape(shape_c))
            return out

    else:

        def run(x: Array, b: Array) -> Array:
            return forward(a(x), b)

        def run_into(x: Array, b: Array, out: Array) -> Array:
            forward(a(x), b, out.reshape(shape_c))
            return out

    if turns_a:

        def pull(dc: Array, b: Array) -> Array:
            return to_a(b, ct(dc))

        def pull_into(dc: Array, b: Array, out: Array) -> Array:
            to_a(b, ct(dc), out.reshape(shape_a))
            return out

    else:

        def pull(dc: Array, b: Array) -> Array:
            return to_a(c(dc), b.T)

        def pull_into(dc: Array, b: Array, out: Array) -> Array:
            to_a(c(dc), b.T, out.reshape(shape_a))
            return out

    if turned_b:

        def pull_b(dc: Array, x: Array) -> Array:
            return to_b(ct(dc), a(x)).T

    else:

        def pull_b(dc: Array, x: Array) -> Array:
            return to_b(at(x), c(dc))

    back, back_into = _through_copy(pull, pull_into, from_copy)
    shape_out = network.shape(pair.out, batch_size)
    arrange, turn = _arranger(pair, batch_size), _lines_turned if adjoint.turns_b else None
    return Kernel(shape_out, arrange, turn, restore, run, run_into, back, back_into, pull_b)


def _matrix(rows: int, columns: int, *, turned: bool, copied: Read | None = None) -> tuple[Read, Read]:
    """How an array is read as ``[rows, columns]``, and as its transpose; `turned` where it lies as that."""
    shape = (columns, rows) if turned else (rows, columns)
    if copied is None:

        def as_lying(array: Array) -> Array:
            return array.reshape(shape)

    else:

        def as_lying(array: Array) -> Array:
            return copied(array).reshape(shape)

    def as_turned(array: Array) -> Array:
        return as_lying(array).T

    return (as_turned, as_lying) if turned else (as_lying, as_turned)


def _times(inner: int, n_entries: int) -> Callable[..., Array]:
    """The product of two matrices, with `inner` entries to sum over; large columns times rows are no work for BLAS."""
    if inner > 1 or n_entries <= _LARGE_OUTER:
        return np.ndarray.dot

    def outer(column: Array, row: Array, out: Array | None = None) -> Array:
        into = np.empty((column.shape[0], row.shape[1]), column.dtype) if out is None else out
        return np.einsum(_OUTER, column, row, out=into)

    return outer


# ------------------------------------------------------------------------------------------------------ many products


def matmul_kernel(pair: Pair, batch_size: int, adjoint: Adjoint) -> Kernel:
    """One call of matmul on stacks of matrices."""
    network = pair.network
    lying_a = _view(network, pair.lying, (*pair.loops, pair.rows, pair.contracted), batch_size)
    lying_c = _view(network, pair.out, (*pair.loops, pair.rows, pair.right), batch_size)
    copied = _copier(pair, batch_size)
    a, c = _reader(*lying_a, copied), _reader(*lying_c)
    run, run_into = _stacks(network.size(pair.contracted, batch_size), a, None, lying_c)
    pull, pull_into = _stacks(network.size(pair.right, batch_size), c, _turned, lying_a)
    back, back_into = _through_copy(pull, pull_into, _back_from_copy(pair, batch_size))
    shape_out, arrange = network.shape(pair.out, batch_size), _arranger(pair, batch_size)
    if adjoint.flattens_a:
        back, back_into = _flat_to_a(pair, batch_size)
    to_b = _flat_to_b(pair, batch_size) if adjoint.flattens_b else _stacks_summed(pair, batch_size, a, c)
    turn, restore = _lines_turned if adjoint.turns_b else None, _restorer(pair, batch_size)
    return Kernel(shape_out, arrange, turn, restore, run, run_into, back, back_into, to_b)


def _stacks(
    inner: int, read: Read, turn: Read | None, lying: tuple[Shape, Axes | None]
) -> tuple[Contract, ContractInto]:
    """The products of stacks of matrices, the second perhaps turned, written so that the result lies as asked for."""
    shape, axes = lying
    times = _times_of_stacks(inner, math.prod(shape))

    def into(first: Array, second: Array, out: Array) -> Array:
        view = out.reshape(shape)
        times(
            read(first),
            second if turn is None else turn(second),
            out=view if axes is None else view.transpose(axes),
        )
        return out

    if axes is not None or inner == 1:
        return lambda first, second: into(first, second, np.empty(shape, first.dtype)), into
    if turn is not None:
        return lambda first, second: times(read(first), turn(second)), into
    return lambda first, second: times(read(first), second), into


def _times_of_stacks(inner: int, n_entries: int) -> Callable[..., Array]:
    """The products of stacks of matrices; columns times rows, which NumPy gives to no BLAS, entry by entry."""
    if inner > 1:
        return np.matmul
    if n_entries <= _LARGE_OUTERS:
        return np.multiply
    return lambda columns, rows, out: np.einsum(_OUTER, columns, rows, out=out)


def _turned(b: Array) -> Array:
    return b.mT


def _stacks_summed(pair: Pair, batch_size: int, a: Read, c: Read) -> Contract:
    """``dB``: the products of stacks, summed over the loops that B does not have."""
    times = np.multiply if pair.network.size(pair.rows, batch_size) == 1 else np.matmul
    summed = tuple(k for k, run in enumerate(pair.loops) if not _loops_of_b(pair) or run[0] not in pair.b)
    if all(run[0] in pair.b for run in pair.loops):
        return lambda dc, x: times(a(x).mT, c(dc))
    axis, n, step = pair.summed_at_once(batch_size)
    before = (slice(None),) * axis

    def pull(dc: Array, x: Array) -> Array:
        # some values of a loop at a time, so that what is summed stays in the cache
        at, matrices, total = a(x).mT, c(dc), None
        for start in range(0, max(n, 1), step):
            part = (*before, slice(start, start + step))
            db = np.add.reduce(times(at[part], matrices[part]), axis=summed)
            total = db if total is None else np.add(total, db, out=total)
        return np.asarray(total)

    return pull


def _flat_to_a(pair: Pair, batch_size: int) -> tuple[Contract, ContractInto]:
    """``dA`` as one product whose rows are those of all loops, then in the order that A lies in."""
    order = (*_labels_of_loops(pair), *pair.rows, *pair.contracted)
    unflattened = permuted(pair.network.shape(order, batch_size), tuple(map(order.index, pair.a)))
    c = _flattened(pair, batch_size, pair.out, pair.right)

    def pull(dc: Array, b: Array) -> Array:
        return unflattened(c(dc).dot(b.T))

    def into(dc: Array, b: Array, out: Array) -> Array:
        out[...] = pull(dc, b).reshape(out.shape)
        return out

    return pull, into


def _flat_to_b(pair: Pair, batch_size: int) -> Contract:
    """``dB`` as one product whose rows are those of all loops."""
    a, c = (_flattened(pair, batch_size, *read) for read in ((pair.a, pair.contracted), (pair.out, pair.right)))
    return lambda dc, x: np.dot(a(x).T, c(dc))


def _flattened(pair: Pair, batch_size: int, labels: Labels, last: Labels) -> Read:
    """How an array that lies as `labels` is read as a matrix ``[loops and rows, last]``: copied where it must be."""
    order = (*_labels_of_loops(pair), *pair.rows, *last)
    columns = pair.size(last, batch_size)
    matrix = (pair.size(order, batch_size) // columns, columns)
    if order == labels:
        return lambda array: array.reshape(matrix)
    copy = permuted(pair.network.shape(labels, batch_size), tuple(map(labels.index, order)))
    return lambda array: copy(array).reshape(matrix)


def _labels_of_loops(pair: Pair) -> Labels:
    return tuple(label for run in pair.loops for label in run)


# ------------------------------------------------------------------------------------- how operands of products lie


def _reader(shape: Shape, axes: Axes | None, copied: Read | None = None) -> Read:
    """How an array is read: in `shape`, with `axes` in another order, if any, perhaps after a copy."""
    if copied is not None:
        if axes is None:
            return lambda array: copied(array).reshape(shape)
        return lambda array: copied(array).reshape(shape).transpose(axes)
    if axes is None:
        return lambda array: array.reshape(shape)
    return lambda array: array.reshape(shape).transpose(axes)


def _copier(pair: Pair, batch_size: int) -> Read | None:
    """A in another order, where it is copied first."""
    if not pair.copies_a:
        return None
    shape, axes = pair.network.shape(pair.a, batch_size), tuple(pair.a.index(label) for label in pair.lying)
    return permuted(shape, axes)


def _back_from_copy(pair: Pair, batch_size: int) -> Read | None:
    """What A was copied to, in the order of A."""
    if not pair.copies_a:
        return None
    shape, axes = pair.network.shape(pair.lying, batch_size), tuple(pair.lying.index(label) for label in pair.a)
    return permuted(shape, axes)


def _through_copy(pull: Contract, pull_into: ContractInto, from_copy: Read | None) -> tuple[Contract, ContractInto]:
    """The pullbacks to A from those to what it was copied to."""
    if from_copy is None:
        return pull, pull_into

    def into(dc: Array, b: Array, out: Array) -> Array:
        out[...] = from_copy(pull(dc, b)).reshape(out.shape)
        return out

    return lambda dc, b: from_copy(pull(dc, b)), into


def _arranger(pair: Pair, batch_size: int) -> Read:
    """B as the matrices that A meets."""
    network, order = pair.network, pair.order_b
    shape = network.shape(pair.b, batch_size)
    loops = _loops_of_b(pair)
    inner, right = network.size(pair.contracted, batch_size), network.size(pair.right, batch_size)
    matrices = (*loops, inner, right)
    if pair.work(batch_size).turns_b:
        turned, turn = (*loops, right, inner), permuted(shape, tuple(map(pair.b.index, pair.turned_order_b)))
        return lambda b: turn(b).reshape(turned).mT
    if order == pair.b:
        return lambda b: b.reshape(matrices)
    if not pair.copies_b:
        axes = tuple(map(pair.b.index, order))
        return lambda b: b.reshape(shape).transpose(axes).reshape(matrices)
    copy = permuted(shape, tuple(map(pair.b.index, order)))
    return lambda b: copy(b).reshape(matrices)


def _loops_of_b(pair: Pair) -> Shape:
    """The size of every loop that B has, 1 for one that it has not; nothing where there is but one matrix."""
    sizes = tuple(pair.size(run, 1) if run[0] in pair.b else 1 for run in pair.loops)
    return sizes if any(size != 1 for size in sizes) else ()


def _lines_turned(b: Array) -> Array:
    return np.ascontiguousarray(b.mT).mT


def _restorer(pair: Pair, batch_size: int, *, turned: bool = False) -> Read:
    """The inverse of :func:`_arranger`; of the transpose of a matrix where `turned`."""
    if turned:
        return lambda db: db.T
    if pair.order_b == pair.b:
        return as_is
    ordered = pair.network.shape(pair.order_b, batch_size)
    axes = tuple(pair.order_b.index(label) for label in pair.b)
    if not pair.copies_b:
        return lambda db: db.reshape(ordered).transpose(axes)
    return permuted(ordered, axes)


def _view(
    network: Network, labels: Labels, groups: Sequence[Labels], batch_size: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The shape with each group merged, as they lie, and the axes that bring them into order; None for as is."""
    ranked = sorted(range(len(groups)), key=lambda k: labels.index(groups[k][0]) if groups[k] else len(labels))
    axes = tuple(ranked.index(k) for k in range(len(groups)))
    shape = tuple(network.size(groups[k], batch_size) for k in ranked)
    return shape, None if axes == tuple(range(len(axes))) else axes
