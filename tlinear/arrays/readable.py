"""Objects that are no dense array of numbers, though they stand where one is expected: told by their type."""

from __future__ import annotations

from typing import Any

from tlinear.errors import DTypeError

__all__ = ["check_readable"]


def check_readable(array: Any, name: str) -> None:
    """Raise for what has numbers behind a call, or has none yet; other types are left to their library.

    Each kind is told by its attributes, so that no library is imported.

    Raises
    ------
    DTypeError
        For a class, a function or method, a factorized tensor, a layer, a sparse array, a quantized tensor, and a
        parameter that has no shape or no numbers yet.  The message names the type, and the way to an array.

    Examples
    --------
    >>> from operator import neg
    >>> check_readable(neg, "weight")
    Traceback (most recent call last):
        ...
    tlinear.errors.DTypeError: weight is neg, a builtin_function_or_method, not an array. Call it, and pass what it ...
    """
    kind = type(array)
    described = f"of type {kind.__module__}.{kind.__qualname__}"
    reason: str | None
    if isinstance(array, type):
        reason = f"the class {array.__qualname__}, not an array. Pass an array of numbers."
    elif kind.__name__.startswith("Uninitialized"):
        reason = (
            f"{described}: it has neither shape nor numbers yet. Call its layer once, as layer(x), which fixes them, "
            "or load its state."
        )
    elif _calls(array, "to_tensor"):
        reason = f"{described}, which is factorized, not an array. Pass the dense array that its .to_tensor() returns."
    elif hasattr(array, "__array__") or hasattr(array, "__array_interface__") or hasattr(array, "__dlpack__"):
        reason = _reason_of_array(array, described)
    else:
        reason = _reason_of_object(array, described, name)
    if reason is not None:
        raise DTypeError(f"{name} is {reason}")


def _reason_of_array(array: Any, described: str) -> str | None:
    """Of an array of another library, whose entries lie elsewhere than those of a dense one do."""
    if getattr(array, "is_quantized", False) is True:
        return f"{described} and dtype {array.dtype}: codes, not numbers. Pass what its .dequantize() returns."
    layout = str(getattr(array, "layout", "strided"))
    if "sparse" in layout:
        return f"{described} and layout {layout}, a sparse array. Pass the dense one that its .to_dense() returns."
    if _calls(array, "todense"):
        return f"{described}, a sparse array. Pass the dense one that its .todense() returns."
    if str(getattr(array, "device", "")) == "meta":
        return f"{described} on the device meta, which holds no numbers. Load them first, onto another device."
    return None


def _reason_of_object(array: Any, described: str, name: str) -> str | None:
    """Of what no array library has made."""
    if _calls(array, "toarray"):
        return f"{described}, a sparse array. Pass the dense one that its .toarray() returns."
    if hasattr(array, "weight"):
        return f"{described}, a layer, not an array. Pass its `weight`, or give the layer itself to from_linear."
    if callable(array):
        called, kind = getattr(array, "__qualname__", described), type(array).__qualname__
        return (
            f"{called}, a {kind}, not an array. Call it, and pass what it returns; if that is quantized, pass "
            f"{name}().dequantize()."
        )
    return None


def _calls(array: Any, method: str) -> bool:
    return callable(getattr(array, method, None))
