"""The vectors: families of cases, each of which catches a kind of mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tlinear.formats import FORMATS, find_format
from tlinear.testing.case import Case, Shape
from tlinear.testing.vectors.numbers import Kind, Numbers
from tlinear.testing.vectors.vector import Vector

__all__ = ["FLAGS", "Recipe", "corpus"]


@dataclass(frozen=True)
class Recipe:
    """What the cases of a family have in common, for every format.

    Attributes
    ----------
    in_shape, out_shape, batch : tuple of int
    ranks : tuple of int
        Given to the bonds in turn, from the start again when they run out.
    bias : bool
    kind : str
        Of the numbers; see :class:`tlinear.testing.vectors.numbers.Numbers`.
    dtype : str
    n_layers : int
    formats : sequence of str
    tangents : bool
    change : callable, optional
        What is done to the case that was drawn.
    """

    in_shape: Shape
    out_shape: Shape
    batch: Shape = (3,)
    ranks: Shape = (2,)
    bias: bool = True
    kind: Kind = "whole"
    dtype: str = "float64"
    n_layers: int = 1
    formats: Sequence[str] = tuple(FORMATS)
    tangents: bool = False
    change: Callable[[Case], Case] | None = None

    def case(self, name: str, seed: str) -> Case:
        """The case of a format."""
        cls, joint = find_format(name), self.n_layers
        shapes = (self.in_shape, self.out_shape)
        if joint > 1:
            shapes = cls.joint_shapes(joint, *shapes)
        n_in, extra = len(shapes[0]), len(shapes[1]) - len(self.out_shape)
        n_bonds = len(cls.bond_labels(n_in, len(shapes[1])))
        bonds = tuple(itertools.islice(itertools.cycle(self.ranks), n_bonds))
        network, numbers = cls.network_for(*shapes, bonds), Numbers(seed, self.kind, self.dtype)
        operands = {}
        for operand, labels in zip(network.names, network.inputs, strict=True):
            kept = tuple(label for label in labels if not n_in <= label < n_in + extra)
            operands[operand] = numbers(network.shape(kept))
        n, m = int(np.prod(self.in_shape)), int(np.prod(self.out_shape))
        rows = () if joint == 1 else (joint,)
        x, dy = numbers((*self.batch, n)), numbers((*rows, *self.batch, m))
        case = Case(name, *self._shapes, operands, x, dy, numbers((*rows, m)) if self.bias else None, joint)
        if self.change is not None:
            case = self.change(case)
        if not self.tangents:
            return case
        moving = {key: array for key, array in case.arrays() if key != "dy"}
        return replace(case, tangents={key: numbers(array.shape) for key, array in moving.items()})

    @property
    def _shapes(self) -> tuple[Shape, Shape]:
        return self.in_shape, self.out_shape


def _zero(which: int) -> Callable[[Case], Case]:
    """One operand is zero: its gradient is not."""

    def change(case: Case) -> Case:
        name = list(case.operands)[which]
        return case.with_arrays({name: np.zeros_like(case.operands[name])})

    return change


def _mixed_weights(case: Case) -> Case:
    return case.with_arrays({"weights": np.array([0.0, -2.0, 1.0])})


def _cancelling(case: Case) -> Case:
    """The first input mode has two equal slices, and x almost opposite ones: what is left of y is small."""
    operands = dict(case.operands)
    for name, labels in case.labels.items():
        if case.in_labels[0] in labels:
            slices = np.moveaxis(operands[name].copy(), labels.index(case.in_labels[0]), 0)
            slices[1] = slices[0]
            operands[name] = np.ascontiguousarray(np.moveaxis(slices, 0, labels.index(case.in_labels[0])))
    x = case.x.reshape(*case.batch_shape, *case.in_shape).copy()
    lead = len(case.batch_shape)
    slices = np.moveaxis(x, lead, 0)
    slices[1] = -slices[0] * (1 + 2.0**-10)
    return replace(case, operands=operands, x=x.reshape(case.x.shape), bias=None)


CP = ("cp",)
SMALL = (2, 3), (3, 2)

FLAGS: dict[str, tuple[str, Sequence[Recipe]]] = {
    "one_mode": (
        "a matrix and nothing else",
        [Recipe((3,), (2,), (2,)), Recipe((1,), (1,), (1,), (1,)), Recipe((4,), (3,), bias=False)],
    ),
    "distinct_sizes": (
        "an axis in the wrong place does not fit",
        [Recipe((2, 3), (5, 4), (6,), (2, 3)), Recipe((2, 3, 4), (1, 5, 2), (7,), (3, 2))],
    ),
    "equal_sizes": (
        "modes reversed, sides swapped, operands transposed or in the wrong order: everything fits, and is wrong",
        [Recipe((2, 2), (2, 2), (2,)), Recipe((2, 2, 2), (2, 2, 2), (2,)), Recipe((3, 3), (3, 3), (3,), (3,))],
    ),
    "distinct_ranks": (
        "ranks in the wrong order, or one of them used for all",
        [Recipe(*SMALL, ranks=(1, 2, 3)), Recipe((2, 2, 2), (2, 2, 2), ranks=(3, 2, 1, 2))],
    ),
    "rank_one": (
        "an axis of size 1 that is squeezed away",
        [Recipe(*SMALL, ranks=(1,)), Recipe((2,), (2,), ranks=(1,))],
    ),
    "high_rank": (
        "ranks beyond what can be useful, cut by the implementation",
        [Recipe((2, 2), (2, 2), ranks=(5,)), Recipe((2,), (1,), ranks=(4,))],
    ),
    "uneven_modes": (
        "as many modes on both sides taken for granted: tltorch 0.5.0 raises in Tucker and BlockTT",
        [Recipe((2, 3), (4,), ranks=(2, 3)), Recipe((2,), (2, 2, 2)), Recipe((2, 2, 3), (2, 5), ranks=(2, 3, 2))],
    ),
    "modes_of_one": (
        "modes of size 1, squeezed away or broadcast",
        [Recipe((1, 3), (2, 1), ranks=(2,)), Recipe((1, 1), (1, 1)), Recipe((2, 1, 2), (1, 2, 1))],
    ),
    "many_modes": (
        "letters of einsum run out: tltorch 0.5.0 fails from 9 modes a side in BlockTT, from 11 in Tucker, 13 in CP",
        [
            Recipe(
                (2, 1, 1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1), (1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2), (2,), (1, 1, 1, 2)
            ),
        ],
    ),
    "no_bias": (
        "a bias that is made up: None means none",
        [Recipe(*SMALL, bias=False), Recipe((4,), (4,), bias=False)],
    ),
    "square": (
        "as many samples as features on both sides: W, x, or the bias along the wrong axis fit",
        [Recipe((2, 2), (2, 2), (4,)), Recipe((3,), (3,), (3,), (3,))],
    ),
    "no_batch_axis": (
        "one sample without an axis for it",
        [Recipe(*SMALL, batch=()), Recipe((2, 2), (2, 1), batch=())],
    ),
    "one_sample": ("a batch of one, squeezed away", [Recipe(*SMALL, batch=(1,)), Recipe((2, 2), (2, 1), (1, 1))]),
    "batch_axes": (
        "two axes of samples and more: merged in another order, or only one of them summed over for the bias",
        [Recipe(*SMALL, batch=(2, 3)), Recipe((2, 2), (3, 2), (2, 1, 4)), Recipe((3,), (2,), (3, 2))],
    ),
    "odd_batch": (
        "the last sample of a batch that is no multiple of anything",
        [Recipe(*SMALL, batch=(5,)), Recipe((2,), (2,), (7,))],
    ),
    "empty_batch": (
        "no samples: gradients of parameters are zero; tltorch 0.5.0 raises",
        [Recipe(*SMALL, batch=(0,)), Recipe((2, 2), (2, 1), (2, 0, 3))],
    ),
    "complex": (
        "conjugates: gradients have them, y has not (the convention is that of PyTorch)",
        [
            Recipe((2, 2), (2, 2), (2,), dtype="complex128"),
            Recipe((2,), (3,), (2, 2), dtype="complex128"),
            Recipe((2, 3), (2, 1), bias=False, dtype="complex128"),
        ],
    ),
    "zero_operand": (
        "a gradient made by dividing: that of an operand of zeros is not zero",
        [Recipe((2, 2), (2, 2), change=_zero(0)), Recipe((2, 2), (2, 2), change=_zero(-1))],
    ),
    "zero_weights": (
        "weights of CP, of which some are 0 and some negative: dropped, or their signs",
        [
            Recipe((2, 2), (3, 2), ranks=(4,), formats=CP),
            Recipe(
                (2,),
                (2,),
                ranks=(3,),
                formats=CP,
                change=_mixed_weights,
            ),
        ],
    ),
    "joint": (
        "several layers of one input: an axis in front of y, dy and the bias; tltorch 0.5.0 has only CP",
        [
            Recipe((2, 2), (2, 2), n_layers=2),
            Recipe((2, 3), (4, 2), (2, 2), (2, 3), n_layers=3),
            Recipe((2,), (2,), (2,), n_layers=2, bias=False),
            Recipe((2, 2), (3, 2), (), n_layers=2),
        ],
    ),
    "few_bits": (
        "so few terms that they are exact in float16 and bfloat16 too",
        [Recipe((2,), (2,), (2,), (1,), kind="units"), Recipe((1, 2), (2, 1), (2,), (1,), kind="units")],
    ),
    "many_bits": (
        "integers that are exact in float64 and not in float32: sums accumulated in fewer bits",
        [Recipe((2, 2), (2, 1), (2,), kind="large", formats=("dense",)), Recipe((2,), (2,), (2,), kind="large")],
    ),
    "rounded": (
        "ordinary numbers, within the bound of rounding",
        [Recipe((2, 2), (2, 2), (2,), kind="rounded"), Recipe((3, 2), (2, 2), (3,), (2, 3), kind="rounded")],
    ),
    "wide": (
        "numbers of very different magnitude: a relative tolerance for all entries says nothing of the small ones",
        [Recipe((2, 2), (2, 2), (2,), kind="wide"), Recipe((3,), (4,), kind="wide")],
    ),
    "cancelling": (
        "sums whose terms almost cancel: a relative tolerance rejects what is right",
        [
            Recipe((2, 2), (2, 2), (2,), kind="rounded", change=_cancelling),
            Recipe((2,), (3,), kind="rounded", change=_cancelling),
        ],
    ),
    "jvp": (
        "the derivative of y along tangents of x, every operand and the bias",
        [
            Recipe((2, 2), (2, 2), (2,), tangents=True),
            Recipe((3,), (2,), (2, 2), tangents=True, bias=False),
            Recipe((2,), (2,), (2,), tangents=True, dtype="complex128"),
            Recipe((2,), (2,), (2,), tangents=True, n_layers=2),
        ],
    ),
    "large_modes": ("a mode of 16: where kernels for small sizes end", [Recipe((16, 2), (2, 16), (5,), (3,))]),
    "large_batch": (
        "a batch of 65 and of 257: where tiles end",
        [Recipe((2, 2), (2, 2), (65,)), Recipe((2,), (3,), (257,))],
    ),
}
"""For each flag, what mistake it catches, and the layers that show it."""


OF_ZEROS = ("empty_batch", "zero_operand")
"""The flags of which results are zero."""


@lru_cache(maxsize=1)
def corpus() -> tuple[Vector, ...]:
    """All valid vectors, in the order of formats and flags."""
    return tuple(itertools.chain.from_iterable(map(_of_format, FORMATS)))


def _of_format(name: str) -> Iterator[Vector]:
    for flag, (_, recipes) in FLAGS.items():
        for k, recipe in enumerate(recipes):
            if name in recipe.formats:
                vector_id = f"{name}-{flag}-{k}"
                seeds = (f"{vector_id}.{attempt}" for attempt in itertools.count())
                drawn = (Vector(vector_id, recipe.case(name, seed), (flag,)) for seed in seeds)
                yield next(vector for vector in drawn if flag in OF_ZEROS or _says_something(vector))


def _says_something(vector: Vector) -> bool:
    """Whether no result is zero, as nothing would be wrong then whatever becomes of an operand."""
    return all(array.any() for array in vector.results.values())
