"""How an algorithm came to its end, and how close the result is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlinear.arrays import Array

__all__ = ["Report", "relative_error"]


@dataclass(frozen=True)
class Report:
    """Whether an algorithm converged, why it stopped, and its error after each iteration.

    Attributes
    ----------
    converged : bool
        False when the iterations ran out first.
    stop_reason : str
        In words.
    n_iterations : int
        0 for a direct algorithm.
    history : tuple of float
        The relative error after each iteration, empty for a direct algorithm.
    """

    converged: bool = True
    stop_reason: str = "direct: a fixed number of singular value decompositions"
    n_iterations: int = 0
    history: tuple[float, ...] = ()


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
