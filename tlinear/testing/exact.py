r"""Exact: integers and fractions, of which equality is equality.

The layer is a sum of products, so that Python's fractions go through it as they are.  It is linear in each
operand, so that each gradient can be known without a step size, too: for every V of the shape of operand k

.. math:: \langle dy, f(.., V_k, ..) \rangle = \langle grad_k, V \rangle

which :mod:`tlinear.testing.reference` solves for :math:`grad_k` by cutting operand k out of the sum, and
:mod:`tlinear.testing.identities` asks of the implementation alone.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tlinear.arrays import Array, DType

__all__ = ["first_difference", "in_fractions", "is_exact"]


def is_exact(dtype: DType) -> bool:
    """Whether nothing rounds in a dtype.

    Examples
    --------
    >>> is_exact(np.dtype("int64")), is_exact(np.dtype(object)), is_exact(np.dtype("float64"))
    (True, True, False)
    """
    return dtype.kind not in "fc"


def in_fractions(array: Array) -> Array:
    """Real numbers as Python's fractions.

    Examples
    --------
    >>> in_fractions(np.array([0.75]))[0]
    Fraction(3, 4)
    """
    exact = np.empty(array.shape, object)
    exact.ravel()[:] = [
        Fraction(value) if isinstance(value, Fraction) else Fraction(float(value)) for value in array.flat
    ]
    return exact


def first_difference(expected: Array, found: Array) -> tuple[int, ...] | None:
    """Where two arrays of one shape are not equal, first; None if they are.

    Examples
    --------
    >>> first_difference(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [0, 4]]))
    (1, 0)
    """
    wrong = ~np.asarray(expected == found, bool)
    if not wrong.any():
        return None
    return tuple(int(k) for k in np.unravel_index(int(np.argmax(wrong)), found.shape))
