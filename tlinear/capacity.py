"""What can be held: the axes and bytes that an array can have, and the memory that there is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import numpy as np

from tlinear.arrays import NUMPY, Space
from tlinear.errors import MemoryLimitError, ShapeError, TLinearError
from tlinear.shapes import MOST_MODES

__all__ = ["check_capacity", "check_limits", "is_out_of_memory", "naming_memory", "out_of_memory"]

_MOST_BYTES = int(np.iinfo(np.intp).max)
"""What an array can have in NumPy."""

_WORTH_ASKING = 2**26
"""Smaller arrays are had or not without asking the system first."""
_WORTH_DIGITS = 10**24
_SIGNS = ("out of memory", "outofmemory", "can't allocate memory", "not enough memory")


def check_limits(what: str, shape: Sequence[int], itemsize: int, remedy: str) -> None:
    """Raise unless an array can have this shape, on whatever machine.

    Raises
    ------
    MemoryLimitError
        When it takes more bytes than an array can have.
    ShapeError
        When it has more axes than an array can have.

    Examples
    --------
    >>> check_limits("The tensor", (10,) * 30, 8, "Choose smaller modes.")
    Traceback (most recent call last):
        ...
    tlinear.errors.MemoryLimitError: The tensor takes 8.00E+30 bytes, but an array can have at most ...
    """
    n_bytes = math.prod(shape) * itemsize
    if n_bytes > _MOST_BYTES:
        raise MemoryLimitError(
            f"{what} takes {_digits(n_bytes)} bytes, but an array can have at most {_MOST_BYTES:,}. {remedy}"
        )
    if len(shape) > MOST_MODES:
        raise ShapeError(f"{what} has {len(shape)} axes, but an array can have at most {MOST_MODES}. {remedy}")


def check_capacity(what: str, shape: Sequence[int], itemsize: int, remedy: str, space: Space = NUMPY) -> None:
    """Raise unless an array of this shape can be had now, as far as the system says so before it is written to.

    Raises
    ------
    MemoryLimitError
        When it takes more bytes than an array can have, or than the system grants.
    ShapeError
        When it has more axes than an array can have.
    """
    check_limits(what, shape, itemsize, remedy)
    n_bytes = math.prod(shape) * itemsize
    if space is NUMPY and n_bytes >= _WORTH_ASKING:
        with naming_memory(what, n_bytes, remedy):
            np.empty(n_bytes, np.uint8)  # not written to, so that it costs no memory, and freed at once


@contextmanager
def naming_memory(what: str, n_bytes: int, remedy: str) -> Iterator[None]:
    """Inside, running out of memory is a :class:`MemoryLimitError` that names the bytes.

    Examples
    --------
    >>> with naming_memory("The tensor", 8 * 10**12, "Choose smaller modes."):
    ...     raise MemoryError
    Traceback (most recent call last):
        ...
    tlinear.errors.MemoryLimitError: The tensor takes at least 8,000,000,000,000 bytes, ...
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(what, n_bytes, remedy) from error
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether an array library has run out of memory; torch and JAX raise a RuntimeError that says so."""
    if isinstance(error, TLinearError):
        return False
    words = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in _SIGNS)


def out_of_memory(what: str, n_bytes: int, remedy: str) -> MemoryLimitError:
    """The error of what takes at least so many bytes, and did not get them."""
    return MemoryLimitError(f"{what} takes at least {_digits(n_bytes)} bytes, more than can be allocated. {remedy}")


def _digits(number: int) -> str:
    return f"{number:,}" if number < _WORTH_DIGITS else f"{Decimal(number):.2E}"
