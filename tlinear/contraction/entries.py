"""The kernels that work entry by entry: products with nothing to sum, and sums of lines."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.kernel import Contract, ContractInto, Kernel, Read, as_is
from tlinear.contraction.network import Labels
from tlinear.contraction.pair import Pair
from tlinear.contraction.work import common_runs

__all__ = ["entries_kernel"]


def entries_kernel(pair: Pair, batch_size: int) -> Kernel:
    """One broadcast product of entries, some of them summed; the pullbacks are of the same kind."""
    network = pair.network
    runs = common_runs(pair.a if pair.lines else pair.out, (pair.a, pair.b, pair.out))
    sizes = [network.size(run, batch_size) for run in runs]
    a, b, c = (_places(labels, runs) for labels in (pair.a, pair.b, pair.out))
    run, run_into = _einsum(sizes, a, b, c)
    to_a, to_a_into = _einsum(sizes, c, b, a)
    to_b, _ = _einsum(sizes, c, a, b)
    return Kernel(network.shape(pair.out, batch_size), as_is, None, as_is, run, run_into, to_a, to_a_into, to_b)


def _einsum(
    sizes: Sequence[int], first: Sequence[int], second: Sequence[int], result: Sequence[int]
) -> tuple[Contract, ContractInto]:
    """The products of entries of two arrays whose axes are runs of these numbers, summed where the result has none."""
    shape = tuple(sizes[k] for k in result)
    if set(result) >= {*first, *second}:
        return _multiply(shape, _aligned(sizes, first, result), _aligned(sizes, second, result))
    shapes = [tuple(sizes[k] for k in places) for places in (first, second)]
    one, other, out = ("".join(ascii_letters[k] for k in places) for places in (first, second, result))
    equation = f"{one},{other}->{out}"

    def into(x: Array, y: Array, room: Array) -> Array:
        np.einsum(equation, x.reshape(shapes[0]), y.reshape(shapes[1]), out=room.reshape(shape))
        return room

    return lambda x, y: into(x, y, np.empty(shape, x.dtype)), into


def _multiply(
    shape: tuple[int, ...], first: tuple[Read, bool], second: tuple[Read, bool]
) -> tuple[Contract, ContractInto]:
    """The broadcast product of two arrays."""
    (read, lies), (other, other_lies) = first, second

    def into(x: Array, y: Array, room: Array) -> Array:
        np.multiply(read(x), other(y), out=room.reshape(shape))
        return room

    if lies and other_lies:  # and so does the product, without being told
        return lambda x, y: np.multiply(read(x), other(y)), into
    return lambda x, y: into(x, y, np.empty(shape, x.dtype)), into


def _aligned(sizes: Sequence[int], places: Sequence[int], result: Sequence[int]) -> tuple[Read, bool]:
    """How an array is read with an axis for each run of the result, and whether it lies in that order."""
    order = sorted(places, key=result.index)
    spread = tuple(sizes[k] if k in places else 1 for k in result)
    if order == list(places):
        return lambda array: array.reshape(spread), True
    shape, axes = tuple(sizes[k] for k in places), tuple(places.index(k) for k in order)
    return lambda array: array.reshape(shape).transpose(axes).reshape(spread), False


def _places(labels: Labels, runs: Sequence[Labels]) -> list[int]:
    """Which runs `labels` consist of, in their order."""
    return sorted((k for k, run in enumerate(runs) if run[0] in labels), key=lambda k: labels.index(runs[k][0]))
