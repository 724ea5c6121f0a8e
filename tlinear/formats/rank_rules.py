"""From the network that a format states to what it says about its ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Protocol

from tlinear.contraction.network import Labels
from tlinear.errors import RankError, ShapeError
from tlinear.ranks.rules import Bonds, Monomial, Rank, RankRules
from tlinear.shapes import format_shape, is_integer

__all__ = ["StatesRanks", "check_n_layers", "rank_rules"]


class StatesRanks(Protocol):
    """What a format says that its ranks depend on; see :class:`tlinear.formats.base.FactorizedTensor`."""

    factorization: ClassVar[str]
    one_rank_a_mode: ClassVar[bool]

    @classmethod
    def labels(cls, n_in: int, n_out: int) -> dict[str, Labels]: ...
    @classmethod
    def bond_labels(cls, n_in: int, n_out: int) -> Labels: ...
    @classmethod
    def unit_labels(cls, n_in: int, n_out: int) -> Labels: ...
    @classmethod
    def bond_scale(cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Sequence[float]: ...
    @classmethod
    def rank_of_bonds(cls, bonds: Bonds) -> Rank: ...
    @classmethod
    def joint_shapes(
        cls, n_layers: int, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]: ...


def rank_rules(
    cls: type[StatesRanks],
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    *,
    n_layers: int = 1,
    dense_parameters: int | None = None,
    max_rank: Any = None,
    fixed_modes: Sequence[int] = (),
) -> RankRules:
    """The ranks that tensors of a format and a shape can have; for the arguments see :func:`tlinear.resolve_rank`."""
    n_layers = check_n_layers(n_layers)
    shapes = (in_shape, out_shape) if n_layers == 1 else cls.joint_shapes(n_layers, in_shape, out_shape)
    n_in, n_out = map(len, shapes)
    sizes = dict(enumerate((*shapes[0], *shapes[1]))) | dict.fromkeys(cls.unit_labels(n_in, n_out), 1)
    bond_of = {label: bond for bond, label in enumerate(cls.bond_labels(n_in, n_out))}
    operands: list[Monomial] = []
    for labels in cls.labels(n_in, n_out).values():
        coefficient = math.prod(sizes[label] for label in labels if label not in bond_of)
        operands.append((coefficient, tuple(bond_of[label] for label in labels if label in bond_of)))
    shape = tuple(sizes[k] for k in range(n_in + n_out))
    n_extra = 0 if n_layers == 1 else 1
    fixed = tuple(mode + n_extra for mode in _fixed_modes(cls, fixed_modes, len(in_shape) + len(out_shape)))
    most = [math.prod(shape)] * len(bond_of)
    if max_rank is not None:
        limits = _limits(cls, max_rank, (len(in_shape), len(out_shape)), most)
        most = [min(pair) for pair in zip(most, limits, strict=True)]
    for bond in fixed:
        most[bond] = shape[bond]
    rules = RankRules(
        factorization=cls.factorization,
        shape=shape,
        dense_parameters=math.prod(shape) if dense_parameters is None else dense_parameters,
        operands=tuple(operands),
        scale=_scale(cls, shapes),
        form=cls.rank_of_bonds,
        most=tuple(most),
        fixed=fixed,
        n_joint=n_extra,
    )
    or_raise = "" if max_rank is None else ", or raise max_rank"
    for bond in fixed:
        if rules.largest[bond] < shape[bond]:
            raise RankError(
                f"fixed_modes={tuple(fixed_modes)}: mode {bond - n_extra} of size {shape[bond]} cannot be kept at full "
                f"size, since the other ranks of a tensor of shape {format_shape(shape)} allow it no more than "
                f"{rules.largest[bond]}. Leave it out of fixed_modes{or_raise}."
            )
    return rules


def _scale(cls: type[StatesRanks], shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, ...]:
    """What the bonds are kept proportional to, as far as floating-point numbers go."""
    try:
        scale = tuple(float(s) for s in cls.bond_scale(*shapes))
    except OverflowError:
        scale = (math.inf,)
    if not all(0.0 < s < math.inf for s in scale):
        largest = max((*shapes[0], *shapes[1]))
        raise ShapeError(
            f"A mode of size {Decimal(largest):.2E} is too large for ranks in proportion to it. Choose smaller modes."
        )
    return scale


def check_n_layers(n_layers: int) -> int:
    """How many layers share one tensor, as a Python int."""
    if not is_integer(n_layers) or n_layers < 1:
        raise ShapeError(f"n_layers={n_layers!r} is not a number of layers. Pass an integer >= 1.")
    return int(n_layers)


def _fixed_modes(cls: type[StatesRanks], modes: Sequence[int], n_modes: int) -> Bonds:
    if not isinstance(modes, (tuple, list, range)) or not all(is_integer(m) and 0 <= m < n_modes for m in modes):
        raise RankError(f"fixed_modes={modes!r} must be a tuple of modes, named by their axes, 0 to {n_modes - 1}.")
    if modes and not cls.one_rank_a_mode:
        raise RankError(
            f"fixed_modes={modes!r}: a {cls.factorization} tensor has no rank of its own for each mode. "
            "Fix modes of a Tucker tensor, or pass the rank itself."
        )
    return tuple(sorted({int(mode) for mode in modes}))


def _limits(cls: type[StatesRanks], max_rank: Any, n_modes: tuple[int, int], most: list[int]) -> list[int]:
    """`max_rank` for each bond: the same for all, or one for the input's modes and one for the output's."""
    if is_integer(max_rank) and max_rank >= 1:
        return [int(max_rank)] * len(most)
    n_in, n_out = n_modes
    is_pair = isinstance(max_rank, (tuple, list)) and len(max_rank) == 2
    if cls.one_rank_a_mode and is_pair and all(is_integer(limit) and limit >= 1 for limit in max_rank):
        if n_out == 0:
            raise RankError(f"max_rank={max_rank!r} is for the modes of two sides. Pass n_in, which splits them.")
        return most[: len(most) - n_in - n_out] + [int(max_rank[0])] * n_in + [int(max_rank[1])] * n_out
    pair = ", or a pair of them for the input's and the output's modes" if cls.one_rank_a_mode else ""
    raise RankError(f"max_rank={max_rank!r} must be an int >= 1 for a {cls.factorization} tensor{pair}.")
