"""Known mistakes: what they compute, so that the judge can be judged, and can name them.

Each is a wrong implementation of the layer.  The judge must reject every one of them; and where an
implementation that it rejects computes, in every case that was tried, just what one of these computes,
that is most likely the mistake.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH
from tlinear.testing.case import Case
from tlinear.testing.misreadings import (
    column_major,
    column_major_back,
    first_only,
    modes_restored,
    modes_reversed,
    sides_swapped,
    sides_swapped_back,
    swapped_back,
    transposed,
    transposed_back,
    without_last,
)
from tlinear.testing.reference import reference

__all__ = ["FEW_BITS", "MUTANTS", "Mutant", "right"]

Arrays: TypeAlias = dict[str, Array]

FEW_BITS = "sums are accumulated in fewer bits than the dtype has"


@dataclass(frozen=True)
class Mutant:
    """A wrong implementation.

    Attributes
    ----------
    name : str
    cause : str
        What is wrong with it, in words.
    compute : callable
        From a case to its results.
    """

    name: str
    cause: str
    compute: Callable[[Case], Arrays]


def right(case: Case) -> Arrays:
    """All results of a case, in its dtype.

    Examples
    --------
    >>> case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))
    >>> sorted(right(case))
    ['dtensor', 'dx', 'y']
    """
    return dict(_right(case))


@lru_cache(maxsize=128)
def _right(case: Case) -> Arrays:
    wide = case.map(_wide)
    return {name: reference(wide, name).astype(case.dtype) for name in case.results}


MUTANTS: list[Mutant] = []


def _mutant(cause: str) -> Callable[[Callable[[Case], Arrays]], Callable[[Case], Arrays]]:
    def register(compute: Callable[[Case], Arrays]) -> Callable[[Case], Arrays]:
        MUTANTS.append(Mutant(compute.__name__, cause, compute))
        return compute

    return register


# ----------------------------------------------------------------------------------------------- how modes are read


@_mutant("the features of x are split into modes with the first mode running fastest")
def input_modes_reversed(case: Case) -> Arrays:
    def read(x: Array) -> Array:
        return modes_reversed(x, case.in_shape)

    results = right(case.with_arrays({"x": read(case.x)}))
    return results | {"dx": modes_restored(results["dx"], case.in_shape)}


@_mutant("the modes of y are merged with the first mode running fastest")
def output_modes_reversed(case: Case) -> Arrays:
    dy = modes_reversed(case.dy, case.out_shape)
    arrays = {"dy": dy} | ({} if case.bias is None else {"bias": modes_reversed(case.bias, case.out_shape)})
    results = right(case.with_arrays(arrays))
    restored = {name: modes_restored(results[name], case.out_shape) for name in ("y", "dbias") if name in results}
    return results | restored


@_mutant("the memory of x is read as if it were in C order, whatever its strides")
def strides_ignored(case: Case) -> Arrays:
    return right(case.with_arrays({"x": np.ravel(case.x, order="K").reshape(case.x.shape)}))


@_mutant("several batch axes of x are merged with the first running fastest, and those of y are not")
def batch_axes_merged_in_another_order(case: Case) -> Arrays:
    axes = tuple(range(len(case.batch_shape)))
    merged = case.x.transpose(*axes[::-1], len(axes)).reshape(case.x.shape)
    return right(case.with_arrays({"x": merged}))


@_mutant("only the real part is computed with")
def imaginary_part_lost(case: Case) -> Arrays:
    return right(case.map(lambda array: array.real.astype(array.dtype)))


# ------------------------------------------------------------------------------------------- how operands are read


@_mutant("the rank axes of the cores are swapped")
def core_ranks_swapped(case: Case) -> Arrays:
    return _operands_read(case, "cores.", lambda core: np.swapaxes(core, 0, -1).reshape(core.shape), swapped_back)


@_mutant("the core of Tucker is read with its first axis running fastest")
def tucker_core_in_column_major_order(case: Case) -> Arrays:
    return _operands_read(case, "core", column_major, column_major_back)


@_mutant("the factors are read as (rank, mode) instead of (mode, rank)")
def factors_transposed(case: Case) -> Arrays:
    return _operands_read(case, "factors.", transposed, transposed_back)


@_mutant("the input and output axes of the cores of BlockTT are swapped")
def core_sides_swapped(case: Case) -> Arrays:
    if case.format != "blocktt":
        return right(case)
    return _operands_read(case, "cores.", sides_swapped, sides_swapped_back)


@_mutant("the last component of every rank is left out")
def last_rank_dropped(case: Case) -> Arrays:
    bonds = _bonds(case)
    cut = {name: without_last(case.operands[name], labels, bonds) for name, labels in case.labels.items()}
    return right(case.with_arrays(cut))


@_mutant("the weights of CP are left out")
def cp_weights_dropped(case: Case) -> Arrays:
    if "weights" not in case.operands:
        return right(case)
    return right(case.with_arrays({"weights": np.ones_like(case.operands["weights"])}))


@_mutant("joint layers come in the reverse order")
def joint_layers_reversed(case: Case) -> Arrays:
    results = right(case)
    return results | ({"y": results["y"][::-1]} if case.n_layers > 1 else {})


@_mutant("all joint layers add the first one's bias")
def joint_bias_shared(case: Case) -> Arrays:
    if case.bias is None or case.n_layers == 1:
        return right(case)
    return right(case.with_arrays({"bias": np.broadcast_to(case.bias[:1], case.bias.shape)}))


# ----------------------------------------------------------------------------------------------------- conjugates


@_mutant("the operands are not conjugated in dx")
def dx_without_conjugate(case: Case) -> Arrays:
    return right(case) | {"dx": right(_operands_conjugated(case))["dx"]}


@_mutant("neither x nor the other operands are conjugated in the gradients of the operands")
def operand_gradients_without_conjugate(case: Case) -> Arrays:
    other = right(_operands_conjugated(case).with_arrays({"x": case.x.conj()}))
    return right(case) | _gradients(other)


@_mutant("x is not conjugated in the gradients of the operands")
def x_without_conjugate(case: Case) -> Arrays:
    return right(case) | _gradients(right(case.with_arrays({"x": case.x.conj()})))


@_mutant("the operands are conjugated in the forward pass")
def operands_conjugated(case: Case) -> Arrays:
    return right(case) | {"y": right(_operands_conjugated(case))["y"]}


@_mutant("dy is conjugated")
def dy_conjugated(case: Case) -> Arrays:
    return right(case.with_arrays({"dy": case.dy.conj()})) | {"y": right(case)["y"]}


# ----------------------------------------------------------------------------------------------------------- bias


@_mutant("the bias is not added")
def bias_dropped(case: Case) -> Arrays:
    results = right(case)
    return results if case.bias is None else results | {"y": right(replace(case, bias=None))["y"]}


@_mutant("the bias is added twice")
def bias_added_twice(case: Case) -> Arrays:
    results = right(case)
    return results if case.bias is None else results | {"y": right(case.with_arrays({"bias": 2 * case.bias}))["y"]}


@_mutant("the bias runs along the batch instead of the output")
def bias_along_the_batch(case: Case) -> Arrays:
    results = right(case)
    if case.bias is None or not case.batch_shape:
        return results
    plain = right(replace(case, bias=None))["y"]
    n = math.prod(case.batch_shape)
    along = np.resize(case.bias, (*case.bias.shape[:-1], n))
    return results | {"y": plain + along.reshape(*case.bias.shape[:-1], *case.batch_shape, 1)}


@_mutant("the gradient of the bias is that of the last index of all batch axes but the first")
def bias_gradient_of_one_batch_axis(case: Case) -> Arrays:
    if case.bias is None or len(case.batch_shape) < 2 or 0 in case.batch_shape:
        return right(case)
    kept = case.dy
    joint = () if case.n_layers == 1 else (slice(None),)
    for _ in case.batch_shape[1:]:
        kept = kept[(*joint, slice(None), -1)]
    return right(case) | {"dbias": _wide(kept).sum(axis=len(joint)).astype(case.dtype)}


# ------------------------------------------------------------------------------------------------------ gradients


@_mutant("the gradients of the parameters are averaged over the batch instead of summed")
def gradients_averaged(case: Case) -> Arrays:
    n, results = max(1, math.prod(case.batch_shape)), right(case)
    averaged = {name: array / case.dtype.type(n) for name, array in _parameter_gradients(results).items()}
    return results | averaged


@_mutant("dx is divided by the size of the batch")
def dx_averaged(case: Case) -> Arrays:
    results = right(case)
    return results | {"dx": results["dx"] / case.dtype.type(max(1, math.prod(case.batch_shape)))}


@_mutant("the gradients of the parameters are those of the last sample")
def gradients_of_the_last_sample(case: Case) -> Arrays:
    results = right(case)
    if not math.prod(case.batch_shape):
        return results
    mask = np.zeros(case.batch_shape, case.dtype)
    mask[(-1,) * mask.ndim] = 1
    return results | _parameter_gradients(right(case.with_arrays({"dy": case.dy * mask[..., None]})))


@_mutant("dy is taken to be one everywhere")
def dy_ignored(case: Case) -> Arrays:
    return right(case.with_arrays({"dy": np.ones_like(case.dy)}))


@_mutant("the gradients of the operands are negative")
def gradients_negated(case: Case) -> Arrays:
    results = right(case)
    return results | {name: -array for name, array in _gradients(results).items()}


@_mutant("the gradient of the first operand is accumulated twice")
def first_gradient_twice(case: Case) -> Arrays:
    results, first = right(case), f"d{next(iter(case.operands))}"
    return results | {first: 2 * results[first]}


@_mutant("the gradient of the last operand is zero")
def last_gradient_missing(case: Case) -> Arrays:
    results, last = right(case), f"d{list(case.operands)[-1]}"
    return results | {last: np.zeros_like(results[last])}


@_mutant("the gradients of the first two operands of one shape are swapped")
def gradients_swapped(case: Case) -> Arrays:
    results = right(case)
    names = [f"d{name}" for name in case.operands]
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            if results[first].shape == results[second].shape:
                return results | {first: results[second], second: results[first]}
    return results


@_mutant("the gradients of the factors of CP leave out the weights")
def cp_weights_missing_in_gradients(case: Case) -> Arrays:
    results = right(case)
    if "weights" not in case.operands:
        return results
    other = cp_weights_dropped(case)
    return results | {name: array for name, array in _gradients(other).items() if name != "dweights"}


@_mutant("the gradient of an operand leaves out the operand after it, as if it were ones")
def gradients_miss_the_next_operand(case: Case) -> Arrays:
    results, names = right(case), list(case.operands)
    for name, following in itertools.pairwise(names):
        other = case.with_arrays({following: np.ones_like(case.operands[following])})
        results[f"d{name}"] = right(other)[f"d{name}"]
    return results


@_mutant("the sum over the values of a rank that other operands share is left out: only the first counts")
def gradients_of_the_first_rank(case: Case) -> Arrays:
    results, bonds = right(case), _bonds(case)
    for name, labels in case.labels.items():
        others = {
            other: first_only(case.operands[other], axes, [b for b in bonds if b not in labels])
            for other, axes in case.labels.items()
            if other != name
        }
        results[f"d{name}"] = right(case.with_arrays(others))[f"d{name}"]
    return results


# ----------------------------------------------------------------------------------------------------- arithmetic


@_mutant(FEW_BITS)
def accumulated_in_half_of_the_bits(case: Case) -> Arrays:
    narrow = np.float16 if case.dtype in (np.float32, np.complex64) else np.float32

    def rounded(array: Array) -> Array:
        if array.dtype.kind != "c":
            return array.astype(narrow)
        result = np.empty(array.shape, np.complex64)
        result.real, result.imag = array.real.astype(narrow), array.imag.astype(narrow)
        return result

    with np.errstate(over="ignore", invalid="ignore"):
        return {name: reference(case.map(rounded), name).astype(case.dtype) for name in case.results}


@_mutant("the last sample of an odd batch is left at zero")
def last_sample_skipped(case: Case) -> Arrays:
    results, n = right(case), math.prod(case.batch_shape)
    if n < 2 or n % 2 == 0:
        return results
    y = results["y"].copy()
    samples = y.reshape(case.n_layers, n, case.out_features)
    samples[:, -1] = 0
    return results | {"y": y}


# --------------------------------------------------------------------------------------------------------- helpers


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _gradients(results: Arrays) -> Arrays:
    return {name: array for name, array in results.items() if name not in ("y", "dx", "dbias")}


def _parameter_gradients(results: Arrays) -> Arrays:
    return {name: array for name, array in results.items() if name not in ("y", "dx")}


def _operands_conjugated(case: Case) -> Case:
    return case.with_arrays({name: array.conj() for name, array in case.operands.items()})


def _bonds(case: Case) -> list[int]:
    modes = {BATCH, *case.joint_labels, *case.in_labels, *case.out_labels}
    return [label for label in case.sizes if label not in modes]


def _operands_read(
    case: Case, prefix: str, read: Callable[[Array], Array], back: Callable[[Array, Array], Array]
) -> Arrays:
    """The results where some operands are read in another order, and their gradients written in it."""
    names = [name for name in case.operands if name == prefix or (prefix.endswith(".") and name.startswith(prefix))]
    results = right(case.with_arrays({name: read(case.operands[name]) for name in names}))
    return results | {f"d{name}": back(results[f"d{name}"], case.operands[name]) for name in names}
