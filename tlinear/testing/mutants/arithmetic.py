"""Arithmetic, and loops that end too early."""

from __future__ import annotations

import math

import numpy as np

from tlinear.arrays import Array
from tlinear.testing.case import Case
from tlinear.testing.mutants.registry import Arrays, mutant, right
from tlinear.testing.reference import reference

__all__: list[str] = ["FEW_BITS"]


FEW_BITS = "sums are accumulated in fewer bits than the dtype has"


@mutant(FEW_BITS)
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


@mutant("the last sample of an odd batch is left at zero")
def last_sample_skipped(case: Case) -> Arrays:
    results, n = right(case), math.prod(case.batch_shape)
    if n < 2 or n % 2 == 0:
        return results
    y = results["y"].copy()
    samples = y.reshape(case.n_layers, n, case.out_features)
    samples[:, -1] = 0
    return results | {"y": y}
