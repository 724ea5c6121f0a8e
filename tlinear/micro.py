"""The whole tensorized linear layer on one page: read this first.

A dense layer is ``y = x W + bias``.  Reshape the weight to a tensor ``W[i1..in, o1..om]`` and keep
it as a network of small operands.  Which operands, and which index each axis carries, is all that
a factorization is; the layer and its gradients are then four equations for all of them:

    forward    y[b, o..]  =  sum  x[b, i..]  * product of all operands  +  bias[o..]
    input      dx[b, i..] =  sum  dy[b, o..] * product of all operands, conjugated
    operand k  dG_k[..]   =  sum  conj(x)[b, i..] * dy[b, o..] * product of the other operands, conjugated
    bias       dbias[o..] =  sum  dy[b, o..]

because y is linear in each operand: its gradient is the same network with the operand cut out and
dy in the place of y.  Indices are integers: -1 the batch, 0.. the modes of W, then the ranks.
Here x has one batch axis, and np.einsum knows 52 indices; the package has neither limit, and
computes the same faster.  Where the two differ, the equations here are right.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Network = list[tuple[Array, Sequence[int]]]
Shape = tuple[int, ...]

BATCH = -1


def dense(tensor: Array) -> Network:
    """W[s1..sd] = tensor[s1..sd]"""
    return [(tensor, range(np.ndim(tensor)))]


def cp(weights: Array, factors: Sequence[Array]) -> Network:
    """W[s1..sd] = sum_r weights[r] * factors[0][s1, r] * .. * factors[d-1][sd, r]"""
    r = len(factors)
    return [(weights, [r]), *((factor, [k, r]) for k, factor in enumerate(factors))]


def tucker(core: Array, factors: Sequence[Array]) -> Network:
    """W[s1..sd] = sum_{r1..rd} core[r1..rd] * factors[0][s1, r1] * .. * factors[d-1][sd, rd]"""
    d = len(factors)
    return [(core, range(d, 2 * d)), *((factor, [k, d + k]) for k, factor in enumerate(factors))]


def tt(cores: Sequence[Array]) -> Network:
    """W[s1..sd] = sum_{r0..rd} cores[0][r0, s1, r1] * cores[1][r1, s2, r2] * .. * cores[d-1][rd-1, sd, rd]

    The outer ranks r0 and rd have size 1.
    """
    d = len(cores)
    return [(core, [d + k, k, d + k + 1]) for k, core in enumerate(cores)]


def blocktt(cores: Sequence[Array], n_in: int, n_out: int) -> Network:
    """W[i1..in, o1..om] = sum_{r0..rd} cores[0][r0, i1, o1, r1] * cores[1][r1, i2, o2, r2] * ..

    There are d = max(n, m) cores; a side that has run out of modes has size 1 there, and an index of its own.
    """
    modes, d = n_in + n_out, len(cores)
    spare = modes + d + 1
    i = [k if k < n_in else spare + k for k in range(d)]
    o = [n_in + k if k < n_out else spare + k for k in range(d)]
    return [(core, [modes + k, i[k], o[k], modes + k + 1]) for k, core in enumerate(cores)]


def contract(network: Network, out: Sequence[int], optimize: Any = "greedy") -> Array:
    """out[indices in `out`] = sum over every other index of the product of the operands

    The sum is grouped two operands at a time, which changes its cost but not its value.
    """
    names = {index: n for n, index in enumerate(sorted({index for _, indices in network for index in indices}))}
    arguments: list[Any] = [part for a, indices in network for part in (a, [names[index] for index in indices])]
    return np.asarray(np.einsum(*arguments, [names[index] for index in out], optimize=optimize))


def to_tensor(network: Network, d: int) -> Array:
    """W[s1..sd] = sum over the ranks of the product of the operands"""
    return contract(network, range(d))


def forward(x: Array, network: Network, in_shape: Shape, out_shape: Shape, bias: Array | None = None) -> Array:
    """y[b, o1..om] = sum x[b, i1..in] * product of the operands + bias[o1..om]"""
    n, d = len(in_shape), len(in_shape) + len(out_shape)
    x = x.reshape(-1, *in_shape)
    y = contract([(x, [BATCH, *range(n)]), *network], [BATCH, *range(n, d)]).reshape(len(x), math.prod(out_shape))
    return y if bias is None else y + bias


def backward(
    x: Array, dy: Array, network: Network, in_shape: Shape, out_shape: Shape
) -> tuple[Array, list[Array], Array]:
    """dx, [dG_1, dG_2, ..], dbias: each the network with dy for y, and its own operand cut out

    The adjoint under <a, b> = sum conj(a) b, hence the conjugates.
    """
    n, d = len(in_shape), len(in_shape) + len(out_shape)
    x_side = (x.reshape(-1, *in_shape).conj(), [BATCH, *range(n)])
    y_side = (dy.reshape(-1, *out_shape), [BATCH, *range(n, d)])
    operands = [(np.conj(a), indices) for a, indices in network]
    dx = contract([y_side, *operands], [BATCH, *range(n)]).reshape(x.shape)
    gradients = []
    for k, (operand, indices) in enumerate(operands):
        others: Network = [x_side, y_side, *operands[:k], *operands[k + 1 :]]
        # an index that no other operand carries has size 1, or is summed: a one stands for it
        carried = {index for _, other in others for index in other}
        lone = [(size, index) for size, index in zip(operand.shape, indices, strict=True) if index not in carried]
        ones: Network = [(np.ones(size, operand.dtype), [index]) for size, index in lone]
        gradients.append(contract([*others, *ones], indices))
    return dx, gradients, dy.sum(axis=0)
