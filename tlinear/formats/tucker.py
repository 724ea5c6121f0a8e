"""Tucker: a small core, multiplied by a matrix along every mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tlinear.algorithms.core_allocation import allocate_core
from tlinear.algorithms.descent import Callback
from tlinear.algorithms.hooi import hooi
from tlinear.algorithms.hosvd import st_hosvd_within, tucker_halves
from tlinear.algorithms.portable import portable_tucker
from tlinear.algorithms.truncated_svd import Method, check_method
from tlinear.arrays import Array, Space
from tlinear.contraction.network import Labels
from tlinear.formats.base import FactorizedTensor
from tlinear.formats.fitted import Fitted
from tlinear.formats.protocol import Halves
from tlinear.ranks.rules import Bonds

__all__ = ["TuckerTensor"]


@dataclass(frozen=True, eq=False, repr=False)
class TuckerTensor(FactorizedTensor):
    """``W[s_1..s_d] = sum_{r_1..r_d} core[r_1..r_d] factors[0][s_1, r_1] .. factors[d-1][s_d, r_d]``.

    =============  ====================  ================
    operand        shape                 parameters
    =============  ====================  ================
    core           ``(R_1, .., R_d)``    ``R_1 .. R_d``
    factors[k]     ``(s_k, R_k)``        ``s_k R_k``
    =============  ====================  ================

    The rank is the tuple of d ints R_k, each at most s_k and the product of the others.

    References
    ----------
    L. R. Tucker, Some mathematical notes on three-mode factor analysis, Psychometrika 31 (1966).

    Examples
    --------
    >>> tucker = TuckerTensor([[2.0]], ([[1.0], [3.0]], [[5.0], [7.0]]), n_in=1)
    >>> tucker.rank, tucker.n_parameters
    ((1, 1), 5)
    >>> tucker.to_tensor()
    array([[10., 14.],
           [30., 42.]])
    """

    core: Array
    factors: tuple[Array, ...]

    factorization: ClassVar[str] = "tucker"
    one_rank_a_mode: ClassVar[bool] = True
    widens: ClassVar[bool] = True

    @property
    def n_modes(self) -> int:
        return len(self.factors)

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        d = n_in + n_out
        return {"core": tuple(range(d, 2 * d)), **{f"factors.{k}": (k, d + k) for k in range(d)}}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return tuple(range(n_in + n_out, 2 * (n_in + n_out)))

    @classmethod
    def bond_scale(cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Sequence[float]:
        return (*in_shape, *out_shape)

    def halves(self) -> Halves:
        """See :func:`tlinear.algorithms.hosvd.tucker_halves`."""
        return tucker_halves(self.core, self.factors)

    @classmethod
    def allocate(
        cls,
        tensor: Array,
        n_in: int,
        start: Bonds,
        limit: int,
        error: Callable[[Bonds], float],
        *,
        largest: Bonds,
        fixed: tuple[int, ...],
    ) -> Bonds:
        """See :func:`tlinear.algorithms.core_allocation.allocate_core`."""
        return allocate_core(tensor, start, limit, error, largest=largest, fixed=fixed)

    @classmethod
    def fit_array_api(cls, tensor: Array, n_in: int, bonds: Bonds, *, space: Space) -> Fitted:
        """See :func:`tlinear.algorithms.portable.portable_tucker`."""
        core, factors, report = portable_tucker(tensor, bonds, space)
        return Fitted({"core": core, **{f"factors.{k}": factor for k, factor in enumerate(factors)}}, "core", report)

    @classmethod
    def fit(
        cls,
        tensor: Array,
        n_in: int,
        bonds: Bonds,
        *,
        rng: np.random.Generator,
        tolerance: float | None = None,
        fixed: Sequence[int] = (),
        max_iterations: int = 25,
        stop_tolerance: float | None = None,
        svd: Method = "auto",
        callback: Callback | None = None,
    ) -> Fitted:
        """ST-HOSVD refined by HOOI; see :func:`tlinear.algorithms.hooi.hooi` for the options."""
        check_method(svd, tolerance)
        start = None if tolerance is None else st_hosvd_within(tensor, tolerance, fixed=fixed, svd=svd)
        core, factors, report = hooi(
            tensor,
            bonds if start is None else start[0].shape,
            start=start,
            max_iterations=max_iterations,
            stop_tolerance=stop_tolerance,
            svd=svd,
            callback=callback,
        )
        return Fitted({"core": core, **{f"factors.{k}": factor for k, factor in enumerate(factors)}}, "core", report)
