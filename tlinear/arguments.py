"""What a layer may be called with: each check returns the argument as an array, or says what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tlinear.arrays import NUMPY, Array, DType, Space, adopt, adopt_inexact
from tlinear.errors import DTypeError, OptionError, ShapeError
from tlinear.shapes import format_shape, is_integer

__all__ = ["check_bias", "check_cotangent", "check_features", "check_flag", "check_input", "check_tangent"]


_LAYER = "the layer's parameters live"


def check_input(x: ArrayLike, in_features: int, in_shape: tuple[int, ...] | None = None, space: Space = NUMPY) -> Array:
    """`x` as an array of the layer's space whose last axis is `in_features`."""
    array = adopt(x, space, "x", _LAYER)
    if array.ndim == 0 or array.shape[-1] != in_features:
        modes = f" = {format_shape(in_shape)}" if in_shape and len(in_shape) > 1 else ""
        padded = in_shape is not None and math.prod(in_shape) != in_features
        product = f", padded to {math.prod(in_shape)}{modes}" if in_shape and padded else modes
        raise ShapeError(
            f"x has shape {tuple(array.shape)}, but its last axis must be in_features={in_features}{product}. "
            f"Reshape x to (..., {in_features}), or build the layer for its features."
        )
    return array


def check_features(side: str, features: Any, shape: tuple[int, ...]) -> int:
    """How many `features` the modes of a side hold, the rest being padding; None is all that they can."""
    most = math.prod(shape)
    if features is None:
        return most
    if not is_integer(features) or not 1 <= features <= most:
        raise ShapeError(
            f"{side}_features={features!r}, but the {side}put modes {shape} hold from 1 to {most} features. "
            f"Pass an int of these, or modes whose product is at least the features."
        )
    return int(features)


def check_bias(bias: ArrayLike, out_features: int, space: Space = NUMPY) -> Array:
    """`bias` as an array of shape ``(out_features,)``."""
    array = space.in_order(adopt_inexact(bias, space, "bias", "the layer's weight lives"))
    if array.shape != (out_features,):
        raise ShapeError(
            f"bias has shape {tuple(array.shape)}, but the layer has out_features={out_features}. "
            f"Pass an array of shape ({out_features},), or None."
        )
    return array


def check_cotangent(dy: ArrayLike, shape: tuple[int, ...], dtype: DType, space: Space = NUMPY) -> Array:
    """`dy` as an array that y of this shape and dtype can be paired with."""
    array = adopt(dy, space, "dy", "y lives")
    if array.shape != shape:
        raise ShapeError(
            f"dy has shape {tuple(array.shape)}, but y has shape {tuple(shape)}. Pass a cotangent of the shape of y."
        )
    _check_real(array, dtype, "dy", "y", space)
    return array


def check_tangent(tangent: ArrayLike, primal: Array, name: str, space: Space = NUMPY) -> Array:
    """`tangent` as an array that `primal` can move along."""
    array = adopt(tangent, space, name, "its primal lives")
    if array.shape != primal.shape:
        raise ShapeError(
            f"The tangent {name} has shape {tuple(array.shape)}, but its primal has {tuple(primal.shape)}. Pass the "
            "same shape."
        )
    _check_real(array, primal.dtype, f"The tangent {name}", "its primal", space)
    return array


def _check_real(array: Array, dtype: DType, name: str, partner: str, space: Space) -> None:
    if array.dtype != dtype and space.is_complex(array.dtype) and not space.is_complex(dtype):
        raise DTypeError(
            f"{name} has dtype {array.dtype}, but {partner} is {dtype}, which is real. Pass its real part, "
            "or make the layer or the input complex."
        )


def check_flag(name: str, value: Any) -> None:
    """Raise :class:`OptionError` unless `value` is True or False, and not an array that was meant to be kept."""
    if not isinstance(value, (bool, np.bool_)):
        is_array = isinstance(value, (list, tuple)) or hasattr(value, "shape")
        hint = " To give the arrays themselves use Linear.from_arrays or FactorizedLinear.from_weight." * is_array
        raise OptionError(f"{name} is of type {type(value).__name__}, but must be True or False.{hint}")
