"""Operands in another dtype, none of which leaves its range where the tensor does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlinear.arrays import Array, DType, Limits, Space, to_numpy
from tlinear.contraction.network import Labels
from tlinear.formats.balance import Exponent, Meetings

__all__ = ["narrowed", "scaled", "spread"]


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
    found = scaled(operands, spread(operands, labels, 0, dtype, space), dtype, space)
    return {name: space.contiguous(array) for name, array in found.items()}


def scaled(
    operands: Mapping[str, Array], exponents: Mapping[str, Exponent], dtype: DType, space: Space
) -> dict[str, Array]:
    """The operands times these powers of two, in `dtype`.

    Raises
    ------
    RangeError
        When one of them is then out of its range, or all of it is rounded to zero.
    """
    for name, array in operands.items():
        shared = "" if len(operands) == 1 else ", its scale shared with the other operands,"
        _check_range(f"{name}{shared}", array, exponents[name], dtype, space)
    return {name: space.times_power_of_two(array, exponents[name], dtype) for name, array in operands.items()}


def spread(
    operands: Mapping[str, Array], labels: Mapping[str, Labels], exponent: int, dtype: DType, space: Space
) -> dict[str, Exponent]:
    r"""The powers of two that the operands are multiplied by, `exponent` in all, so that `dtype` can hold them.

    The first operand takes all of it, unless its entries would overflow, or lose digits because they become subnormal;
    what is too much for it goes to the next.

    That does not do where an operand overflows, or where entries become subnormal that count for much.  How much, is
    told by the operands of the same tensor whose slices are as large as those that they meet, and that are near 1:
    there, what is lost by rounding to subnormal numbers, times what it meets, is to be no more than the unit roundoff.
    If it is more, these operands are taken, and the exponent is shared evenly.

    Parameters
    ----------
    operands : dict of str to array
    labels : dict of str to tuple of int
        Of the axes of each operand.
    exponent : int
    dtype : dtype
        Of the library of `space`, in which the operands live.
    """
    limits, spans = space.limits(dtype), {name: space.span(array) for name, array in operands.items()}
    shares = _taken_in_turn({name: largest for name, (largest, _) in spans.items()}, exponent, limits)
    if not all(np.isfinite(largest) for largest, _ in spans.values()):
        return dict(shares)  # there are no powers of two for NaN and infinity
    if all(
        _exponent(largest) + shares[name] <= limits.maxexp and _exponent(smallest) + shares[name] > limits.minexp
        for name, (largest, smallest) in spans.items()
    ):
        return dict(shares)
    meetings = Meetings.of(operands, labels, space)
    gauges, total = meetings.balanced(exponent)
    is_within = all(_exponent(largest) + shares[name] <= limits.maxexp for name, (largest, _) in spans.items())
    if is_within and meetings.magnification(gauges, shares) <= -limits.minexp:
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


def _check_range(what: str, array: Array, exponent: Exponent, dtype: DType, space: Space) -> None:
    """Raise :class:`RangeError` where ``2^exponent array`` overflows in `dtype`, or all of it is rounded to zero."""
    powers = np.reshape(exponent, np.shape(exponent) or (1,) * array.ndim)
    largest = to_numpy(space.peaks(array, tuple(k for k, n in enumerate(powers.shape) if n == 1)))
    fractions, sizes = np.frexp(largest.reshape(powers.shape))
    sizes = np.where(fractions > 0.0, sizes + powers, np.iinfo(np.intc).min)
    top, limits = int(np.max(sizes)), space.limits(dtype)
    fraction = np.max(np.where(sizes == top, fractions, 0.0))
    limits.check(what, fraction, dtype, top)
    limits.check_not_lost(what, fraction, dtype, top)
