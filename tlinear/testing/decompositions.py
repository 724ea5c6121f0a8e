r"""Judge a decomposition: by the error that its algorithm guarantees, and that no other can undercut.

For a weight W, let :math:`\delta_k(R)` be the root of the sum of the squared singular values of the k-th
unfolding beyond the R-th.  TT-SVD (I. V. Oseledets, 2011, Theorem 2.2), and HOSVD (L. De Lathauwer et al.,
2000, Property 10) guarantee

.. math:: \max_k \delta_k(R_k) \le \|W - \hat W\|_F \le \sqrt{\textstyle\sum_k \delta_k(R_k)^2},

the lower bound for every tensor of these ranks.  The unfoldings are those at the bonds of TT and BlockTT, and at
each mode for Tucker.  To the upper bound is added what rounding explains.  Each of d truncations is an SVD of an
m x n matrix, by at most 2 min(m, n) reflections, each off by :math:`\tilde\gamma_m` (N. J. Higham, Accuracy
and Stability of Numerical Algorithms, 2nd ed., Lemma 19.3), :math:`c\, d\, m\, n\, u \|W\|_F` in all; the constant
that is left open there, a small one, is taken as c = 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tlinear.algorithms.lapack import singular_values
from tlinear.arrays import Array, DType
from tlinear.formats import find_format
from tlinear.ranks.rules import Rank
from tlinear.testing.arithmetic import arithmetic_of
from tlinear.testing.case import Shape
from tlinear.testing.resolvers import Comparison
from tlinear.testing.verdict import as_arrays

__all__ = ["FORMATS_JUDGED", "check_decomposition", "error_bounds"]

FORMATS_JUDGED = ("tucker", "tt", "blocktt")
"""Those of which an algorithm guarantees something; of CP none does."""

_SMALL_CONSTANT = 10


def error_bounds(weight: Array, name: str, in_shape: Shape, out_shape: Shape, bonds: Shape) -> tuple[float, float]:
    """The least error that any tensor of these ranks has, and the largest that the algorithm may have.

    Examples
    --------
    >>> least, most = error_bounds(np.diag([3.0, 2.0, 1.0]), "tt", (3,), (3,), (2,))
    >>> least, round(most, 6)
    (1.0, 1.0)
    """
    tails, sizes = [], []
    for rank, unfolding in zip(bonds, _unfoldings(weight, name, in_shape, out_shape), strict=True):
        values = singular_values(unfolding)
        tails.append(float(np.linalg.norm(values[rank:])))
        sizes.append(unfolding.size)
    rounding = _SMALL_CONSTANT * len(sizes) * max(sizes, default=1) * float(np.linalg.norm(weight))
    u = arithmetic_of(weight.dtype).unit_roundoff
    return max(tails, default=0.0), math.hypot(*tails) + rounding * u


def _unfoldings(weight: Array, name: str, in_shape: Shape, out_shape: Shape) -> Iterator[Array]:
    """Tucker: each mode against the rest; TT: the first modes against the rest; BlockTT: the first pairs of modes."""
    tensor, n = weight.reshape(*in_shape, *out_shape), len(in_shape)
    d = tensor.ndim
    if name == "tucker":
        yield from (np.moveaxis(tensor, k, 0).reshape(tensor.shape[k], -1) for k in range(d))
    elif name == "tt":
        yield from (tensor.reshape(math.prod(tensor.shape[:k]), -1) for k in range(1, d))
    else:
        for k in range(1, max(n, d - n)):
            rows = [*range(min(k, n)), *range(n, min(n + k, d))]
            moved = np.moveaxis(tensor, rows, range(len(rows)))
            yield moved.reshape(math.prod(moved.shape[: len(rows)]), -1)


def check_decomposition(
    decompose: Callable[[Array, str, Shape, Shape, Rank], Mapping[str, Array]],
    *,
    formats: Sequence[str] = FORMATS_JUDGED,
    dtypes: Sequence[str] = ("float32", "float64", "complex128"),
    max_examples: int = 100,
    seed: int = 0,
) -> Comparison:
    """Judge TT-SVD, HOSVD and what goes beyond them by their guaranteed error.

    Parameters
    ----------
    decompose : callable
        ``decompose(weight, format, in_shape, out_shape, rank)``, the weight of shape ``(in_features, out_features)``;
        it returns the operands by name, of this rank, in the dtype of the weight.
    formats, dtypes : sequences of str
    max_examples, seed : int
        How many weights, and which: random ones, and such of low rank, with a gap, of zeros, of rank one.

    Examples
    --------
    >>> import tlinear
    >>> def by_tlinear(weight, name, in_shape, out_shape, rank):
    ...     tensor = weight.reshape(*in_shape, *out_shape)
    ...     return tlinear.decompose(tensor, name, rank, n_in=len(in_shape)).tensor.operands
    >>> check_decomposition(by_tlinear, max_examples=20).passed
    True
    """
    rng, failures = np.random.default_rng(seed), []
    for number in range(max_examples):
        name, dtype = formats[number % len(formats)], np.dtype(dtypes[number % len(dtypes)])
        weight, in_shape, out_shape, bonds = _problem(rng, name, dtype)
        rank = find_format(name).rank_of_bonds(bonds)
        wrong = _wrong(decompose, weight, name, (in_shape, out_shape), (bonds, rank))
        if wrong:
            failures.append(f"{name} {in_shape} -> {out_shape}, rank {rank}, {dtype}: {wrong}")
    return Comparison(getattr(decompose, "__qualname__", "decompose"), max_examples, tuple(failures))


def _problem(rng: np.random.Generator, name: str, dtype: DType) -> tuple[Array, Shape, Shape, Shape]:
    cls = find_format(name)
    in_shape, out_shape = (tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 4))) for _ in range(2))
    shape = math.prod(in_shape), math.prod(out_shape)
    weight = _numbers(rng, shape, dtype)
    limits = [min(u.shape) for u in _unfoldings(weight, name, in_shape, out_shape)]
    bonds = tuple(int(rng.integers(1, limit + 1)) for limit in limits)
    bonds = _consistent(name, bonds, in_shape, out_shape)
    kind = rng.integers(4)
    if kind == 0:  # exactly of these ranks
        network = cls.network_for(in_shape, out_shape, bonds)
        operands = {
            operand: _numbers(rng, network.shape(labels), dtype)
            for operand, labels in zip(network.names, network.inputs, strict=True)
        }
        weight = cls.from_operands(operands, len(in_shape), len(out_shape)).to_tensor().reshape(shape)
    elif kind == 1 and rng.integers(2):
        weight = np.zeros(shape, dtype)
    elif kind == 2:  # a large part of rank one, and a small rest
        weight = (1000 * np.outer(weight[:, 0], weight[0]) + weight).astype(dtype)
    return weight, in_shape, out_shape, bonds


def _consistent(name: str, bonds: Shape, in_shape: Shape, out_shape: Shape) -> Shape:
    """No bond larger than its neighbours allow."""
    cls, found = find_format(name), list(bonds)
    for _ in bonds:
        network = cls.network_for(in_shape, out_shape, tuple(found))
        sizes = dict(network.label_sizes)
        for k, label in enumerate(cls.bond_labels(len(in_shape), len(out_shape))):
            for labels in network.inputs:
                if label in labels:
                    others = math.prod(sizes[other] for other in labels if other != label)
                    found[k] = min(found[k], others)
            sizes[label] = found[k]
    return tuple(found)


def _numbers(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if dtype.kind == "c" else real).astype(dtype)


def _wrong(
    decompose: Callable[..., Mapping[str, Array]],
    weight: Array,
    name: str,
    sides: tuple[Shape, Shape],
    ranks: tuple[Shape, Rank],
) -> str:
    """What is wrong with a decomposition, in words; nothing if nothing is."""
    cls, before = find_format(name), weight.copy()
    try:
        operands = as_arrays(decompose(weight, name, *sides, ranks[1]))
    except Exception as error:  # whatever it raises is its answer
        return f"it raised {type(error).__name__}: {error}"
    if not np.array_equal(before, weight):
        return "it changed the weight, which it was given"
    network = cls.network_for(*sides, ranks[0])
    wanted = {operand: network.shape(labels) for operand, labels in zip(network.names, network.inputs, strict=True)}
    shapes = {operand: array.shape for operand, array in operands.items()}
    if shapes != wanted:
        return f"its operands have shapes {shapes}, instead of {wanted}"
    dtypes = {str(array.dtype) for array in operands.values()}
    if dtypes != {str(weight.dtype)}:
        return f"its operands are of {', '.join(sorted(dtypes))}, instead of {weight.dtype}"
    wide = np.complex128 if weight.dtype.kind == "c" else np.float64
    tensor = cls.from_operands({k: a.astype(wide) for k, a in operands.items()}, len(sides[0]), len(sides[1]))
    lost = float(np.linalg.norm(tensor.to_tensor().reshape(weight.shape) - weight))
    _, most = error_bounds(weight, name, *sides, ranks[0])
    return "" if lost <= most else f"its error is {lost:.6g}, but its algorithm guarantees {most:.6g}"
