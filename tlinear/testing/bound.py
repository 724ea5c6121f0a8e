r"""Derived bounds: how far rounding alone can take a result, entry by entry.

If the arrays of a sum are contracted two at a time, each entry of the result passes through at most K
roundings, and (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1)

.. math:: |\hat y - y| \le \gamma_K \sum \prod |operands|, \qquad \gamma_K = \frac{K u}{1 - K u},

u the unit roundoff.  A step that sums over n products of each two arrays rounds no entry more than n
times, whatever the order of summation, with or without FMA.  K adds these up over the steps: the most of
several orders of contraction, among them that which rebuilds the weight first; one more for a bias; three
times as many for complex numbers, whose products are sums (ibid., section 3.6, with room).
A product that underflows is off by half of the smallest subnormal number; what multiplies it later is at
most the product of the largest entries.  Hardware that has no subnormal numbers, and flushes them to zero, is off
by the smallest normal number instead, which is worth a warning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import opt_einsum as oe

from tlinear.arrays import Array
from tlinear.contraction.network import Labels
from tlinear.testing.arithmetic import Arithmetic
from tlinear.testing.reference import Sum

__all__ = ["Bound", "bound_of", "roundings"]

_TOO_MANY = 0.1
_DOUBLE = 2.0**-53


@dataclass(frozen=True)
class Bound:
    """What the entries of a result may be off.

    Attributes
    ----------
    n_roundings : int
        K.
    error : array
        The largest error of each entry that rounding explains.
    typical : array
        ``sqrt(K) u`` times the sum of magnitudes: more is possible, but suspicious.
    flushed : float
        What may be added to the error where subnormal numbers are flushed to zero.
    may_overflow : bool
        Whether some order of contraction may meet a number that the arithmetic does not have.
    """

    n_roundings: int
    error: Array
    typical: Array
    flushed: float
    may_overflow: bool


def bound_of(
    sums: Sequence[Sum],
    arithmetic: Arithmetic,
    *,
    is_complex: bool,
    terms: int | None = None,
    of_reference: float = 0.0,
) -> Bound | None:
    """The bound of a sum of sums, most often of one; None where so much is rounded that it would say nothing.

    Parameters
    ----------
    sums : sequence of Sum
        In the widest arithmetic at hand.
    arithmetic : Arithmetic
        The implementation's.
    is_complex : bool
    terms : int, optional
        K, for hardware that sums its own way.
    of_reference : float
        The unit roundoff of what the result is compared with.
    """
    counted = max(roundings(total, is_complex=is_complex) for total in sums) + len(sums) - 1
    count = counted if terms is None else terms
    u = arithmetic.unit_roundoff
    if count * u >= _TOO_MANY:
        return None
    magnitudes = [total.magnitudes(np.float64) for total in sums]
    size = np.sum([np.asarray(total.value(), np.float64) for total in magnitudes], axis=0)
    size *= 1.0 + _gamma(count + 1, _DOUBLE)  # which was itself computed in float64
    reach = sum(max(1, total.n_terms) * _reach(total) for total in magnitudes)
    underflow = count * arithmetic.smallest * reach
    error = (_gamma(count, u) + _gamma(count, of_reference)) * size + underflow
    typical, flushed = math.sqrt(count) * u * size + underflow, count * arithmetic.smallest_normal * reach
    return Bound(count, error, typical, flushed, reach >= arithmetic.largest)


def roundings(total: Sum, *, is_complex: bool) -> int:
    """K: the most roundings of an entry, over several orders of contraction.

    Examples
    --------
    >>> a = np.ones((2, 3))
    >>> roundings(Sum([(a, (0, 1)), (a.T, (1, 2))], (0, 2)), is_complex=False)
    3
    """
    count = max(_along(total, path) for path in _paths(total)) + (total.bias is not None)
    return 3 * count if is_complex else count


def _reach(magnitudes: Sum) -> float:
    return math.prod(max(1.0, float(array.max(initial=0))) for array, _ in magnitudes.arrays)


def _gamma(count: int, u: float) -> float:
    return count * u / (1.0 - count * u)


def _paths(total: Sum) -> Iterable[Sequence[tuple[int, ...]]]:
    """Orders of contraction: few FLOPs; from the left; the first array last, and the first two last."""
    n = len(total.arrays)
    yield _greedy(total)
    yield [(0, 1)] * (n - 1)
    yield [(n - 2 - k, n - 1 - k) for k in range(n - 1)]
    if n > 2:
        yield [(1, 2)] * (n - 2) + [(0, 1)]
    if n == 1:
        yield [(0,)]


def _greedy(total: Sum) -> Sequence[tuple[int, ...]]:
    sizes = {label: max(1, size) for label, size in total.sizes.items()}
    inputs = [frozenset(labels) for _, labels in total.arrays]
    return list(oe.paths.greedy(inputs, frozenset(total.out), sizes))


def _along(total: Sum, path: Sequence[tuple[int, ...]]) -> int:
    """The sum over the steps of a path of how many products each sums, but one at least."""
    sizes, count = total.sizes, 0
    remaining: list[Labels] = [labels for _, labels in total.arrays]
    for step in path:
        met = [remaining[k] for k in step]
        remaining = [labels for k, labels in enumerate(remaining) if k not in step]
        kept = set(total.out).union(*remaining)
        everything = set().union(*met)
        count += max(1, math.prod(sizes[label] for label in everything - kept))
        remaining.append(tuple(everything & kept))
    return count
