"""A factorized tensor, and how it was come by."""

from __future__ import annotations

from dataclasses import dataclass

from tlinear.formats import FactorizedTensor
from tlinear.ranks.rules import Rank

__all__ = ["Decomposition"]


@dataclass(frozen=True)
class Decomposition:
    """A factorized tensor, and how it was come by.

    Attributes
    ----------
    tensor : FactorizedTensor
        The result, in the dtype of the source.
    relative_error : float
        ``|source - result| / |source|`` in the Frobenius norm, of the result as it is returned,
        rounded to its dtype; 0 when both are zero.
    converged : bool
        False when the iterations ran out first, or a callback ended them; the result is then the best that was found.
    stop_reason : str
        Why the algorithm stopped.
    n_iterations : int
        0 for a direct algorithm.
    history : tuple of float
        The relative error after each iteration, before the result was rounded to its dtype;
        it never rises.  Empty for a direct algorithm.
    """

    tensor: FactorizedTensor
    relative_error: float
    converged: bool
    stop_reason: str
    n_iterations: int
    history: tuple[float, ...]

    @property
    def rank(self) -> Rank:
        """The rank of the result."""
        return self.tensor.rank

    @property
    def n_parameters(self) -> int:
        """The number of parameters of the result."""
        return self.tensor.n_parameters

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        return (
            f"Decomposition({self.tensor!r},\n"
            f"              relative_error={self.relative_error:.6g}, {state} after {self.n_iterations} iterations: "
            f"{self.stop_reason})"
        )
