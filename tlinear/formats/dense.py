"""Dense: the tensor itself, the identity among the formats, so that every path has a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tlinear.algorithms.report import Report
from tlinear.arrays import Array, Space
from tlinear.contraction.network import Labels
from tlinear.formats.base import FactorizedTensor
from tlinear.formats.fitted import Fitted
from tlinear.ranks.rules import Bonds, Rank

__all__ = ["DenseTensor"]


@dataclass(frozen=True, eq=False, repr=False)
class DenseTensor(FactorizedTensor):
    """``W = tensor``.

    ========  ======================  ==========================
    operand   shape                   parameters
    ========  ======================  ==========================
    tensor    ``(s_1, .., s_d)``      ``s_1 * .. * s_d``
    ========  ======================  ==========================

    The rank is None.

    Examples
    --------
    >>> DenseTensor(np.arange(6.0).reshape(2, 3), n_in=1).to_matrix()
    array([[0., 3.],
           [1., 4.],
           [2., 5.]])
    """

    tensor: Array

    factorization: ClassVar[str] = "dense"

    @property
    def n_modes(self) -> int:
        return self.tensor.ndim

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        return {"tensor": tuple(range(n_in + n_out))}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return ()

    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank:
        return None

    @classmethod
    def fit_array_api(cls, tensor: Array, n_in: int, bonds: Bonds, *, space: Space) -> Fitted:
        """The tensor itself."""
        return Fitted({"tensor": tensor}, "tensor")

    @classmethod
    def fit(
        cls, tensor: Array, n_in: int, bonds: Bonds, *, rng: np.random.Generator, tolerance: float | None = None
    ) -> Fitted:
        """The tensor itself."""
        return Fitted({"tensor": tensor}, "tensor", Report(stop_reason="direct: a copy"))
