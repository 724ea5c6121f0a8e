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
from tlinear.formats.fitted import Fitted
from tlinear.formats.protocol import Format
from tlinear.formats.tt import TTTensor
from tlinear.formats.tucker import TuckerTensor
from tlinear.ranks.rules import Rank

__all__ = [
    "FORMATS",
    "BlockTTTensor",
    "CPTensor",
    "DenseTensor",
    "FactorizedTensor",
    "Fitted",
    "Format",
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
    factorization: str | type[FactorizedTensor],
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    rank: Any,
    *,
    n_layers: int = 1,
    in_features: int | None = None,
    out_features: int | None = None,
    max_rank: Any = None,
    fixed_modes: Sequence[int] = (),
) -> Rank:
    r"""The ranks that a factorization of this shape gets for `rank`.

    ==================  ================================================================================
    `rank`              meaning
    ==================  ================================================================================
    int                 this rank in every bond, capped at the largest useful one
    tuple of int        these ranks, with or without the 1s at the ends of TT and BlockTT
    float in (0, 1]     a budget: at most this fraction of the dense parameters, every array counted
    ``'same'``          the budget 1.0
    None                the default of a layer: the budget 0.1, or the smallest feasible one where that is more
    ==================  ================================================================================

    So 1 is rank one and 1.0 the whole budget.  NumPy scalars mean what Python numbers mean.

    A rank R is useful up to :math:`\min_j \prod_{i \ne j} |A_i| / R` over the operands A that share
    it; beyond that, other operands of smaller rank give the same tensor.  For a budget the ranks
    start in proportion to each other (to the modes' sizes for Tucker, for TT and BlockTT to
    the geometric mean of the sizes on either side of a bond), and are raised by up to two each so that as
    much of the budget is used as possible; see :func:`tlinear.ranks.budget.fill_budget`.  These are laws:

    - the parameters never exceed the budget, and never decrease as it grows;
    - all ranks are useful, and resolving them again gives them again;
    - for CP and Tucker, permuting the modes permutes the ranks (of modes of equal size the earlier ones have the
      larger ranks), and ranks of modes of equal size differ by at most 1.

    Parameters
    ----------
    factorization : {'dense', 'cp', 'tucker', 'tt', 'blocktt'} or a format class
    in_shape, out_shape : sequence of int
        The sizes of the input and output modes.
    rank : int, tuple of int, float, 'same' or None
    n_layers : int
        How many matrices of this shape are kept in one tensor.  Above 1 there is one more mode, of
        this size and before all others, ``in_shape`` being then ``(n_layers, *in_shape)`` (and for BlockTT
        ``out_shape`` ``(1, *out_shape)``): Tucker has one rank more, and so have TT and BlockTT.
    in_features, out_features : int, optional
        The features that are real where the modes hold more; a budget is a fraction of
        ``n_layers * in_features * out_features``.
    max_rank : int, or for Tucker (int, int), optional
        No rank shall be larger; a pair limits the ranks of the input's and of the output's modes.
    fixed_modes : tuple of int
        For Tucker: the axes of ``(*in_shape, *out_shape)`` that keep their full size as rank, also where `max_rank`
        is less.

    Returns
    -------
    int, tuple of int, or None
        R for CP; d ints for Tucker; the ints with 1 at both ends for TT and BlockTT; None for dense.

    Raises
    ------
    RankError
        When `rank` is of another kind, or a tuple names a rank above the largest useful one.
    InfeasibleRankError
        When rank 1 already exceeds the budget; the message names the smallest feasible one.
    ShapeError
        When the shapes, features or number of layers are none.

    Examples
    --------
    >>> resolve_rank("cp", (4, 4), (2, 5), 0.5), resolve_rank("tucker", (4, 4), (2, 5), 0.5)
    (5, (3, 2, 1, 5))
    >>> resolve_rank("blocktt", (4, 4), (2, 5), 100)
    (1, 8, 1)
    >>> resolve_rank("tucker", (4, 4), (2, 5), 0.6, fixed_modes=(0,), max_rank=(4, 3))
    (4, 2, 2, 3)
    """
    cls = find_format(factorization)
    return cls.resolve_rank(
        in_shape,
        out_shape,
        rank,
        n_layers=n_layers,
        in_features=in_features,
        out_features=out_features,
        max_rank=max_rank,
        fixed_modes=fixed_modes,
    )
