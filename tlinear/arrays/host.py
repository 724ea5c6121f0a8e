"""NumPy's arrays: what may come in, and which dtype goes out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tlinear.errors import DTypeError, NonFiniteError

__all__ = [
    "Array",
    "DType",
    "as_numpy",
    "check_finite",
    "compute_dtype",
    "contiguous",
    "inexact_dtype",
    "largest_part",
    "match_dtype",
    "parameter_dtype",
    "times_power_of_two",
]

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = np.dtype[Any]

NUMERIC = "biufc"
"""The kinds of dtypes that numbers have."""

_BLOCK = 2**17


def as_numpy(array: ArrayLike | Any, name: str = "array") -> Array:
    """The same numbers as NumPy reads them on this host, without a copy where none is needed.

    Takes whatever NumPy takes, and a torch tensor or parameter that lives on the
    CPU (its ``detach`` and its like are called; torch itself is never imported).

    Raises
    ------
    DTypeError
        When `array` is not numeric, or cannot be read on this host.

    Examples
    --------
    >>> as_numpy([1.0, 2.0]).dtype
    dtype('float64')
    """
    if type(array) is np.ndarray and array.dtype.kind in NUMERIC:
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a masked array, whose mask would be lost. Pass array.filled(value) instead.")
    source: Any = array
    for name_of_method in ("detach", "resolve_conj", "resolve_neg"):  # a conjugate or a sign yet to be taken
        method = getattr(source, name_of_method, None)
        source = method() if callable(method) else source
    try:
        result = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DTypeError(
            f"{name} of type {type(array).__name__} (dtype {getattr(array, 'dtype', 'unknown')}, device "
            f"{getattr(array, 'device', 'unknown')}) cannot be read as a NumPy array: {str(error).rstrip('.')}. "
            "Pass numbers that numpy.asarray takes: dense, on the CPU, in a dtype that NumPy has, such as float32."
        ) from error
    if result.dtype.kind not in NUMERIC:
        raise DTypeError(
            f"{name} has dtype {result.dtype}, which is not numeric to NumPy. Pass real or complex numbers in a dtype "
            "that it has, such as float32."
        )
    return result


def inexact_dtype(*dtypes: DType) -> DType:
    """The dtype that products of these have; of integers and booleans alone, float64.

    Examples
    --------
    >>> inexact_dtype(np.dtype("int8"), np.dtype("float32"))
    dtype('float32')
    >>> inexact_dtype(np.dtype("bool"))
    dtype('float64')
    """
    result = dtypes[0]
    if dtypes.count(result) != len(dtypes):
        result = np.result_type(*dtypes)
    if result.kind not in "fc":
        return np.dtype(np.float64)
    return result if result.isnative else result.newbyteorder("=")


def parameter_dtype(dtype: DTypeLike, source: DType | None = None) -> DType:
    """`dtype`, if parameters can be kept in it without losing the imaginary parts of a `source`.

    Raises
    ------
    DTypeError
        When it is neither real nor complex floating, or is real while `source` is complex.

    Examples
    --------
    >>> parameter_dtype("float32")
    dtype('float32')
    """
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"dtype={dtype!r} is not a dtype that NumPy has. Pass one, such as 'float32'.") from error
    if wanted.kind not in "fc":
        raise DTypeError(f"dtype={wanted} cannot hold parameters. Pass a real or complex floating dtype.")
    if source is not None and source.kind == "c" and wanted.kind == "f":
        raise DTypeError(
            f"dtype={wanted} cannot hold {source} without losing its imaginary part. Pass a complex dtype."
        )
    return wanted


def compute_dtype(dtype: DType) -> DType:
    """The dtype to accumulate in: float32 for float16, otherwise `dtype` itself."""
    return np.dtype(np.float32) if dtype.char == "e" else dtype


def match_dtype(array: Array, dtype: DType) -> Array:
    """`array` in `dtype`; a complex array meeting a real `dtype` gives its real part.

    The gradient of a real operand of a complex product is the real part, because the
    real operand can move along the real axis only.
    """
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "c" and dtype.kind != "c":
        array = array.real
    return array.astype(dtype, copy=False)


def contiguous(array: Array) -> Array:
    """`array`, or a copy of it, in which the entries lie in the order of the axes.

    Examples
    --------
    >>> contiguous(np.ones((3, 2)).T).flags.c_contiguous
    True
    """
    return array if array.flags.c_contiguous else array.copy()


def largest_part(array: Array) -> Any:
    """The largest of the absolute values of all real and imaginary parts; NaN where one is NaN, 0 where there are none.

    A block at a time, so that memory is read but once.

    Examples
    --------
    >>> largest_part(np.array([3 - 4j])) == 4.0, np.isnan(largest_part(np.array([1.0, np.nan])))
    (np.True_, np.True_)
    """
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    largest: Any = 0.0
    for part in parts:
        flat = part.ravel(order="K")
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            largest = np.maximum(largest, np.maximum(block.max(), -block.min()))
    return largest


def times_power_of_two(array: Array, exponent: int, dtype: DType) -> Array:
    """``2^exponent array`` in `dtype`, rounded only once: the product is taken in the wider of both dtypes."""
    wide = array.astype(np.result_type(array.dtype, dtype), copy=False)
    if wide.dtype.kind == "c":
        scaled = np.empty(wide.shape, wide.dtype)
        _scale(wide.real, exponent, scaled.real)
        _scale(wide.imag, exponent, scaled.imag)
    else:
        scaled = _scale(wide, exponent)
    return scaled.astype(dtype, copy=False)


def _scale(array: Array, exponent: int, out: Array | None = None) -> Array:
    """A product where the power is a normal number of the dtype: a function that is called for each entry is slower."""
    limits = np.finfo(array.dtype)
    if limits.minexp <= exponent < limits.maxexp:
        return np.asarray(np.multiply(array, np.ldexp(limits.dtype.type(1), exponent), out=out))
    return np.asarray(np.ldexp(array, exponent, out=out))


def check_finite(array: Array, name: str) -> Any:
    """The :func:`largest_part`; raise :class:`NonFiniteError`, saying how many entries are not finite, if any."""
    largest = largest_part(array)
    if np.isfinite(largest):
        return largest
    n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    raise NonFiniteError(
        f"{name} of shape {array.shape} holds {n_bad} entries that are NaN or infinite, of {array.size}. "
        "Repair or replace them first: no factorization of them has a meaning."
    )
