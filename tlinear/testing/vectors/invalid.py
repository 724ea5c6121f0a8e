"""What an implementation must refuse: layers whose parts do not fit together.

NumPy, and einsum in most libraries, stretch an axis of size 1 to any size; so that a bias of one entry, or a
factor of one column, gives a result where there is none.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from tlinear.arrays import Array, DType
from tlinear.errors import OptionError, VectorError
from tlinear.formats import FORMATS
from tlinear.shapes import is_integer
from tlinear.testing.arithmetic import judged_dtypes
from tlinear.testing.case import Shape
from tlinear.testing.files import array_from_json, array_to_json, case_to_json
from tlinear.testing.vectors.corpus import Recipe

__all__ = ["INVALID_FLAGS", "InvalidVector", "invalid_corpus", "invalid_from_json"]

Stored: TypeAlias = dict[str, Any]


@dataclass(frozen=True, eq=False)
class InvalidVector:
    """What looks like a :class:`tlinear.testing.Case`, and must be refused.

    Attributes
    ----------
    id, flag, reason : str
        Why it must be.
    stored : dict
        As in the file.
    """

    id: str
    flag: str
    reason: str
    stored: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.format} {self.in_shape} -> {self.out_shape}, which is no layer: {self.reason}"

    @property
    def format(self) -> str:
        """As stored."""
        return str(self.stored["format"])

    @property
    def in_shape(self) -> Shape:
        """As stored."""
        return tuple(self.stored["in_shape"])

    @property
    def out_shape(self) -> Shape:
        """As stored."""
        return tuple(self.stored["out_shape"])

    @property
    def n_layers(self) -> int:
        """As stored."""
        return int(self.stored["n_layers"])

    @property
    def dtype(self) -> DType:
        """As stored."""
        dtype: DType = np.dtype(self.stored["dtype"])
        return dtype

    @property
    def in_features(self) -> int:
        """The product of the input modes."""
        return math.prod(self.in_shape)

    @property
    def out_features(self) -> int:
        """The product of the output modes."""
        return math.prod(self.out_shape)

    @property
    def batch_shape(self) -> Shape:
        """The leading axes of x."""
        return self.x.shape[:-1]

    @property
    def operands(self) -> dict[str, Array]:
        """Those that are there, by name."""
        names = [name for name in self.stored["arrays"] if name not in ("x", "dy", "bias")]
        return {name: self._array(name) for name in names}

    @property
    def x(self) -> Array:
        """The input."""
        return self._array("x")

    @property
    def dy(self) -> Array:
        """The cotangent of the output."""
        return self._array("dy")

    @property
    def bias(self) -> Array | None:
        """The bias, or None."""
        return self._array("bias") if "bias" in self.stored["arrays"] else None

    @property
    def tangents(self) -> None:
        """There are none."""

    @property
    def rank(self) -> Any:
        """As stored."""
        return self.stored["rank"]

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """All arrays by name."""
        return ((name, self._array(name)) for name in self.stored["arrays"])

    def map(self, function: Callable[[Array], Array]) -> SimpleNamespace:
        """The same with `function` of every array."""
        names = ("format", "in_shape", "out_shape", "n_layers", "dtype", "in_features", "out_features", "rank")
        fields: dict[str, Any] = {name: getattr(self, name) for name in (*names, "batch_shape", "tangents")}
        operands = {name: function(array) for name, array in self.operands.items()}
        bias = None if self.bias is None else function(self.bias)
        return SimpleNamespace(**fields, operands=operands, x=function(self.x), dy=function(self.dy), bias=bias)

    def _array(self, name: str) -> Array:
        return array_from_json(self.stored["arrays"][name], self.dtype, name)


def _resized(name: str, axis: int, size: int) -> Callable[[Stored], None]:
    """An axis of an array, cut or filled up with ones."""

    def change(stored: Stored) -> None:
        array = array_from_json(stored["arrays"][name], np.dtype(stored["dtype"]), name)
        wanted = list(array.shape)
        wanted[axis] = size
        found = np.ones(wanted)
        kept = tuple(slice(0, min(sizes)) for sizes in zip(wanted, array.shape, strict=True))
        found[kept] = array[kept]
        stored["arrays"][name] = array_to_json(found)

    return change


def _reshaped(name: str, shape: Callable[[Shape], Shape]) -> Callable[[Stored], None]:
    def change(stored: Stored) -> None:
        stored["arrays"][name]["shape"] = list(shape(tuple(stored["arrays"][name]["shape"])))

    return change


def _removed(name: str) -> Callable[[Stored], None]:
    return lambda stored: stored["arrays"].pop(name)


def _added(name: str) -> Callable[[Stored], None]:
    return lambda stored: stored["arrays"].update({name: {"shape": [1], "data": [1]}})


def _set(name: str, value: Any) -> Callable[[Stored], None]:
    return lambda stored: stored.update({name: value})


_LAST = {"dense": "tensor", "cp": "factors.3", "tucker": "factors.3", "tt": "cores.3", "blocktt": "cores.1"}
_MODE = {"dense": 0, "cp": 0, "tucker": 0, "tt": 1, "blocktt": 1}
_BOND = {"cp": ("factors.1", 1), "tucker": ("factors.1", 1), "tt": ("cores.1", 0), "blocktt": ("cores.1", 0)}
_TRAINS = ("tt", "blocktt")
_EVERY = tuple(FORMATS)

Changes: TypeAlias = Callable[[str], Callable[[Stored], Any]]

INVALID_FLAGS: dict[str, tuple[str, Changes, Sequence[str]]] = {
    "x_one_more": ("x has one feature more than the input modes multiply to", lambda _: _resized("x", -1, 5), _EVERY),
    "x_broadcast": ("x has one feature, which broadcasting would stretch", lambda _: _resized("x", -1, 1), _EVERY),
    "x_in_modes": ("x has an axis for each mode", lambda _: _reshaped("x", lambda _: (3, 2, 2)), _EVERY),
    "bias_one_more": ("the bias has one entry too many", lambda _: _resized("bias", 0, 7), _EVERY),
    "bias_broadcast": (
        "the bias has one entry, which broadcasting would stretch",
        lambda _: _resized("bias", 0, 1),
        _EVERY,
    ),
    "bias_two_axes": ("the bias is a row", lambda _: _reshaped("bias", lambda shape: (1, *shape)), _EVERY),
    "dy_other_batch": ("dy has fewer samples than x", lambda _: _resized("dy", 0, 2), _EVERY),
    "dy_broadcast": ("dy has one sample, which broadcasting would stretch", lambda _: _resized("dy", 0, 1), _EVERY),
    "operand_missing": ("an operand is missing", lambda name: _removed(_LAST[name]), _EVERY),
    "operand_extra": ("there is an operand that the format has not", lambda _: _added("gain"), _EVERY),
    "mode_one_more": (
        "an operand has a mode of another size",
        lambda name: _resized(_LAST[name], _MODE[name], 5),
        _EVERY,
    ),
    "axis_dropped": (
        "an operand has its last two axes in one",
        lambda name: _reshaped(_LAST[name], lambda shape: (*shape[:-2], shape[-2] * shape[-1])),
        _EVERY,
    ),
    "ranks_disagree": (
        "two operands have different ranks where they share one",
        lambda name: _resized(*_BOND[name], 3),
        tuple(_BOND),
    ),
    "rank_broadcast": (
        "an operand has rank 1 where the other has 2, which broadcasting would stretch",
        lambda name: _resized(*_BOND[name], 1),
        tuple(_BOND),
    ),
    "outer_rank": ("the first rank of a train is not 1", lambda _: _resized("cores.0", 0, 2), _TRAINS),
    "modes_wrong": ("the input modes do not multiply to the features", lambda _: _set("in_shape", [2, 3]), _EVERY),
    "unknown_format": ("there is no such format", lambda _: _set("format", "svd"), ("dense",)),
    "layers_missing": (
        "there are two layers, but dy and the bias have no axis for them",
        lambda _: _set("n_layers", 2),
        _EVERY,
    ),
}
"""For each flag, what is wrong, what makes it so for a format, and the formats that it applies to."""


@lru_cache(maxsize=1)
def invalid_corpus() -> tuple[InvalidVector, ...]:
    """All invalid vectors, in the order of formats and flags."""
    return tuple(_invalid())


def _invalid() -> Iterator[InvalidVector]:
    base = Recipe((2, 2), (2, 3), ranks=(2,))
    for name in FORMATS:
        for flag, (reason, change, formats) in INVALID_FLAGS.items():
            if name in formats:
                vector_id = f"{name}-{flag}"
                stored = copy.deepcopy(case_to_json(base.case(name, vector_id)))
                change(name)(stored)
                yield InvalidVector(vector_id, flag, reason, stored)


def invalid_from_json(stored: Mapping[str, Any]) -> InvalidVector:
    """The vector of an entry of a file.

    Raises
    ------
    VectorError
        When the entry itself is none: what is wrong with the layer must be wrong with its shapes and names alone.
    """
    case = {key: value for key, value in stored.items() if key not in ("id", "valid", "flags", "reason")}
    vector = InvalidVector(stored["id"], str((*stored["flags"], "")[0]), str(stored.get("reason", "")), case)
    try:
        judged_dtypes([case["dtype"]])
        whole = all(is_integer(n) for name in ("in_shape", "out_shape") for n in case[name])
        if not whole or not is_integer(case["n_layers"]) or not isinstance(case["format"], str):
            raise VectorError("Its format is no word, or its shapes or n_layers no integers.")
        if not {"x", "dy"} <= set(dict(vector.arrays())) or not vector.x.ndim:
            raise VectorError("It needs the arrays x and dy.")
    except KeyError as error:
        raise VectorError(f"It has no {error}.") from None
    except (OptionError, TypeError) as error:
        raise VectorError(f"It cannot be read: {error}") from None
    return vector
