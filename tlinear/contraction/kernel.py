"""A pair for one batch size, its shapes and axes worked out: forward, and the two pullbacks.

With ``C = A * B``: ``dA = dC * conj(B)`` and ``dB = dC * conj(A)``, each summed over what the operand
does not carry, so that a pair costs two of its own kind to differentiate.  Both read and write the
views that the forward pass reads and writes.

Small layers take no longer than their calls do, so that everything that can be decided is decided
here, once: a kernel is a few functions of arrays, in which no question is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tlinear.arrays import Array

__all__ = ["Contract", "ContractInto", "Kernel", "Read", "as_is"]

Read: TypeAlias = Callable[[Array], Array]
Contract: TypeAlias = Callable[[Array, Array], Array]
ContractInto: TypeAlias = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a pair does to arrays of one batch size.  Arrays may come in any shape: they are read in order.

    Attributes
    ----------
    shape_out : tuple of int
        The shape of C, axis by label.
    arrange : function
        B as A meets it: a copy where it does not lie so.
    turn : function, or None
        The same as ``dC`` meets it: of equal entries in another order of memory; None where it lies well as it is.
    restore : function
        What `to_b` returned, in the order of the labels of B.
    forward, forward_into : function
        ``C``, from A and arranged B; written into a third argument, which is contiguous.
    to_a, to_a_into : function
        ``dA`` from ``dC`` and ``conj(B)`` arranged and turned; written into a third argument, which is contiguous.
    to_b : function
        ``dB``, arranged, from ``dC`` and ``conj(A)``.
    """

    shape_out: tuple[int, ...]
    arrange: Read
    turn: Read | None
    restore: Read
    forward: Contract
    forward_into: ContractInto
    to_a: Contract
    to_a_into: ContractInto
    to_b: Contract


def as_is(array: Array) -> Array:
    """The reading of what lies well."""
    return array
