"""The kernels for any array library: permuted axes, reshapes, and products of stacks of matrices.

The array API standard has no einsum, no strides and no output arguments.  What is left is enough: with
its labels in four groups (see ``pair``), a contraction is ``C[loops, rows, right] = A[loops, rows,
contracted] @ B[shared, contracted, right]``, and each of the pullbacks is a contraction too.  Arrays
are in the order of their labels, whatever their strides, and a library copies what it must to read them
in another shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tlinear.arrays import Array, Space
from tlinear.contraction.kernel import Contract, ContractInto, Kernel, Read, as_is
from tlinear.contraction.network import Labels, Network
from tlinear.contraction.pair import Pair
from tlinear.contraction.work import common_runs

__all__ = ["portable_kernel"]

Groups: TypeAlias = Sequence[Labels]


def portable_kernel(pair: Pair, batch_size: int, space: Space) -> Kernel:
    """A pair for one batch size, of arrays of this space."""

    def contraction(first: Labels, second: Labels, result: Labels) -> Contract:
        return _contraction(pair.network, batch_size, (first, second, result), space)

    forward, to_a = contraction(pair.a, pair.b, pair.out), contraction(pair.out, pair.b, pair.a)
    return Kernel(
        shape_out=pair.network.shape(pair.out, batch_size),
        arrange=as_is,
        turn=None,
        restore=as_is,
        forward=forward,
        forward_into=_into(forward, space),
        to_a=to_a,
        to_a_into=_into(to_a, space),
        to_b=contraction(pair.out, pair.a, pair.b),
    )


def _into(contract: Contract, space: Space) -> ContractInto:
    """The same, written into an array that is there."""

    def into(first: Array, second: Array, out: Array) -> Array:
        out[...] = space.reshape(contract(first, second), out.shape)
        return out

    return into


def _contraction(network: Network, batch_size: int, labels: tuple[Labels, Labels, Labels], space: Space) -> Contract:
    """``result = sum first * second`` over all labels that the result has not."""
    first, second, result = labels
    shared = tuple(label for label in result if label in first and label in second)
    contracted = tuple(label for label in second if label in first and label not in result)
    left = tuple(label for label in result if label in first and label not in second)
    right = tuple(label for label in result if label in second and label not in first)
    if not contracted:
        return _product(network, batch_size, labels, space)
    loops, rows = _split(first, result, left, shared=shared, contracted=contracted, right=right)
    inner = tuple(label for label in first if label in contracted)
    # without loops on the right there is one matrix, which meets all those on the left
    stack = (shared, *((),) * len(loops)) if shared else ()
    read = _reader(network, batch_size, first, (*((shared,) if shared else ()), *loops, rows, inner), space)
    met = _reader(network, batch_size, second, (*stack, inner, right), space)
    # a matrix is made so that it lies as the result does
    turned = bool(rows and right) and result.index(right[0]) < result.index(rows[0])
    groups = (*((shared,) if shared else ()), *loops, *((right, rows) if turned else (rows, right)))
    write, turn = _writer(network, batch_size, groups, result, space), space.turned
    # the operator: the function of torch's namespace takes longer to look at the dtypes than a small product takes
    if turned:
        return lambda a, b: write(turn(met(b)) @ turn(read(a)))
    return lambda a, b: write(read(a) @ met(b))


def _split(
    first: Labels, result: Labels, left: Labels, *, shared: Labels, contracted: Labels, right: Labels
) -> tuple[tuple[Labels, ...], Labels]:
    """Which of the labels that only A has are loops, and which are rows.

    All are rows, so that it is one product, where A and C can be read so as they lie; else those that both begin
    with are loops, so that neither is copied for their sake.
    """
    inner = tuple(label for label in first if label in contracted)
    if shared or (first in ((*left, *inner), (*inner, *left)) and result in ((*left, *right), (*right, *left))):
        return (), left
    n = 0
    while n < len(left) - 1 and first[n] == result[n] == left[n]:
        n += 1
    return ((left[:n],) if n else ()), left[n:]


def _product(network: Network, batch_size: int, labels: tuple[Labels, Labels, Labels], space: Space) -> Contract:
    """With nothing to sum over, entry by entry; each operand has an axis of size 1 for what it has not."""
    first, second, result = labels
    runs = common_runs(result, (first, second))
    a, b = (
        _reader(network, batch_size, operand, [run if run[0] in operand else () for run in runs], space)
        for operand in (first, second)
    )
    return lambda x, y: a(x) * b(y)


def _reader(network: Network, batch_size: int, labels: Labels, groups: Groups, space: Space) -> Read:
    """How an array in the order of its labels is read with an axis for each group, of size 1 for an empty one."""
    order = tuple(label for group in groups for label in group)
    shape = tuple(network.size(group, batch_size) for group in groups)
    if order == labels:
        return lambda array: space.reshape(array, shape)
    lying, axes = _moved(network, batch_size, labels, order)
    return lambda array: space.reshape(space.transpose(space.reshape(array, lying), axes), shape)


def _writer(network: Network, batch_size: int, groups: Groups, labels: Labels, space: Space) -> Read:
    """How what has an axis for each group is brought into the order of its labels; the shape is left open."""
    order = tuple(label for group in groups for label in group)
    if order == labels:
        return as_is
    lying, axes = _moved(network, batch_size, order, labels)
    return lambda array: space.transpose(space.reshape(array, lying), axes)


def _moved(network: Network, batch_size: int, labels: Labels, order: Labels) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape and the permutation of axes that bring labels into another order, with as few axes as possible.

    Libraries limit the number of axes more than a network does its modes.
    """
    runs = common_runs(labels, (order,))
    shape = tuple(network.size(run, batch_size) for run in runs)
    return shape, tuple(sorted(range(len(runs)), key=lambda k: order.index(runs[k][0])))
