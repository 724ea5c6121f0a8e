"""Integers -> balanced mode sizes: how many features become which tensor shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

import numpy as np

from tlinear.balanced import (
    LARGEST_RATIO,
    MOST,
    SMALLEST_MODE,
    most_balanced,
    n_prime_factors,
    nearest_balanced,
)
from tlinear.errors import ShapeError

__all__ = [
    "MOST_MODES",
    "as_batch_size",
    "as_shape",
    "format_modes",
    "format_shape",
    "is_integer",
    "mode_counts",
    "resolve_shape",
    "tensorize_shape",
]

MOST_MODES = 64
"""The axes that an array can have in NumPy."""
_MOST_ENTRIES = 2**63 - 1
_SMALL_OVERHEAD = 0.02
"""What ``pad=True`` allows."""


def tensorize_shape(features: int, n_modes: int, *, pad: bool | float = False) -> tuple[int, ...]:
    """The most balanced way to write `features` as a product of `n_modes` sizes >= 2.

    Minimises the largest size, then the sum of the sizes, then maximises the smallest;
    the result is ascending.  It depends on `features`, `n_modes` and `pad` alone.

    With padding it is the shape of the least ``p >= features`` whose most balanced shape has no
    mode more than twice as large as another.  A layer fills the ``p - features`` places with zeros.

    Parameters
    ----------
    features : int
        The number to factorize, at least 1 and, for more than one mode, at most 10^12.
    n_modes : int
        How many sizes, from 1 to 64.  With one, the answer is ``(features,)``.
    pad : bool or float
        The largest ``(p - features) / features`` that is allowed: 0.05 is 5 %; True is 2 %;
        False is 0, with which the product is `features`, however unbalanced.

    Returns
    -------
    tuple of int
        `n_modes` sizes whose product is `features`, or with padding p.

    Raises
    ------
    ShapeError
        When no such factorization exists.  The message names the largest number of
        modes that does, and the nearest larger count of features that has one.
        When there are more features than modes are searched for.

    Examples
    --------
    >>> tensorize_shape(768, 3), tensorize_shape(11008, 2)
    ((8, 8, 12), (86, 128))
    >>> tensorize_shape(97, 2)
    Traceback (most recent call last):
        ...
    tlinear.errors.ShapeError: 97 features cannot be written as a product of 2 modes of size >= 2. ...
    >>> tensorize_shape(97, 2, pad=True), tensorize_shape(50257, 3, pad=True)
    ((7, 14), (27, 38, 49))
    """
    for name, value in (("features", features), ("n_modes", n_modes)):
        if not is_integer(value) or value < 1:
            raise ShapeError(f"{name}={value!r} is not a positive integer. Pass one, such as features=768, n_modes=3.")
    if n_modes > MOST_MODES:
        raise ShapeError(f"n_modes={n_modes} is more than the {MOST_MODES} axes that an array can have. Pass fewer.")
    features, n_modes, overhead = int(features), int(n_modes), _largest_overhead(pad)
    if features > MOST and n_modes > 1:
        raise ShapeError(
            f"features={features} is more than {MOST}, up to which modes are searched for. Pass modes of your own, "
            "such as in_tensorized_features, or n_modes=1."
        )
    if overhead == 0.0:
        sizes = most_balanced(features, n_modes)
        if sizes is None:
            raise ShapeError(_no_factorization(features, n_modes))
        return sizes
    sizes = nearest_balanced(features, n_modes)
    if not _fits(features, math.prod(sizes), overhead):
        raise ShapeError(_too_far(features, n_modes, overhead))
    return sizes


def _largest_overhead(pad: bool | float) -> float:
    if isinstance(pad, (bool, np.bool_)):
        return _SMALL_OVERHEAD if pad else 0.0
    if isinstance(pad, (int, float, np.integer, np.floating)) and 0.0 <= pad < math.inf:
        return float(pad)
    raise ShapeError(
        f"pad={pad!r} is not an overhead. Pass False, True for at most {_SMALL_OVERHEAD:.0%} more features, "
        "or the largest fraction that may be added, such as 0.05 for 5 %."
    )


def _fits(features: int, padded: int, overhead: float) -> bool:
    """Whether the overhead is at most that: a quotient of integers is rounded as the decimal it equals is."""
    return features <= padded and (padded - features) / features <= overhead


def _no_factorization(features: int, n_modes: int) -> str:
    fewer = max(1, min(n_modes - 1, n_prime_factors(features)))
    sizes = most_balanced(features, fewer) or (features,)
    return (
        f"{features} feature{'s' * (features != 1)} cannot be written as a product of {n_modes} modes of size "
        f">= {SMALLEST_MODE}. "
        f"With {fewer} mode{'s' * (fewer > 1)} it is {format_shape(sizes)}; {_remedy(features, n_modes)}"
    )


def _too_far(features: int, n_modes: int, overhead: float) -> str:
    exact = most_balanced(features, n_modes)
    without = f" Without pad it is {format_shape(exact)}." if exact is not None else ""
    return (
        f"{features} features cannot be padded by at most {100.0 * overhead:.3g} % to a product of {n_modes} modes "
        f"none of which is more than {LARGEST_RATIO} times another; {_remedy(features, n_modes)}{without}"
    )


def _remedy(features: int, n_modes: int) -> str:
    """The least count that can be padded to, and what to pass for it."""
    sizes = nearest_balanced(features, n_modes)
    padded = math.prod(sizes)
    overhead = 100.0 * (padded - features) / features
    more = f"{overhead:.2g} % more features" if overhead < 100.0 else f"{padded / features:.3g} times as many"
    return (
        f"the nearest larger count is {padded} = {format_shape(sizes)}, which is {more}: "
        f"pass pad={_sufficient_pad(features, padded)} to pad to it."
    )


def _sufficient_pad(features: int, padded: int) -> bool | float:
    """True if that allows it, else the least fraction of two digits that does."""
    if _fits(features, padded, _SMALL_OVERHEAD):
        return True
    return float(Context(prec=2, rounding=ROUND_CEILING).divide(Decimal(padded - features), Decimal(features)))


def resolve_shape(
    side: str, features: int, shape: Sequence[int] | None, n_modes: int | None, pad: bool | float = False
) -> tuple[int, ...]:
    """The modes of one side of a layer: `shape` if given, else those that :func:`tensorize_shape` chooses.

    `pad` is a permission here: features of which no padded shape is near enough keep their exact one.

    Raises
    ------
    ShapeError
        When the product of `shape` is neither `features` nor larger by what `pad` allows, when no
        shape can be chosen, or when both `shape` and `n_modes` are None.

    Examples
    --------
    >>> resolve_shape("in", 16, None, 2), resolve_shape("in", 16, [2, 8], None)
    ((4, 4), (2, 8))
    >>> resolve_shape("in", 97, [10, 10], None, pad=0.05), resolve_shape("out", 10, None, 2, pad=True)
    ((10, 10), (2, 5))
    """
    name, overhead = f"{side}_tensorized_features", _largest_overhead(pad)
    if shape is None:
        if n_modes is None:
            raise ShapeError(
                f"auto_tensorize=False, but {name} is not given. Pass modes whose product is "
                f"{side}_features={features}, or auto_tensorize=True."
            )
        try:
            return tensorize_shape(features, n_modes, pad=pad)
        except ShapeError as error:
            exact = _known(features, n_modes) if overhead else None
            if exact is not None:
                return exact
            raise ShapeError(
                f"{side}_features={features}: {error} Pass {name}, or n_tensorized_modes=(n_in, n_out) with fewer."
            ) from error
    modes = as_shape(shape, name)
    product = math.prod(modes)
    if not _fits(features, product, overhead):
        fitting = _known(features, len(modes))
        allowed = f" and pad={pad} allows {100.0 * overhead:.3g} % more" if overhead and product > features else ""
        padded = f", or pad={_sufficient_pad(features, product)} to pad to {product}" if product > features else ""
        raise ShapeError(
            f"{name}={modes} has the product {product}, but the linear layer has {side}_features={features}{allowed}. "
            f"Pass modes whose product is {features}{f', such as {fitting}' if fitting else ''}{padded}."
        )
    return modes


def _known(features: int, n_modes: int) -> tuple[int, ...] | None:
    """The most balanced exact shape, if there is one, and it is searched for."""
    return most_balanced(features, n_modes) if features <= MOST or n_modes == 1 else None


def mode_counts(n_tensorized_modes: int | Sequence[int]) -> tuple[int, int]:
    """The numbers of input and output modes, given as one number for both or as a pair.

    Raises
    ------
    ShapeError
        When they are not integers >= 1.

    Examples
    --------
    >>> mode_counts(2), mode_counts([1, 3])
    ((2, 2), (1, 3))
    """
    n = n_tensorized_modes
    counts = tuple(n) if isinstance(n, Sequence) else (n, n)
    if len(counts) != 2 or not all(is_integer(count) and count >= 1 for count in counts):
        raise ShapeError(f"n_tensorized_modes={n!r} must be an int >= 1, or a pair (n_in, n_out) of them.")
    return counts[0], counts[1]


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


def as_batch_size(batch_size: Any) -> int:
    """A number of samples as a Python int.

    Raises
    ------
    ShapeError
        When it is not an integer, is negative, or is more than an array can have entries.

    Examples
    --------
    >>> as_batch_size(np.int64(3))
    3
    """
    if not is_integer(batch_size) or batch_size < 0:
        raise ShapeError(f"batch_size={batch_size!r} is not a number of samples. Pass an integer, 0 or more.")
    if batch_size > _MOST_ENTRIES:
        raise ShapeError(f"batch_size={batch_size} is more samples than an array can have entries, {_MOST_ENTRIES}.")
    return int(batch_size)


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


def format_modes(shape: tuple[int, ...], features: int) -> str:
    """The modes of a side, and the features that they are padded from.

    Examples
    --------
    >>> format_modes((7, 14), 98), format_modes((7, 14), 97)
    ('(7, 14)', '(7, 14) padded from 97')
    """
    return f"{shape}" + f" padded from {features}" * (math.prod(shape) != features)
