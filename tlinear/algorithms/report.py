"""How an algorithm came to its end."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Report"]


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
