"""One call of the factorized layer: its arguments checked, brought to one dtype and the shape of the modes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tlinear.arguments import check_bias, check_features, check_input
from tlinear.arrays import NUMPY, Array, DType, Space, adopt_inexact
from tlinear.capacity import check_capacity, is_out_of_memory, out_of_memory
from tlinear.contraction.options import Mode, PlanOptions, is_training
from tlinear.contraction.plan import Plan
from tlinear.contraction.search import plan, plan_for
from tlinear.errors import FactorizationError
from tlinear.formats.base import FactorizedTensor
from tlinear.named_arrays import check_same_names
from tlinear.shapes import as_batch_size

__all__ = [
    "Call",
    "Features",
    "check_weight",
    "name_memory",
    "named_parameters",
    "planned",
    "rebuilt",
    "weight_and_bias",
]

Features: TypeAlias = tuple[int | None, int | None]

_MANY_ENTRIES = 1 << 24
_FEWER = "Pass fewer samples"
_FACTORIZED = "Pass implementation='factorized', which needs no dense weight, or choose smaller modes."


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
    space : Space
        Where all of it lives.
    """

    x: Array
    weight: FactorizedTensor
    bias: Array | None
    in_features: int
    out_features: int
    plan: Plan
    flat: Array
    result_dtype: DType
    space: Space

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
        space = weight.space
        array = check_input(x, n_in, weight.in_shape, space)
        offset = None if bias is None else check_bias(bias, n_out, space)
        result_dtype = space.inexact_dtype(array.dtype, weight.dtype, weight.dtype if offset is None else offset.dtype)
        dtype = space.compute_dtype(result_dtype)
        n_samples, taken = math.prod(array.shape) // n_in, 0
        if n_samples * weight.out_features > _MANY_ENTRIES:  # before anything is planned
            shape, itemsize = (n_samples, weight.out_features), space.plan_dtype(dtype).itemsize
            check_capacity(
                f"The output of {n_samples} sample{'s' * (n_samples != 1)}", shape, itemsize, f"{_FEWER}.", space
            )
        if options.memory_limit is not None:
            taken = _converted_bytes(array, weight, (n_in, n_out), result_dtype, training=is_training(mode))
        if space is NUMPY:
            plan = plan_for(weight.layer_network, options, mode, n_samples, dtype, taken_bytes=taken)
        else:
            asked = weight.layer_network, options, mode, n_samples, space.plan_dtype(dtype)
            plan = plan_for(*asked, taken_bytes=taken, hardware=space.hardware).on(space)
        if plan.implementation == "reconstructed" and weight.in_features * weight.out_features > _MANY_ENTRIES:
            check_capacity("The dense weight", weight.shape, plan.dtype.itemsize, _FACTORIZED, space)
        flat = _flatten(space, array, weight.in_shape, dtype)
        return cls(array, weight, offset, n_in, n_out, plan, flat, result_dtype, space)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The batch axes."""
        return self.x.shape[:-1]

    def operands(self) -> list[Array]:
        """The operands of the plan's network, in the dtype computed in."""
        dtype, cast = self.flat.dtype, self.space.astype
        return [
            self.flat,
            *[array if array.dtype == dtype else cast(array, dtype) for array in self.weight.operands.values()],
        ]

    def flatten(self, array: Array, modes: tuple[int, ...]) -> Array:
        """``[.., features]`` as ``[b, *modes]``, padded with zeros, in the dtype computed in."""
        return _flatten(self.space, array, modes, self.flat.dtype)

    def merge(self, array: Array, features: int, held: int) -> Array:
        """What the modes hold of each sample as ``[.., features]``, contiguous, the padding cropped."""
        space = self.space
        merged = space.reshape(array, (*self.x.shape[:-1], held))
        return space.contiguous(merged if features == held else merged[..., :features])

    def output(self, result: Array) -> Array:
        """A result ``[b, o1..om]`` with the bias added, in the shape and dtype of y."""
        y = self.merge(result, self.out_features, self.weight.out_features)
        if self.bias is not None:
            bias = self.bias
            # the result is this call's own, so that nobody sees it change
            y += bias if bias.dtype == y.dtype else self.space.astype(bias, y.dtype)
        return y if y.dtype == self.result_dtype else self.space.astype(y, self.result_dtype)


def named_parameters(weight: FactorizedTensor, bias: Array | None) -> dict[str, Array]:
    """Every array of the layer by the name that gradients, tangents and optimisers know it by."""
    named = {f"weight.{name}": operand for name, operand in weight.operands.items()}
    return named if bias is None else named | {"bias": bias}


def weight_and_bias(
    parameters: Mapping[str, ArrayLike], weight: FactorizedTensor, bias: Array | None
) -> tuple[FactorizedTensor, Array | None]:
    """The inverse of :func:`named_parameters`: a weight and a bias like these, of other numbers."""
    check_same_names(parameters, named_parameters(weight, bias), "The parameters")
    space = weight.space
    arrays = {
        name: adopt_inexact(array, space, name, "the layer's parameters live") for name, array in parameters.items()
    }
    return weight.with_operands({name: arrays[f"weight.{name}"] for name in weight.operands}), arrays.get("bias")


def rebuilt(parameters: Mapping[str, Array], weight: FactorizedTensor) -> tuple[FactorizedTensor, Array | None]:
    """The same of parameters that may live elsewhere than those of `weight`."""
    operands = {name: parameters[f"weight.{name}"] for name in weight.operands}
    return weight.with_operands(operands), parameters.get("bias")


def planned(weight: FactorizedTensor, bias: Array | None, options: PlanOptions, mode: Mode, batch_size: int) -> Plan:
    """The plan of a layer for this many samples of its parameters' dtype, in order and without padding.

    Beside it a pullback takes the cotangent, which may lie in any order, and what the gradient of the bias does.
    """
    space, arrays = weight.space, named_parameters(weight, bias).values()
    dtype = space.plan_dtype(space.compute_dtype(space.inexact_dtype(*(array.dtype for array in arrays))))
    taken = 0
    if is_training(mode):
        taken = _pullback_entries(as_batch_size(batch_size), weight.out_features, weight.out_features) * dtype.itemsize
    return plan(
        weight.layer_network,
        options,
        mode=mode,
        batch_size=batch_size,
        dtype=dtype,
        hardware=space.hardware,
        taken_bytes=taken,
    )


def name_memory(
    error: Exception, x: ArrayLike, weight: FactorizedTensor, *, options: PlanOptions, mode: Mode = "forward"
) -> None:
    """Raise :class:`MemoryLimitError` where `error`, of a call with these arguments, is that memory ran out."""
    if not is_out_of_memory(error):
        return
    n_samples = math.prod(np.shape(x)[:-1])
    what = f"A call{' and its pullback' * is_training(mode)} of {n_samples} sample{'s' * (n_samples != 1)}"
    remedy = f"{_FEWER}, or set memory_limit to what there is, by which a plan is then chosen."
    raise out_of_memory(what, planned(weight, None, options, mode, n_samples).peak_bytes, remedy) from error


def check_weight(weight: FactorizedTensor) -> None:
    """Raise :class:`FactorizationError` unless `weight` is factorized."""
    if not isinstance(weight, FactorizedTensor):
        raise FactorizationError(
            f"weight is of type {type(weight).__name__}, not a FactorizedTensor. "
            "Factorize a dense one with tlinear.decompose or FactorizedLinear.from_linear."
        )


def _flatten(space: Space, array: Array, modes: tuple[int, ...], dtype: DType) -> Array:
    """``[.., features]``, padded with zeros to what the modes hold, as ``[b, *modes]``."""
    features, held = array.shape[-1], math.prod(modes)
    if features < held:
        array = space.padded(array, held, dtype)
    elif array.dtype != dtype:
        array = space.astype(array, dtype)
    return space.reshape(array, (math.prod(array.shape) // held, *modes))


def _converted_bytes(
    x: Array, weight: FactorizedTensor, features: tuple[int, int], result_dtype: DType, *, training: bool
) -> int:
    """At most what it takes to pad, crop, put in order and cast the arguments and the results of a call."""
    space = weight.space
    dtype, n_samples = space.compute_dtype(result_dtype), math.prod(x.shape[:-1])
    held_in, held_out = (math.prod(shape) for shape in (weight.in_shape, weight.out_shape))
    is_padded, is_cropped = features[0] < held_in, features[1] < held_out
    casts_x, casts_y = x.dtype != dtype, result_dtype != dtype
    # x is padded, cast and put in order at once; y is cropped, and then cast
    inputs = int(is_padded or casts_x or not space.lies_in_order(x))
    outputs = is_cropped + casts_y
    operands = sum(math.prod(array.shape) for array in weight.operands.values() if array.dtype != dtype)
    pullback = 0
    if training:  # and its gradients the other way round
        inputs += is_padded + casts_x
        operands, pullback = 2 * operands, _pullback_entries(n_samples, held_out, features[1])
    entries = n_samples * (inputs * held_in + outputs * held_out) + operands + pullback
    return space.plan_dtype(dtype).itemsize * entries


def _pullback_entries(n_samples: int, held_out: int, out_features: int) -> int:
    """At most the entries of the cotangent in order, and of what sums the bias' gradient in its dtype.

    The cotangent is not known when the layer is called, and may lie in any order.
    """
    return n_samples * held_out + 2 * out_features
