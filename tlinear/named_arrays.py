"""Plain dicts of arrays by name: what parameters, gradients, tangents and optimiser states are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from tlinear.arrays import Array
from tlinear.errors import ParameterError, ShapeError

__all__ = ["check_known_names", "check_same_names", "check_same_shapes"]


def check_same_names(given: Iterable[str], expected: Iterable[str], what: str = "The names") -> None:
    """Raise :class:`ParameterError` unless both are the same set of names."""
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise ParameterError(
            f"{what} do not match. Missing: {missing}; unknown: {unknown}. "
            f"Pass each of {sorted(expected)} exactly once."
        )


def check_known_names(given: Iterable[str], expected: Iterable[str], what: str = "The names") -> None:
    """Raise :class:`ParameterError` when a name is given that is not expected."""
    unknown = sorted(set(given) - set(expected))
    if unknown:
        raise ParameterError(f"{what} do not match. Unknown: {unknown}. Choose from {sorted(expected)}.")


def check_same_shapes(given: Mapping[str, ArrayLike], expected: Mapping[str, Array], what: str, remedy: str) -> None:
    """Raise :class:`ShapeError` unless each array given has the shape of its namesake."""
    for name, array in expected.items():
        if np.shape(given[name]) != array.shape:
            raise ShapeError(f"{what}: {name} has shape {np.shape(given[name])}, but must have {array.shape}. {remedy}")
