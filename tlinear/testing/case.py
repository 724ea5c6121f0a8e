"""A case: a layer's operands, its input, and a cotangent of its output, as arrays an implementation is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import numpy as np

from tlinear.arrays import Array, DType
from tlinear.contraction.network import BATCH, Labels
from tlinear.errors import ShapeError
from tlinear.formats import find_format
from tlinear.ranks.rules import Rank

__all__ = ["Case", "Results", "remembered"]

Shape: TypeAlias = tuple[int, ...]
Results: TypeAlias = Mapping[str, Any]
_Rest = ParamSpec("_Rest")
_Found = TypeVar("_Found")


@dataclass(frozen=True, eq=False)
class Case:
    r"""What an implementation is given, and is to compute from.

    .. math:: y_{b, o} = \sum_i x_{b, i} W_{i, o} + bias_o

    ===========  =================================  ====================================================
    result       shape                              what it is
    ===========  =================================  ====================================================
    ``y``        ``(*batch, out_features)``         the output
    ``dx``       ``(*batch, in_features)``          the gradient of the input, given ``dy``, that of ``y``
    ``dbias``    ``(out_features,)``                the gradient of the bias, where there is one
    ``d`` name   that of the operand                the gradient of the operand of this name
    ``jvp``      that of ``y``                      where there are tangents, that of ``y`` along them
    ===========  =================================  ====================================================

    An implementation that contracts x with one operand after the other may also return what it has after each,
    ``after.cores.0`` and so on (:attr:`stages`); the first that is wrong is then named.

    Joint layers, n_layers of them, share one input: ``y``, ``dy``, ``bias`` and ``dbias`` then have one more
    axis in front, of that size; the operands have one more mode, the first of all (BlockTT: a core of its
    own, of shape ``(1, n_layers, R)``).

    Attributes
    ----------
    format : str
        'cp', 'tucker', 'tt', 'blocktt' or 'dense'.
    in_shape, out_shape : tuple of int
        The sizes of the modes.
    operands : dict of arrays
        By name: ``weights``, ``factors.0``, .. for CP; ``core``, ``factors.0``, .. for Tucker; ``cores.0``, .. for TT
        and BlockTT; ``tensor`` for dense.
    x : array of shape (..., in_features)
    dy : array of shape (..., out_features)
    bias : array of shape (out_features,), or None
    n_layers : int
        1 for a single layer, without the extra axis.
    tangents : dict of arrays, or None
        Directions in which x, every operand and the bias move, by name; ``jvp`` is how y moves then.
    """

    format: str
    in_shape: Shape
    out_shape: Shape
    operands: Mapping[str, Array]
    x: Array
    dy: Array
    bias: Array | None = None
    n_layers: int = 1
    tangents: Mapping[str, Array] | None = None

    def __post_init__(self) -> None:
        if set(self.operands) != set(self.labels):
            raise ShapeError(
                f"The operands of {self.format} are {sorted(self.labels)}, but {sorted(self.operands)} are given."
            )
        joint_in, joint_out = self._joint_shapes
        outer = find_format(self.format).unit_labels(len(joint_in), len(joint_out))
        sizes, modes = {**dict.fromkeys(outer, 1), **self._mode_sizes}, f"{self.in_shape} -> {self.out_shape}"
        for name, labels in self.labels.items():
            shape = self.operands[name].shape
            if len(shape) != len(labels) or any(
                sizes.setdefault(label, size) != size for label, size in zip(labels, shape, strict=True)
            ):
                raise ShapeError(f"{name} of shape {shape} does not fit the other operands, or the modes {modes}.")
        for name, expected in {"x": self.shape_of("dx"), "dy": self.shape_of("y")}.items():
            if getattr(self, name).shape != expected:
                raise ShapeError(f"{name} has shape {getattr(self, name).shape}, but {self} takes {expected}.")
        if self.bias is not None and self.bias.shape != self._bias_shape:
            raise ShapeError(f"bias has shape {self.bias.shape}, but {self} takes {self._bias_shape}.")
        if self.tangents is not None:
            shapes = {name: array.shape for name, array in self._variables().items()}
            given = {name: array.shape for name, array in self.tangents.items()}
            if given != shapes:
                raise ShapeError(f"The tangents have shapes {given}, but what they move has {shapes}.")

    def __str__(self) -> str:
        joint = f", {self.n_layers} joint layers" if self.n_layers > 1 else ""
        return (
            f"{self.format} {self.in_shape} -> {self.out_shape}, rank {self.rank}, batch {self.batch_shape}, "
            f"{'a' if self.bias is not None else 'no'} bias, {self.dtype}{joint}"
        )

    # ---------------------------------------------------------------------------------------------- sizes

    @property
    def dtype(self) -> DType:
        """That of the operands together."""
        return np.result_type(*(array.dtype for _, array in self.arrays()))

    @property
    def batch_shape(self) -> Shape:
        """The leading axes of x."""
        return self.x.shape[:-1]

    @property
    def in_features(self) -> int:
        """The product of the input modes."""
        return math.prod(self.in_shape)

    @property
    def out_features(self) -> int:
        """The product of the output modes."""
        return math.prod(self.out_shape)

    @property
    def rank(self) -> Rank:
        """In the form that :func:`tlinear.resolve_rank` returns."""
        cls, sizes = find_format(self.format), self.sizes
        joint_in, joint_out = self._joint_shapes
        return cls.rank_of_bonds(tuple(sizes[label] for label in cls.bond_labels(len(joint_in), len(joint_out))))

    @property
    def _joint_shapes(self) -> tuple[Shape, Shape]:
        shapes = self.in_shape, self.out_shape
        return shapes if self.n_layers == 1 else find_format(self.format).joint_shapes(self.n_layers, *shapes)

    @property
    def _bias_shape(self) -> Shape:
        return (self.out_features,) if self.n_layers == 1 else (self.n_layers, self.out_features)

    # --------------------------------------------------------------------------------------------- labels

    @cached_property
    def labels(self) -> Mapping[str, Labels]:
        """The labels of the axes of every operand; where layers are joint, label 0 tells them apart."""
        shapes = self._joint_shapes
        n_in, extra = len(shapes[0]), len(shapes[1]) - len(self.out_shape)
        labels = find_format(self.format).labels(n_in, len(shapes[1]))
        dropped = range(n_in, n_in + extra)
        return {name: tuple(label for label in axes if label not in dropped) for name, axes in labels.items()}

    @property
    def in_labels(self) -> Labels:
        """Those of the input modes."""
        first = 0 if self.n_layers == 1 else 1
        return tuple(range(first, first + len(self.in_shape)))

    @property
    def out_labels(self) -> Labels:
        """Those of the output modes."""
        joint_in, joint_out = self._joint_shapes
        first = len(joint_in) + len(joint_out) - len(self.out_shape)
        return tuple(range(first, first + len(self.out_shape)))

    @property
    def joint_labels(self) -> Labels:
        """That of the layers, where there are several."""
        return () if self.n_layers == 1 else (0,)

    @property
    def _mode_sizes(self) -> dict[int, int]:
        sizes = dict(zip(self.in_labels + self.out_labels, self.in_shape + self.out_shape, strict=True))
        return {BATCH: math.prod(self.batch_shape), **dict.fromkeys(self.joint_labels, self.n_layers), **sizes}

    @cached_property
    def sizes(self) -> Mapping[int, int]:
        """The size of every label."""
        sizes = self._mode_sizes
        for name, labels in self.labels.items():
            sizes.update(zip(labels, self.operands[name].shape, strict=True))
        return sizes

    # --------------------------------------------------------------------------------------------- results

    @property
    def results(self) -> tuple[str, ...]:
        """The names of everything that can be asked for."""
        jvp = () if self.tangents is None else ("jvp",)
        return ("y", *jvp, "dx", *(() if self.bias is None else ("dbias",)), *(f"d{name}" for name in self.operands))

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of what there is after x was contracted with one operand, with two, and so on."""
        return tuple(f"after.{name}" for name in self.operands)

    def stage_labels(self, stage: str) -> Labels:
        """The axes of a stage: the batch, the layers, modes of the input not yet summed over, modes of the output,
        ranks."""
        operands = list(self.operands)
        n_done = operands.index(stage.removeprefix("after.")) + 1
        met = {BATCH, *self.in_labels}.union(*(self.labels[name] for name in operands[:n_done]))
        needed = {BATCH, *self.joint_labels, *self.out_labels}.union(*(self.labels[name] for name in operands[n_done:]))
        return tuple(sorted(met & needed))

    def shape_of(self, result: str) -> Shape:
        """The shape of a result, or of a stage."""
        if result.startswith("after."):
            return (*self.batch_shape, *(self.sizes[label] for label in self.stage_labels(result)[1:]))
        if result in ("y", "jvp"):
            return (*((self.n_layers,) if self.n_layers > 1 else ()), *self.batch_shape, self.out_features)
        if result == "dx":
            return (*self.batch_shape, self.in_features)
        return self._bias_shape if result == "dbias" else self.operands[result.removeprefix("d")].shape

    # ---------------------------------------------------------------------------------------------- arrays

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """All arrays by name; the tangent of x is ``tangent.x``."""
        yield from self.operands.items()
        yield "x", self.x
        yield "dy", self.dy
        if self.bias is not None:
            yield "bias", self.bias
        if self.tangents is not None:
            yield from ((f"tangent.{name}", array) for name, array in self.tangents.items())

    def without_bias(self) -> Case:
        """The same case without a bias, nor a tangent of it."""
        still = None if self.tangents is None else {name: a for name, a in self.tangents.items() if name != "bias"}
        return replace(self, bias=None, tangents=still)

    def _variables(self) -> dict[str, Array]:
        """What y depends on."""
        return {"x": self.x, **self.operands, **({} if self.bias is None else {"bias": self.bias})}

    def map(self, function: Callable[[Array], Array]) -> Case:
        """The same case with `function` of every array."""
        arrays = {name: function(array) for name, array in self.arrays()}
        return self.with_arrays(arrays)

    def with_arrays(self, arrays: Mapping[str, Array]) -> Case:
        """The same case with some arrays replaced, by the names that :meth:`arrays` gives them."""
        operands = {name: arrays.get(name, array) for name, array in self.operands.items()}
        x, dy, bias = arrays.get("x", self.x), arrays.get("dy", self.dy), arrays.get("bias", self.bias)
        tangents = self.tangents
        if tangents is not None:
            tangents = {name: arrays.get(f"tangent.{name}", array) for name, array in tangents.items()}
        return replace(self, operands=operands, x=x, dy=dy, bias=bias, tangents=tangents)


def remembered(function: Callable[Concatenate[Case, _Rest], _Found]) -> Callable[Concatenate[Case, _Rest], _Found]:
    """Remember the values of a function of a case, whose arrays do not change, for as long as the case lives.

    Examples
    --------
    >>> @remembered
    ... def n_entries(case):
    ...     print("counted")
    ...     return case.x.size
    >>> case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))
    >>> n_entries(case), n_entries(case)
    counted
    (6, 6)
    """

    @wraps(function)
    def looked_up(case: Case, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Found:
        known: dict[Any, Any] = case.__dict__.setdefault("_remembered", {})
        key = (function.__module__, function.__qualname__, args, tuple(sorted(kwargs.items())))
        if key not in known:
            known[key] = function(case, *args, **kwargs)
        found: _Found = known[key]
        return found

    return looked_up
