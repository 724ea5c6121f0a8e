"""How an algorithm came to its end, and how close the result is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tlinear.algorithms.unfolding import Unfolding
from tlinear.arrays import Array

__all__ = ["CANCELS", "Report", "product_error", "relative_error"]

CANCELS = 1e-6
"""A squared relative error below this is not taken from squares, of which too many digits cancel."""


@dataclass(frozen=True)
class Report:
    """Whether an algorithm converged, why it stopped, and its error after each iteration.

    Attributes
    ----------
    converged : bool
        False when the iterations ran out first, a callback ended them, or components of a CP that cancel each other
        had not settled.
    stop_reason : str
        In words.
    n_iterations : int
        0 for a direct algorithm.
    history : tuple of float
        The relative error after each iteration, empty for a direct algorithm.
    is_projection : bool
        Whether the result W is an orthogonal projection of the source T, one operand carrying its norm and the
        others being isometries: then ``|T - W|^2 = |T|^2 - |W|^2``.
    error : float, optional
        The relative error, where the algorithm knows it to seven digits.
    """

    converged: bool = True
    stop_reason: str = "direct: a fixed number of singular value decompositions"
    n_iterations: int = 0
    history: tuple[float, ...] = ()
    is_projection: bool = field(default=False, compare=False, repr=False)
    error: float | None = field(default=None, compare=False, repr=False)


def relative_error(source: Array, result: Array) -> float:
    """``|source - result| / |source|`` in the Frobenius norm; ``|result|`` when the source is zero.

    Taken from the difference itself.  The shortcut through ``|source|^2 - |result|^2`` would
    lose half of the digits, and so all of them below 1e-8.

    Examples
    --------
    >>> relative_error(np.array([3.0, 4.0]), np.array([3.0, 0.0]))
    0.8
    """
    norm = float(np.linalg.norm(source))
    error = float(np.linalg.norm(source - result))
    return error / norm if norm > 0.0 else error


def product_error(source: Array, rows: Sequence[int], left: Array, right: Array) -> float:
    r""":func:`relative_error` of the tensor whose unfolding is ``P Q``, reading the source block by block.

    .. math:: \|A - P Q\|^2 = \|A\|^2 - 2 \operatorname{Re} \langle P^H A, Q \rangle
              + \operatorname{tr} (P^H P \, Q Q^H)

    holds of any P and Q.  Each term is summed over blocks in double precision, with a few hundred roundings on the
    way of a number at most, so that the sum is off by less than 1e-13 of the largest term, which is
    :math:`\|A\|^2`, or where columns of P Q cancel, what they come to without signs.  So an error of 1e-3 or more of
    that has at least seven digits.  One that turns out to be smaller is taken from the difference, block by block.

    Parameters
    ----------
    source : array
    rows : sequence of int
        The axes that are the rows of the unfolding; the others are its columns, in their order.
    left : array of shape (m, r)
    right : array of shape (r, n)

    Examples
    --------
    >>> product_error(np.array([[3.0, 4.0]]), (0,), np.array([[1.0]]), np.array([[3.0, 0.0]]))
    0.8
    """
    unfolding = Unfolding.of(source, rows)
    columns = right.reshape(len(right), *unfolding.block_shape)
    adjoint, norm, inner = left.conj().T, 0.0, 0.0
    for index, block in unfolding.blocks():
        norm += _inner(block, block)
        inner += _inner(adjoint @ block, columns[(slice(None), *index)].reshape(len(right), -1))
    own, other = left.conj().T @ left, right @ right.conj().T
    square = norm - 2.0 * inner + _inner(own, other)
    if square > CANCELS * max(norm, _inner(np.abs(own), np.abs(other))):
        return math.sqrt(square / norm)
    square = 0.0
    for index, block in unfolding.blocks():
        difference = left @ columns[(slice(None), *index)].reshape(len(right), -1)
        difference -= block
        square += _inner(difference, difference)
    return math.sqrt(square / norm) if norm > 0.0 else math.sqrt(square)


def _inner(first: Array, second: Array) -> float:
    """The real part of ``sum(conj(first) * second)``."""
    flat, other = (first.ravel(order="K"),) * 2 if first is second else (first.ravel(), second.ravel())
    return float(np.vdot(flat, other).real)
