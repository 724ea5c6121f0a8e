"""From a dense layer to the factorization of its weight."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import NUMPY, Array, DType, Space
from tlinear.capacity import check_capacity
from tlinear.decomposition import Allocation, Calibration, Decomposition, decompose
from tlinear.errors import DeviceError, OptionError, RankError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.linear import Linear
from tlinear.shapes import resolve_shape
from tlinear.tensorization import Shapes, Tensorization, search_shapes

__all__ = ["copied_bias", "factorize", "inputs_of"]

_TRIAL_ITERATIONS = 3
"""Of the algorithms that iterate, while shapes are compared."""


def factorize(
    dense: Linear,
    shapes: tuple[Sequence[int] | None, Sequence[int] | None],
    n_modes: tuple[int | None, int | None],
    pad: bool | float,
    dtype: DTypeLike | None,
    *,
    factorization: str | type[FactorizedTensor],
    rank: Any,
    tolerance: float | None = None,
    allocation: Allocation = "spectrum",
    calibration: Calibration | None = None,
    tensorization: Tensorization = "balanced",
    rng: np.random.Generator | int | None = 0,
    options: Mapping[str, Any] | None = None,
) -> Decomposition:
    """The weight of a dense layer factorized in the shapes given or chosen."""
    in_shape, out_shape = (
        resolve_shape(side, features, shape, n, pad)
        for side, features, shape, n in zip(
            ("in", "out"), (dense.in_features, dense.out_features), shapes, n_modes, strict=True
        )
    )
    space = dense.space
    for name, array in dense.parameters().items():
        space.check_finite(array, name)
    itemsize = space.plan_dtype(dense.weight.dtype).itemsize
    check_capacity("The weight as a tensor", (*in_shape, *out_shape), itemsize, "Choose fewer modes.", space)
    matrix = space.zeros((math.prod(in_shape), math.prod(out_shape)), dense.weight.dtype)
    matrix[: dense.in_features, : dense.out_features] = space.turned(dense.weight)
    asked = {
        "factorization": find_format(factorization),
        "rank": rank,
        "tolerance": tolerance,
        "dense_parameters": math.prod(dense.weight.shape),
        "dtype": _kept_dtype(dtype, dense.weight.dtype, space),
        "rng": rng,
        **_options(options),
    }
    free = shapes[0] is None, shapes[1] is None
    _check_tensorization(tensorization, free, asked)
    if tensorization == "search" and space is not NUMPY:
        raise DeviceError(
            f"tensorization='search' is computed by NumPy, but the layer lives in {space}. Leave it out, or search "
            "with linear.to(numpy) and cross again with `.to(...)` of the result."
        )
    padded = None if calibration is None else calibration.padded(math.prod(in_shape))

    def decomposed(shapes: Shapes) -> Decomposition:
        tensor = space.reshape(matrix, (*shapes[0], *shapes[1]))
        return decompose(tensor, n_in=len(shapes[0]), allocation=allocation, calibration=padded, **asked)

    result = decomposed((in_shape, out_shape))
    if tensorization == "search":
        found = _searched(matrix, (in_shape, out_shape), free, asked)
        result = min(result, decomposed(found), key=partial(_cost, tolerance=tolerance))
    return result


def copied_bias(dense: Linear, dtype: DTypeLike | None) -> Array | None:
    """A copy of the bias, in `dtype`.

    Raises
    ------
    DTypeError, RangeError
        When `dtype` would drop imaginary parts; when entries are larger than it can hold.
    """
    if dense.bias is None:
        return None
    bias, space = dense.bias, dense.space
    kept = _kept_dtype(dtype, bias.dtype, space)
    if kept != bias.dtype:
        limits, largest = space.limits(kept), space.largest_part(bias)
        limits.check("bias", largest, kept)
        limits.check_not_lost("bias", largest, kept)
    return space.copy(space.astype(bias, kept))


def _check_tensorization(tensorization: Any, free: tuple[bool, bool], asked: Mapping[str, Any]) -> None:
    if tensorization not in get_args(Tensorization):
        raise OptionError(f"tensorization={tensorization!r} is not known. Choose 'balanced' or 'search'.")
    rank = asked["rank"]
    is_budget = rank is None or isinstance(rank, (float, np.floating)) or (isinstance(rank, str) and rank == "same")
    if tensorization == "search" and asked["tolerance"] is None and not is_budget:
        raise OptionError(
            f"tensorization='search' compares shapes at the same budget, but rank={rank!r} costs something else in "
            "each shape. Pass a fraction such as rank=0.25, or a tolerance."
        )
    if tensorization == "search" and not any(free):
        raise OptionError(
            "tensorization='search', but the shapes of both sides are given. Leave one of them out, or tensorization."
        )


def _searched(matrix: Array, start: Shapes, free: tuple[bool, bool], asked: Mapping[str, Any]) -> Shapes:
    """The shapes in which the budget loses least of the weight, or the tolerance takes the fewest parameters."""
    takes = inspect.signature(asked["factorization"].fit).parameters
    quick = {"max_iterations": _TRIAL_ITERATIONS} if "max_iterations" in takes else {}

    def error(shapes: Shapes) -> float:
        tensor = matrix.reshape(*shapes[0], *shapes[1])
        try:
            trial = decompose(tensor, n_in=len(shapes[0]), allocation="proportional", **{**asked, **quick})
        except RankError:  # too little even for rank 1
            return math.inf
        return _cost(trial, asked["tolerance"])

    return search_shapes(start, error, free=free)


def _cost(result: Decomposition, tolerance: float | None) -> float:
    """What is to be small: the parameters within a tolerance, and within a budget the error."""
    if tolerance is not None:
        return float(result.n_parameters)
    return result.relative_error if result.relative_output_error is None else result.relative_output_error


def inputs_of(dense: Linear, calibration: Any) -> Calibration | None:
    """What a dense layer is calibrated by."""
    if calibration is None:
        return None
    inputs = Calibration.of(calibration)
    if inputs.in_features != dense.in_features:
        raise ShapeError(
            f"The calibration has {inputs.in_features} features, but the layer has in_features={dense.in_features}. "
            f"Pass what the layer is given: samples of shape (..., {dense.in_features}), or their second moment."
        )
    return inputs


def _options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"decomposition_options={given!r} must be a dict, such as {{'max_iterations': 50}}.")
    options = dict(given or {})
    own = {"tensor", "factorization", "rank", "tolerance", "allocation", "calibration", "n_in"}
    own |= {"dense_parameters", "dtype", "rng"}
    taken = sorted(own & set(options))
    if taken:
        raise OptionError(
            f"decomposition_options holds {taken}. Pass these to from_linear itself, or leave them to it."
        )
    return options


def _kept_dtype(dtype: DTypeLike | None, source: DType, space: Space) -> DType:
    """`dtype` if it can hold the source; by default the source's own."""
    return source if dtype is None else space.parameter_dtype(dtype, source)
