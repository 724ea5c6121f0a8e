"""BlockTT, also TT-matrix or MPO: a tensor train whose every core carries one input and one output mode."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
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
from tlinear.errors import ShapeError
from tlinear.formats.base import FactorizedTensor
from tlinear.formats.fitted import Fitted
from tlinear.formats.protocol import Halves
from tlinear.ranks.rules import Bonds, Rank
from tlinear.shapes import is_integer

__all__ = ["BlockTTTensor"]


@dataclass(frozen=True, eq=False, repr=False)
class BlockTTTensor(FactorizedTensor):
    """``W[i_1..i_n, o_1..o_m] = sum_{r} cores[0][0, i_1, o_1, r_1] cores[1][r_1, i_2, o_2, r_2] ..``.

    =============  ==================================  ==========================
    operand        shape                               parameters
    =============  ==================================  ==========================
    cores[k]       ``(R_k, in_k, out_k, R_{k+1})``     ``R_k in_k out_k R_{k+1}``
    =============  ==================================  ==========================

    There are d = max(n, m) cores; the side with fewer modes is continued with modes of
    size 1, so that any numbers of modes go together.  `n_in` and `n_out` tell how many
    modes are real, and are d unless given.  The rank is the tuple of d + 1 ints R_k with 1
    at both ends, each at most ``in_k out_k`` times either neighbour.

    References
    ----------
    I. V. Oseledets, Approximation of 2^d x 2^d matrices using tensor decomposition, SIAM J.
    Matrix Anal. Appl. 31 (2010).  A. Novikov et al., Tensorizing Neural Networks, NIPS 2015.

    Examples
    --------
    >>> block = BlockTTTensor((np.ones((1, 4, 2, 3)), np.ones((3, 4, 5, 1))))
    >>> block
    BlockTTTensor(in=(4, 4), out=(2, 5), rank=(1, 3, 1), parameters=84 of 160, float64)
    >>> bool(np.all(block.to_tensor() == 3.0))
    True
    """

    cores: tuple[Array, ...]
    n_out: int | None = dataclasses.field(default=None, kw_only=True)

    factorization: ClassVar[str] = "blocktt"
    widens: ClassVar[bool] = True
    needs_split: ClassVar[bool] = True

    def __post_init__(self) -> None:
        n_cores = len(self.cores) if isinstance(self.cores, (tuple, list)) else 1
        for name in ("n_in", "n_out"):
            count = getattr(self, name)
            if count is None:
                object.__setattr__(self, name, n_cores)
            elif not is_integer(count) or count < 1:
                raise ShapeError(f"BlockTTTensor: {name}={count!r} is not a number of modes. Pass an integer >= 1.")
        if max(self.n_in or 0, self.n_out or 0) != n_cores:
            raise ShapeError(
                f"BlockTTTensor: {n_cores} cores, but n_in={self.n_in} and n_out={self.n_out}. "
                "The larger of the two must be the number of cores."
            )
        super().__post_init__()

    @property
    def n_modes(self) -> int:
        return (self.n_in or 0) + (self.n_out or 0)

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        modes, bonds = n_in + n_out, max(n_in, n_out) + 1
        absent = modes + bonds - min(n_in, n_out)
        return {
            f"cores.{k}": (
                modes + k,
                k if k < n_in else absent + k,
                n_in + k if k < n_out else absent + k,
                modes + k + 1,
            )
            for k in range(max(n_in, n_out))
        }

    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        modes = n_in + n_out
        return tuple(range(modes + 1, modes + max(n_in, n_out)))

    @classmethod
    def unit_labels(cls, n_in: int, n_out: int) -> Labels:
        modes, d = n_in + n_out, max(n_in, n_out)
        return (modes, modes + d, *range(modes + d + 1, modes + d + 1 + abs(n_in - n_out)))

    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank:
        return (1, *bonds, 1)

    @classmethod
    def joint_shapes(
        cls, n_layers: int, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (n_layers, *in_shape), (1, *out_shape)

    @classmethod
    def bond_scale(cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Sequence[float]:
        sizes = [i * o for i, o in _pairs(in_shape, out_shape)]
        return [math.sqrt(s * t) for s, t in pairwise(sizes)]

    def halves(self) -> Halves:
        """See :func:`tlinear.algorithms.tt_svd.train_halves`."""
        return train_halves(self.cores, _sites(len(self.in_shape), len(self.out_shape)), self.shape)

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
        """Of the train over the pairs of modes; see :func:`tlinear.algorithms.chain_allocation.allocate_chain`."""
        return allocate_chain(_in_pairs(tensor, n_in), start, limit, error, largest=largest)

    @classmethod
    def fit_array_api(cls, tensor: Array, n_in: int, bonds: Bonds, *, space: Space) -> Fitted:
        """Of the train over the pairs of modes; see :func:`tlinear.algorithms.portable.portable_train`."""
        pairs, sites = _pairs(tensor.shape[:n_in], tensor.shape[n_in:]), _sites(n_in, tensor.ndim - n_in)
        found = zip(portable_train(tensor, bonds, sites, space), pairs, strict=True)
        cores = [space.reshape(core, (core.shape[0], *pair, core.shape[-1])) for core, pair in found]
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
        """TT-SVD of the tensor of the pairs ``(i_k, o_k)``, each core then split into its pair.

        The options are those of :func:`tlinear.algorithms.train.fit_train`.
        """
        pairs = _pairs(tensor.shape[:n_in], tensor.shape[n_in:])
        cores, report = fit_train(
            tensor,
            bonds,
            sites=_sites(n_in, tensor.ndim - n_in),
            tolerance=tolerance,
            direction=direction,
            svd=svd,
            refine=refine,
        )
        split = [core.reshape(len(core), *pair, -1) for core, pair in zip(cores, pairs, strict=True)]
        return Fitted({f"cores.{k}": core for k, core in enumerate(split)}, f"cores.{len(split) - 1}", report)


def _in_pairs(tensor: Array, n_in: int) -> Array:
    """The tensor whose modes are the pairs ``(i_k, o_k)``."""
    pairs = _pairs(tensor.shape[:n_in], tensor.shape[n_in:])
    d = len(pairs)
    tensor = tensor.reshape([i for i, _ in pairs] + [o for _, o in pairs])
    return tensor.transpose([axis for k in range(d) for axis in (k, d + k)]).reshape([i * o for i, o in pairs])


def _sites(n_in: int, n_out: int) -> list[tuple[int, ...]]:
    """The axes of W that each core carries."""
    return [(*((k,) if k < n_in else ()), *((n_in + k,) if k < n_out else ())) for k in range(max(n_in, n_out))]


def _pairs(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The pairs ``(i_k, o_k)`` of modes, the shorter side continued with modes of size 1."""
    return list(zip_longest(in_shape, out_shape, fillvalue=1))
