"""How modes are read: of x, and of y."""

from __future__ import annotations

import numpy as np

from tlinear.arrays import Array
from tlinear.testing.case import Case
from tlinear.testing.mutants.misreadings import modes_restored, modes_reversed
from tlinear.testing.mutants.registry import Arrays, mutant, right

__all__: list[str] = []


@mutant("the features of x are split into modes with the first mode running fastest")
def input_modes_reversed(case: Case) -> Arrays:
    def read(x: Array) -> Array:
        return modes_reversed(x, case.in_shape)

    results = right(case.with_arrays({"x": read(case.x)}))
    return results | {"dx": modes_restored(results["dx"], case.in_shape)}


@mutant("the modes of y are merged with the first mode running fastest")
def output_modes_reversed(case: Case) -> Arrays:
    dy = modes_reversed(case.dy, case.out_shape)
    arrays = {"dy": dy} | ({} if case.bias is None else {"bias": modes_reversed(case.bias, case.out_shape)})
    results = right(case.with_arrays(arrays))
    restored = {name: modes_restored(results[name], case.out_shape) for name in ("y", "dbias") if name in results}
    return results | restored


@mutant("the memory of x is read as if it were in C order, whatever its strides")
def strides_ignored(case: Case) -> Arrays:
    return right(case.with_arrays({"x": np.ravel(case.x, order="K").reshape(case.x.shape)}))


@mutant("several batch axes of x are merged with the first running fastest, and those of y are not")
def batch_axes_merged_in_another_order(case: Case) -> Arrays:
    axes = tuple(range(len(case.batch_shape)))
    merged = case.x.transpose(*axes[::-1], len(axes)).reshape(case.x.shape)
    return right(case.with_arrays({"x": merged}))


@mutant("only the real part is computed with")
def imaginary_part_lost(case: Case) -> Arrays:
    return right(case.map(lambda array: array.real.astype(array.dtype)))
