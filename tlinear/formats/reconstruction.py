"""The dense tensor of a network of operands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlinear.algorithms.scaling import exponent_above
from tlinear.arrays import NUMPY, Array, DType, Space
from tlinear.capacity import check_capacity, naming_memory
from tlinear.contraction.execute import contract
from tlinear.contraction.network import Network
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import cached_plan
from tlinear.formats.balance import Meetings

__all__ = ["reconstruct"]

_WHAT = "The dense tensor"
_REMEDY = "Call the layer, which needs no dense weight, or choose fewer or smaller modes."
_WIDER = "Take the factorized tensor to a dtype of wider range with astype first"


def reconstruct(
    network: Network, operands: Sequence[Array], dtype: DType, space: Space = NUMPY, *, as_matrix: bool = False
) -> Array:
    """The result of a network without an input, in `dtype`, in an array of its own.

    With `as_matrix`, as a matrix ``[output modes, input modes]``.

    What comes between may be out of range though the result is not: the operands are then brought near 1
    by powers of two, each slice to the size of those that it meets, which is exact, and the result back.

    Raises
    ------
    MemoryLimitError
        When the result takes more bytes than an array can have, or than there are.
    RangeError
        When an entry of the result is larger than `dtype` can hold.
    ShapeError
        When it has more axes than an array can have.

    Examples
    --------
    >>> import numpy as np
    >>> network = Network(("a", "b"), ((0,), (1,)), (0, 1), ((0, 1), (1, 2)), n_in=1, n_modes=2)
    >>> reconstruct(network, [np.array([2.0]), np.array([3.0, 4.0])], np.dtype(float))
    array([[6., 8.]])
    """
    shape, itemsize = network.shape(network.output), space.plan_dtype(dtype).itemsize
    check_capacity(_WHAT, shape, itemsize, _REMEDY, space)  # before anything is planned
    with naming_memory(_WHAT, math.prod(shape) * itemsize, _REMEDY):
        tensor = space.reshape(_contracted(network, operands, dtype, space), shape)
        if not as_matrix:
            return tensor
        features = math.prod(shape[: network.n_in]), math.prod(shape[network.n_in :])
        return space.ordered(space.reshape(tensor, features), (1, 0))


def _contracted(network: Network, operands: Sequence[Array], dtype: DType, space: Space) -> Array:
    """The entries of the result in order, in an array of its own."""
    work = space.compute_dtype(dtype)
    options, plan_dtype = PlanOptions("factorized"), space.plan_dtype(work)
    plan = cached_plan(network, options, "forward", 1, plan_dtype, space.hardware).on(space)
    arrays = [space.astype(array, work) for array in operands]
    # the largest that a sum over all labels of products of some operands can be, and the smallest such product
    sizes = (abs(exponent_above(space.largest_part(array))) for array in arrays)
    reach = sum(sizes) + sum(math.log2(n) for _, n in network.label_sizes) + len(arrays)
    limits, of_work = space.limits(dtype), space.limits(work)
    if reach < min(of_work.maxexp, -of_work.minexp):
        result = contract(plan, arrays)
        if work != dtype:
            limits.check(_WHAT, space.largest_part(result), dtype, remedy=_WIDER)
        if any(space.share_memory(result, array) for array in operands):
            result = space.copy(result)
        return space.contiguous(space.astype(result, dtype))
    times, named = space.times_power_of_two, dict(zip(network.names, arrays, strict=True))
    meetings = Meetings.of(named, dict(zip(network.names, network.inputs, strict=True)), space)
    gauges, exponent = meetings.balanced(0)
    gauged = meetings.of_entries(gauges)
    near_one = contract(plan, [times(array, gauged[name], work) for name, array in named.items()])
    limits.check(_WHAT, space.largest_part(near_one), dtype, exponent, remedy=_WIDER)
    return space.contiguous(times(near_one, exponent, dtype))
