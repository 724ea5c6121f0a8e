"""The smallest rank that reaches a tolerance, where only trying tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tlinear.errors import DecompositionError

__all__ = ["smallest_rank"]

Result = TypeVar("Result")


def smallest_rank(attempt: Callable[[int], tuple[Result, float]], tolerance: float, most: int) -> Result:
    """What `attempt` makes of a rank at which it reaches `tolerance`, while it does not at the rank below.

    The rank is doubled from 1 until the error is small enough, and then bisected between the
    last that failed and the first that did not.  Where the error falls with the rank, that is
    the smallest rank.

    Parameters
    ----------
    attempt : callable
        From a rank to a result and its relative error.
    tolerance : float
        The largest relative error that will do.
    most : int
        The largest rank to try.

    Raises
    ------
    DecompositionError
        When `most` does not reach the tolerance either.

    Examples
    --------
    >>> smallest_rank(lambda rank: (f"of rank {rank}", 1.0 / rank), 0.1, 100)
    'of rank 10'
    """
    failed, rank = 0, 1
    result, error = attempt(rank)
    while error > tolerance:
        if rank == most:
            raise DecompositionError(
                f"No rank up to {most} reached tolerance={tolerance:g}: the last relative error was {error:.3g}. "
                "Raise the tolerance or the limit of the rank, or choose 'tucker', 'tt' or 'blocktt', which guarantee "
                "the tolerance."
            )
        failed, rank = rank, min(2 * rank, most)
        result, error = attempt(rank)
    while rank - failed > 1:
        middle = (failed + rank) // 2
        tried, error = attempt(middle)
        if error <= tolerance:
            rank, result = middle, tried
        else:
            failed = middle
    return result
