"""One call of the factorized layer: its arguments checked, brought to one dtype and the shape of the modes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tlinear.arguments import check_bias, check_features, check_input
from tlinear.arrays import Array, DType, compute_dtype, contiguous, inexact_dtype, to_inexact
from tlinear.contraction.options import Mode, PlanOptions, is_training
from tlinear.contraction.plan import Plan
from tlinear.contraction.search import plan_for
from tlinear.errors import FactorizationError
from tlinear.formats.base import FactorizedTensor
from tlinear.named_arrays import check_same_names

__all__ = ["Call", "Features", "check_weight", "named_parameters", "weight_and_bias"]

Features: TypeAlias = tuple[int | None, int | None]


class Call(NamedTuple):
    """The checked arguments of one call, and the plan for them.

    Attributes
    ----------
    x : array of shape (..., in_features)
    weight : FactorizedTensor
    bias : array of shape (out_features,), or None
    in_features, out_features : int
    plan : Plan
    flat : array of shape (b, i1, .., in)
        `x`, padded to what the modes hold, in the dtype computed in.
    result_dtype : dtype
    """

    x: Array
    weight: FactorizedTensor
    bias: Array | None
    in_features: int
    out_features: int
    plan: Plan
    flat: Array
    result_dtype: DType

    @classmethod
    def prepare(
        cls,
        x: ArrayLike,
        weight: FactorizedTensor,
        bias: ArrayLike | None,
        *,
        options: PlanOptions,
        mode: Mode,
        features: Features = (None, None),
    ) -> Call:
        """Check everything, and look up the plan."""
        check_weight(weight)
        n_in, n_out = features
        if n_in != weight.in_features:
            n_in = check_features("in", n_in, weight.in_shape)
        if n_out != weight.out_features:
            n_out = check_features("out", n_out, weight.out_shape)
        array = check_input(x, n_in, weight.in_shape)
        offset = None if bias is None else check_bias(bias, n_out)
        result_dtype = inexact_dtype(array.dtype, weight.dtype, weight.dtype if offset is None else offset.dtype)
        dtype = compute_dtype(result_dtype)
        taken = 0
        if options.memory_limit is not None:
            taken = _converted_bytes(array, weight, (n_in, n_out), result_dtype, training=is_training(mode))
        plan = plan_for(weight.layer_network, options, mode, array.size // n_in, dtype, taken_bytes=taken)
        return cls(array, weight, offset, n_in, n_out, plan, _flatten(array, weight.in_shape, dtype), result_dtype)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The batch axes."""
        return self.x.shape[:-1]

    def operands(self) -> list[Array]:
        """The operands of the plan's network, in the dtype computed in."""
        dtype = self.plan.dtype
        return [self.flat, *[array.astype(dtype, copy=False) for array in self.weight.operands.values()]]

    def flatten(self, array: Array, modes: tuple[int, ...]) -> Array:
        """``[.., features]`` as ``[b, *modes]``, padded with zeros, in the dtype computed in."""
        return _flatten(array, modes, self.plan.dtype)

    def merge(self, array: Array, features: int, held: int) -> Array:
        """What the modes hold of each sample as ``[.., features]``, contiguous, the padding cropped."""
        merged = array.reshape(*self.x.shape[:-1], held)
        return contiguous(merged if features == held else merged[..., :features])

    def output(self, result: Array) -> Array:
        """A result ``[b, o1..om]`` with the bias added, in the shape and dtype of y."""
        y = self.merge(result, self.out_features, self.weight.out_features)
        if self.bias is not None:
            y = np.add(y, self.bias, out=y)  # the result is this call's own, so that nobody sees it change
        return y if y.dtype == self.result_dtype else y.astype(self.result_dtype)


def named_parameters(weight: FactorizedTensor, bias: Array | None) -> dict[str, Array]:
    """Every array of the layer by the name that gradients, tangents and optimisers know it by."""
    named = {f"weight.{name}": operand for name, operand in weight.operands.items()}
    return named if bias is None else named | {"bias": bias}


def weight_and_bias(
    parameters: Mapping[str, ArrayLike], weight: FactorizedTensor, bias: Array | None
) -> tuple[FactorizedTensor, Array | None]:
    """The inverse of :func:`named_parameters`: a weight and a bias like these, of other numbers."""
    check_same_names(parameters, named_parameters(weight, bias), "The parameters")
    arrays = {name: to_inexact(array, name) for name, array in parameters.items()}
    return weight.with_operands({name: arrays[f"weight.{name}"] for name in weight.operands}), arrays.get("bias")


def check_weight(weight: FactorizedTensor) -> None:
    """Raise :class:`FactorizationError` unless `weight` is factorized."""
    if not isinstance(weight, FactorizedTensor):
        raise FactorizationError(
            f"weight is of type {type(weight).__name__}, not a FactorizedTensor. "
            "Factorize a dense one with tlinear.decompose or FactorizedLinear.from_linear."
        )


def _flatten(array: Array, modes: tuple[int, ...], dtype: DType) -> Array:
    """``[.., features]``, padded with zeros to what the modes hold, as ``[b, *modes]``."""
    features, held = array.shape[-1], math.prod(modes)
    if features < held:
        padded = np.zeros((*array.shape[:-1], held), dtype)
        padded[..., :features] = array
        array = padded
    elif array.dtype != dtype:
        array = array.astype(dtype, order="C")
    return array.reshape(array.size // held, *modes)


def _converted_bytes(
    x: Array, weight: FactorizedTensor, features: tuple[int, int], result_dtype: DType, *, training: bool
) -> int:
    """At most what it takes to pad, crop, put in order and cast the arguments and the results of a call."""
    dtype, n_samples = compute_dtype(result_dtype), math.prod(x.shape[:-1])
    held_in, held_out = (math.prod(shape) for shape in (weight.in_shape, weight.out_shape))
    is_padded, is_cropped = features[0] < held_in, features[1] < held_out
    casts_x, casts_y = x.dtype != dtype, result_dtype != dtype
    # x is padded, cast and put in order at once; y is cropped, and then cast
    inputs = int(is_padded or casts_x or not x.flags.c_contiguous)
    outputs = is_cropped + casts_y
    operands = sum(array.size for array in weight.operands.values() if array.dtype != dtype)
    bias = 0
    if training:  # and its gradient the other way round; that of the bias is summed in the dtype of the cotangent
        inputs += is_padded + casts_x
        outputs += int(is_cropped or casts_y)
        operands, bias = 2 * operands, 2 * features[1]
    return dtype.itemsize * (n_samples * (inputs * held_in + outputs * held_out) + operands + bias)
