"""Judge how shapes and ranks are resolved: by vectors, and on random arguments."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tlinear.errors import RankError, ShapeError
from tlinear.formats import FORMATS, find_format, resolve_rank
from tlinear.ranks.rules import Rank
from tlinear.shapes import tensorize_shape

__all__ = ["Comparison", "check_ranks", "check_shapes", "rank_vectors", "shape_vectors"]

Shape: TypeAlias = tuple[int, ...]
Vector: TypeAlias = dict[str, Any]

_MOST_SHOWN = 5
_SIDES = ((16,), (2, 3), (4, 4), (8, 8, 12), (12, 16, 16), (4, 8, 8, 4), (2, 7, 8, 8, 7, 4), (1, 5), (3, 1, 3))
_BUDGETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0)


@dataclass(frozen=True)
class Comparison:
    """What a function and the resolver differ in.

    Attributes
    ----------
    name : str
        Of the function.
    n_cases : int
    failures : tuple of str
        A line for each case in which they differ.
    """

    name: str
    n_cases: int
    failures: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.failures

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED in {len(self.failures)}, of which the first"
        return "\n  ".join([f"{self.name}: {self.n_cases} cases, {verdict}", *self.failures[:_MOST_SHOWN]])


# ------------------------------------------------------------------------------------------------------------ ranks


def rank_vectors(extra: int = 0, seed: int = 0) -> list[Vector]:
    """What ranks are resolved to: for every format, shape and kind of rank, and for some more at random.

    ``rank`` has one entry that says which kind it is: ``{"each": 3}``, ``{"list": [2, 3]}``, or ``{"budget": 0.5}``,
    for JSON does not tell 1 from 1.0.  ``resolved`` is null where no rank of the kind exists.
    """
    return [_resolved(*arguments) for arguments in [*_rank_arguments(), *_random_ranks(extra, seed)]]


def _rank_arguments() -> Iterator[tuple[str, Shape, Shape, Mapping[str, Any]]]:
    for name in FORMATS:
        if name == "dense":
            continue
        for k, in_shape in enumerate(_SIDES):
            out_shape = _SIDES[(3 * k + 1) % len(_SIDES)]
            for budget in _BUDGETS:
                yield name, in_shape, out_shape, {"budget": budget}
            for rank in (1, 2, 7, 10_000):
                yield name, in_shape, out_shape, {"each": rank}
            n_bonds = len(find_format(name).bond_labels(len(in_shape), len(out_shape)))
            for first in (1, 2):
                yield name, in_shape, out_shape, {"list": [first + k % 2 for k in range(n_bonds)]}


def _random_ranks(n: int, seed: int) -> Iterator[tuple[str, Shape, Shape, Mapping[str, Any]]]:
    rng = random.Random(seed)
    for _ in range(n):
        name = rng.choice([name for name in FORMATS if name != "dense"])
        in_shape, out_shape = (tuple(rng.randint(1, 9) for _ in range(rng.randint(1, 4))) for _ in range(2))
        kind = {"budget": round(rng.uniform(0.001, 1.0), 4)} if rng.random() < 0.7 else {"each": rng.randint(1, 30)}
        yield name, in_shape, out_shape, kind


def _resolved(name: str, in_shape: Shape, out_shape: Shape, rank: Mapping[str, Any]) -> Vector:
    ((kind, value),) = rank.items()
    vector: Vector = {"format": name, "in_shape": list(in_shape), "out_shape": list(out_shape), "rank": dict(rank)}
    given = _argument(kind, value)
    try:
        resolved = resolve_rank(name, in_shape, out_shape, given)
    except RankError as error:
        return vector | {"resolved": None, "error": type(error).__name__}
    return vector | {"resolved": _plain(resolved), "n_parameters": _n_parameters(name, in_shape, out_shape, resolved)}


def _argument(kind: str, value: Any) -> Any:
    return float(value) if kind == "budget" else tuple(value) if kind == "list" else int(value)


def _n_parameters(name: str, in_shape: Shape, out_shape: Shape, rank: Rank) -> int:
    cls = find_format(name)
    bonds = (rank,) if isinstance(rank, int) else tuple(rank or ())
    free = len(cls.bond_labels(len(in_shape), len(out_shape)))
    network = cls.network_for(in_shape, out_shape, bonds if len(bonds) == free else bonds[1:-1])
    return sum(map(network.size, network.inputs))


def check_ranks(
    resolve: Callable[[str, Shape, Shape, Any], Any],
    *,
    formats: Sequence[str] = tuple(FORMATS),
    extra: int = 500,
    seed: int = 0,
) -> Comparison:
    """Judge a resolver of ranks: by the vectors, and by random arguments.

    Parameters
    ----------
    resolve : callable
        ``resolve(format, in_shape, out_shape, rank)``, with the arguments and the result of
        :func:`tlinear.resolve_rank`; where no rank exists it raises.
    formats : sequence of str
    extra, seed : int
        How many random arguments, and which.

    Examples
    --------
    >>> from tlinear import resolve_rank
    >>> print(check_ranks(resolve_rank, formats=["tt"], extra=20))
    resolve_rank: 129 cases, passed
    >>> check_ranks(lambda format, in_shape, out_shape, rank: 1, formats=["cp"], extra=0).passed
    False
    """
    vectors = [vector for vector in rank_vectors(extra, seed) if vector["format"] in formats]
    failures = []
    for vector in vectors:
        ((kind, value),) = vector["rank"].items()
        sides = tuple(vector["in_shape"]), tuple(vector["out_shape"])
        found = _outcome(lambda: _plain(resolve(vector["format"], *sides, _argument(kind, value))))  # noqa: B023
        if found != vector["resolved"] and not (vector["resolved"] is None and isinstance(found, Raised)):
            asked = f"{vector['format']} {sides[0]} -> {sides[1]}, rank {_argument(kind, value)!r}"
            failures.append(f"{asked}: {found}, not {vector['resolved'] or 'an error'}")
    return Comparison(_name(resolve), len(vectors), tuple(failures))


# ----------------------------------------------------------------------------------------------------------- shapes


def shape_vectors(extra: int = 0, seed: int = 0) -> list[Vector]:
    """What numbers of features are split into, with and without padding; null where there is no such shape."""
    rng = random.Random(seed)
    asked = [
        (n, modes, pad)
        for n in (1, 2, 10, 16, 96, 97, 768, 784, 1000, 3072)
        for modes in (1, 2, 3)
        for pad in (False, 0.1)
    ]
    asked += [(25088, 6, False), (4096, 4, False), (50257, 4, 0.05), (30522, 3, 0.01), (2**20, 10, False)]
    asked += [(rng.randint(1, 5000), rng.randint(1, 5), rng.choice((False, 0.05, 0.2))) for _ in range(extra)]
    return [_split(*arguments) for arguments in asked]


def _split(features: int, n_modes: int, pad: bool | float) -> Vector:
    vector: Vector = {"features": features, "n_modes": n_modes, "pad": pad}
    try:
        return vector | {"shape": list(tensorize_shape(features, n_modes, pad=pad))}
    except ShapeError:
        return vector | {"shape": None}


def check_shapes(tensorize: Callable[[int, int, bool | float], Any], *, extra: int = 500, seed: int = 0) -> Comparison:
    """Judge a resolver of shapes: ``tensorize(features, n_modes, pad)``, as :func:`tlinear.tensorize_shape`.

    Examples
    --------
    >>> from tlinear import tensorize_shape
    >>> check_shapes(lambda features, n_modes, pad: tensorize_shape(features, n_modes, pad=pad), extra=100).passed
    True
    """
    vectors, failures = shape_vectors(extra, seed), []
    for vector in vectors:
        features, n_modes, pad = vector["features"], vector["n_modes"], vector["pad"]
        found = _outcome(lambda: list(tensorize(features, n_modes, pad)))  # noqa: B023
        if found != vector["shape"] and not (vector["shape"] is None and isinstance(found, Raised)):
            failures.append(f"{features} in {n_modes} modes, pad={pad}: {found}, not {vector['shape'] or 'an error'}")
    return Comparison(_name(tensorize), len(vectors), tuple(failures))


# ---------------------------------------------------------------------------------------------------------- helpers


class Raised(str):
    """What a function raised, in words."""


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # whatever it raises is its answer
        return Raised(f"it raised {type(error).__name__}: {error}")


def _plain(rank: Any) -> Any:
    return [int(size) for size in rank] if isinstance(rank, (tuple, list)) else None if rank is None else int(rank)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
