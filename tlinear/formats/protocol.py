"""What a format states: its network, its ranks, and how a tensor is decomposed into it.

``labels``, ``bond_labels`` and ``n_modes`` have to be stated; everything else has a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from tlinear.arrays import Array, Space, computed_by_numpy_alone
from tlinear.contraction.network import Labels
from tlinear.errors import FactorizationError
from tlinear.formats.fitted import Fitted
from tlinear.ranks.rules import Bonds, Rank

__all__ = ["Format", "Halves", "Shape"]

Shape: TypeAlias = tuple[int, ...]

Halves: TypeAlias = tuple[tuple[int, ...], Array, Array]
"""Axes of the tensor as rows, and two matrices whose product is its unfolding with these rows."""


class Format(ABC):
    """The protocol of a format, each method with its default.

    Examples
    --------
    >>> sorted(Format.__abstractmethods__)
    ['bond_labels', 'labels', 'n_modes']
    """

    factorization: ClassVar[str]
    """The name of the format."""

    constant_operands: ClassVar[tuple[str, ...]] = ()
    """Operands that :meth:`FactorizedTensor.random` fills with ones instead of random numbers."""

    needs_split: ClassVar[bool] = False
    """Whether the operands depend on which modes are the input's, so that `n_in` must be given."""

    one_rank_a_mode: ClassVar[bool] = False
    """Whether the k-th rank belongs to the k-th mode and can be as large as that mode."""

    widens: ClassVar[bool] = False
    """Whether :meth:`fit` takes a tensor in single precision, and computes in double precision what it reads of it."""

    # ------------------------------------------------------------ the network

    @property
    @abstractmethod
    def n_modes(self) -> int:
        """The number of input and output modes together."""

    @classmethod
    @abstractmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]:
        """The labels of every operand by name: modes are 0 .. n_in + n_out - 1, ranks follow."""

    @classmethod
    @abstractmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels:
        """The labels of the ranks that are free to choose, in the order of the rank's entries."""

    @classmethod
    def unit_labels(cls, n_in: int, n_out: int) -> Labels:
        """The labels whose size is always 1; none by default."""
        return ()

    @classmethod
    def joint_shapes(cls, n_layers: int, in_shape: Shape, out_shape: Shape) -> tuple[Shape, Shape]:
        """The modes of `n_layers` matrices kept in one tensor: by default they are one more mode, the first of all."""
        return (n_layers, *in_shape), out_shape

    # ------------------------------------------------------------ the ranks

    @classmethod
    def bond_scale(cls, in_shape: Shape, out_shape: Shape) -> Sequence[float]:
        """What the ranks are kept proportional to while a budget is filled; by default they are equal."""
        return (1.0,) * len(cls.bond_labels(len(in_shape), len(out_shape)))

    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank:
        """The form that :attr:`FactorizedTensor.rank` has; by default the tuple of all ranks that are free."""
        return bonds

    # ------------------------------------------------------------ decomposition

    @classmethod
    def fit(
        cls, tensor: Array, n_in: int, bonds: Bonds, *, rng: np.random.Generator, tolerance: float | None = None
    ) -> Fitted:
        """Operands of these ranks whose reconstruction is close to `tensor`; by default there are none.

        Further keywords are the options of :func:`tlinear.decompose`; an algorithm without `tolerance` takes none.

        Parameters
        ----------
        tensor : array
            C-contiguous, finite, and of entries near 1 unless the format :attr:`widens` what it reads.
        n_in : int
            How many of its modes are the input's; all where that does not matter.
        bonds : tuple of int
            The ranks, or with a tolerance the largest to try.
        rng : numpy.random.Generator
        tolerance : float, optional
            Find the smallest ranks whose relative error is at most this.

        Raises
        ------
        FactorizationError
            When the format states no algorithm.
        """
        raise FactorizationError(f"{cls.__name__} states no algorithm. Give it a class method `fit`, as CPTensor has.")

    @classmethod
    def fit_array_api(cls, tensor: Array, n_in: int, bonds: Bonds, *, space: Space) -> Fitted:
        """The same of an array of another library than NumPy, where it lives; by default it has to be copied to NumPy.

        Raises
        ------
        DeviceError
            When the algorithm is one of NumPy's arrays alone.
        """
        raise computed_by_numpy_alone(space, f"the algorithm of {cls.factorization!r}")

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
        """Ranks of at most `limit` parameters that lose no more of the tensor than `start`; by default these.

        Parameters
        ----------
        tensor, n_in
            As for :meth:`fit`, of entries near 1.
        start : tuple of int
            The ranks that fill the budget in proportion to :meth:`bond_scale`.
        limit : int
            The parameters that there may be.
        error : callable
            The relative error of a fit of given ranks.
        largest : tuple of int
            What no rank may exceed.
        fixed : tuple of int
            The numbers of the ranks that stay as they are.
        """
        return start

    def halves(self) -> Halves | None:
        """Two matrices whose product is the tensor, to compare a large one with block by block; none by default."""
        return None
