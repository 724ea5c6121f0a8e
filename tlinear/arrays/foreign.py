"""Arrays of other libraries, by the array API standard.

None of them is imported here: an array brings its namespace along, which array-api-compat finds among
what is loaded.  Nothing is copied to the host but where a method says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays.host import FLOATING, Array, DType, parameter_dtype
from tlinear.arrays.limits import Limits
from tlinear.arrays.space import Space
from tlinear.errors import DTypeError, NonFiniteError

__all__ = ["Foreign", "foreign_space", "is_host_device"]

_FLOATING = ("real floating", "complex floating")
_TALL, _STRIPES = 4096, 64


@dataclass(frozen=True, eq=False)
class Foreign(Space):
    """The arrays of a library other than NumPy, on one device."""

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled: the names, by which it is the one object of its library and device again."""
        return _named_space, (self.xp.__name__, self.device)

    @property
    def library(self) -> str:
        name: str = self.xp.__name__
        return name.removeprefix("array_api_compat.").partition(".")[0]

    @property
    def hardware(self) -> Literal["cpu", "gpu"]:
        return "cpu" if is_host_device(self.device) else "gpu"

    # ------------------------------------------------------------ dtypes

    def inexact_dtype(self, *dtypes: DType) -> DType:
        """The dtype that products of these have: integers and booleans take that of the floating ones.

        Of integers alone, the device's default.
        """
        return dtypes[0] if _is_uniform(self, dtypes) else _inexact(self, frozenset(dtypes))

    def compute_dtype(self, dtype: DType) -> DType:
        """The dtype to accumulate in: on a CPU single precision for half precision, of which it has no products.

        On other hardware half precision itself, whose products are accumulated in single precision by the hardware.
        """
        return self.single_dtype(dtype) if self.hardware == "cpu" else dtype

    def match_dtype(self, array: Array, dtype: DType) -> Array:
        if array.dtype == dtype:
            return array
        if self.is_complex(array.dtype) and not self.is_complex(dtype):
            array = self.xp.real(array)
        return self.astype(array, dtype)

    def parameter_dtype(self, dtype: DTypeLike, source: DType | None = None) -> DType:
        """`dtype` of this library, by itself or by NumPy's name; see :func:`tlinear.arrays.host.parameter_dtype`."""
        wanted = self._own_dtype(dtype)
        if not self.is_inexact(wanted):
            raise DTypeError(f"dtype={dtype} cannot hold parameters. Pass a real or complex floating dtype.")
        if source is not None and self.is_complex(source) and not self.is_complex(wanted):
            raise DTypeError(
                f"dtype={dtype} cannot hold {source} without losing its imaginary part. Pass a complex dtype."
            )
        return wanted

    def plan_dtype(self, dtype: DType) -> DType:
        return _plan_dtype(self, dtype)

    def real_dtype(self, dtype: DType) -> DType:
        return getattr(self.xp, self.plan_dtype(dtype).type(0).real.dtype.name) if self.is_complex(dtype) else dtype

    def single_dtype(self, dtype: DType) -> DType:
        return self.xp.float32 if self.plan_dtype(dtype) == np.float16 else dtype

    def is_complex(self, dtype: DType) -> bool:
        return bool(self.xp.isdtype(dtype, "complex floating"))

    def is_inexact(self, dtype: DType) -> bool:
        return _is_inexact(self, dtype)

    def is_numeric(self, dtype: DType) -> bool:
        """Whether arrays of it may be arguments."""
        return bool(self.xp.isdtype(dtype, ("bool", "integral"))) or self.is_inexact(dtype)

    def astype(self, array: Array, dtype: DType) -> Array:
        return array if array.dtype == dtype else self.xp.astype(array, dtype)

    def limits(self, dtype: DType) -> Limits:
        known = self.xp.finfo(dtype)
        powers = (math.frexp(float(n))[1] for n in (known.smallest_normal, known.max, known.eps))
        minexp, maxexp, epsexp = powers
        return Limits(minexp - 1, maxexp, 1 - epsexp)

    def _own_dtype(self, dtype: DTypeLike) -> DType:
        """The dtype of this library that has this name, or that is this one."""
        own: Any = getattr(self.xp, dtype, None) if isinstance(dtype, str) else dtype
        if own is not None and _is_dtype(self.xp, own):
            return own
        own = getattr(self.xp, parameter_dtype(dtype).name, None)
        if own is None:
            raise DTypeError(f"dtype={dtype!r} is not a dtype that {self.library} has. Pass one of its own.")
        return own

    # ------------------------------------------------------------ arrays

    def reshape(self, array: Array, shape: tuple[int, ...]) -> Array:
        return array if array.shape == shape else self.xp.reshape(array, shape)

    def transpose(self, array: Array, axes: tuple[int, ...]) -> Array:
        return self.xp.permute_dims(array, axes)

    ordered = transpose  # reading it in its shape copies what must be copied

    def turned(self, array: Array) -> Array:
        return self.xp.matrix_transpose(array)  # which older arrays have no attribute for

    def conj(self, array: Array) -> Array:
        return self.xp.conj(array) if self.is_complex(array.dtype) else array

    def conj_of_own(self, array: Array, source: Array) -> Array:
        return self.conj(array)

    def contiguous(self, array: Array) -> Array:
        return array

    def in_order(self, array: Array) -> Array:
        """By what torch and CuPy tell; the standard has no such notion."""
        tensor: Any = array
        if callable(getattr(tensor, "is_contiguous", None)):
            return tensor if tensor.is_contiguous() else tensor.contiguous()
        lies_in_order = getattr(getattr(tensor, "flags", None), "c_contiguous", True)
        return tensor if lies_in_order else tensor.copy()

    def zeros_like(self, array: Array) -> Array:
        return self.xp.zeros_like(array)

    def copy(self, array: Array) -> Array:
        return self.xp.asarray(array, copy=True)

    frozen = copy

    def empty(self, shape: tuple[int, ...], dtype: DType) -> Array:
        return self.xp.empty(shape, dtype=dtype, device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Array:
        return self.xp.zeros(shape, dtype=dtype, device=self.device)

    def sum(self, array: Array, axes: tuple[int, ...] | int, dtype: DType | None = None) -> Array:
        wanted = array.dtype if dtype is None else dtype
        if axes == 0 and array.ndim == 2 and array.shape[0] >= _TALL and self.hardware == "gpu":
            return self._sum_of_rows(array, wanted)
        return self.xp.sum(array, axis=axes, dtype=wanted)

    def _sum_of_rows(self, array: Array, dtype: DType) -> Array:
        """The sum over many rows, first in stripes: CuPy has a block of threads for every 32 sums, and no more."""
        rows, columns = array.shape
        whole = rows - rows % _STRIPES
        stripes = self.xp.reshape(array[:whole, ...], (_STRIPES, whole // _STRIPES, columns))
        total = self.xp.sum(self.xp.sum(stripes, axis=1, dtype=dtype), axis=0, dtype=dtype)
        return total if whole == rows else total + self.xp.sum(array[whole:, ...], axis=0, dtype=dtype)

    def expanded(self, array: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
        for axis in sorted(axes):
            array = self.xp.expand_dims(array, axis=axis)
        whole = tuple(one if n == -1 else n for one, n in zip(array.shape, shape, strict=True))
        return self.copy(self.xp.broadcast_to(array, whole))

    def padded(self, array: Array, features: int, dtype: DType) -> Array:
        zeros = self.zeros((*array.shape[:-1], features - array.shape[-1]), dtype)
        return self.xp.concat([self.astype(array, dtype), zeros], axis=-1)

    def squared(self, array: Array) -> Array:
        return self.xp.real(array * self.xp.conj(array)) if self.is_complex(array.dtype) else array * array

    def lies_in_order(self, array: Array) -> bool:
        return False

    def share_memory(self, a: Array, b: Array) -> bool:
        """Whether they are the same array: views cannot be told."""
        return a is b

    def alike(self, a: Array, b: Array) -> bool:
        """Whether they are the same array: comparing entries would bring the answer to the host."""
        return a is b

    def largest_part(self, array: Array) -> float:
        """The largest of the absolute values of all real and imaginary parts, on the host."""
        return max(float(self.xp.max(self.xp.abs(part))) for part in self._parts(array))

    def check_finite(self, array: Array, name: str) -> Any:
        """Raise :class:`NonFiniteError`, if any entry is not finite; whether one is, comes to the host."""
        if not bool(self.xp.all(self.xp.isfinite(array))):
            raise NonFiniteError(
                f"{name} of shape {tuple(array.shape)} has entries that are NaN or infinite. Repair or replace them "
                "first: no factorization of them has a meaning."
            )

    def smallest_part(self, array: Array) -> float:
        """The smallest of the absolute values of all real and imaginary parts but zero, on the host."""
        xp, sizes = self.xp, [self.xp.abs(part) for part in self._parts(array)]
        infinite = [xp.full_like(size, math.inf) for size in sizes]
        return min(float(xp.min(xp.where(a == 0, b, a))) for a, b in zip(sizes, infinite, strict=True))

    def peaks(self, array: Array, axes: tuple[int, ...]) -> Array:
        xp = self.xp
        parts = [xp.abs(part) for part in self._parts(array)]
        largest = [xp.max(part, axis=axes) for part in parts] if axes else parts
        return largest[0] if len(largest) == 1 else xp.maximum(*largest)

    def times_power_of_two(self, array: Array, exponent: int | Array, dtype: DType) -> Array:
        """``2^exponent array`` in `dtype`: two factors, so that each is a number."""
        wide = self.astype(array, self.single_dtype(self.xp.result_type(array.dtype, dtype)))
        half = exponent // 2
        for powers in (half, exponent - half):
            wide = wide * (2.0**powers if isinstance(powers, int) else self._powers_of_two(powers, wide.dtype))
        return self.astype(wide, dtype)

    def _powers_of_two(self, exponents: Array, dtype: DType) -> Array:
        """Of integers of NumPy's, in the real dtype of `dtype`."""
        there = self.plan_dtype(self.real_dtype(dtype))
        return self.xp.asarray(np.ldexp(there.type(1), exponents), device=self.device)

    def _parts(self, array: Array) -> tuple[Array, ...]:
        """The real and the imaginary parts, or the array itself where it is real."""
        return (self.xp.real(array), self.xp.imag(array)) if self.is_complex(array.dtype) else (array,)

    def norm(self, array: Array) -> float:
        """The Frobenius norm, on the host."""
        return math.sqrt(float(self.xp.sum(self.xp.abs(array) ** 2)))


_SPACES: dict[tuple[str, str], Foreign] = {}


def foreign_space(xp: Any, device: Any) -> Foreign:
    """The same space for the same library and device, by their names: not every device can be hashed."""
    key = xp.__name__, str(device)
    return _SPACES.get(key) or _SPACES.setdefault(key, Foreign(xp, device))


def _named_space(library: str, device: Any) -> Foreign:
    return foreign_space(import_module(library), device)


def is_host_device(device: Any) -> bool:
    """Whether a device is the host itself, by its name."""
    return "cpu" in str(device).lower()


def _is_uniform(space: Foreign, dtypes: tuple[DType, ...]) -> bool:
    return dtypes.count(dtypes[0]) == len(dtypes) and space.is_inexact(dtypes[0])


@lru_cache(maxsize=256)
def _inexact(space: Foreign, dtypes: frozenset[DType]) -> DType:
    floating = [dtype for dtype in dtypes if space.is_inexact(dtype)]
    if not floating:
        defaults = space.xp.__array_namespace_info__().default_dtypes(device=space.device)
        return defaults["real floating"]
    return space.xp.result_type(*floating)


@lru_cache(maxsize=256)
def _plan_dtype(space: Foreign, dtype: DType) -> DType:
    bits = space.xp.finfo(dtype).bits  # of a complex number, those of each part
    found = np.dtype(f"complex{2 * bits}") if space.is_complex(dtype) else np.dtype(f"float{bits}")
    if found.num not in FLOATING:  # of the name of another package's
        raise TypeError(f"NumPy has no {found.name}")
    return found


@lru_cache(maxsize=256)
def _is_inexact(space: Foreign, dtype: DType) -> bool:
    """Floating, and of a size that NumPy has too: there is neither a plan nor a product for a number of 8 bits."""
    if not space.xp.isdtype(dtype, _FLOATING):
        return False
    try:
        space.plan_dtype(dtype)
    except TypeError:
        return False
    return True


def _is_dtype(xp: Any, candidate: Any) -> bool:
    try:
        xp.isdtype(candidate, "numeric")
    except (TypeError, ValueError, AttributeError):
        return False
    return True
