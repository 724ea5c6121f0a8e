"""The factorizations: one file each, all behind the protocol of :class:`FactorizedTensor`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tlinear.errors import FactorizationError
from tlinear.formats.base import FactorizedTensor
from tlinear.formats.blocktt import BlockTTTensor
from tlinear.formats.cp import CPTensor
from tlinear.formats.dense import DenseTensor
from tlinear.formats.tt import TTTensor
from tlinear.formats.tucker import TuckerTensor
from tlinear.ranks import Rank
from tlinear.shapes import as_shape

__all__ = [
    "FORMATS",
    "BlockTTTensor",
    "CPTensor",
    "DenseTensor",
    "FactorizedTensor",
    "TTTensor",
    "TuckerTensor",
    "find_format",
    "resolve_rank",
]

FORMATS: Mapping[str, type[FactorizedTensor]] = MappingProxyType(
    {cls.factorization: cls for cls in (DenseTensor, CPTensor, TuckerTensor, TTTensor, BlockTTTensor)}
)


def find_format(factorization: str | type[FactorizedTensor]) -> type[FactorizedTensor]:
    """The class of a factorization, by its name in any case, or the class itself.

    Raises
    ------
    FactorizationError
        When there is none of that name; the message lists those there are.

    Examples
    --------
    >>> find_format("Tucker").__name__
    'TuckerTensor'
    """
    if isinstance(factorization, type) and issubclass(factorization, FactorizedTensor):
        return factorization
    if isinstance(factorization, str) and factorization.lower() in FORMATS:
        return FORMATS[factorization.lower()]
    near = difflib.get_close_matches(str(factorization).lower(), FORMATS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise FactorizationError(
        f"factorization={factorization!r} is not known. Choose one of {', '.join(map(repr, FORMATS))}, "
        f"or pass a subclass of FactorizedTensor.{hint}"
    )


def resolve_rank(
    factorization: str | type[FactorizedTensor], in_shape: Sequence[int], out_shape: Sequence[int], rank: Any
) -> Rank:
    """The ranks that a factorization of this shape gets for `rank`.

    Parameters
    ----------
    factorization : {'dense', 'cp', 'tucker', 'tt', 'blocktt'} or a format class
    in_shape, out_shape : sequence of int
        The sizes of the input and output modes.
    rank : int, tuple of int, float or 'same'
        An int is that rank in every bond, capped at the largest useful one.  A tuple is taken as
        given.  A float in (0, 1] is the largest fraction of the dense parameters to use, every
        array counted; ``'same'`` is 1.0.  So 1 is rank one and 1.0 is the whole budget.

    Returns
    -------
    int, tuple of int, or None
        R for CP; d ints for Tucker; the ints with 1 at both ends for TT and BlockTT; None for dense.

    Raises
    ------
    RankError
        When `rank` is of another kind, or a tuple names a rank above the largest useful one.
    InfeasibleRankError
        When rank 1 already exceeds the budget.

    Examples
    --------
    >>> resolve_rank("cp", (4, 4), (2, 5), 0.5), resolve_rank("tucker", (4, 4), (2, 5), 0.5)
    (5, (3, 3, 1, 3))
    >>> resolve_rank("blocktt", (4, 4), (2, 5), 100)
    (1, 8, 1)
    """
    cls = find_format(factorization)
    return cls.resolve_rank(as_shape(in_shape, "in_shape"), as_shape(out_shape, "out_shape"), rank)
