"""Random layers with integer-valued operands, in which every result is exact and equality is equality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tlinear import micro
from tlinear.formats import FORMATS, FactorizedTensor

FACTORIZATIONS = tuple(FORMATS)
IMPLEMENTATIONS = ("factorized", "reconstructed", "auto")
# absolute values of at most 2 and at most 3 + 3 modes of at most 3 keep every sum far below 2^53
LARGEST_ENTRY = 2

modes = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
batch_shapes = st.sampled_from([(), (0,), (1,), (4,), (2, 3), (2, 0, 3)])


def integers(rng: np.random.Generator, shape, dtype) -> np.ndarray:
    """Integer-valued numbers in any real or complex dtype."""
    drawn = rng.integers(-LARGEST_ENTRY, LARGEST_ENTRY, size=shape, endpoint=True).astype(np.float64)
    if np.dtype(dtype).kind == "c":
        drawn = drawn + 1j * rng.integers(-LARGEST_ENTRY, LARGEST_ENTRY, size=shape, endpoint=True)
    return drawn.astype(dtype)


@dataclass(frozen=True)
class Case:
    """A layer's weight, bias, input and a cotangent of its output."""

    weight: FactorizedTensor
    bias: np.ndarray | None
    x: np.ndarray
    dy: np.ndarray
    rng: np.random.Generator

    def like(self, array: np.ndarray) -> np.ndarray:
        """Other integer-valued numbers of the same shape and dtype."""
        return integers(self.rng, array.shape, array.dtype)

    def parameters(self) -> dict[str, np.ndarray]:
        named = {f"weight.{name}": array for name, array in self.weight.operands.items()}
        return named | ({} if self.bias is None else {"bias": self.bias})


@st.composite
def ranks(draw, cls, in_shape, out_shape):
    """Any rank of the format's form, useful or not."""
    n = len(cls.bond_labels(len(in_shape), len(out_shape)))
    return tuple(draw(st.integers(1, 3)) for _ in range(n))


@st.composite
def weights(draw, factorizations=FACTORIZATIONS, dtypes=("float64", "complex128")):
    cls = FORMATS[draw(st.sampled_from(factorizations))]
    in_shape, out_shape = draw(modes), draw(modes)
    network = cls.network_for(in_shape, out_shape, draw(ranks(cls, in_shape, out_shape)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(dtypes))
    operands = {
        name: integers(rng, network.shape(labels), dtype)
        for name, labels in zip(network.names, network.inputs, strict=True)
    }
    return cls.from_operands(operands, len(in_shape), len(out_shape))


@st.composite
def cases(draw, factorizations=FACTORIZATIONS, dtypes=("float64", "complex128")):
    weight = draw(weights(factorizations, dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(batch_shapes)
    dtype = weight.dtype
    x = laid_out(draw, integers(rng, (*batch, weight.in_features), dtype))
    dy = laid_out(draw, integers(rng, (*batch, weight.out_features), dtype))
    bias = integers(rng, (weight.out_features,), dtype) if draw(st.booleans()) else None
    return Case(weight, bias, x, dy, rng)


def laid_out(draw, array):
    """The same numbers in another memory layout."""
    layout = draw(st.sampled_from(["C", "F", "strided", "reversed", "read-only"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed":
        return array[..., ::-1].copy()[..., ::-1]
    if layout == "read-only":
        array.flags.writeable = False
    return array


def micro_network(weight: FactorizedTensor) -> micro.Network:
    """The same weight as tlinear.micro writes it."""
    n_in, n_out = len(weight.in_shape), len(weight.out_shape)
    match weight.factorization:
        case "dense":
            return micro.dense(weight.tensor)
        case "cp":
            return micro.cp(weight.weights, weight.factors)
        case "tucker":
            return micro.tucker(weight.core, weight.factors)
        case "tt":
            return micro.tt(weight.cores)
        case "blocktt":
            return micro.blocktt(weight.cores, n_in, n_out)
    raise AssertionError(f"tests/cases.py does not know {weight.factorization!r}")


def flat(array: np.ndarray) -> np.ndarray:
    """All batch axes merged into one."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def inner(a: np.ndarray, b: np.ndarray) -> complex:
    """``<a, b> = sum(conj(a) b)``, exact for integer-valued arrays."""
    return complex(np.sum(np.conj(a) * b))
