"""NumPy's arrays: what may come in, and which dtype goes out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tlinear.arrays.bfloat16 import find_bfloat16, is_bfloat16, promote, round_to_bfloat16
from tlinear.arrays.limits import limits_of
from tlinear.arrays.readable import check_readable
from tlinear.errors import DTypeError, NonFiniteError

__all__ = [
    "Array",
    "DType",
    "as_dtype",
    "as_numpy",
    "check_finite",
    "compute_dtype",
    "contiguous",
    "inexact_dtype",
    "is_inexact",
    "largest_part",
    "match_dtype",
    "parameter_dtype",
    "peaks",
    "smallest_part",
    "times_power_of_two",
]

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = np.dtype[Any]

FLOATING = frozenset(np.dtype(char).num for char in np.typecodes["AllFloat"])
"""NumPy's real and complex floating dtypes by number; a kind may be that of another package's dtype too."""

NUMERIC = FLOATING | {np.dtype(char).num for char in "?" + np.typecodes["AllInteger"]}
"""All of NumPy's dtypes that numbers have."""

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
    if type(array) is np.ndarray and (array.dtype.num in NUMERIC or is_bfloat16(array.dtype)):
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a masked array, whose mask would be lost. Pass array.filled(value) instead.")
    check_readable(array, name)
    source: Any = array
    try:
        for name_of_method in ("detach", "resolve_conj", "resolve_neg"):  # a conjugate or a sign yet to be taken
            method = getattr(source, name_of_method, None)
            source = method() if callable(method) else source
        result = _read(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DTypeError(
            f"{name} of type {type(array).__name__} (dtype {getattr(array, 'dtype', 'unknown')}, device "
            f"{getattr(array, 'device', 'unknown')}) cannot be read as a NumPy array: {str(error).rstrip('.')}. "
            "Pass numbers that numpy.asarray takes: dense, on the CPU, in a dtype that NumPy has, such as float32."
        ) from error
    if result.dtype.num not in NUMERIC and not is_bfloat16(result.dtype):
        raise DTypeError(f"{name} has dtype {result.dtype}{_entries(result)}, {_what_to_pass_for(result.dtype)}")
    return result


def _read(source: Any) -> Array:
    """What NumPy makes of `source`; a bfloat16 that is another library's comes by way of float32."""
    dtype = getattr(source, "dtype", None)
    if isinstance(dtype, np.dtype) or not str(dtype).endswith("bfloat16"):
        return np.asarray(source)
    import array_api_compat as compat

    xp = compat.array_namespace(source)
    return round_to_bfloat16(np.asarray(xp.astype(source, xp.float32)), find_bfloat16())


def _entries(array: Array) -> str:
    return f" with entries of type {type(array.flat[0]).__name__}" if array.dtype == object and array.size else ""


def _what_to_pass_for(dtype: DType) -> str:
    """Why nothing is computed with arrays of this dtype, and the way out."""
    if dtype.type is np.void and dtype.fields is None:
        return (
            "which is bytes without a meaning: numpy.load gives such for a dtype that is not NumPy's own. Say which it "
            "was: pass array.view(ml_dtypes.bfloat16), if it was bfloat16."
        )
    package = dtype.type.__module__.partition(".")[0]
    if package != "numpy":
        single = "complex64" if "complex" in dtype.name else "float32"
        return (
            f"a dtype of {package} in which nothing is computed. Pass array.astype('{single}'), and if its numbers are "
            "codes, times the scale that they were divided by."
        )
    return "which is not numeric to NumPy. Pass real or complex numbers in a dtype that it has, such as float32."


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
        result = promote(dtypes) if any(map(is_bfloat16, dtypes)) else np.result_type(*dtypes)
    if result.num not in FLOATING:
        return result if is_bfloat16(result) else np.dtype(np.float64)
    return result if result.isnative else result.newbyteorder("=")


def is_inexact(dtype: DType) -> bool:
    """Whether it is a real or complex floating dtype, as parameters have."""
    return dtype.num in FLOATING or is_bfloat16(dtype)


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
        wanted = find_bfloat16() if isinstance(dtype, str) and dtype == "bfloat16" else np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"dtype={dtype!r} is not a dtype that NumPy has. Pass one, such as 'float32'.") from error
    if not is_inexact(wanted):
        raise DTypeError(
            f"dtype={wanted} cannot hold parameters. Pass a real or complex floating dtype of NumPy's, or 'bfloat16'."
        )
    if source is not None and source.kind == "c" and wanted.kind != "c":
        raise DTypeError(
            f"dtype={wanted} cannot hold {source} without losing its imaginary part. Pass a complex dtype."
        )
    return wanted


def compute_dtype(dtype: DType) -> DType:
    """The dtype to accumulate in: float32 for float16 and bfloat16, otherwise `dtype` itself."""
    return np.dtype(np.float32) if dtype.char == "e" or dtype.kind == "V" else dtype


def as_dtype(array: Array, dtype: DType) -> Array:
    """`array` in `dtype`, rounded once and in the order of its axes; itself, if it has that dtype."""
    if array.dtype == dtype:
        return array
    return round_to_bfloat16(array, dtype) if dtype.kind == "V" else array.astype(dtype, order="C")


def match_dtype(array: Array, dtype: DType) -> Array:
    """`array` in `dtype`; a complex array meeting a real `dtype` gives its real part.

    The gradient of a real operand of a complex product is the real part, because the
    real operand can move along the real axis only.
    """
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "c" and dtype.kind != "c":
        array = array.real
    return _rounded(array, dtype)


def _rounded(array: Array, dtype: DType) -> Array:
    return round_to_bfloat16(array, dtype) if dtype.kind == "V" else array.astype(dtype, copy=False)


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
    largest: Any = 0.0
    for block in _blocks(array):
        largest = np.maximum(largest, np.maximum(block.max(), -block.min()))
    return largest


def _blocks(array: Array) -> Iterator[Array]:
    """All real and imaginary parts, some at a time, in a dtype in which NumPy compares."""
    for part in (array.real, array.imag) if array.dtype.kind == "c" else (array,):
        flat = part.ravel(order="K")
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            yield block.astype(np.float32) if block.dtype.kind == "V" else block


def smallest_part(array: Array) -> Any:
    """The smallest of the absolute values of all real and imaginary parts but zero; infinity where there are none.

    Examples
    --------
    >>> smallest_part(np.array([0.0, 3 - 4j])) == 3.0
    np.True_
    """
    smallest: Any = np.inf
    for block in _blocks(array):
        sizes = np.abs(block)
        sizes[sizes == 0] = np.inf
        smallest = np.minimum(smallest, sizes.min())
    return smallest


def peaks(array: Array, axes: tuple[int, ...]) -> Array:
    """The :func:`largest_part` over these axes.

    Examples
    --------
    >>> peaks(np.array([[3 - 4j, 1j]]), (0,))
    array([4., 1.])
    """
    wide = array.astype(compute_dtype(array.dtype), copy=False)
    parts = (wide.real, wide.imag) if wide.dtype.kind == "c" else (wide,)
    return np.asarray(np.maximum.reduce([np.max(np.abs(part), axis=axes) for part in parts]))


def times_power_of_two(array: Array, exponent: int | Array, dtype: DType) -> Array:
    """``2^exponent array`` in `dtype`, rounded only once: the product is taken in the wider of both dtypes.

    The exponents may be an array that is broadcast to the other.
    """
    wide = array.astype(compute_dtype(inexact_dtype(array.dtype, dtype)), copy=False)
    if wide.dtype.kind == "c":
        scaled = np.empty(wide.shape, wide.dtype)
        _scale(wide.real, exponent, scaled.real)
        _scale(wide.imag, exponent, scaled.imag)
    else:
        scaled = _scale(wide, exponent)
    return _rounded(scaled, dtype)


def _scale(array: Array, exponent: int | Array, out: Array | None = None) -> Array:
    """A product where the power is a normal number of the dtype: a function that is called for each entry is slower."""
    limits = limits_of(array.dtype)
    if isinstance(exponent, int) and limits.minexp <= exponent < limits.maxexp:
        return np.asarray(np.multiply(array, np.ldexp(array.dtype.type(1), exponent), out=out))
    return np.asarray(np.ldexp(array, exponent, out=out))


def _counted(n: int) -> str:
    return "1 entry that is" if n == 1 else f"{n} entries that are"


def check_finite(array: Array, name: str) -> Any:
    """The :func:`largest_part`; raise :class:`NonFiniteError`, saying how many entries are not finite, if any."""
    largest = largest_part(array)
    if np.isfinite(largest):
        return largest
    n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    raise NonFiniteError(
        f"{name} of shape {array.shape} has {_counted(n_bad)} NaN or infinite, of {array.size}. "
        "Repair or replace them first: no factorization of them has a meaning."
    )
