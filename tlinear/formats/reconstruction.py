"""The dense tensor of a network of operands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tlinear.algorithms.scaling import exponent_of, times_power_of_two
from tlinear.arrays import Array, DType, compute_dtype
from tlinear.contraction.execute import contract
from tlinear.contraction.network import Network
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import cached_plan

__all__ = ["reconstruct"]


def reconstruct(network: Network, operands: Sequence[Array], dtype: DType) -> Array:
    """The result of a network without an input, in `dtype`, in an array of its own.

    What comes between may be out of range though the result is not: the operands are then brought near 1
    by powers of two, which is exact, and the result back.

    Examples
    --------
    >>> network = Network(("a", "b"), ((0,), (1,)), (0, 1), ((0, 1), (1, 2)), n_in=1, n_modes=2)
    >>> reconstruct(network, [np.array([2.0]), np.array([3.0, 4.0])], np.dtype(float))
    array([[6., 8.]])
    """
    plan = cached_plan(network, PlanOptions("factorized"), "forward", 1, compute_dtype(dtype))
    arrays = [array.astype(plan.dtype, copy=False) for array in operands]
    exponents = [exponent_of(array) for array in arrays]
    limits = np.finfo(plan.dtype)
    # the largest that a sum over all labels of products of some operands can be, and the smallest such product
    reach = sum(map(abs, exponents)) + math.log2(math.prod(n for _, n in network.label_sizes)) + len(arrays)
    shape = network.shape(network.output)
    if reach < min(limits.maxexp, -limits.minexp):
        result = contract(plan, arrays)
        shared = any(np.may_share_memory(result, array) for array in operands)
        return np.array(result, dtype=dtype, order="C", copy=True if shared else None).reshape(shape)
    near_one = [times_power_of_two(array, -e, plan.dtype) for array, e in zip(arrays, exponents, strict=True)]
    result = times_power_of_two(contract(plan, near_one), sum(exponents), dtype)
    return np.ascontiguousarray(result).reshape(shape)
