"""Two formats that the package does not have, written as a user would write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tlinear.arrays import Array
from tlinear.contraction.network import Labels
from tlinear.formats import FactorizedTensor
from tlinear.ranks.rules import Bonds, Rank


@dataclass(frozen=True, eq=False, repr=False)
class TensorRing(FactorizedTensor):
    """``W[s_1..s_d] = trace(cores[0][:, s_1, :] .. cores[d-1][:, s_d, :])``."""

    cores: tuple[Array, ...]

    factorization: ClassVar[str] = "ring"

    @property
    def n_modes(self) -> int:
        return len(self.cores)

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        d = n_in + n_out
        return {f"cores.{k}": (d + k, k, d + (k + 1) % d) for k in range(d)}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return tuple(range(n_in + n_out, 2 * (n_in + n_out)))


@dataclass(frozen=True, eq=False, repr=False)
class KroneckerTensor(FactorizedTensor):
    """``W[i_1, i_2, o_1, o_2] = blocks[0][i_1, o_1] blocks[1][i_2, o_2]``, any number of pairs."""

    blocks: tuple[Array, ...]

    factorization: ClassVar[str] = "kronecker"

    @property
    def n_modes(self) -> int:
        return 2 * len(self.blocks)

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        return {f"blocks.{k}": (k, n_in + k) for k in range(n_in)}

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        return ()

    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank:
        return None
