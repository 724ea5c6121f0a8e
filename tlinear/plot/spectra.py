"""What the singular values of a tensor say about the ranks of its factorization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tlinear.arrays import Array, check_finite, to_inexact
from tlinear.contraction.network import Label, Network
from tlinear.decomposition.baseline import singular_values, truncation_error
from tlinear.errors import FactorizationError, ShapeError
from tlinear.formats import FactorizedTensor
from tlinear.plot.canvas import COLOURS, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Spectrum", "bond_spectra", "draw_spectra"]


@dataclass(frozen=True)
class Spectrum:
    """The singular values of the unfolding that a bond cuts a tensor into.

    Attributes
    ----------
    symbol : str
        The bond, as ``print(layer.plan(1))`` has it.
    modes : tuple of str
        The modes on the smaller side of the cut: the rows of the unfolding.
    rank : int
        The rank that the bond has.
    values : array
        Divided by the norm of the tensor, the largest first.
    lost : float
        The norm of those behind the rank: no tensor with this rank in this bond has a smaller relative error.
    """

    symbol: str
    modes: tuple[str, ...]
    rank: int
    values: Array
    lost: float


def bond_spectra(tensor: ArrayLike, factorized: FactorizedTensor) -> tuple[Spectrum, ...]:
    r"""The spectra of all unfoldings of a tensor that the bonds of its factorization cut it into.

    Where the network falls in two when bond k is cut, the reconstruction unfolded over that cut is a product with
    inner size :math:`R_k`, so that its rank is at most that, and

    .. math:: \|T - W\|_F^2 \ge \sum_{j > R_k} \sigma_j(T_{(k)})^2 .

    Bonds whose cut leaves the network in one piece, or in more than two, as that of CP, say nothing of the kind.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        What was decomposed.
    factorized : FactorizedTensor
        What became of it.

    Returns
    -------
    tuple of Spectrum
        One for each bond that can be cut, in the order of the rank's entries.

    Raises
    ------
    ShapeError
        When the shapes are not the same.
    NonFiniteError
        When an entry of the tensor is NaN or infinite.
    FactorizationError
        When the format has no bond that can be cut.

    Examples
    --------
    >>> import tlinear
    >>> tensor = np.random.default_rng(0).standard_normal((4, 4, 2, 5))
    >>> for spectrum in bond_spectra(tensor, tlinear.decompose(tensor, "tt", 3, n_in=2).tensor):
    ...     print(spectrum.symbol, *spectrum.modes, spectrum.rank, spectrum.values.size, round(spectrum.lost, 2))
    r2 i1 3 4 0.37
    r3 o1 o2 3 10 0.6
    r4 o2 3 5 0.47
    """
    source = to_inexact(tensor, "tensor")
    if source.shape != factorized.shape:
        raise ShapeError(
            f"tensor has shape {source.shape}, but the factorized one {factorized.shape}. Pass its source."
        )
    check_finite(source, "tensor")
    network = factorized.network
    bonds = factorized.bond_labels(network.n_in, network.n_modes - network.n_in)
    cuts = [(label, side) for label in bonds if (side := _smaller_side(network, label)) is not None]
    if not cuts:
        raise FactorizationError(
            f"No bond of {factorized.factorization} cuts its network in two, so that no singular values tell its rank. "
            "Draw those of 'tt' or 'tucker', or the error over the rank."
        )
    return tuple(_spectrum(source, network, label, side) for label, side in cuts)


def _spectrum(source: Array, network: Network, label: Label, side: Sequence[Label]) -> Spectrum:
    others = [mode for mode in range(network.n_modes) if mode not in side]
    matrix = source.transpose([*side, *others]).reshape(math.prod(source.shape[mode] for mode in side), -1)
    values, rank = singular_values(matrix), network.sizes[label]
    norm = float(np.linalg.norm(values))
    modes = tuple(network.symbol(mode) for mode in side)
    scaled = values / norm if norm > 0.0 else values
    return Spectrum(network.symbol(label), modes, rank, scaled, truncation_error(values, rank))


def _smaller_side(network: Network, bond: Label) -> tuple[Label, ...] | None:
    """The modes of the smaller one of the two parts that the network falls into without a bond; None if it does not."""
    parts: list[set[Label]] = []
    for labels in network.inputs:
        part = set(labels) - {bond}
        joined = [other for other in parts if other & part]
        parts = [other for other in parts if other not in joined] + [part.union(*joined)]
    sides = [tuple(sorted(label for label in part if label < network.n_modes)) for part in parts]
    if len(sides) != 2 or not all(sides):
        return None
    return min(sides, key=lambda side: (network.size(side), side))


def draw_spectra(spectra: Sequence[Spectrum]) -> Figure:
    """Draw the singular values of each bond's unfolding, a panel each, with the rank that the bond has marked.

    What is kept is blue, what is lost orange.

    Parameters
    ----------
    spectra : sequence of Spectrum
        From :func:`bond_spectra`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.

    Examples
    --------
    >>> import tlinear
    >>> tensor = np.random.default_rng(0).standard_normal((4, 4, 2, 5))
    >>> figure = draw_spectra(bond_spectra(tensor, tlinear.decompose(tensor, "tucker", 2).tensor))
    >>> [axes.get_title() for axes in figure.axes]
    ['r1=2 at i1', 'r2=2 at i2', 'r3=2 at i3', 'r4=2 at i4']
    """
    columns = min(len(spectra), 4)
    rows = -(-len(spectra) // columns)
    figure = new_figure(2.7 * columns + 0.4, 2.4 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, spectrum in zip(panels, spectra, strict=False):
        _draw_one(axes, spectrum)
    for axes in panels[len(spectra) :]:
        axes.remove()
    for axes in panels[: len(spectra) : columns]:
        axes.set_ylabel("singular value / norm")
    return figure


def _draw_one(axes: Axes, spectrum: Spectrum) -> None:
    from matplotlib.ticker import MaxNLocator

    plain_axes(axes, f"{spectrum.symbol}={spectrum.rank} at {' '.join(spectrum.modes)}", "", "")
    rank, numbers = spectrum.rank, np.arange(1, spectrum.values.size + 1)
    width = 0.8 if spectrum.values.size <= 64 else 1.0
    axes.bar(numbers[:rank], spectrum.values[:rank], width=width, color=COLOURS[0])
    axes.bar(numbers[rank:], spectrum.values[rank:], width=width, color=COLOURS[1])
    axes.axvline(rank + 0.5, color="black", linewidth=1, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    lost = f"lost {spectrum.lost:.3f}"
    axes.text(0.97, 0.95, lost, ha="right", va="top", fontsize=8, transform=axes.transAxes, bbox=behind)
