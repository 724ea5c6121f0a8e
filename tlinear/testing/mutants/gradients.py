"""Gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tlinear.testing.case import Case
from tlinear.testing.mutants.misreadings import first_only
from tlinear.testing.mutants.registry import (
    Arrays,
    bonds_of,
    mutant,
    operand_gradients,
    parameter_gradients,
    right,
    right_result,
)

__all__: list[str] = []


@mutant("the gradients of the parameters are averaged over the batch instead of summed")
def gradients_averaged(case: Case) -> Arrays:
    n, results = max(1, math.prod(case.batch_shape)), right(case)
    averaged = {name: array / case.dtype.type(n) for name, array in parameter_gradients(results).items()}
    return results | averaged


@mutant("dx is divided by the size of the batch")
def dx_averaged(case: Case) -> Arrays:
    results = right(case)
    return results | {"dx": results["dx"] / case.dtype.type(max(1, math.prod(case.batch_shape)))}


@mutant("the gradients of the parameters are those of the last sample")
def gradients_of_the_last_sample(case: Case) -> Arrays:
    results = right(case)
    if not math.prod(case.batch_shape):
        return results
    mask = np.zeros(case.batch_shape, case.dtype)
    mask[(-1,) * mask.ndim] = 1
    return results | parameter_gradients(right(case.with_arrays({"dy": case.dy * mask[..., None]})))


@mutant("dy is taken to be one everywhere")
def dy_ignored(case: Case) -> Arrays:
    return right(case.with_arrays({"dy": np.ones_like(case.dy)}))


@mutant("the gradients of the operands are negative")
def gradients_negated(case: Case) -> Arrays:
    results = right(case)
    return results | {name: -array for name, array in operand_gradients(results).items()}


@mutant("the gradient of the first operand is accumulated twice")
def first_gradient_twice(case: Case) -> Arrays:
    results, first = right(case), f"d{next(iter(case.operands))}"
    return results | {first: 2 * results[first]}


@mutant("the gradient of the last operand is zero")
def last_gradient_missing(case: Case) -> Arrays:
    results, last = right(case), f"d{list(case.operands)[-1]}"
    return results | {last: np.zeros_like(results[last])}


@mutant("the gradients of the first two operands of one shape are swapped")
def gradients_swapped(case: Case) -> Arrays:
    results = right(case)
    names = [f"d{name}" for name in case.operands]
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            if results[first].shape == results[second].shape:
                return results | {first: results[second], second: results[first]}
    return results


@mutant("the gradients of the factors of CP leave out the weights")
def cp_weights_missing_in_gradients(case: Case) -> Arrays:
    results = right(case)
    if "weights" not in case.operands:
        return results
    other = right(case.with_arrays({"weights": np.ones_like(case.operands["weights"])}))
    return results | {name: array for name, array in operand_gradients(other).items() if name != "dweights"}


@mutant("the gradient of an operand leaves out the operand after it, as if it were ones")
def gradients_miss_the_next_operand(case: Case) -> Arrays:
    results, names = right(case), list(case.operands)
    for name, following in itertools.pairwise(names):
        other = case.with_arrays({following: np.ones_like(case.operands[following])})
        results[f"d{name}"] = right_result(other, f"d{name}")
    return results


@mutant("the sum over the values of a rank that other operands share is left out: only the first counts")
def gradients_of_the_first_rank(case: Case) -> Arrays:
    results, bonds = right(case), bonds_of(case)
    for name, labels in case.labels.items():
        others = {
            other: first_only(case.operands[other], axes, [b for b in bonds if b not in labels])
            for other, axes in case.labels.items()
            if other != name
        }
        results[f"d{name}"] = right_result(case.with_arrays(others), f"d{name}")
    return results
