"""From a dense layer to the factorization of its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arrays import DType, check_finite, parameter_dtype
from tlinear.decomposition import Allocation, Decomposition, decompose
from tlinear.errors import OptionError
from tlinear.formats import FactorizedTensor
from tlinear.linear import Linear
from tlinear.shapes import resolve_shape

__all__ = ["factorize"]


def factorize(
    dense: Linear,
    shapes: tuple[Sequence[int] | None, Sequence[int] | None],
    n_modes: tuple[int | None, int | None],
    pad: bool | float,
    dtype: DTypeLike | None,
    *,
    factorization: str | type[FactorizedTensor],
    rank: Any,
    tolerance: float | None,
    allocation: Allocation,
    rng: np.random.Generator | int | None,
    options: Mapping[str, Any] | None,
) -> tuple[Linear, Decomposition]:
    """The dense layer with a copy of its bias in `dtype`, and its weight factorized in the shapes given or chosen."""
    in_shape, out_shape = (
        resolve_shape(side, features, shape, n, pad)
        for side, features, shape, n in zip(
            ("in", "out"), (dense.in_features, dense.out_features), shapes, n_modes, strict=True
        )
    )
    for name, array in dense.parameters().items():
        check_finite(array, name)
    matrix = np.zeros((math.prod(in_shape), math.prod(out_shape)), _kept_dtype(dtype, dense.weight.dtype))
    matrix[: dense.in_features, : dense.out_features] = dense.weight.T
    result = decompose(
        matrix.reshape(*in_shape, *out_shape),
        factorization,
        "same" if rank is None and tolerance is None else rank,
        tolerance=tolerance,
        allocation=allocation,
        n_in=len(in_shape),
        dense_parameters=dense.weight.size,
        rng=rng,
        **_options(options),
    )
    bias = None if dense.bias is None else dense.bias.astype(_kept_dtype(dtype, dense.bias.dtype))
    return Linear.from_arrays(dense.weight, bias), result


def _options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"decomposition_options={given!r} must be a dict, such as {{'max_iterations': 50}}.")
    options = dict(given or {})
    own = {"tensor", "factorization", "rank", "tolerance", "allocation", "n_in", "dense_parameters", "rng"}
    taken = sorted(own & set(options))
    if taken:
        raise OptionError(
            f"decomposition_options holds {taken}. Pass these to from_linear itself, or leave them to it."
        )
    return options


def _kept_dtype(dtype: DTypeLike | None, source: DType) -> DType:
    """`dtype` if it can hold the source; by default the source's own."""
    return source if dtype is None else parameter_dtype(dtype, source)
