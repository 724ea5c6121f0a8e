"""What is right: every result of a case as one sum of products, in whatever arithmetic its arrays have.

``y`` is linear in ``x`` and in each operand, so that each gradient is the same sum with one array cut
out and ``dy`` in the place of ``y``, and the tangent of ``y`` is the sum of one such sum for every array that
moves.  The sums are :func:`tlinear.micro.contract`'s, of integers that fit int64, of Python's integers and
fractions, and of floats, wider ones where the machine has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from tlinear import micro
from tlinear.arrays import Array
from tlinear.contraction.network import BATCH, Labels
from tlinear.testing.case import Case
from tlinear.testing.exact import in_fractions

__all__ = ["MOST_LABELS", "Convention", "Sum", "reference", "sum_of", "sums_of", "widened"]

Convention: TypeAlias = Literal["adjoint", "transpose"]


MOST_LABELS = 52
"""As many as np.einsum has letters for."""


class Sum(NamedTuple):
    """A sum of products: ``out = sum over all other labels of the product of the arrays``, plus perhaps a bias.

    Attributes
    ----------
    arrays : sequence of (array, labels)
    out : labels
    bias : array or None
        Which is added in the end, along the last axes.
    """

    arrays: Sequence[tuple[Array, Labels]]
    out: Labels
    bias: Array | None = None

    @property
    def sizes(self) -> dict[int, int]:
        """The size of every label."""
        return {label: n for array, labels in self.arrays for label, n in zip(labels, array.shape, strict=True)}

    @property
    def n_terms(self) -> int:
        """How many products are summed for each entry of the result."""
        return math.prod(size for label, size in self.sizes.items() if label not in self.out)

    def magnitudes(self, dtype: type[np.floating] | None = None) -> Sum:
        """The same sum of absolute values, in a dtype; of ``|re| + |im|`` for complex numbers, which is no less."""

        def magnitude(array: Array) -> Array:
            found = np.abs(array.real) + np.abs(array.imag) if array.dtype.kind == "c" else np.abs(array)
            return found if dtype is None else found.astype(dtype)

        arrays = [(magnitude(array), labels) for array, labels in self.arrays]
        return Sum(arrays, self.out, None if self.bias is None else magnitude(self.bias))

    def value(self) -> Array:
        """The result."""
        sizes = self.sizes
        if 0 in sizes.values():  # a sum of nothing, or nothing at all
            dtype = np.result_type(*(array.dtype for array, _ in self.arrays))
            total = np.zeros([sizes[label] for label in self.out], dtype)
        elif len(sizes) <= MOST_LABELS:
            total = _contract([(array, labels) for array, labels in self.arrays], tuple(self.out))
        else:  # np.einsum has no more letters: axes of size 1 do without
            arrays: micro.Network = [
                (np.squeeze(array), [label for label in labels if sizes[label] > 1]) for array, labels in self.arrays
            ]
            total = _contract(arrays, tuple(label for label in self.out if sizes[label] > 1))
            total = total.reshape([sizes[k] for k in self.out])
        return total if self.bias is None else total + self.bias


def _contract(network: micro.Network, out: Labels) -> Array:
    """Contract by :func:`tlinear.micro.contract`, pair by pair, in an order that is searched once for these shapes."""
    labels, shapes = tuple(tuple(axes) for _, axes in network), tuple(array.shape for array, _ in network)
    operands = list(network)
    for taken, kept in _order(labels, shapes, out):
        pair = [operands.pop(position) for position in taken]
        operands.append((micro.contract(pair, kept, optimize=False), kept))
    return np.asarray(operands[0][0])


@lru_cache(maxsize=4096)
def _order(labels: Sequence[Labels], shapes: Sequence[tuple[int, ...]], out: Labels) -> list[tuple[Labels, Labels]]:
    """Search an order of pairwise contractions: the positions taken in each, the last first, and the labels kept."""
    names = {label: n for n, label in enumerate(sorted({label for axes in labels for label in axes}))}
    arguments: list[Any] = []
    for axes, shape in zip(labels, shapes, strict=True):
        arguments += [np.broadcast_to(0.0, shape), [names[label] for label in axes]]
    _, *path = np.einsum_path(*arguments, [names[label] for label in out], optimize="greedy")[0]
    steps, rest = [], list(labels)
    for positions in path:
        taken = tuple(sorted(positions, reverse=True))
        pair = {label for position in taken for label in rest.pop(position)}
        needed = {label for axes in (*rest, out) for label in axes}
        kept = tuple(sorted(pair & needed)) if rest else out
        steps.append((taken, kept))
        rest.append(kept)
    return steps


def sums_of(case: Case, result: str, convention: Convention = "adjoint") -> list[Sum]:
    """The sums that a result of a case is the sum of: a tangent of several, every other result of one."""
    if result != "jvp":
        return [sum_of(case, result, convention)]
    assert case.tangents is not None
    still = replace(case, bias=None, tangents=None)
    moved = {name: array for name, array in case.tangents.items() if name != "bias"}
    sums = [sum_of(still.with_arrays({name: array}), "y") for name, array in moved.items()]
    if case.bias is not None:  # with the last of them, as y has it
        moving = replace(still.with_arrays(dict([moved.popitem()])), bias=case.tangents["bias"])
        sums[-1] = sum_of(moving, "y")
    return sums


def sum_of(case: Case, result: str, convention: Convention = "adjoint") -> Sum:
    """The sum that a result of a case, or a stage, is.

    Examples
    --------
    >>> ones = np.ones((2, 3))
    >>> case = Case("dense", (2,), (3,), {"tensor": ones}, x=np.ones((5, 2)), dy=np.ones((5, 3)))
    >>> sum_of(case, "dtensor").n_terms, float(reference(case, "dtensor")[0, 0])
    (5, 5.0)
    """
    batch = math.prod(case.batch_shape)
    conj = np.conj if convention == "adjoint" else np.asarray
    y_labels = (*case.joint_labels, BATCH, *case.out_labels)
    x = case.x.reshape(batch, *case.in_shape), (BATCH, *case.in_labels)
    joint = () if case.n_layers == 1 else (case.n_layers,)
    dy = case.dy.reshape(*joint, batch, *case.out_shape), y_labels
    if result == "y":
        bias = None if case.bias is None else case.bias.reshape(*joint, 1, *case.out_shape)
        return Sum([x, *((case.operands[name], labels) for name, labels in case.labels.items())], y_labels, bias)
    if result.startswith("after."):
        n_done = case.stages.index(result) + 1
        operands = [(case.operands[name], labels) for name, labels in case.labels.items()][:n_done]
        return Sum([x, *operands], case.stage_labels(result))
    if result == "dbias":
        return Sum([dy], (*case.joint_labels, *case.out_labels))
    x_conj = conj(x[0]), x[1]
    conjugates = {name: (conj(case.operands[name]), labels) for name, labels in case.labels.items()}
    if result == "dx":
        return Sum([dy, *conjugates.values()], (BATCH, *case.in_labels))
    cut = result.removeprefix("d")
    labels = case.labels[cut]
    arrays = [x_conj, dy, *(operand for name, operand in conjugates.items() if name != cut)]
    # a label that nothing else carries: as if it were contracted with ones
    carried = {label for _, axes in arrays for label in axes}
    arrays += [(np.ones(case.sizes[label], case.x.dtype), (label,)) for label in labels if label not in carried]
    return Sum(arrays, labels)


def reference(case: Case, result: str, convention: Convention = "adjoint") -> Array:
    """A result of a case, in the arithmetic that its arrays have."""
    parts = [total.value() for total in sums_of(case, result, convention)]
    return np.asarray(sum(parts[1:], parts[0])).reshape(case.shape_of(result))


def widened(case: Case) -> Case:
    """The same numbers in wider arithmetic: float64 of float32, long doubles of float64, and where they are no longer
    fractions; a complex number has no more than the machine has.
    """
    is_complex, is_double = case.dtype.kind == "c", case.dtype in (np.float64, np.complex128)
    if not is_double:
        return case.map(lambda array: array.astype(np.complex128 if is_complex else np.float64))
    if is_complex or np.finfo(np.longdouble).eps < np.finfo(np.float64).eps:
        return case.map(lambda array: array.astype(np.clongdouble if is_complex else np.longdouble))
    return case.map(in_fractions)
