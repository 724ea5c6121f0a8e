"""Where arrays live, and what is done to them there that libraries write differently.

A space is an array library and one of its devices.  Everything above this room asks the arrays for
their space and works in it, so that the result lies where the arguments do.  The methods of
:class:`Space` are NumPy's own, without a detour, since a small layer takes no longer than its calls
do; :class:`~tlinear.arrays.foreign.Foreign` writes them by the array API standard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import host
from tlinear.arrays.host import Array, DType
from tlinear.arrays.limits import Limits, limits_of

__all__ = ["NUMPY", "Space"]


@dataclass(frozen=True, eq=False)
class Space:
    """NumPy's arrays, and the interface to all others.  There is one object for each library and device.

    Attributes
    ----------
    xp : module
        The namespace of the array library, as the array API standard has it.
    device : object
        As the library names it.
    """

    xp: Any
    device: Any

    def __reduce__(self) -> str | tuple[Any, ...]:
        """What is pickled: its name, since it is known by being the same object."""
        return "NUMPY"

    @property
    def library(self) -> str:
        """The name of the array library."""
        return "numpy"

    @property
    def hardware(self) -> Literal["cpu", "gpu"]:
        """What a plan is searched for: ``'cpu'`` or ``'gpu'``."""
        return "cpu"

    def __str__(self) -> str:
        return f"{self.library} on device {self.device}"

    # ------------------------------------------------------------ NumPy's own, without a detour

    if TYPE_CHECKING:

        def inexact_dtype(self, *dtypes: DType) -> DType:
            """See :func:`tlinear.arrays.host.inexact_dtype`."""

        def compute_dtype(self, dtype: DType) -> DType:
            """See :func:`tlinear.arrays.host.compute_dtype`."""

        def single_dtype(self, dtype: DType) -> DType:
            """`dtype`, but for half precision single."""

        def match_dtype(self, array: Array, dtype: DType) -> Array:
            """See :func:`tlinear.arrays.host.match_dtype`."""

        def parameter_dtype(self, dtype: DTypeLike, source: DType | None = None) -> DType:
            """See :func:`tlinear.arrays.host.parameter_dtype`."""

        def largest_part(self, array: Array) -> Any:
            """See :func:`tlinear.arrays.host.largest_part`."""

        def peaks(self, array: Array, axes: tuple[int, ...]) -> Array:
            """See :func:`tlinear.arrays.host.peaks`."""

        def smallest_part(self, array: Array) -> Any:
            """See :func:`tlinear.arrays.host.smallest_part`."""

        def times_power_of_two(self, array: Array, exponent: int | Array, dtype: DType) -> Array:
            """See :func:`tlinear.arrays.host.times_power_of_two`."""

        def is_inexact(self, dtype: DType) -> bool:
            """See :func:`tlinear.arrays.host.is_inexact`."""

        def astype(self, array: Array, dtype: DType) -> Array:
            """See :func:`tlinear.arrays.host.as_dtype`."""

        def limits(self, dtype: DType) -> Limits:
            """See :func:`tlinear.arrays.limits.limits_of`."""

        def check_finite(self, array: Array, name: str) -> Any:
            """See :func:`tlinear.arrays.host.check_finite`."""

        def contiguous(self, array: Array) -> Array:
            """See :func:`tlinear.arrays.host.contiguous`."""

        def in_order(self, array: Array) -> Array:
            """`array`, or where the library can tell that its entries lie in another order than its axes', a copy."""

        def reshape(self, array: Array, shape: tuple[int, ...]) -> Array:
            """`array` in another shape, a copy where it must be."""

        def transpose(self, array: Array, axes: tuple[int, ...]) -> Array:
            """`array` with its axes in another order."""

        def turned(self, array: Array) -> Array:
            """The transposes of the matrices that the last two axes are."""

        def conj(self, array: Array) -> Array:
            """The conjugate."""

        def zeros_like(self, array: Array) -> Array:
            """Zeros of the same shape and dtype."""

    else:
        inexact_dtype = staticmethod(host.inexact_dtype)
        compute_dtype = staticmethod(host.compute_dtype)
        single_dtype = staticmethod(host.compute_dtype)
        match_dtype = staticmethod(host.match_dtype)
        parameter_dtype = staticmethod(host.parameter_dtype)
        is_inexact = staticmethod(host.is_inexact)
        astype = staticmethod(host.as_dtype)
        limits = staticmethod(limits_of)
        largest_part = staticmethod(host.largest_part)
        peaks = staticmethod(host.peaks)
        smallest_part = staticmethod(host.smallest_part)
        times_power_of_two = staticmethod(host.times_power_of_two)
        check_finite = staticmethod(host.check_finite)
        contiguous = staticmethod(host.contiguous)
        in_order = staticmethod(host.contiguous)
        reshape = staticmethod(np.ndarray.reshape)
        transpose = staticmethod(np.ndarray.transpose)
        turned = staticmethod(attrgetter("mT"))
        conj = staticmethod(np.conj)
        zeros_like = staticmethod(np.zeros_like)

    # ------------------------------------------------------------ dtypes

    def plan_dtype(self, dtype: DType) -> DType:
        """NumPy's dtype of the same kind and size, by which plans are searched."""
        return dtype

    def real_dtype(self, dtype: DType) -> DType:
        """That of the real parts."""
        return np.empty(0, dtype).real.dtype

    def is_complex(self, dtype: DType) -> bool:
        """Whether numbers of this dtype have imaginary parts."""
        return dtype.kind == "c"

    # ------------------------------------------------------------ arrays

    def copy(self, array: Array) -> Array:
        """The same entries in memory of their own, in the order of the axes."""
        return array.copy()

    def frozen(self, array: Array) -> Array:
        """A copy that cannot be written to, where the library can prevent that."""
        copied = array.copy()
        copied.flags.writeable = False
        return copied.view()  # of which nobody can make a writeable one

    def conj_of_own(self, array: Array, source: Array) -> Array:
        """The conjugate, in place where `array` is a copy of its `source`."""
        return np.conj(array, out=None if np.may_share_memory(array, source) else array)

    def empty(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """An array whose entries are yet to be written."""
        return np.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """An array of zeros."""
        return np.zeros(shape, dtype)

    def ordered(self, array: Array, axes: tuple[int, ...]) -> Array:
        """`array` with its axes in another order, and its entries in the order of these."""
        return np.ascontiguousarray(array.transpose(axes))

    def sum(self, array: Array, axes: tuple[int, ...] | int, dtype: DType | None = None) -> Array:
        """The sum over some axes."""
        return np.asarray(np.add.reduce(array, axis=axes, dtype=dtype))

    def expanded(self, array: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
        """`array` repeated along new axes; -1 in `shape` stands for the size that there is."""
        spread = np.expand_dims(array, axes)
        whole = tuple(one if n == -1 else n for one, n in zip(spread.shape, shape, strict=True))
        return np.broadcast_to(spread, whole).copy()

    def padded(self, array: Array, features: int, dtype: DType) -> Array:
        """`array` in `dtype`, its last axis continued with zeros."""
        padded = np.zeros((*array.shape[:-1], features), dtype)
        padded[..., : array.shape[-1]] = array
        return padded

    def lies_in_order(self, array: Array) -> bool:
        """Whether the entries are known to lie in the order of the axes."""
        return array.flags.c_contiguous

    def share_memory(self, a: Array, b: Array) -> bool:
        """Whether writing to one might change the other."""
        return np.may_share_memory(a, b)

    def alike(self, a: Array, b: Array) -> bool:
        """Whether two arrays hold the same entries in the same order of memory."""
        return (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides) and np.array_equal(a, b)

    def squared(self, array: Array) -> Array:
        """The squares of the absolute values."""
        return (array * np.conj(array)).real

    def n_bytes(self, array: Array) -> int:
        """The bytes of the entries."""
        return math.prod(array.shape) * self.plan_dtype(array.dtype).itemsize

    def norm(self, array: Array) -> float:
        """The Frobenius norm."""
        return float(np.linalg.norm(host.as_dtype(array, host.compute_dtype(array.dtype))))


NUMPY = Space(np, "cpu")
"""The space that every plain list and number is read into."""
