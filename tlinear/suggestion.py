"""Which modes a layer should get: the candidate shapes, ranked by parameters, FLOPs or actual error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import permutations
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from tlinear.algorithms.report import relative_error
from tlinear.algorithms.scaling import exponent_of, times_power_of_two
from tlinear.arrays import Array, check_finite, compute_dtype, to_inexact
from tlinear.balanced import MOST
from tlinear.candidates import candidates, explore, explore_by_search, explore_in_order
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.search import plan
from tlinear.conversion import factorize
from tlinear.decomposition.baseline import is_quick, singular_values, truncation_error
from tlinear.errors import InfeasibleRankError, OptionError, RankError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.formats.rank_rules import rank_rules
from tlinear.least_cost import Bound, LeastCost
from tlinear.linear import Linear
from tlinear.ranks.resolve import resolve_bonds
from tlinear.ranks.rules import Bonds, Rank
from tlinear.shapes import as_batch_size, is_integer, tensorize_shape
from tlinear.tensorization import Shape, Shapes, Tensorization

__all__ = ["Criterion", "Suggestion", "suggest_shapes"]

Criterion: TypeAlias = Literal["error", "parameters", "flops"]
SortKey: TypeAlias = Callable[["Suggestion"], tuple[float, ...]]

_PATIENCE = 64
"""How many times as long the singular values may take here, beside decompositions, as where nobody has asked."""
_DECIMALS = 4
"""Of the errors that are printed and compared."""


@dataclass(frozen=True)
class Suggestion:
    """A shape for a layer, and what the layer would cost.

    Attributes
    ----------
    factorization : str or a format class
        As it was given.
    in_features, out_features : int
        Of the layer; fewer than the products of the modes where these are padded.
    in_tensorized_features, out_tensorized_features : tuple of int
        The sizes of the modes.
    rank : int, tuple of int, or None
        In the format's own form.
    n_parameters : int
        Of the weight; the bias is not counted.
    flops : int
        Real floating-point operations of one forward call with ``implementation="factorized"``.
    relative_error : float or None
        ``|W - W'| / |W|`` in the Frobenius norm, W' being the layer's dense weight without its padding.
    matrix_error : float or None
        That of the best plain low-rank matrix with no more parameters; None without a weight, or one so large
        that its singular values would take longer than the decompositions.
    """

    factorization: str | type[FactorizedTensor]
    in_features: int
    out_features: int
    in_tensorized_features: tuple[int, ...]
    out_tensorized_features: tuple[int, ...]
    rank: Rank
    n_parameters: int
    flops: int
    relative_error: float | None = None
    matrix_error: float | None = None

    @property
    def compression(self) -> float:
        """``in_features * out_features`` divided by the parameters."""
        return self.in_features * self.out_features / self.n_parameters

    @property
    def padding(self) -> float:
        """How many more entries than the dense weight the factorized tensor has, as a fraction of the former."""
        dense = self.in_features * self.out_features
        return (math.prod(self.in_tensorized_features + self.out_tensorized_features) - dense) / dense

    def __repr__(self) -> str:
        error = "" if self.relative_error is None else f"error={self.relative_error:.{_DECIMALS}f}, "
        error += "" if self.matrix_error is None else f"matrix={self.matrix_error:.{_DECIMALS}f}, "
        count = f"parameters={self.n_parameters:>9,} ({self.compression:8.2f}x), flops={self.flops:>11,}"
        padding = f", padding={self.padding:.2%}" if self.padding else ""
        rank = "" if self.rank is None else f", rank={self.rank}"
        modes = f"in={self.in_tensorized_features}, out={self.out_tensorized_features}"
        return f"Suggestion({error}{count}, {modes}{padding}{rank})"


def suggest_shapes(
    in_features: int,
    out_features: int,
    *,
    factorization: str | type[FactorizedTensor],
    rank: Any = None,
    most_modes: int = 3,
    pad: bool | float = False,
    weight: ArrayLike | None = None,
    batch_size: int = 1,
    sort_by: Criterion | None = None,
    limit: int | None = 16,
    tensorization: Tensorization = "balanced",
    decomposition_options: Mapping[str, Any] | None = None,
) -> tuple[Suggestion, ...]:
    """The shapes that a layer's weight could be factorized in, the best first.

    Candidates are all pairs of numbers of modes, from one to `most_modes` on either side, with up to three
    exact factorizations of each side, the most balanced ones as :func:`tlinear.tensorize_shape` compares them, and
    the padded one where `pad` allows it; each in ascending and in descending order, and of up to three modes in
    every order.  Those that exceed the budget even with rank 1 are left out.

    Without a weight all candidates are compared, of which only those are planned whose bounds say that they may be
    listed; `limit` None plans all of them, which takes seconds.  Where two have the same modes in another order, and
    nothing tells them apart, as in CP and Tucker, or neither parameters nor FLOPs do, one is listed.

    With a weight, `limit` of the candidates are decomposed, and these are listed: first of every pair of numbers of
    modes, those of fewer modes before others, the most balanced shapes in ascending order; then, of the pair whose
    shape was the best of these, all others, the more balanced ones first; then those of the next pair.
    Order matters now in every format: ``(4, 8)`` and ``(8, 4)`` split a row-major index differently.

    More modes are not better by themselves.  At equal parameters the least error of a trained weight is
    often that of one mode on each side, which is among the candidates: TT and CP are then the truncated singular
    value decomposition of the matrix.  (BlockTT of one pair of modes is the dense matrix, above any budget below 1.)
    So the error of the best matrix of as many parameters stands beside each.  Nor is the error everything: it weighs
    all entries alike, and does not say what the layer can learn.

    Parameters
    ----------
    in_features, out_features : int
    factorization : {'cp', 'tucker', 'tt', 'blocktt', 'dense'} or a format class
    rank : int, float in (0, 1], or 'same', optional
        See :func:`tlinear.resolve_rank`; a budget is a fraction of ``in_features * out_features``, by default a tenth.
    most_modes : int
        The largest number of modes of a side; the number of candidates grows with its square.
    pad : bool or float
        How many more features than the layer's the modes of each side may hold, see :func:`tlinear.tensorize_shape`.
    weight : array of shape (out_features, in_features), optional
        A trained weight.  CP is slow at ranks in the hundreds: lower `rank`, `limit` or, an option, `max_iterations`.
    batch_size : int
        The number of samples that the FLOPs are counted for.
    sort_by : {'error', 'parameters', 'flops'}, optional
        What is to be small first; the others break ties, in this order.  Errors that agree in the four decimals
        that are printed are a tie.  By default the error where there is a weight, else the parameters where `rank`
        is an int, and the FLOPs where it is a budget, which nearly all candidates nearly use up.
    limit : int or None
        How many suggestions to list at most, and with a weight how many shapes to decompose.  None is all of them,
        which may be hundreds.
    tensorization : {'balanced', 'search'}
        With a weight: which shapes are decomposed after the first of every pair of numbers of modes: the most balanced
        ones, or those that lead from the best of these to less error; see :func:`~tlinear.tensorization.search_shapes`.
    decomposition_options : dict, optional
        Passed to :func:`tlinear.decompose`.  A shape that it refuses with a :class:`RankError`, such as one without
        the `fixed_modes`, is left out.

    Returns
    -------
    tuple of Suggestion
        At least one.  Printed one a line, they are a table.

    Raises
    ------
    ShapeError
        When the features, `most_modes`, `pad` or `batch_size` are none, or the weight has another shape.
    RankError
        When `rank` is of another kind; a tuple belongs to one shape.
    InfeasibleRankError
        When no candidate keeps the budget; the message names the smallest feasible one.
    NonFiniteError
        When an entry of the weight is NaN or infinite.
    FactorizationError, OptionError
        When the respective argument is none of the above.

    Examples
    --------
    >>> print(*suggest_shapes(16, 10, factorization="tt", rank=2, limit=2), sep="\\n")
    Suggestion(parameters=       42 (    3.81x), flops=        136, in=(8, 2), out=(2, 5), rank=(1, 2, 2, 2, 1))
    Suggestion(parameters=       42 (    3.81x), flops=        152, in=(4, 4), out=(2, 5), rank=(1, 2, 2, 2, 1))

    Of a Kronecker product, BlockTT finds the modes of the factors.  The suggestion is used as it is:

    >>> from tlinear import FactorizedLinear
    >>> rng = np.random.default_rng(0)
    >>> linear = Linear.from_arrays(np.kron(rng.standard_normal((2, 6)), rng.standard_normal((5, 2))))
    >>> best = suggest_shapes(12, 10, factorization="blocktt", rank=1, weight=linear.weight)[0]
    >>> shape = best.in_tensorized_features, best.out_tensorized_features
    >>> FactorizedLinear.from_linear(linear, in_tensorized_features=shape[0], out_tensorized_features=shape[1],
    ...                              factorization=best.factorization, rank=best.rank).weight
    BlockTTTensor(in=(6, 2), out=(2, 5), rank=(1, 1, 1), parameters=22 of 120, float64)
    """
    for name, n in (("in_features", in_features), ("out_features", out_features), ("most_modes", most_modes)):
        if not is_integer(n) or n < 1:
            raise ShapeError(f"{name}={n!r} is not a positive integer. Pass one, such as 768 features or 3 modes.")
    for name, n in (("in_features", in_features), ("out_features", out_features)):
        if n > MOST:
            raise ShapeError(f"{name}={n} is more than {MOST}, up to which shapes are searched for. Pass fewer.")
    if limit is not None and (not is_integer(limit) or limit < 1):
        raise OptionError(f"limit={limit!r} is not a number of suggestions. Pass an int >= 1, or None for all.")
    if weight is None and decomposition_options is not None:
        raise OptionError("decomposition_options are given, but no weight to decompose. Pass weight=linear.weight.")
    if tensorization not in get_args(Tensorization):
        raise OptionError(f"tensorization={tensorization!r} is not known. Choose 'balanced' or 'search'.")
    if tensorization == "search" and weight is None:
        raise OptionError("tensorization='search', but there is no weight to try shapes on. Pass weight=linear.weight.")
    tensorize_shape(1, 1, pad=pad)  # refuses a pad that is none
    matrix = None if weight is None else _matrix(weight, in_features, out_features)
    key = _sort_key(sort_by, matrix is not None, rank)
    features = int(in_features), int(out_features)
    n_samples = as_batch_size(batch_size)
    search = _Search(factorization, *features, rank, pad, n_samples, matrix, decomposition_options)
    search.check_rank()
    ordered = matrix is not None or not _modes_are_alike(search.cls)
    groups = candidates(features, most_modes, pad, ordered=ordered)
    refused: dict[Shapes, RankError] = {}
    if matrix is None:
        everything = [shapes for group in groups for shapes in group]
        found = _cheapest(search, everything, refused, key, limit)
    else:
        visit = explore if tensorization == "balanced" else explore_by_search
        found = sorted(visit(groups, search.suggestion, refused, key, limit), key=key)[:limit]
    if not found:
        raise _none_left(search, refused)
    return tuple(found)


@dataclass(frozen=True)
class _Search:
    """A layer, or a matrix to be one, whose shape is to be found."""

    factorization: str | type[FactorizedTensor]
    in_features: int
    out_features: int
    rank: Any
    pad: bool | float
    batch_size: int
    matrix: Array | None
    options: Mapping[str, Any] | None

    @property
    def cls(self) -> type[FactorizedTensor]:
        return find_format(self.factorization)

    def check_rank(self) -> None:
        """Raise :class:`RankError` for what is no rank, whatever the shape."""
        if isinstance(self.rank, (tuple, list, np.ndarray)):
            raise RankError(
                f"rank={self.rank!r} belongs to one shape, but many are compared. Pass an int, or a budget such as 0.1."
            )
        with suppress(InfeasibleRankError):
            self._bonds((self.in_features,), (self.out_features,))

    def suggestion(self, in_shape: Shape, out_shape: Shape) -> Suggestion:
        """What the layer of this shape costs, and keeps of the matrix where there is one."""
        if self.matrix is None:
            dtype, bonds, error = np.dtype(np.float64), self._bonds(in_shape, out_shape), None
        else:
            dtype, bonds, error = compute_dtype(self.matrix.dtype), *self._fit(self.matrix, in_shape, out_shape)
        network, rank = self.cls.network_for(in_shape, out_shape, bonds), self.cls.rank_of_bonds(bonds)
        planned = plan(network.with_input(), PlanOptions("factorized"), batch_size=self.batch_size, dtype=dtype)
        layer = self.factorization, self.in_features, self.out_features
        n, values = network.n_parameters, self.singular_values
        matrix_error = None if values is None else truncation_error(values, n // (self.in_features + self.out_features))
        return Suggestion(*layer, in_shape, out_shape, rank, n, planned.flops, error, matrix_error)

    @cached_property
    def singular_values(self) -> Array | None:
        """Of the matrix, where there is one that is not too large."""
        small = self.matrix is not None and is_quick(self.matrix.shape, _PATIENCE)
        return singular_values(self.matrix) if small and self.matrix is not None else None

    def _bonds(self, in_shape: Shape, out_shape: Shape) -> Bonds:
        dense = self.in_features * self.out_features
        return resolve_bonds(rank_rules(self.cls, in_shape, out_shape, dense_parameters=dense), self.rank)

    def _fit(self, matrix: Array, in_shape: Shape, out_shape: Shape) -> tuple[Bonds, float]:
        """The bonds of the layer made of the matrix, and its relative error without the padding."""
        shapes, n_modes = (in_shape, out_shape), (len(in_shape), len(out_shape))
        result = factorize(
            Linear.from_arrays(matrix),
            shapes,
            n_modes,
            self.pad,
            None,
            factorization=self.cls,
            rank=self.rank,
            options=self.options,
        )
        weight = result.tensor
        wide, exponent = np.result_type(matrix.dtype, np.float64), exponent_of(matrix)
        compressed = weight.astype(wide).to_matrix()[: self.out_features, : self.in_features]
        error = relative_error(*(times_power_of_two(array, -exponent, wide) for array in (matrix, compressed)))
        return weight.bonds, error


def _cheapest(
    search: _Search, everything: Sequence[Shapes], refused: dict[Shapes, RankError], key: SortKey, limit: int | None
) -> list[Suggestion]:
    """The first suggestions of all, of which only those are planned that may be among them.

    Of those that nothing tells apart but the order of their modes one is taken.
    """
    layer = search.factorization, search.in_features, search.out_features
    least = LeastCost(search.cls, search.in_features * search.out_features, search.rank, search.batch_size)

    def keys(cost: Bound, some: Sequence[Shapes]) -> list[tuple[float, ...] | None]:
        costs = zip(some, cost(some, refused), strict=True)
        return [None if n is None else key(Suggestion(*layer, *shapes, None, *n)) for shapes, n in costs]

    taken: dict[Any, Suggestion] = {}
    bounds = [partial(keys, least.quickly), partial(keys, least.closely)]
    for suggestion in explore_in_order(everything, bounds, search.suggestion, key):
        sides = suggestion.in_tensorized_features, suggestion.out_tensorized_features
        looks = *(tuple(sorted(side)) for side in sides), suggestion.n_parameters, suggestion.flops
        taken.setdefault(looks, suggestion)
        if len(taken) == limit:
            break
    return list(taken.values())


@cache
def _modes_are_alike(cls: type[FactorizedTensor]) -> bool:
    """Whether the modes of a side can change places, and their ranks with them, without a change of any count.

    In CP and Tucker they can.  A small tensor tells, whose operands have the same numbers of entries, as monomials
    in the bonds, but for the bonds' names; the modes are distinct primes, and factors of the coefficients.
    """

    def operands(in_shape: Shape, names: Sequence[int]) -> list[tuple[int, list[int]]]:
        rules = rank_rules(cls, in_shape, (5, 7))
        return sorted((entries, sorted(names[bond] for bond in bonds)) for entries, bonds in rules.operands)

    names = range(len(cls.bond_labels(2, 2)))
    return any(operands((2, 3), names) == operands((3, 2), renamed) for renamed in permutations(names))


def _sort_key(sort_by: Criterion | None, has_weight: bool, rank: Any) -> SortKey:
    if sort_by is None:
        sort_by = "error" if has_weight else "parameters" if is_integer(rank) else "flops"
    if sort_by not in get_args(Criterion):
        raise OptionError(f"sort_by={sort_by!r} is not known. Choose one of {', '.join(get_args(Criterion))}.")
    if sort_by == "error" and not has_weight:
        raise OptionError("sort_by='error', but there is no weight to decompose. Pass weight=linear.weight.")

    def key(s: Suggestion) -> tuple[float, ...]:
        error = 0.0 if s.relative_error is None else round(s.relative_error, _DECIMALS)
        values = {"error": error, "parameters": s.n_parameters, "flops": s.flops}
        return values.pop(sort_by), *values.values()

    return key


def _matrix(weight: ArrayLike, in_features: int, out_features: int) -> Array:
    matrix = to_inexact(weight, "weight")
    if matrix.shape != (out_features, in_features):
        wanted = f"(out_features, in_features) = ({out_features}, {in_features})"
        remedy = "its transpose" if matrix.shape == (in_features, out_features) else "the features that it has"
        raise ShapeError(f"weight has shape {matrix.shape}, but must be {wanted}. Pass {remedy}.")
    check_finite(matrix, "weight")
    return matrix


def _none_left(search: _Search, refused: Mapping[Shapes, RankError]) -> RankError:
    """Why every candidate was refused: the reason of the one that has the fewest parameters at rank 1."""

    def least(candidate: Shapes) -> int:
        ones = (1,) * len(search.cls.bond_labels(*map(len, candidate)))
        return search.cls.network_for(*candidate, ones).n_parameters

    smallest = min(refused, key=least)
    return type(refused[smallest])(
        f"None of {len(refused)} shapes for {search.in_features} -> {search.out_features} features is possible. The "
        f"smallest is in={smallest[0]}, out={smallest[1]}: {refused[smallest]} Other shapes: raise most_modes or pad."
    )
