"""TT, the tensor train: a chain of cores, one a mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from tlinear.algorithms.chain_allocation import allocate_chain
from tlinear.algorithms.portable import portable_train
from tlinear.algorithms.train import fit_train
from tlinear.algorithms.train_order import Direction
from tlinear.algorithms.truncated_svd import Method
from tlinear.algorithms.tt_svd import train_halves
from tlinear.arrays import Array, Space
from tlinear.contraction.network import Labels
from tlinear.formats.base import FactorizedTensor
from tlinear.formats.fitted import Fitted
from tlinear.formats.protocol import Halves
from tlinear.ranks.rules import Bonds, Rank

__all__ = ["TTTensor"]


@dataclass(frozen=True, eq=False, repr=False)
class TTTensor(FactorizedTensor):
    """``W[s_1..s_d] = sum_{r_1..r_d-1} cores[0][0, s_1, r_1] cores[1][r_1, s_2, r_2] .. cores[d-1][r_d-1, s_d, 0]``.

    =============  ==========================  ====================
    operand        shape                       parameters
    =============  ==========================  ====================
    cores[k]       ``(R_k, s_k, R_{k+1})``     ``R_k s_k R_{k+1}``
    =============  ==========================  ====================

    The modes come in the order of W's axes, the input's first.  The rank is the tuple of
    d + 1 ints R_k with 1 at both ends, each at most s_k times either neighbour.

    References
    ----------
    I. V. Oseledets, Tensor-Train Decomposition, SIAM J. Sci. Comput. 33 (2011).

    Examples
    --------
    >>> tt = TTTensor(([[[1.0], [2.0]]], [[[3.0], [4.0], [5.0]]]), n_in=1)
    >>> tt.rank, tt.n_parameters
    ((1, 1, 1), 5)
    >>> tt.to_tensor()
    array([[ 3.,  4.,  5.],
           [ 6.,  8., 10.]])
    """

    cores: tuple[Array, ...]

    factorization: ClassVar[str] = "tt"
    widens: ClassVar[bool] = True

    @property
    def n_modes(self) -> int:
        return len(self.cores)

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        d = n_in + n_out
        return {f"cores.{k}": (d + k, k, d + k + 1) for k in range(d)}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        d = n_in + n_out
        return tuple(range(d + 1, 2 * d))

    @classmethod
    def unit_labels(cls, n_in: int, n_out: int) -> Labels:
        d = n_in + n_out
        return (d, 2 * d)

    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank:
        return (1, *bonds, 1)

    @classmethod
    def bond_scale(cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Sequence[float]:
        return [math.sqrt(s * t) for s, t in pairwise((*in_shape, *out_shape))]

    def halves(self) -> Halves:
        """See :func:`tlinear.algorithms.tt_svd.train_halves`."""
        return train_halves(self.cores, [(k,) for k in range(self.n_modes)], self.shape)

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
        """See :func:`tlinear.algorithms.chain_allocation.allocate_chain`."""
        return allocate_chain(tensor, start, limit, error, largest=largest)

    @classmethod
    def fit_array_api(cls, tensor: Array, n_in: int, bonds: Bonds, *, space: Space) -> Fitted:
        """See :func:`tlinear.algorithms.portable.portable_train`."""
        cores = portable_train(tensor, bonds, [(k,) for k in range(tensor.ndim)], space)
        return Fitted({f"cores.{k}": core for k, core in enumerate(cores)}, f"cores.{len(cores) - 1}")

    @classmethod
    def fit(
        cls,
        tensor: Array,
        n_in: int,
        bonds: Bonds,
        *,
        rng: np.random.Generator,
        tolerance: float | None = None,
        direction: Direction = "left",
        svd: Method = "auto",
        refine: int = 0,
    ) -> Fitted:
        """TT-SVD; see :func:`tlinear.algorithms.train.fit_train` for the options."""
        cores, report = fit_train(tensor, bonds, tolerance=tolerance, direction=direction, svd=svd, refine=refine)
        return Fitted({f"cores.{k}": core for k, core in enumerate(cores)}, f"cores.{len(cores) - 1}", report)
