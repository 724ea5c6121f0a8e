"""The dense layer in a module of any library, unless that computes with another matrix than its `weight`."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from tlinear.arrays import Array, as_numpy
from tlinear.arrays.bfloat16 import is_bfloat16
from tlinear.errors import DTypeError, ShapeError
from tlinear.formats import FactorizedTensor
from tlinear.linear import Linear

__all__ = ["as_linear"]

_SCALES = (
    *("scale", "scales", "SCB", "zero_point", "zero_points", "zeros", "absmax", "quant_state", "qweight", "qzeros"),
    *("mask", "magnitude", "gain", "output_scale"),
)
"""What modules keep beside the codes, directions or unmasked entries that their `weight` holds."""

_REGISTRIES = ("_parameters", "_buffers", "_modules")
"""Where a torch module keeps the attributes that `vars` does not list."""

_CONV1D = ("nx", "nf")
"""By which names GPT-2's Conv1D states its features; it keeps its weight as (in_features, out_features)."""

_FEATURES = (("in_features", "out_features"), ("input_size", "output_size"), _CONV1D)


def as_linear(linear: Any, *, bias: bool = True, transposed: bool = False) -> Linear:
    """The dense layer in anything that has a `weight` (out_features, in_features) and a `bias`; arrays are held.

    Those of a :class:`~tlinear.Linear` stay in the library that they are of; NumPy reads those of anything else.

    Raises
    ------
    DTypeError
        When it has no weight, or one that is not the matrix that it computes with: factorized, a method, codes of a
        quantized module, a base that an adapter is added to, or what a scale, a mask or a norm is applied to.
    ShapeError
        When the weight is no matrix, or its shape contradicts the features that the module states.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> as_linear(SimpleNamespace(weight=[[1.0, 2.0, 3.0]], bias=None)).in_features
    3
    >>> as_linear(SimpleNamespace(weight=[[1.0, 2.0, 3.0]], bias=None, scale=0.5))
    Traceback (most recent call last):
        ...
    tlinear.errors.DTypeError: linear of type types.SimpleNamespace has scale beside its weight, which may not be ...
    """
    if isinstance(linear, type):
        raise DTypeError(f"linear is the class {linear.__qualname__}, not a layer. Pass a layer, which has a weight.")
    if isinstance(linear, Linear):
        return Linear.from_arrays(linear.weight, linear.bias if bias else None, transposed=transposed)
    parts = _parts(linear)
    _check_no_adapter(linear, parts)
    weight = getattr(linear, "weight", None)
    _check_is_matrix(linear, weight)
    _check_stands_alone(linear, weight, parts)
    matrix = as_numpy(weight, "weight")
    if matrix.dtype.kind not in "fc" and not is_bfloat16(matrix.dtype):
        raise DTypeError(
            f"{_named(linear)} keeps its weight as {matrix.dtype} of shape {matrix.shape}: codes, not the matrix that "
            f"it computes with. Dequantize it and pass {_wrap()}; if these are its numbers, that takes them too."
        )
    _check_features(linear, matrix, transposed)
    offset = getattr(linear, "bias", None) if bias else None
    return Linear.from_arrays(matrix, None if offset is None else as_numpy(offset, "bias"), transposed=transposed)


def _wrap(weight: str = "weight", bias: str = "bias", *, transposed: bool = False) -> str:
    return f"tlinear.Linear.from_arrays({weight}, {bias}{', transposed=True' * transposed})"


def _named(linear: Any) -> str:
    return f"linear of type {type(linear).__module__}.{type(linear).__qualname__}"


def _parts(module: Any) -> dict[str, Any]:
    """What a module, or an array, has as attributes of its own, by name, apart from None."""
    held: dict[str, Any] = dict(getattr(module, "__dict__", {}))
    for registry in _REGISTRIES:
        entries = held.get(registry)
        held |= entries if isinstance(entries, Mapping) else {}
    # those of a class, a property or a slot stand in no dict
    held |= {name: getattr(module, name, None) for name in _SCALES if name not in held}
    return {name: value for name, value in held.items() if value is not None}


def _is_part(value: Any) -> bool:
    """Whether it is an array, a list of numbers, or a module."""
    return hasattr(value, "shape") or hasattr(value, "parameters") or isinstance(value, (list, tuple))


def _check_no_adapter(linear: Any, parts: Mapping[str, Any]) -> None:
    """Raise for an adapter such as LoRA, whose output is added to that of the weight."""
    if hasattr(linear, "base_layer"):  # as every adapter of peft has
        raise DTypeError(
            f"{_named(linear)} adds an adapter to its base_layer, whose weight alone its own `weight` is. Merge the "
            "adapter first, in peft by linear.merge(), and pass linear.base_layer."
        )
    adapters = [name for name, value in parts.items() if name.lower().startswith("lora") and _is_part(value)]
    if adapters and getattr(linear, "merged", False) is not True:
        raise DTypeError(
            f"{_named(linear)} adds an adapter, {', '.join(adapters)}, to its weight. Merge the adapter into that, or "
            f"pass {_wrap()} of the sum."
        )
    owner = getattr(parts.get("forward"), "__self__", linear)
    if owner is not linear:
        raise DTypeError(
            f"{_named(linear)} computes by the `forward` of a {type(owner).__name__}, which has taken the place of its "
            f"own, and not by its weight alone. Merge that into the weight, or pass {_wrap()}."
        )


def _check_is_matrix(linear: Any, weight: Any) -> None:
    """Raise for no weight at all, and for one that is factorized, or a method."""
    if weight is None:
        if isinstance(linear, FactorizedTensor):
            raise DTypeError(f"linear is already factorized: {linear!r}. Pass the dense layer to factorize it anew.")
        lacks = "has weight=None" if hasattr(linear, "weight") else "has no attribute `weight`"
        raise DTypeError(f"{_named(linear)} {lacks}. {_way_without_weight(linear)}")
    if isinstance(weight, FactorizedTensor):
        dense = "linear.to_linear()" if hasattr(linear, "to_linear") else "the dense layer"
        raise DTypeError(f"linear's weight is already factorized: {weight!r}. Pass {dense} to factorize it anew.")
    method = next((name for name in ("to_matrix", "to_tensor") if callable(getattr(weight, name, None))), None)
    if method is not None:
        kind = f"{type(weight).__module__}.{type(weight).__qualname__}"
        raise DTypeError(
            f"linear's weight is already factorized: it is of type {kind}. To factorize it anew pass "
            f"{_wrap('W', 'linear.bias')}, with W the matrix (out_features, in_features) of linear.weight.{method}()."
        )
    if callable(weight) and not hasattr(weight, "shape"):
        raise DTypeError(
            f"{_named(linear)} has a method `weight`, as quantized modules have. Call it, and pass "
            f"{_wrap('linear.weight().dequantize()', 'linear.bias()')}."
        )


def _way_without_weight(linear: Any) -> str:
    if hasattr(linear, "kernel"):  # Keras, Flax
        wrapped = _wrap("linear.kernel", "linear.bias", transposed=True)
        return f"It has a kernel instead, which is (in_features, out_features): pass {wrapped}."
    if hasattr(linear, "coef_"):  # scikit-learn
        return f"Its coefficients are another attribute: pass {_wrap('linear.coef_', 'linear.intercept_')}."
    if hasattr(linear, "coefs_"):
        return f"It has several layers: pass {_wrap('linear.coefs_[k]', 'linear.intercepts_[k]', transposed=True)}."
    codes = next((name for name in ("qweight", "W_q", "weight_packed") if hasattr(linear, name)), None)
    if codes is not None:
        return f"It is quantized, and {codes} are its codes: dequantize them, and pass {_wrap()}."
    return f"Pass a dense layer, or wrap arrays with {_wrap()}."


def _check_stands_alone(linear: Any, weight: Any, parts: Mapping[str, Any]) -> None:
    """Raise where more than the weight makes the matrix: a scale, zero points, a mask, a norm that is kept apart."""
    beside = [name for name, value in parts.items() if _is_beside(name, value)]
    beside += [
        f"weight.{name}" for name, value in _parts(weight).items() if name in _SCALES and _is_beside(name, value)
    ]
    if beside:
        dtype = f" of dtype {weight.dtype}" if hasattr(weight, "dtype") else ""
        raise DTypeError(
            f"{_named(linear)} has {', '.join(beside)} beside its weight{dtype}, which may not be the matrix that it "
            "computes with. Dequantize the weight, or make it permanent, as torch's remove_weight_norm or prune.remove "
            f"does, and pass the module then, or {_wrap()}."
        )
    own = next((kind for kind in type(weight).__mro__ if "dequantize" in vars(kind)), None)
    if own is not None and own.__module__.partition(".")[0] != "torch":  # every tensor of torch has the method
        raise DTypeError(
            f"{_named(linear)} keeps its weight quantized, as a {type(weight).__name__}. Pass "
            f"{_wrap('linear.weight.dequantize()', 'linear.bias')}."
        )


def _is_beside(name: str, value: Any) -> bool:
    """Whether an attribute of this name says that the weight is not all of the matrix."""
    if name in _SCALES or name in ("weight_scale", "weight_gain"):
        is_factor = isinstance(value, (int, float)) and not isinstance(value, bool) and value != 1
        return is_factor or _is_part(value)
    return name.startswith("weight_") and _is_part(value)


def _check_features(linear: Any, matrix: Array, transposed: bool) -> None:
    """Raise where the shape contradicts the features that the module states, or the way round that it keeps them."""
    if matrix.ndim != 2:
        return
    found = matrix.shape if transposed else matrix.shape[::-1]
    for names in _FEATURES:
        stated = tuple(getattr(linear, name, None) for name in names)
        # nx alone may be anything
        if not (all if names == _CONV1D else any)(map(_is_number, stated)):
            continue
        is_turned = names == _CONV1D and not transposed
        if _agree(stated, found) and not is_turned:
            continue
        is_turned = is_turned or _agree(stated, found[::-1])
        read_as = "(in_features, out_features)" if transposed else "(out_features, in_features)"
        said = " and ".join(f"{name}={n}" for name, n in zip(names, stated, strict=True) if _is_number(n))
        remedy = f"transposed={not transposed}" if is_turned else f"{_wrap()} of the whole matrix, dequantized"
        raise ShapeError(
            f"{_named(linear)} has {said}, but its weight of shape {matrix.shape}, read as {read_as}, maps {found[0]} "
            f"features to {found[1]}. Pass {remedy}."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _agree(stated: tuple[Any, ...], found: tuple[int, ...]) -> bool:
    """Whether no feature that is stated is another than what was found."""
    return all(n == size for n, size in zip(stated, found, strict=True) if _is_number(n))
