"""Hypothesis strategies for cases: they shrink to the smallest case that fails.

>>> from hypothesis import given, settings
>>> from tlinear.testing import judge, strategies as st
>>> @given(st.cases(formats=("tt",)))
... @settings(max_examples=5)
... def test_my_layer(case):
...     assert judge(case, {"y": my_layer(case)}).passed
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
from hypothesis import strategies as st

from tlinear.arrays import Array
from tlinear.formats import FORMATS, find_format
from tlinear.testing.case import Case, Shape

__all__ = ["DTYPES", "LAYOUTS", "VALUES", "batch_shapes", "cases", "mode_sizes", "ranks"]

DTYPES = ("float32", "float64", "complex64", "complex128")
LAYOUTS = ("C", "F", "strided", "reversed", "broadcast", "read-only")
Values: TypeAlias = Literal["whole", "real", "wide", "edge"]
VALUES: tuple[Values, ...] = ("whole", "real", "wide", "edge")

_MOST_ENTRIES = 4096
_MOST_FRACTIONS = 64


def mode_sizes(max_modes: int = 4, max_size: int = 4, large: Sequence[int] = (8,)) -> st.SearchStrategy[Shape]:
    """The sizes of the modes of one side; now and then a large one."""
    sizes = (*range(1, max_size + 1), *large)
    return st.lists(_one_of(sizes), min_size=1, max_size=max_modes).map(tuple)


def batch_shapes(max_axes: int = 3, max_size: int = 4, large: Sequence[int] = (65, 1000)) -> st.SearchStrategy[Shape]:
    """Leading axes of x: any number, none among them, and of any size, 0 too; now and then a large one, alone."""

    def alone(shape: Sequence[int]) -> Shape:
        return next(((size,) for size in shape if size in large), tuple(shape))

    return st.lists(_one_of((*range(max_size + 1), *large)), max_size=max_axes).map(alone)


def _one_of(values: Sequence[int]) -> st.SearchStrategy[int]:
    """One choice, of which the first value is the simplest: so that all shrink to it."""
    return st.integers(0, len(values) - 1).map(lambda k: values[k])


@st.composite
def ranks(draw: st.DrawFn, factorization: str, in_shape: Shape, out_shape: Shape, max_rank: int = 4) -> Shape:
    """The sizes of the bonds that a format leaves free, useful or not."""
    n_bonds = len(find_format(factorization).bond_labels(len(in_shape), len(out_shape)))
    return tuple(draw(st.integers(1, max_rank)) for _ in range(n_bonds))


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    dtypes: Sequence[str] = DTYPES,
    n_layers: Sequence[int] = (1,),
    values: Sequence[Values] = VALUES,
    layouts: Sequence[str] = LAYOUTS,
    max_modes: int = 4,
    large: bool = True,
    tangents: bool = False,
) -> Case:
    """Layers of any format, shape and rank, with and without a bias, with any batch axes.

    Parameters
    ----------
    formats, dtypes : sequence of str
        To draw from.
    n_layers : sequence of int
        To draw from; above 1 the layers are joint.
    values : sequence of {'whole', 'real', 'wide', 'edge'}
        Small integers, of which results are certified; numbers near 1; numbers of many magnitudes, zeros among them;
        and the numbers at which arithmetic changes: zeros of both signs, the neighbours of 1, the smallest ones.
        Where the dtype is int64 or object all are integers, or fractions.
    layouts : sequence of str
        How arrays lie in memory: 'C', 'F', 'strided', 'reversed', 'read-only', and x, dy and the bias also 'broadcast',
        of stride zero along the batch, and along the outputs.
    max_modes : int
        Of one side.
    large : bool
        Whether there is a mode of 8, or a batch of 65 or 1000, now and then: where implementations change their ways.
    tangents : bool
        Whether there are directions for ``jvp``.
    """
    name = draw(st.sampled_from(tuple(formats)))
    joint = draw(st.sampled_from(tuple(n_layers)))
    dtype, kind = np.dtype(draw(st.sampled_from(tuple(dtypes)))), draw(st.sampled_from(tuple(values)))
    most = _MOST_FRACTIONS if dtype.kind == "O" else _MOST_ENTRIES
    large = large and dtype.kind != "O"
    side = mode_sizes(max_modes) if large else mode_sizes(max_modes, large=())
    in_shape, out_shape = draw(side), draw(side)
    while math.prod(in_shape) * math.prod(out_shape) > most:
        in_shape, out_shape = in_shape[1:] or (1,), out_shape[1:] or (1,)
    cls = find_format(name)
    shapes = (in_shape, out_shape) if joint == 1 else cls.joint_shapes(joint, in_shape, out_shape)
    bonds = draw(ranks(name, *shapes))
    network = cls.network_for(*shapes, bonds)
    if max(map(network.size, network.inputs)) > most:
        network = cls.network_for(*shapes, tuple(min(bond, 2) for bond in bonds))
    batch, has_bias = draw(batch_shapes() if large else batch_shapes(large=())), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_in, extra = len(shapes[0]), len(shapes[1]) - len(out_shape)
    operands = {}
    for operand, labels in zip(network.names, network.inputs, strict=True):
        kept = tuple(label for label in labels if not n_in <= label < n_in + extra)
        operands[operand] = numbers(rng, network.shape(kept), dtype, kind)
    rows = () if joint == 1 else (joint,)
    x = numbers(rng, (*batch, math.prod(in_shape)), dtype, kind)
    dy = numbers(rng, (*rows, *batch, math.prod(out_shape)), dtype, kind)
    bias = numbers(rng, (*rows, math.prod(out_shape)), dtype, kind) if has_bias else None
    choice = st.sampled_from(tuple(layouts))
    x, dy, of_operands = _laid_out(x, draw(choice)), _laid_out(dy, draw(choice)), draw(choice)
    operands = {key: _laid_out(array, of_operands, along=None) for key, array in operands.items()}
    bias = None if bias is None else _laid_out(bias, draw(choice), along=-1)
    case = Case(name, in_shape, out_shape, operands, x, dy, bias, joint)
    if not tangents:
        return case
    moving = {key: array for key, array in case.arrays() if key != "dy"}
    return replace(case, tangents={key: numbers(rng, array.shape, dtype, kind) for key, array in moving.items()})


def numbers(rng: np.random.Generator, shape: Shape, dtype: np.dtype, kind: Values) -> Array:
    """Random numbers of a kind, real, complex, whole, or fractions."""
    if dtype.kind == "i":
        return rng.integers(-2, 3, shape).astype(dtype)
    if dtype.kind == "O":
        exact = np.empty(shape, object)
        count = exact.size
        parts = zip(rng.integers(-4, 5, count).tolist(), rng.integers(1, 6, count).tolist(), strict=True)
        exact.ravel()[:] = [Fraction(numerator, denominator) for numerator, denominator in parts]
        return exact
    real = np.dtype(dtype.type(0).real.dtype)
    halves = [_real_numbers(rng, shape, kind, real).astype(real) for _ in range(2 if dtype.kind == "c" else 1)]
    if dtype.kind != "c":
        return halves[0]
    found = np.empty(shape, dtype)
    found.real, found.imag = halves
    return found


def _real_numbers(rng: np.random.Generator, shape: Shape, kind: Values, dtype: np.dtype) -> Array:
    if kind == "whole":
        return rng.integers(-2, 3, shape).astype(np.float64)
    if kind == "edge":
        limits = np.finfo(dtype)
        small = [limits.smallest_normal, 3 * limits.smallest_subnormal, limits.smallest_subnormal]
        sizes = [0.0, 1.0, 1.0, 1.0 + float(limits.eps), 1.0 - float(limits.epsneg), 3.0, 16.0, *map(float, small)]
        return np.asarray(rng.choice(sizes, shape) * rng.choice([-1.0, 1.0], shape))
    drawn = rng.standard_normal(shape)
    if kind == "wide":
        drawn = np.ldexp(drawn, rng.integers(-12, 5, shape)) * (rng.random(shape) < 0.8)
    return drawn


def _laid_out(array: Array, layout: str, along: int | None = -2) -> Array:
    """The same numbers in another memory layout; for 'broadcast' the first of an axis in place of all others."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed":
        return array[..., ::-1].copy()[..., ::-1]
    if layout == "broadcast" and along is not None and array.ndim >= -along and array.shape[along]:
        return np.broadcast_to(np.take(array, [0], along), array.shape)
    if layout == "read-only":
        array.flags.writeable = False
    return array
