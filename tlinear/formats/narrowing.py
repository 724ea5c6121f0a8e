"""Operands in another dtype, none of which leaves its range where the tensor does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlinear.arrays import Array, DType, Limits, Space, to_numpy
from tlinear.contraction.network import Labels
from tlinear.formats.balance import Exponent, Meetings

__all__ = ["narrowed", "rounded"]


def narrowed(operands: Mapping[str, Array], inputs: Sequence[Labels], dtype: DType, space: Space) -> dict[str, Array]:
    """The operands of the same tensor in `dtype`, in memory of their own; the `inputs` label the axes of each.

    Raises
    ------
    RangeError
        When the tensor is out of its range, whatever the operands give to each other.
    """
    if all(_holds(space.limits(dtype), space.limits(array.dtype)) for array in operands.values()):
        return {name: space.copy(space.astype(array, dtype)) for name, array in operands.items()}
    labels = dict(zip(operands, inputs, strict=True))
    found, _ = rounded(operands, labels, dtype, space)
    return {name: space.contiguous(array) for name, array in found.items()}


def rounded(
    operands: Mapping[str, Array],
    labels: Mapping[str, Labels],
    dtype: DType,
    space: Space,
    exponent: int = 0,
    *,
    carrier: str | None = None,
) -> tuple[dict[str, Array], dict[str, Exponent]]:
    """The operands of ``2^exponent`` times the tensor in `dtype`, and the powers of two by which they differ.

    Parameters
    ----------
    operands : dict of str to array
    labels : dict of str to tuple of int
        Of the axes of each operand.
    dtype : dtype
        Of the library of `space`, in which the operands live.
    exponent : int
        What the powers of two of the operands come to.
    carrier : str, optional
        The operand that takes the exponent as far as it can, before the others do in their order.

    Raises
    ------
    RangeError
        When an operand overflows, or all of it is rounded to zero.
    """
    in_turn = operands if carrier is None else dict.fromkeys([carrier, *operands])
    largest = {name: space.largest_part(operands[name]) for name in in_turn}
    exponents = _spread(operands, labels, dtype, space, exponent=exponent, largest=largest)
    shared = "" if len(operands) == 1 else ", its scale shared with the other operands,"
    for name, array in operands.items():
        known = {"exponent": exponents[name], "largest": largest[name]}
        _check_range(f"{name}{shared}", array, dtype, space, **known)
    return {name: space.times_power_of_two(a, exponents[name], dtype) for name, a in operands.items()}, exponents


def _spread(
    operands: Mapping[str, Array],
    labels: Mapping[str, Labels],
    dtype: DType,
    space: Space,
    *,
    exponent: int,
    largest: Mapping[str, Any],
) -> dict[str, Exponent]:
    """The powers of two that the operands are multiplied by, so that `dtype` can hold them.

    The first operand of `largest` takes all of the exponent, unless its entries would overflow, or lose digits because
    they become subnormal; what is too much for it goes to the next.

    That does not do where an operand overflows, or where entries become subnormal that count for much.  How much, is
    told by the operands of the same tensor whose slices are as large as those that they meet, and that are near 1:
    there, what is lost by rounding to subnormal numbers, times what it meets, is to be no more than the unit roundoff.
    If it is more, these operands are taken, and the exponent is shared evenly.
    """
    limits = space.limits(dtype)
    shares = _taken_in_turn(largest, exponent, limits)
    if not all(np.isfinite(number) for number in largest.values()):
        return dict(shares)  # there are no powers of two for NaN and infinity
    overflows = any(limits.rounds_to_infinity(number, shares[name]) for name, number in largest.items())
    if not overflows and all(_stays_normal(array, shares[name], dtype, space) for name, array in operands.items()):
        return dict(shares)
    meetings = Meetings.of(operands, labels, space)
    gauges, total = meetings.balanced(exponent)
    if not overflows and meetings.magnification(gauges, shares) <= -limits.minexp:
        return dict(shares)
    each, rest = divmod(total, len(gauges))
    return meetings.of_entries({name: gauge + each + (k < rest) for k, (name, gauge) in enumerate(gauges.items())})


def _holds(limits: Limits, others: Limits) -> bool:
    """Whether a dtype of these limits has all numbers of one of the `others`."""
    return (
        others.maxexp <= limits.maxexp
        and others.nmant <= limits.nmant
        and others.minexp - others.nmant >= limits.minexp - limits.nmant
    )


def _stays_normal(array: Array, share: int, dtype: DType, space: Space) -> bool:
    """Whether no entry is rounded to a subnormal number of `dtype`."""
    limits = space.limits(dtype)
    if share >= 0 and _holds(limits, space.limits(array.dtype)):
        return True
    return _exponent(space.smallest_part(array)) + share > limits.minexp


def _exponent(number: Any) -> int:
    """The e with ``2^(e - 1) <= number < 2^e``; 0 where there is none."""
    return int(np.frexp(number)[1]) if np.isfinite(number) else 0


def _taken_in_turn(largest: Mapping[str, Any], exponent: int, limits: Limits) -> dict[str, int]:
    """Shares of the `exponent`, of which each operand leaves to the next what would take it out of range."""
    shares = dict.fromkeys(largest, 0)
    for name, number in largest.items():
        size = _exponent(number)
        most, least = limits.maxexp - 1 - size, min(0, limits.minexp + limits.nmant - size)
        shares[name] = min(max(exponent, least), most)
        exponent -= shares[name]
    shares[name] += exponent
    return shares


def _check_range(what: str, array: Array, dtype: DType, space: Space, *, exponent: Exponent, largest: Any) -> None:
    """Raise :class:`RangeError` where ``2^exponent array`` overflows in `dtype`, or all of it is rounded to zero."""
    limits = space.limits(dtype)
    if not isinstance(exponent, int):
        axes = tuple(k for k, n in enumerate(exponent.shape) if n == 1)
        fractions, sizes = np.frexp(to_numpy(space.peaks(array, axes)).reshape(exponent.shape))
        sizes = np.where(fractions > 0.0, sizes + exponent, np.iinfo(np.intc).min)
        exponent = int(np.max(sizes))
        largest = np.max(np.where(sizes == exponent, fractions, 0.0))
    limits.check(what, largest, dtype, exponent)
    limits.check_not_lost(what, largest, dtype, exponent)
