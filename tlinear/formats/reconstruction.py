"""The dense tensor of a network of operands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlinear.algorithms.scaling import exponent_above
from tlinear.arrays import NUMPY, Array, DType, Space
from tlinear.contraction.execute import contract
from tlinear.contraction.network import Network
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import cached_plan

__all__ = ["reconstruct"]


def reconstruct(network: Network, operands: Sequence[Array], dtype: DType, space: Space = NUMPY) -> Array:
    """The result of a network without an input, in `dtype`, in an array of its own.

    What comes between may be out of range though the result is not: the operands are then brought near 1
    by powers of two, which is exact, and the result back.

    Examples
    --------
    >>> import numpy as np
    >>> network = Network(("a", "b"), ((0,), (1,)), (0, 1), ((0, 1), (1, 2)), n_in=1, n_modes=2)
    >>> reconstruct(network, [np.array([2.0]), np.array([3.0, 4.0])], np.dtype(float))
    array([[6., 8.]])
    """
    work = space.compute_dtype(dtype)
    options, plan_dtype = PlanOptions("factorized"), space.plan_dtype(work)
    plan = cached_plan(network, options, "forward", 1, plan_dtype, space.hardware).on(space)
    arrays = [space.astype(array, work) for array in operands]
    exponents = [exponent_above(space.largest_part(array)) for array in arrays]
    # the largest that a sum over all labels of products of some operands can be, and the smallest such product
    reach = sum(map(abs, exponents)) + math.log2(math.prod(n for _, n in network.label_sizes)) + len(arrays)
    shape = network.shape(network.output)
    if reach < space.exponents(work):
        result = contract(plan, arrays)
        if any(space.share_memory(result, array) for array in operands):
            result = space.copy(result)
        return space.reshape(space.contiguous(space.astype(result, dtype)), shape)
    times = space.times_power_of_two
    near_one = [times(array, -e, work) for array, e in zip(arrays, exponents, strict=True)]
    return space.reshape(space.contiguous(times(contract(plan, near_one), sum(exponents), dtype)), shape)
