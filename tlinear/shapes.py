"""Integers -> balanced mode sizes: how many features become which tensor shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from tlinear.errors import ShapeError

__all__ = ["as_shape", "format_shape", "is_integer", "resolve_shape", "tensorize_shape"]

_SMALLEST_MODE = 2
_PADDINGS_TRIED = 512


def tensorize_shape(features: int, n_modes: int) -> tuple[int, ...]:
    """The most balanced way to write `features` as a product of `n_modes` sizes >= 2.

    Minimises the largest size, then the sum of the sizes, then maximises the smallest;
    the result is ascending.  It depends on `features` and `n_modes` alone.

    Parameters
    ----------
    features : int
        The number to factorize, at least 1.
    n_modes : int
        How many sizes, at least 1.  With one, the answer is ``(features,)``.

    Returns
    -------
    tuple of int
        `n_modes` sizes whose product is exactly `features`.

    Raises
    ------
    ShapeError
        When no such factorization exists.  The message names the largest number of
        modes that does, and the nearest larger count of features that has one.

    Examples
    --------
    >>> tensorize_shape(768, 3), tensorize_shape(11008, 2)
    ((8, 8, 12), (86, 128))
    >>> tensorize_shape(97, 2)
    Traceback (most recent call last):
        ...
    tlinear.errors.ShapeError: 97 features cannot be written as a product of 2 modes of size >= 2. ...
    """
    for name, value in (("features", features), ("n_modes", n_modes)):
        if not is_integer(value) or value < 1:
            raise ShapeError(f"{name}={value!r} is not a positive integer. Pass one, such as features=768, n_modes=3.")
    features, n_modes = int(features), int(n_modes)
    sizes = _most_balanced(features, n_modes)
    if sizes is None:
        raise ShapeError(_no_factorization(features, n_modes))
    return sizes


@lru_cache(maxsize=4096)
def _most_balanced(features: int, n_modes: int) -> tuple[int, ...] | None:
    if n_modes == 1:
        return (features,)
    if features < _SMALLEST_MODE**n_modes:
        return None
    divisors = [size for size in _divisors(features) if size >= _SMALLEST_MODE]

    @cache
    def best(rest: int, n_left: int, largest: int) -> tuple[int, ...] | None:
        """The sizes of `rest`, descending, none above `largest`, of least sum and then greatest smallest size."""
        if n_left == 1:
            return (rest,) if _SMALLEST_MODE <= rest <= largest else None
        found: tuple[int, ...] | None = None
        for size in divisors:
            if size > largest or _SMALLEST_MODE ** (n_left - 1) * size > rest:
                break
            if size**n_left >= rest and rest % size == 0:
                tail = best(rest // size, n_left - 1, size)
                if tail is not None:
                    candidate = (size, *tail)
                    if found is None or (sum(candidate), -candidate[-1]) < (sum(found), -found[-1]):
                        found = candidate
        return found

    for largest in divisors:
        if largest**n_modes >= features:
            descending = best(features, n_modes, largest)
            if descending is not None:
                return descending[::-1]
    return None


def _divisors(n: int) -> list[int]:
    small = [k for k in range(1, math.isqrt(n) + 1) if n % k == 0]
    return small + [n // k for k in reversed(small) if k * k != n]


def _no_factorization(features: int, n_modes: int) -> str:
    message = f"{features} features cannot be written as a product of {n_modes} modes of size >= {_SMALLEST_MODE}. "
    fewer = next(k for k in range(n_modes - 1, 0, -1) if _most_balanced(features, k) is not None)
    message += f"With {fewer} mode{'s' * (fewer > 1)} it is {format_shape(_most_balanced(features, fewer) or ())}"
    least = max(features + 1, _SMALLEST_MODE**n_modes)
    for padded in range(least, least + _PADDINGS_TRIED):
        sizes = _most_balanced(padded, n_modes)
        if sizes is not None and sizes[-1] <= 2 * sizes[0]:
            overhead = 100.0 * (padded - features) / features
            more = f"{overhead:.2g} % more features" if overhead < 100.0 else f"{padded / features:.3g} times as many"
            return f"{message}; the nearest larger count is {padded} = {format_shape(sizes)}, which is {more}."
    return message + "."


def resolve_shape(side: str, features: int, shape: Sequence[int] | None, n_modes: int | None) -> tuple[int, ...]:
    """The modes of one side of a layer: `shape` if given, else the most balanced `n_modes` of them.

    Raises
    ------
    ShapeError
        When the product of `shape` is not `features`, or when both `shape` and `n_modes` are None.

    Examples
    --------
    >>> resolve_shape("in", 16, None, 2), resolve_shape("in", 16, [2, 8], None)
    ((4, 4), (2, 8))
    """
    name = f"{side}_tensorized_features"
    if shape is None:
        if n_modes is None:
            raise ShapeError(
                f"auto_tensorize=False, but {name} is not given. Pass modes whose product is "
                f"{side}_features={features}, or auto_tensorize=True."
            )
        try:
            return tensorize_shape(features, n_modes)
        except ShapeError as error:
            raise ShapeError(
                f"{side}_features={features}: {error} Pass {name}, or n_tensorized_modes=(n_in, n_out) with fewer."
            ) from error
    modes = as_shape(shape, name)
    if math.prod(modes) != features:
        fitting = _most_balanced(features, len(modes))
        raise ShapeError(
            f"{name}={modes} has the product {math.prod(modes)}, but the linear layer has {side}_features={features}. "
            f"Pass modes whose product is {features}{f', such as {fitting}' if fitting else ''}."
        )
    return modes


def as_shape(shape: Any, name: str) -> tuple[int, ...]:
    """A tuple of Python ints >= 1 from any sequence of integers.

    Raises
    ------
    ShapeError
        When `shape` is not a non-empty sequence of positive integers.

    Examples
    --------
    >>> as_shape([np.int64(4), 4], "in_tensorized_features")
    (4, 4)
    """
    example = "Pass a sequence of positive integers, such as (4, 4)"
    if is_integer(shape):
        raise ShapeError(f"{name} is the number {shape}. {example}, or ({shape},) for a single mode.")
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = ()
    if not sizes or isinstance(shape, str) or not all(is_integer(size) and size >= 1 for size in sizes):
        raise ShapeError(f"{name}={shape!r} is not a shape. {example}.")
    return tuple(int(size) for size in sizes)


def is_integer(value: Any) -> bool:
    """Whether `value` is a Python or NumPy integer; a boolean is not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape as people write a product.

    Examples
    --------
    >>> format_shape((8, 8, 12))
    '8x8x12'
    """
    return "x".join(str(size) for size in shape)
