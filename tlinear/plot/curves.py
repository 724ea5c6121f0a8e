"""Error over parameters: what a weight keeps in which format, shape and rank."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from tlinear.arrays import Array, to_inexact
from tlinear.decomposition import Decomposition, decompose
from tlinear.errors import InfeasibleRankError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.plot.canvas import COLOURS, count_on_log_scale, new_figure, plain_axes
from tlinear.shapes import tensorize_shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LOW_RANK", "Curve", "as_tensor", "draw_error_curves", "error_curves"]

LOW_RANK = "low-rank matrix"
_MARKERS = "osD^vP*X"
_FORMATS = ("cp", "tucker", "tt", "blocktt")
_BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Curve:
    """What became of a weight at several ranks, in one format and shape.

    Attributes
    ----------
    label : str
    decompositions : tuple of Decomposition
        As :func:`tlinear.decompose` returned them, the fewest parameters first.
    """

    label: str
    decompositions: tuple[Decomposition, ...]


def error_curves(
    weight: ArrayLike,
    *,
    factorizations: Iterable[str | type[FactorizedTensor]] = _FORMATS,
    ranks: Iterable[Any] = _BUDGETS,
    shapes: Sequence[tuple[Sequence[int], Sequence[int]]] | None = None,
    calibration: Any = None,
    low_rank: bool = True,
    **options: Any,
) -> tuple[Curve, ...]:
    """Decompose a weight in every format, shape and rank.

    Parameters
    ----------
    weight : array of shape (out_features, in_features)
    factorizations : iterable of str or format classes
    ranks : iterable
        Budgets, ints or whatever :func:`tlinear.resolve_rank` takes; a budget that is too small for rank 1 is left out.
    shapes : sequence of (in_shape, out_shape), optional
        The balanced shape of two modes on each side unless given.
    calibration : array or Calibration, optional
        As for :func:`tlinear.decompose`.
    low_rank : bool
        Whether the plain low-rank matrix is among the curves: the TT of one mode on each side.
    **options
        Passed to :func:`tlinear.decompose`.

    Returns
    -------
    tuple of Curve

    Raises
    ------
    ShapeError
        When the weight is no matrix, or a shape does not hold its features.

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.random.default_rng(0).standard_normal((16, 16))
    >>> for curve in error_curves(weight, factorizations=["tt"], ranks=[0.2, 0.8]):
    ...     print(curve.label, [(d.rank, round(d.relative_error, 2)) for d in curve.decompositions])
    low-rank matrix [((1, 1, 1), 0.89), ((1, 6, 1), 0.47)]
    tt [((1, 2, 2, 2, 1), 0.86), ((1, 4, 5, 4, 1), 0.55)]
    """
    matrix, ranks = to_inexact(weight, "weight"), list(ranks)
    if matrix.ndim != 2:
        raise ShapeError(f"weight has shape {matrix.shape}, but must be (out_features, in_features).")
    n_out, n_in = matrix.shape
    if shapes is None:
        shapes = [(tensorize_shape(n_in, 2), tensorize_shape(n_out, 2))]
    wanted: list[tuple[str, Any, tuple[Sequence[int], Sequence[int]]]] = []
    if low_rank:
        wanted.append((LOW_RANK, "tt", ((n_in,), (n_out,))))
    for factorization in factorizations:
        name = find_format(factorization).factorization
        for in_shape, out_shape in shapes:
            modes = f" {_modes(in_shape)} to {_modes(out_shape)}" if len(shapes) > 1 else ""
            wanted.append((name + modes, factorization, (in_shape, out_shape)))
    return tuple(_curve(matrix, *one, ranks, calibration=calibration, **options) for one in wanted)


def as_tensor(weight: ArrayLike, in_shape: Sequence[int], out_shape: Sequence[int]) -> Array:
    """A weight ``(out_features, in_features)`` as the tensor ``(*in_shape, *out_shape)`` that is decomposed.

    Raises
    ------
    ShapeError
        When the weight is no matrix, or the modes do not hold its features.

    Examples
    --------
    >>> import numpy as np
    >>> as_tensor(np.ones((10, 16)), (4, 4), (2, 5)).shape
    (4, 4, 2, 5)
    """
    matrix = to_inexact(weight, "weight")
    wanted = math.prod(out_shape), math.prod(in_shape)
    if matrix.shape != wanted:
        raise ShapeError(
            f"weight has shape {matrix.shape}, but in={tuple(in_shape)} and out={tuple(out_shape)} hold {wanted}. Pass "
            "modes whose products are its features, the output's first axis first."
        )
    return matrix.T.reshape(*in_shape, *out_shape)


def _curve(
    matrix: Array,
    label: str,
    factorization: Any,
    shape: tuple[Sequence[int], Sequence[int]],
    ranks: Iterable[Any],
    **options: Any,
) -> Curve:
    in_shape, out_shape = shape
    tensor = as_tensor(matrix, in_shape, out_shape)
    found = []
    for rank in ranks:
        try:
            found.append(decompose(tensor, factorization, rank, n_in=len(in_shape), **options))
        except InfeasibleRankError:  # not even rank 1 is that small
            continue
    return Curve(label, tuple(sorted(found, key=lambda result: result.n_parameters)))


def _modes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def draw_error_curves(curves: Sequence[Curve]) -> Figure:
    """Draw the relative error over the number of parameters, and beside it that of the outputs, where there is one.

    Parameters
    ----------
    curves : sequence of Curve
        From :func:`error_curves`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.random.default_rng(0).standard_normal((16, 16))
    >>> figure = draw_error_curves(error_curves(weight, factorizations=["tt"], ranks=[0.2, 0.8]))
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['low-rank matrix', 'tt']
    """
    has_outputs = any(d.relative_output_error is not None for curve in curves for d in curve.decompositions)
    names = {"relative_error": "relative error of the weight"}
    names |= {"relative_output_error": "relative error of the outputs"} if has_outputs else {}
    figure = new_figure(5.2 * len(names), 4.2)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        _draw_panel(axes, curves, name, title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_panel(axes: Axes, curves: Sequence[Curve], name: str, title: str) -> None:
    plain_axes(axes, title, "parameters", "")
    for curve, colour, marker in zip(curves, cycle(COLOURS), cycle(_MARKERS), strict=False):
        points = [(d.n_parameters, getattr(d, name)) for d in curve.decompositions if getattr(d, name) is not None]
        plain = curve.label == LOW_RANK
        axes.plot(
            [n for n, _ in points],
            [error for _, error in points],
            color="black" if plain else colour,
            linestyle="--" if plain else "-",
            marker=marker,
            markersize=5,
            label=curve.label,
        )
    count_on_log_scale(axes)
    axes.set_ylim(bottom=0)
