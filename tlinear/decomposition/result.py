"""A factorized tensor, and how it was come by."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from tlinear.arrays import NUMPY, Array, space_of
from tlinear.decomposition.baseline import LowRank, agrees, is_quick, low_rank_baseline
from tlinear.decomposition.calibration import Calibration
from tlinear.errors import DecompositionError, StateError
from tlinear.formats import FactorizedTensor
from tlinear.ranks.rules import Rank

__all__ = ["Decomposition", "Origin"]


@dataclass(frozen=True, eq=False)
class Origin:
    """What was decomposed, kept for the sake of the baseline."""

    source: Array
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Decomposition:
    """A factorized tensor, and how it was come by.

    Attributes
    ----------
    tensor : FactorizedTensor
        The result, in the dtype of the source or the one asked for.
    relative_error : float
        ``|source - result| / |source|`` in the Frobenius norm, of the result as it is returned,
        rounded to its dtype; 0 when both are zero.  Good to six digits, and in a float64 result of a small tensor
        to all that the difference has.
    converged : bool
        False when the iterations ran out first, a callback ended them, or components of a CP that cancel each other
        had not settled; the result is then the best that was found.
    stop_reason : str
        Why the algorithm stopped.
    n_iterations : int
        0 for a direct algorithm.
    history : tuple of float
        The relative error after each iteration, before the result was rounded to its dtype;
        it never rises.  Empty for a direct algorithm.  With a calibration it is the error of the outputs, with the
        ridge.
    relative_output_error : float or None
        ``|X (M - M')| / |X M|`` in the Frobenius norm, of the calibration's samples X and the matrix M
        of the source, as ``(in, out)``; None without a calibration.  On other samples it is larger.
    fallbacks : tuple of str
        What was done instead of what was tried first.
    """

    tensor: FactorizedTensor
    relative_error: float
    converged: bool
    stop_reason: str
    n_iterations: int
    history: tuple[float, ...]
    relative_output_error: float | None = None
    fallbacks: tuple[str, ...] = ()
    _origin: Origin | None = field(default=None, repr=False, compare=False)

    @property
    def rank(self) -> Rank:
        """The rank of the result."""
        return self.tensor.rank

    @property
    def n_parameters(self) -> int:
        """The number of parameters of the result."""
        return self.tensor.n_parameters

    @cached_property
    def baseline(self) -> LowRank:
        """The best plain low-rank matrix with no more parameters than the result.

        Computed when it is first asked for, by a singular value decomposition, of the source: this is
        kept until then, but not copied, pickled, nor held by a layer.

        Raises
        ------
        StateError
            When there is no source any more, or no split of its modes into those of a matrix, or when it has
            been written to since.

        Examples
        --------
        >>> import numpy as np
        >>> import tlinear
        >>> weight = np.random.default_rng(0).standard_normal((6, 4)) @ np.ones((4, 8))
        >>> result = tlinear.decompose(weight.reshape(2, 3, 2, 4), "blocktt", 1, n_in=2)
        >>> result.n_parameters, result.baseline.rank, bool(result.baseline.relative_error < 1e-12)
        (16, 1, True)
        """
        if self._origin is None or self.tensor.n_in is None:
            why = "n_in is not given" if self._origin else "a layer or a pickle keeps no source"
            raise StateError(
                f"There is no matrix to compare with, since {why}. For the matrix itself call "
                "tlinear.decomposition.low_rank_baseline(matrix, n_parameters)."
            )
        source = self._origin.source
        wide = np.result_type(self.tensor.dtype, np.float64)
        if not agrees(source, self.tensor.astype(wide).to_tensor(), self.relative_error):
            raise StateError(
                "The source has been written to since it was decomposed, so that its baseline is lost. Pass a copy."
            )
        matrix = source.reshape(self.tensor.in_features, self.tensor.out_features).T
        return low_rank_baseline(matrix, self.n_parameters, calibration=self._origin.calibration)

    def made_from(self, origin: Origin | None, fallbacks: tuple[str, ...]) -> Self:
        """The same result of this source, come by in these roundabout ways."""
        return replace(self, _origin=origin, fallbacks=fallbacks)

    def freed(self, matrix: Array, calibration: Calibration | None) -> Self:
        """The same result free of its source, beside the baseline of `matrix` if NumPy has it in a few milliseconds."""
        result = replace(self, _origin=None)
        if space_of(matrix) is NUMPY and is_quick(matrix.shape):
            with suppress(DecompositionError):  # a layer is not lost for what stands beside it
                result.__dict__["baseline"] = low_rank_baseline(matrix, self.n_parameters, calibration=calibration)
        return result

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_origin": None}

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        lines = [
            f"{self.tensor!r}",
            f"relative_error={self.relative_error:.6g} in the Frobenius norm, "
            f"{state} after {self.n_iterations} iteration{'' if self.n_iterations == 1 else 's'}: {self.stop_reason}",
        ]
        if self.relative_output_error is not None:
            lines.append(f"relative_output_error={self.relative_output_error:.6g} on the calibration")
        lines += [f"fallback: {fallback}" for fallback in self.fallbacks]
        if "baseline" in self.__dict__:
            outputs = self.baseline.relative_output_error
            lines.append(
                f"a matrix of rank {self.baseline.rank} and {self.baseline.n_parameters:,} parameters: "
                f"relative_error={self.baseline.relative_error:.6g}"
                + ("" if outputs is None else f", calibrated relative_output_error={outputs:.6g}")
            )
        return "Decomposition(" + ",\n              ".join(lines) + ")"
