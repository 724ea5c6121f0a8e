"""The layer as a pure function of its input and operands, with its derivatives and its trace.

``y[b, o1..om] = sum_{i1..in} x[b, i1..in] W[i1..in, o1..om] + bias[o1..om]``

A layer may have fewer features than its modes hold: x is then padded with zeros behind its last
feature, and y is cropped, so that the layer is that of ``W.to_matrix()[:out_features, :in_features]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from numpy.typing import ArrayLike

from tlinear.arguments import check_cotangent, check_tangent
from tlinear.arrays import NUMPY, Array, Space
from tlinear.call import Call, Features, check_weight, name_memory, named_parameters
from tlinear.contraction.execute import contract, intermediates, push_forward
from tlinear.contraction.options import Implementation, Mode, Optimize, PlanOptions
from tlinear.contraction.plan import Plan
from tlinear.contraction.tape import Tape, contract_with_tape
from tlinear.errors import ParameterError
from tlinear.formats.base import FactorizedTensor
from tlinear.named_arrays import check_known_names

__all__ = [
    "Gradients",
    "Pullback",
    "Trace",
    "Wrt",
    "bias_gradient",
    "factorized_linear",
    "gradients_asked_for",
    "linear_forward",
    "linear_jvp",
    "linear_trace",
    "linear_vjp",
]

Wrt: TypeAlias = Iterable[str] | None

DEFAULT = PlanOptions()


class Gradients(NamedTuple):
    """What a pullback returns.

    Attributes
    ----------
    x : array, or None
        The gradient of the input, in its shape and dtype; None if it was not asked for.
    parameters : dict of str to array
        The gradients of the parameters asked for, by the names that ``layer.parameters()`` has.
    """

    x: Array | None
    parameters: dict[str, Array]


def factorized_linear(
    x: ArrayLike,
    weight: FactorizedTensor,
    bias: ArrayLike | None = None,
    *,
    in_features: int | None = None,
    out_features: int | None = None,
    implementation: Implementation = "auto",
    optimize: Optimize = None,
    memory_limit: int | None = None,
) -> Array:
    """``y = x W + bias``, the input contracted with the operands of W in a planned order.

    Parameters
    ----------
    x : array of shape (..., in_features)
        Any number of batch axes, also none, also of size 0; any strides.
    weight : FactorizedTensor
        Whose modes hold at least `in_features` and `out_features`.
    bias : array of shape (out_features,), optional
    in_features, out_features : int, optional
        All that the modes of `weight` hold, unless given.  The dense weight of the layer is
        ``weight.to_matrix()[:out_features, :in_features]``.
    implementation : {'auto', 'factorized', 'reconstructed'}
        Contract `x` with the operands, rebuild the dense weight first, or whichever the cost
        model predicts to be faster.
    optimize, memory_limit
        Where the order of contraction comes from, and the most bytes that may be alive at once beside the arguments:
        see :class:`~tlinear.contraction.options.PlanOptions`.

    Returns
    -------
    array of shape (..., out_features)
        In the dtype that NumPy gives a product of the arguments; float16 and bfloat16 accumulate in float32.

    Raises
    ------
    ShapeError, DTypeError, ImplementationError, OptionError
        When an argument is none of the above.
    MemoryLimitError
        When the call cannot be made within the memory limit.

    Examples
    --------
    >>> import numpy as np
    >>> import tlinear
    >>> weight = tlinear.TTTensor.random((4, 4), (2, 5), rank=3, rng=0)
    >>> x = np.ones((7, 16))
    >>> y = factorized_linear(x, weight)
    >>> y.shape, bool(np.allclose(y, x @ weight.to_matrix().T))
    ((7, 10), True)

    A layer of 15 -> 9 features, whose input is padded to 16 and whose output is cropped from 10:

    >>> y = factorized_linear(x[:, :15], weight, in_features=15, out_features=9)
    >>> y.shape, bool(np.allclose(y, x[:, :15] @ weight.to_matrix()[:9, :15].T))
    ((7, 9), True)
    """
    options = PlanOptions(implementation, optimize, memory_limit=memory_limit)
    return linear_forward(x, weight, bias, features=(in_features, out_features), options=options)


def linear_forward(
    x: ArrayLike,
    weight: FactorizedTensor,
    bias: ArrayLike | None,
    *,
    features: Features = (None, None),
    options: PlanOptions = DEFAULT,
) -> Array:
    """:func:`factorized_linear` for options that are there already."""
    try:
        call = Call.prepare(x, weight, bias, options=options, mode="forward", features=features)
        return call.output(contract(call.plan, call.operands()))
    except (MemoryError, RuntimeError) as error:
        name_memory(error, x, weight, options=options)
        raise


@dataclass(frozen=True)
class Pullback:
    """The adjoint of the layer at one point: maps a cotangent of y to :class:`Gradients`.

    For complex arrays it is the adjoint under ``<a, b> = sum(conj(a) b)``, so that
    ``dx = dy conj(W)^T``.  JAX's convention is the transpose, without the conjugate.
    """

    call: Call
    tape: Tape
    wants_bias: bool

    def __call__(self, dy: ArrayLike) -> Gradients:
        try:
            return self._pulled_back(dy)
        except (MemoryError, RuntimeError) as error:
            plan = self.call.plan
            name_memory(error, self.call.x, self.call.weight, options=PlanOptions(plan.implementation), mode=plan.mode)
            raise

    def _pulled_back(self, dy: ArrayLike) -> Gradients:
        call, space = self.call, self.call.space
        cotangent = check_cotangent(dy, (*call.batch_shape, call.out_features), call.result_dtype, space)
        found = self.tape.pull_back(call.flatten(cotangent, call.weight.out_shape))
        dx = call.merge(found.pop(0), call.in_features, call.weight.in_features) if 0 in found else None
        operands, parameters = tuple(call.weight.operands.items()), {}
        match, contiguous = space.match_dtype, space.contiguous
        for k, gradient in found.items():
            name, operand = operands[k - 1]
            parameters[f"weight.{name}"] = contiguous(match(gradient, operand.dtype))
        if call.bias is not None and self.wants_bias:
            parameters["bias"] = bias_gradient(cotangent, call.bias, space)
        return Gradients(None if dx is None else match(dx, space.inexact_dtype(call.x.dtype)), parameters)


def linear_vjp(
    x: ArrayLike,
    weight: FactorizedTensor,
    bias: ArrayLike | None = None,
    *,
    features: Features = (None, None),
    options: PlanOptions = DEFAULT,
    wrt: Wrt = None,
) -> tuple[Array, Pullback]:
    """The result of :func:`factorized_linear`, and the pullback of its cotangents.

    The pullback walks the steps of the forward plan backwards, two products a step.  It holds `x`
    and the operands, not copies of them: change none of them in place before it is called.

    Parameters
    ----------
    x, weight, bias
        As for :func:`factorized_linear`.
    features : pair of int or None
        The `in_features` and `out_features` of :func:`factorized_linear`.
    options : PlanOptions
        The implementation, the order of contraction, and what is kept for the backward pass.
    wrt : iterable of str, optional
        The gradients to compute: ``"x"``, ``"bias"``, and names such as ``"weight.cores.0"``.  All unless given.

    Raises
    ------
    ParameterError
        When `wrt` names what the layer does not have.
    MemoryLimitError
        When the call and its pullback cannot be made within the memory limit.
    """
    mode: Mode = "training"
    wanted, wants_bias = None, True
    if wrt is not None:
        check_weight(weight)
        names = ("x", *named_parameters(weight, None))
        asked = gradients_asked_for(wrt, names[1:] if bias is None else (*names[1:], "bias"))
        wanted, wants_bias = [k for k, name in enumerate(names) if name in asked], "bias" in asked
        mode = "training" if "x" in asked else "parameters"
    try:
        call = Call.prepare(x, weight, bias, options=options, mode=mode, features=features)
        result, tape = contract_with_tape(call.plan, call.operands(), wanted)
        return call.output(result), Pullback(call, tape, wants_bias)
    except (MemoryError, RuntimeError) as error:
        name_memory(error, x, weight, options=options, mode=mode)
        raise


def gradients_asked_for(wrt: Iterable[str], parameters: Iterable[str]) -> frozenset[str]:
    """The names in `wrt`, each ``"x"`` or one of the parameters."""
    known = ("x", *parameters)
    asked = [wrt] if isinstance(wrt, str) else list(wrt) if isinstance(wrt, Iterable) else [wrt]
    if not all(isinstance(name, str) for name in asked):
        raise ParameterError(f"wrt={wrt!r} is not a collection of names. Choose from {sorted(known)}.")
    check_known_names(asked, known, "The names in wrt")
    return frozenset(asked)


def linear_jvp(
    x: ArrayLike,
    weight: FactorizedTensor,
    bias: ArrayLike | None,
    dx: ArrayLike | None,
    tangents: Mapping[str, ArrayLike],
    *,
    features: Features = (None, None),
    options: PlanOptions = DEFAULT,
) -> tuple[Array, Array]:
    """The result of :func:`factorized_linear`, and its derivative in the direction of the tangents.

    A tangent that is not given is zero.
    """
    call = Call.prepare(x, weight, bias, options=options, mode="forward", features=features)
    primals, space = named_parameters(weight, call.bias), call.space
    check_known_names(tangents, primals, "The tangents")
    checked = {name: check_tangent(tangent, primals[name], name, space) for name, tangent in tangents.items()}
    directions: list[Array | None] = [
        None if dx is None else call.flatten(check_tangent(dx, call.x, "dx", space), weight.in_shape)
    ]
    for name in weight.operands:
        direction = checked.get(f"weight.{name}")
        directions.append(None if direction is None else space.astype(direction, call.flat.dtype))
    try:
        result, moved = push_forward(call.plan, call.operands(), directions)
        dy = call.merge(moved, call.out_features, call.weight.out_features)
        if "bias" in checked:
            dy = dy + space.astype(checked["bias"], dy.dtype)
        return call.output(result), space.astype(dy, call.result_dtype)
    except (MemoryError, RuntimeError) as error:
        name_memory(error, x, weight, options=options)
        raise


class Trace(Mapping[str, Array]):
    """The intermediates of one forward pass by name, in the order they are computed.

    ``trace["t1"]`` is an array whose axes are labelled as in ``trace.equations["t1"]``; the last is
    ``"y"``, the layer's output.  ``print(trace)`` shows every equation with its shape and norm.
    """

    def __init__(self, plan: Plan, arrays: Mapping[str, Array], equations: Mapping[str, str]) -> None:
        self.plan = plan
        self.equations = dict(equations)
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __str__(self) -> str:
        lines = [f"Trace: {self.plan.implementation}, batch {self.plan.batch_size}, {self.plan.dtype}"]
        for name, array in self._arrays.items():
            lines.append(f"  {self.equations[name]}")
            lines.append(f"      {tuple(array.shape)}, norm {self.plan.space.norm(array):.6g}")
        return "\n".join(lines)

    __repr__ = __str__


def linear_trace(
    x: ArrayLike,
    weight: FactorizedTensor,
    bias: ArrayLike | None = None,
    *,
    features: Features = (None, None),
    options: PlanOptions = DEFAULT,
) -> Trace:
    """Every intermediate of :func:`factorized_linear`, named: all of them at once, whatever the limit of memory."""
    call = Call.prepare(x, weight, bias, options=options, mode="forward", features=features)
    arrays: dict[str, Array] = {}
    equations: dict[str, str] = {}
    try:
        for name, equation, array in intermediates(call.plan, call.operands()):
            arrays[name], equations[name] = array, equation
        last = call.plan.steps[-1].name
        # a copy, to which the bias can be added
        arrays["y"] = call.output(call.space.copy(call.space.transpose(arrays[last], call.plan.output_axes)))
    except (MemoryError, RuntimeError) as error:
        name_memory(error, x, weight, options=options)
        raise
    kept = "" if call.out_features == weight.out_features else f", the first {call.out_features} features kept"
    plus = "" if call.bias is None else ", plus bias"
    equations["y"] = f"y = {last}, its axes in order and merged{kept}{plus}"
    return Trace(call.plan, arrays, equations)


def bias_gradient(cotangent: Array, bias: Array, space: Space = NUMPY) -> Array:
    """The sum of a cotangent over all batch axes, in the dtype of the bias."""
    dtype, features = space.single_dtype(space.inexact_dtype(cotangent.dtype)), cotangent.shape[-1]
    n_samples = math.prod(cotangent.shape[:-1])
    if n_samples == 1:  # a copy, since the cotangent is the caller's
        total = space.astype(space.copy(space.reshape(cotangent, (features,))), dtype)
    else:
        total = space.sum(space.reshape(cotangent, (n_samples, features)), 0, dtype)
    return space.contiguous(space.match_dtype(total, bias.dtype))
