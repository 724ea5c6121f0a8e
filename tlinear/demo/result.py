"""What a run of the demo measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tlinear.demo.settings import Settings
from tlinear.ranks.rules import Rank

__all__ = ["Accuracy", "Fit", "Infeasible", "Result", "Row"]


@dataclass(frozen=True)
class Accuracy:
    """The fraction of the test images that is classified correctly, before and after fine-tuning."""

    before: float
    after: float


@dataclass(frozen=True)
class Fit:
    """How a factorized layer came out of the dense one.

    Attributes
    ----------
    asked : int or float
        The rank or budget that was asked for.
    rank : int, tuple of int, or None
        The rank that it gave.
    relative_error : float
        Of the weight, before fine-tuning.
    converged : bool
        Whether the decomposition did.
    implementation : {'factorized', 'reconstructed'}
        What ``implementation='auto'`` chose for the batch that was timed.
    """

    asked: int | float
    rank: Rank
    relative_error: float
    converged: bool
    implementation: Literal["factorized", "reconstructed"]


@dataclass(frozen=True)
class Row:
    """What was measured of one hidden layer, and of the network with it.

    Attributes
    ----------
    label : str
        The format's, or ``"dense"``.
    fit : Fit or None
        None for the dense layer.
    n_parameters : int
        Of the layer, with its bias.
    compression : float
        The dense layer's parameters over this one's.
    accuracy : Accuracy
    seconds : float
        The median of the layer's forward pass.
    time_ratio : float
        Of that to the dense layer's.
    """

    label: str
    fit: Fit | None
    n_parameters: int
    compression: float
    accuracy: Accuracy
    seconds: float
    time_ratio: float


@dataclass(frozen=True)
class Infeasible:
    """A budget that a format cannot meet, and why."""

    label: str
    asked: int | float
    reason: str


@dataclass(frozen=True)
class Result:
    """Every row, and what it takes to read them.

    Attributes
    ----------
    settings : Settings
    source : str
        Where the images come from.
    n_train, n_test, n_pixels, n_classes : int
        The size of the data.
    dtype : str
        Of the images and of every layer.
    n_timed : int
        The number of images in the batch that was timed.
    rows : tuple of Row and Infeasible
        The dense layer first.
    without_layer : Accuracy
        Of the network with the hidden layer left out: what the layer is worth at all.
    blas : str
        The BLAS and its threads.
    seconds : float
        The whole run.
    """

    settings: Settings
    source: str
    n_train: int
    n_test: int
    n_pixels: int
    n_classes: int
    dtype: str
    n_timed: int
    rows: tuple[Row | Infeasible, ...]
    without_layer: Accuracy
    blas: str
    seconds: float

    @property
    def measured(self) -> tuple[Row, ...]:
        """The rows of the budgets that could be met."""
        return tuple(row for row in self.rows if isinstance(row, Row))
