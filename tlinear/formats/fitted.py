"""What the algorithm of a format returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tlinear.algorithms.report import Report
from tlinear.arrays import Array
from tlinear.errors import FactorizationError

__all__ = ["Fitted"]


@dataclass(frozen=True)
class Fitted:
    """Operands whose reconstruction is close to a tensor, which of them carries its norm, and how they were found.

    Attributes
    ----------
    operands : dict of str to array
        By the names that the format's ``labels`` have, in any order.
    carrier : str
        The operand that carries the norm and is given the scale of the data.  Where the report says that the result is
        an orthogonal projection, all others are isometries.
    report : Report

    Raises
    ------
    FactorizationError
        When the carrier is none of the operands.

    Examples
    --------
    >>> import numpy as np
    >>> Fitted({"core": np.ones((1, 1)), "factors.0": np.ones((2, 1)), "factors.1": np.ones((3, 1))}, "core").carrier
    'core'
    """

    operands: Mapping[str, Array]
    carrier: str
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        if self.carrier not in self.operands:
            raise FactorizationError(
                f"carrier={self.carrier!r} is none of the operands {list(self.operands)}. Name the one that carries "
                "the norm of the tensor."
            )
