"""What a known mistake is, what is right, and what several mistakes are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH
from tlinear.testing.case import Case, remembered
from tlinear.testing.exact import is_exact
from tlinear.testing.reference import reference

__all__ = [
    "MUTANTS",
    "Arrays",
    "Mutant",
    "bonds_of",
    "mutant",
    "operand_gradients",
    "parameter_gradients",
    "read_otherwise",
    "right",
    "right_result",
    "wide",
    "with_conjugate_operands",
]

Arrays: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Mutant:
    """A wrong implementation.

    Attributes
    ----------
    name : str
    cause : str
        What is wrong with it, in words.
    compute : callable
        From a case to its results.
    """

    name: str
    cause: str
    compute: Callable[[Case], Arrays]


def right(case: Case) -> Arrays:
    """All results of a case, in its dtype.

    Examples
    --------
    >>> case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))
    >>> sorted(right(case))
    ['dtensor', 'dx', 'y']
    """
    return {name: right_result(case, name) for name in case.results}


@remembered
def right_result(case: Case, name: str) -> Array:
    """Compute one result of a case, in its dtype.

    Examples
    --------
    >>> case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))
    >>> right_result(case, "dx")[0]
    array([1., 1.])
    """
    with np.errstate(over="ignore"):
        return reference(_widened(case), name).astype(case.dtype)


@remembered
def _widened(case: Case) -> Case:
    return case.map(wide)


MUTANTS: list[Mutant] = []
"""All of them, in the order in which they are tried as an explanation."""


def mutant(cause: str) -> Callable[[Callable[[Case], Arrays]], Callable[[Case], Arrays]]:
    """Make a function one of the known mistakes."""

    def register(compute: Callable[[Case], Arrays]) -> Callable[[Case], Arrays]:
        MUTANTS.append(Mutant(compute.__name__, cause, compute))
        return compute

    return register


def wide(array: Array) -> Array:
    """In double precision; what does not round, as it is."""
    return array if is_exact(array.dtype) else array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def operand_gradients(results: Arrays) -> Arrays:
    """Those of the operands."""
    return {name: array for name, array in results.items() if name not in ("y", "jvp", "dx", "dbias")}


def parameter_gradients(results: Arrays) -> Arrays:
    """Those of the operands and the bias."""
    return {name: array for name, array in results.items() if name not in ("y", "jvp", "dx")}


def with_conjugate_operands(case: Case) -> Case:
    """The case with every operand conjugated."""
    return case.with_arrays({name: array.conj() for name, array in case.operands.items()})


def bonds_of(case: Case) -> list[int]:
    """The labels of the ranks."""
    modes = {BATCH, *case.joint_labels, *case.in_labels, *case.out_labels}
    return [label for label in case.sizes if label not in modes]


def read_otherwise(
    case: Case, prefix: str, read: Callable[[Array], Array], back: Callable[[Array, Array], Array]
) -> Arrays:
    """The results where some operands are read in another order, and their gradients written in it."""
    names = [name for name in case.operands if name == prefix or (prefix.endswith(".") and name.startswith(prefix))]
    results = right(case.with_arrays({name: read(case.operands[name]) for name in names}))
    return results | {f"d{name}": back(results[f"d{name}"], case.operands[name]) for name in names}
