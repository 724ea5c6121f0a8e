"""The bias, and its gradient."""

from __future__ import annotations

import math

import numpy as np

from tlinear.testing.case import Case
from tlinear.testing.mutants.registry import Arrays, mutant, right, right_result, wide

__all__: list[str] = []


@mutant("the bias is not added")
def bias_dropped(case: Case) -> Arrays:
    results = right(case)
    return results if case.bias is None else results | {"y": right_result(case.without_bias(), "y")}


@mutant("the bias is added twice")
def bias_added_twice(case: Case) -> Arrays:
    results = right(case)
    return (
        results if case.bias is None else results | {"y": right_result(case.with_arrays({"bias": 2 * case.bias}), "y")}
    )


@mutant("the bias runs along the batch instead of the output")
def bias_along_the_batch(case: Case) -> Arrays:
    results = right(case)
    if case.bias is None or not case.batch_shape:
        return results
    plain = right_result(case.without_bias(), "y")
    n = math.prod(case.batch_shape)
    along = np.resize(case.bias, (*case.bias.shape[:-1], n))
    return results | {"y": plain + along.reshape(*case.bias.shape[:-1], *case.batch_shape, 1)}


@mutant("the gradient of the bias is that of the last index of all batch axes but the first")
def bias_gradient_of_one_batch_axis(case: Case) -> Arrays:
    if case.bias is None or len(case.batch_shape) < 2 or 0 in case.batch_shape:
        return right(case)
    kept = case.dy
    joint = () if case.n_layers == 1 else (slice(None),)
    for _ in case.batch_shape[1:]:
        kept = kept[(*joint, slice(None), -1)]
    return right(case) | {"dbias": wide(kept).sum(axis=len(joint)).astype(case.dtype)}
