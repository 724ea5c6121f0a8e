"""Random layers of every format, as plain arrays and an einsum of their own.

Written from the specification's table of operands alone: the letters below are what the
independent implementations get, and tlinear's own labels are never consulted.
"""

import string
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from math import prod

import numpy as np
from hypothesis import strategies as st

import tlinear

FORMATS = ("cp", "tucker", "tt", "blocktt", "dense")
IMPLEMENTATIONS = ("factorized", "reconstructed", "auto")
BATCH = "Z"


@dataclass(frozen=True)
class Structure:
    """The letters of every operand of a weight, and the size of every letter."""

    factorization: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    letters: dict[str, str]
    sizes: dict[str, int]

    @property
    def modes(self) -> str:
        return string.ascii_lowercase[: len(self.in_shape) + len(self.out_shape)]

    @property
    def in_letters(self) -> str:
        return self.modes[: len(self.in_shape)]

    @property
    def out_letters(self) -> str:
        return self.modes[len(self.in_shape) :]

    def shape(self, letters: str) -> tuple[int, ...]:
        return tuple(self.sizes[letter] for letter in letters)


def n_bonds(factorization: str, n_in: int, n_out: int) -> int:
    """How many ranks a format has that are free to choose."""
    return {"cp": 1, "tucker": n_in + n_out, "tt": n_in + n_out - 1, "blocktt": max(n_in, n_out) - 1, "dense": 0}[
        factorization
    ]


def structure(factorization: str, in_shape, out_shape, bonds) -> Structure:
    """The einsum of a weight: modes are the first lowercase letters, ranks follow as capitals."""
    n_in, n_out = len(in_shape), len(out_shape)
    modes = string.ascii_lowercase[: n_in + n_out]
    capitals = iter(letter for letter in string.ascii_uppercase if letter != BATCH)
    sizes = dict(zip(modes, (*in_shape, *out_shape), strict=True))

    def new(*wanted: int) -> str:
        letters = "".join(next(capitals) for _ in wanted)
        sizes.update(zip(letters, wanted, strict=True))
        return letters

    if factorization == "cp":
        rank = new(*bonds)
        letters = {"weights": rank} | {f"factors.{k}": mode + rank for k, mode in enumerate(modes)}
    elif factorization == "tucker":
        ranks = new(*bonds)
        letters = {"core": ranks} | {f"factors.{k}": a + r for k, (a, r) in enumerate(zip(modes, ranks, strict=True))}
    elif factorization == "tt":
        ranks = new(1, *bonds, 1)
        letters = {f"cores.{k}": ranks[k] + mode + ranks[k + 1] for k, mode in enumerate(modes)}
    elif factorization == "blocktt":
        ranks = new(1, *bonds, 1)
        pairs = zip_longest(modes[:n_in], modes[n_in:])
        letters = {
            f"cores.{k}": ranks[k] + (i or new(1)) + (o or new(1)) + ranks[k + 1] for k, (i, o) in enumerate(pairs)
        }
    else:
        letters = {"tensor": modes}
    return Structure(factorization, tuple(in_shape), tuple(out_shape), letters, sizes)


def as_weight(structure: Structure, operands):
    """The same operands as a tensor of tlinear."""

    def numbered(field: str) -> tuple:
        return tuple(array for name, array in operands.items() if name.startswith(field + "."))

    n_in, n_out = len(structure.in_shape), len(structure.out_shape)
    if structure.factorization == "cp":
        return tlinear.CPTensor(operands["weights"], numbered("factors"), n_in=n_in)
    if structure.factorization == "tucker":
        return tlinear.TuckerTensor(operands["core"], numbered("factors"), n_in=n_in)
    if structure.factorization == "tt":
        return tlinear.TTTensor(numbered("cores"), n_in=n_in)
    if structure.factorization == "blocktt":
        return tlinear.BlockTTTensor(numbered("cores"), n_in=n_in, n_out=n_out)
    return tlinear.DenseTensor(operands["tensor"], n_in=n_in)


@dataclass(frozen=True)
class Case:
    """A layer, its input, and a cotangent of its output."""

    structure: Structure
    operands: dict[str, np.ndarray]
    x: np.ndarray
    bias: np.ndarray | None
    dy: np.ndarray

    @property
    def factorization(self) -> str:
        return self.structure.factorization

    @cached_property
    def weight(self):
        return as_weight(self.structure, self.operands)

    def layer(self, implementation: str = "auto") -> tlinear.FactorizedLinear:
        return tlinear.FactorizedLinear.from_weight(self.weight, self.bias, implementation=implementation)

    def results(self, implementation: str = "auto") -> dict[str, np.ndarray]:
        """What tlinear computes: ``y``, ``x`` for its gradient, and the gradients of the parameters by name."""
        y, pullback = self.layer(implementation).vjp(self.x)
        gradients = pullback(self.dy)
        return {"y": y, "x": gradients.x, **gradients.parameters}

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.x.shape[:-1]


def make_case(structure: Structure, batch_shape, draw, *, bias: bool = True) -> Case:
    """A case whose every array is `draw` of its shape."""
    in_features, out_features = prod(structure.in_shape), prod(structure.out_shape)
    return Case(
        structure=structure,
        operands={name: draw(structure.shape(letters)) for name, letters in structure.letters.items()},
        x=draw((*batch_shape, in_features)),
        bias=draw((out_features,)) if bias else None,
        dy=draw((*batch_shape, out_features)),
    )


def integers(rng: np.random.Generator, dtype="float64", high: int = 3):
    """Draws of integers of absolute value up to `high`; of a complex dtype, in both parts."""

    def draw(shape):
        real = rng.integers(-high, high + 1, shape)
        if np.dtype(dtype).kind == "c":
            return (real + 1j * rng.integers(-high, high + 1, shape)).astype(dtype)
        return real.astype(dtype)

    return draw


def normals(rng: np.random.Generator, dtype="float64"):
    """Draws of Gaussians; of a complex dtype, in both parts."""

    def draw(shape):
        real = rng.standard_normal(shape)
        return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)

    return draw


@st.composite
def structures(draw, factorization: str, *, max_modes: int = 3, equal_counts: bool = False) -> Structure:
    """Any split of modes of size 1 to 4 into any ranks of 1 to 3, the useful and the useless."""
    n_in = draw(st.integers(1, max_modes), label="n_in")
    n_out = n_in if equal_counts else draw(st.integers(1, max_modes), label="n_out")
    modes = st.integers(1, 4)
    in_shape = draw(st.lists(modes, min_size=n_in, max_size=n_in), label="in_shape")
    out_shape = draw(st.lists(modes, min_size=n_out, max_size=n_out), label="out_shape")
    n = n_bonds(factorization, n_in, n_out)
    bonds = draw(st.lists(st.integers(1, 3 if n < 4 else 2), min_size=n, max_size=n), label="bonds")
    return structure(factorization, in_shape, out_shape, bonds)


generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
batch_shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)
