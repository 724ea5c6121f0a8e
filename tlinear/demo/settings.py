"""What a run of the demo is asked for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tlinear.decomposition import Allocation
from tlinear.errors import InfeasibleRankError, OptionError
from tlinear.formats import resolve_rank
from tlinear.shapes import tensorize_shape

__all__ = ["QUICK", "Settings"]


@dataclass(frozen=True)
class Settings:
    """The data, the network, its training, and the ranks to compress to.

    The same settings serve every format.

    Attributes
    ----------
    data : str
        One of :data:`tlinear.demo.data.SOURCES`.
    seed : int
        Decides the split of the data, the initial network and the order of the batches.
    hidden : int
        The features on both sides of the hidden layer that is compressed; a product of two numbers >= 2.
    ranks : tuple of int or float
        As for :func:`tlinear.resolve_rank`: an int is a rank, a float a fraction of the dense parameters.
    allocation : {'proportional', 'spectrum'}
        How such a fraction is shared among the ranks, as for :func:`tlinear.decompose`.
    epochs, fine_tune_epochs : int
        Of the dense network, and of every network afterwards.
    batch_size : int
        Of the training.
    learning_rate, fine_tune_rate : float
        Of Adam, at the start of the training and of the fine-tuning.
    timed_batch : int
        How many test images the hidden layer is timed on, at most.
    timed_rounds : int
        How often.

    Raises
    ------
    OptionError, ShapeError, RankError
        When an attribute is none of the above.
    """

    data: str = "digits"
    seed: int = 0
    hidden: int = 256
    ranks: tuple[int | float, ...] = (0.02, 0.05, 0.2)
    allocation: Allocation = "proportional"
    epochs: int = 20
    fine_tune_epochs: int = 5
    batch_size: int = 100
    learning_rate: float = 3e-3
    fine_tune_rate: float = 3e-3
    timed_batch: int = 256
    timed_rounds: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"seed={self.seed} must be at least 0 and below 2**32.")
        least = {"epochs": 1, "fine_tune_epochs": 0, "batch_size": 1, "timed_batch": 1, "timed_rounds": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise OptionError(f"{name}={getattr(self, name)} must be at least {bound}.")
        modes = tensorize_shape(self.hidden, 2)
        for rank in self.ranks:
            # a budget that a format cannot meet is a row of the table
            with suppress(InfeasibleRankError):
                resolve_rank("cp", modes, modes, rank)


QUICK = Settings(hidden=64, ranks=(0.05, 0.2), epochs=4, fine_tune_epochs=2, timed_rounds=5)
"""A few seconds, to see that everything works."""
