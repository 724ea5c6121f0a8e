"""From one array library or device to another: only where a caller says so."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from tlinear.arrays.bfloat16 import is_bfloat16
from tlinear.arrays.foreign import Foreign, foreign_space, is_host_device
from tlinear.arrays.host import FLOATING, NUMERIC, Array, as_numpy
from tlinear.arrays.readable import check_readable
from tlinear.arrays.space import NUMPY, Space
from tlinear.errors import DeviceError, DTypeError

__all__ = [
    "adopt",
    "adopt_inexact",
    "as_parameter",
    "as_source",
    "bring",
    "common_space",
    "computed_by_numpy_alone",
    "find_space",
    "space_of",
    "to_inexact",
    "to_numpy",
]


def space_of(array: Any) -> Space:
    """Where an array lives; what is no array, such as a list, NumPy reads.

    Examples
    --------
    >>> print(space_of([1.0, 2.0]))
    numpy on device cpu
    """
    if type(array) is np.ndarray:
        return NUMPY
    import array_api_compat as compat

    if not compat.is_array_api_obj(array):
        return NUMPY
    xp = compat.array_namespace(array)
    return NUMPY if compat.is_numpy_namespace(xp) else foreign_space(xp, compat.device(array))


def adopt(array: Any, space: Space, name: str, where: str) -> Array:
    """`array` as one of `space`, in which `where` lives: as it is, without what autograd knows of it.

    Raises
    ------
    DeviceError
        When it lives elsewhere.
    DTypeError
        When it is not numeric.
    """
    if space is NUMPY and type(array) is np.ndarray and array.dtype.num in NUMERIC:
        return array
    there = space_of(array)
    if there is not space:
        raise DeviceError(
            f"{name} is {_described(array, there)}, but {where} on {space}. Nothing is copied from one to the other "
            f"by itself: pass {name} there, or cross with `.to(...)` or tlinear.arrays.to_numpy."
        )
    if space is NUMPY:
        return as_numpy(array, name)
    check_readable(array, name)
    if isinstance(space, Foreign) and not space.is_numeric(array.dtype):
        raise DTypeError(
            f"{name} has dtype {array.dtype}, in which nothing is computed. Pass real or complex numbers of a dtype "
            "such as float32, float16 or bfloat16."
        )
    return array.detach() if getattr(array, "requires_grad", False) else array


def adopt_inexact(array: Any, space: Space, name: str, where: str) -> Array:
    """The same with integers and booleans promoted to the default floating dtype: what a parameter may be."""
    if space is NUMPY and type(array) is np.ndarray and array.dtype.num in FLOATING and array.dtype.isnative:
        return array
    own = adopt(array, space, name, where)
    return space.astype(own, space.inexact_dtype(own.dtype))


def as_source(array: Any, name: str = "array") -> Array:
    """What may become a parameter, in the space where it lives and as it lies in memory.

    Raises
    ------
    DeviceError
        When its library has arrays that cannot be written to.
    DTypeError
        When it is not numeric.

    Examples
    --------
    >>> as_source([1, 2]).dtype
    dtype('float64')
    """
    space = NUMPY if type(array) is np.ndarray else space_of(array)
    if space is not NUMPY:
        _check_writable(array, space.library)
    return adopt_inexact(array, space, name, "")


def as_parameter(array: Any, name: str = "array") -> Array:
    """The same with its entries in the order of its axes: held if they are, else copied.

    Many writers of files store the memory of an array as it lies.

    Examples
    --------
    >>> as_parameter(np.ones((3, 2)).T).flags.c_contiguous
    True
    """
    own = as_source(array, name)
    return space_of(own).in_order(own)


def to_inexact(array: Any, name: str = "array") -> Array:
    """What NumPy computes with: its own arrays, and numbers that are no arrays yet.

    Raises
    ------
    DeviceError
        When `array` is of another library, which must cross explicitly.

    Examples
    --------
    >>> to_inexact([1, 2]).dtype
    dtype('float64')
    """
    return adopt_inexact(array, NUMPY, name, "this is computed")


def common_space(arrays: Iterable[tuple[str, Array]], where: str) -> Space:
    """The one space of some named arrays.

    Raises
    ------
    DeviceError
        When there are two; it names both.
    """
    first, space = "", NUMPY
    for name, array in arrays:
        there = NUMPY if type(array) is np.ndarray else space_of(array)
        if not first:
            first, space = name, there
        elif there is not space:
            raise DeviceError(
                f"{where}: {first} lives in {space}, but {name} in {there}. Bring them together first, with "
                "tlinear.arrays.to_numpy or the library's own conversion."
            )
    return space


def to_numpy(array: Any, name: str = "array") -> Array:
    """The same numbers as a NumPy array, from wherever they are: an explicit crossing to the host.

    Raises
    ------
    DTypeError
        When `array` is not numeric, or has a dtype that NumPy has not.

    Examples
    --------
    >>> to_numpy([1.0, 2.0]).dtype
    dtype('float64')
    """
    space = space_of(array)
    if space is NUMPY:
        return as_numpy(array, name)
    import array_api_compat as compat

    on_host = is_host_device(space.device)
    return as_numpy(array if on_host else compat.to_device(array, _host_device(space.xp)), name)


def bring(array: Array, space: Space) -> Array:
    """The same numbers in `space`, in memory of their own: an explicit crossing.

    Raises
    ------
    DeviceError
        When the library or the device has no such numbers.
    """
    there = space_of(array)
    if there is space:
        return space.copy(array)
    try:
        if there.xp is space.xp:
            import array_api_compat as compat

            _check_dtype(array, space)
            return compat.to_device(array, space.device)
        host = to_numpy(array)
        if space is NUMPY:
            return host.copy()
        if is_bfloat16(host.dtype):
            return _bfloat16_there(host, space)
        return space.xp.asarray(np.array(host, order="C"), device=space.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"An array of dtype {array.dtype} on {there} cannot be brought to {space}: {str(error).rstrip('.')}. "
            "Cast it to a dtype that is there, such as float32, before it crosses."
        ) from error


def _bfloat16_there(host: Array, space: Space) -> Array:
    """NumPy's bfloat16 as that of another library, to which float32 crosses."""
    own = getattr(space.xp, "bfloat16", None)
    if own is None:
        raise TypeError(f"{space.library} has no bfloat16")
    return space.xp.astype(space.xp.asarray(host.astype(np.float32, order="C"), device=space.device), own)


def find_space(where: Any, device: Any, present: Space) -> Space:
    """The space that a module and a device, or a device of the `present` library, stand for.

    Raises
    ------
    DeviceError
        When `where` is no array library, or `device` none that it has.
    """
    module = where if isinstance(where, ModuleType) or hasattr(where, "asarray") else None
    if (module is None and device is not None) or (module is not None and not hasattr(module, "empty")):
        named = repr(where) if module is None else module.__name__
        raise DeviceError(f"{named} is no array library. Pass a module such as numpy or torch before the device.")
    import array_api_compat as compat

    try:
        probe = present.xp.empty((0,), device=where) if module is None else module.empty((0,))
        space = space_of(probe)
        if device is not None and space is not NUMPY:
            space = space_of(compat.array_namespace(probe).empty((0,), device=device))
    except Exception as error:  # each library raises its own: torch an AssertionError where it is built without CUDA
        library = present.library if module is None else module.__name__
        raise DeviceError(
            f"{where if module is None else device!r} is no device of {library}: {str(error).rstrip('.')}. Pass a "
            "module such as numpy or torch, and a device as it names them."
        ) from error
    _check_writable(probe, module.__name__ if module else space.library)
    if space is NUMPY and device not in (None, "cpu"):
        raise DeviceError(f"NumPy has no device {device!r}. Pass device='cpu', or another array library.")
    return space


def _check_writable(array: Array, library: str) -> None:
    import array_api_compat as compat

    if not compat.is_writeable_array(array):
        raise DeviceError(
            f"Arrays of {library} cannot be written to, but a result is filled chunk by chunk. Cross to a library "
            "whose arrays can, such as numpy with tlinear.arrays.to_numpy, cupy or torch."
        )


def _check_dtype(array: Array, space: Space) -> None:
    """Raise TypeError for double precision on a device without it, which not every library refuses by itself."""
    there = space.xp.__array_namespace_info__().dtypes(device=space.device)
    everywhere = space.xp.__array_namespace_info__().dtypes()
    lacking = [name for name, dtype in everywhere.items() if dtype == array.dtype and name not in there]
    if lacking:
        raise TypeError(f"the device has no {lacking[0]}")


def _host_device(xp: Any) -> Any:
    import array_api_compat as compat

    if compat.is_torch_namespace(xp) or compat.is_cupy_namespace(xp):
        return "cpu"  # torch warns of some of the devices that it lists
    devices = xp.__array_namespace_info__().devices()
    return next((device for device in devices if is_host_device(device)), "cpu")


def _described(array: Any, there: Space) -> str:
    is_array = hasattr(array, "shape")
    return f"an array of {there}" if is_array else f"a {type(array).__name__}, which is read by {there}"


def computed_by_numpy_alone(space: Space, what: str, otherwise: str = "") -> DeviceError:
    """The error that `what` was asked for of arrays of another library; `otherwise` is another remedy."""
    return DeviceError(
        f"The tensor lives in {space}, but {what} is computed by NumPy alone, and nothing is copied to it by itself. "
        f"To do so {otherwise}cross explicitly: tlinear.arrays.to_numpy(tensor), or linear.to(numpy), and `.to(...)` "
        "of the result."
    )
