"""CP: a sum of R outer products, one vector a mode in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tlinear.algorithms.cp import cp
from tlinear.algorithms.descent import Callback
from tlinear.algorithms.kruskal import cp_halves
from tlinear.algorithms.rank_search import smallest_rank
from tlinear.algorithms.report import Report, product_error
from tlinear.arrays import Array
from tlinear.contraction.network import Labels
from tlinear.formats.base import FactorizedTensor
from tlinear.formats.fitted import Fitted
from tlinear.formats.protocol import Halves
from tlinear.ranks.rules import Bonds, Rank

__all__ = ["CPTensor"]


@dataclass(frozen=True, eq=False, repr=False)
class CPTensor(FactorizedTensor):
    """``W[s_1..s_d] = sum_r weights[r] factors[0][s_1, r] .. factors[d-1][s_d, r]``.

    =============  ==============  ============
    operand        shape           parameters
    =============  ==============  ============
    weights        ``(R,)``        ``R``
    factors[k]     ``(s_k, R)``    ``s_k R``
    =============  ==============  ============

    The rank is the int R, at most the product of all modes but the largest.

    References
    ----------
    F. L. Hitchcock, The expression of a tensor or a polyadic as a sum of products,
    J. Math. Phys. 6 (1927).  T. G. Kolda and B. W. Bader, Tensor Decompositions and
    Applications, SIAM Review 51 (2009), section 3.

    Examples
    --------
    >>> cp = CPTensor([2.0, -1.0], ([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]), n_in=1)
    >>> cp.rank, cp.n_parameters
    (2, 10)
    >>> cp.to_tensor()
    array([[-2., -2.],
           [ 6., 10.]])
    """

    weights: Array
    factors: tuple[Array, ...]

    factorization: ClassVar[str] = "cp"
    constant_operands: ClassVar[tuple[str, ...]] = ("weights",)
    widens: ClassVar[bool] = True

    @property
    def n_modes(self) -> int:
        return len(self.factors)

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        r = n_in + n_out
        return {"weights": (r,), **{f"factors.{k}": (k, r) for k in range(n_in + n_out)}}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return (n_in + n_out,)

    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank:
        return bonds[0] if bonds else 1

    def halves(self) -> Halves:
        """See :func:`tlinear.algorithms.kruskal.cp_halves`."""
        return cp_halves(self.weights, self.factors)

    @classmethod
    def fit(
        cls,
        tensor: Array,
        n_in: int,
        bonds: Bonds,
        *,
        rng: np.random.Generator,
        tolerance: float | None = None,
        max_iterations: int = 500,
        stop_tolerance: float = 1e-6,
        ridge: float = 1e-10,
        n_starts: int | None = None,
        callback: Callback | None = None,
    ) -> Fitted:
        """Alternating least squares and Gauss-Newton steps; see :func:`tlinear.algorithms.cp.cp` for the options.

        For a tolerance, at the smallest rank that is found to reach it.
        """

        def fitted(rank: int) -> tuple[Array, list[Array], Report]:
            return cp(
                tensor,
                rank,
                rng=rng,
                max_iterations=max_iterations,
                stop_tolerance=stop_tolerance,
                ridge=ridge,
                n_starts=n_starts,
                callback=callback,
            )

        def attempt(rank: int) -> tuple[tuple[Array, list[Array], Report], float]:
            weights, factors, report = fitted(rank)
            return (weights, factors, report), product_error(tensor, *cp_halves(weights, factors))

        if tolerance is None:
            weights, factors, report = fitted(bonds[0])
        else:
            weights, factors, report = smallest_rank(attempt, tolerance, bonds[0])
        operands = {"weights": weights, **{f"factors.{k}": factor for k, factor in enumerate(factors)}}
        return Fitted(operands, "weights", report)
