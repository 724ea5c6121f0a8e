"""The derivative along tangents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tlinear.testing.case import Case
from tlinear.testing.mutants.registry import Arrays, mutant, right, right_result

__all__: list[str] = []


@mutant("the tangent of the bias is left out of the jvp")
def jvp_without_bias(case: Case) -> Arrays:
    return _with_tangents(case, ["bias"])


@mutant("the tangents of the operands are left out of the jvp")
def jvp_along_x_only(case: Case) -> Arrays:
    return _with_tangents(case, list(case.operands))


@mutant("the tangent of x is left out of the jvp")
def jvp_along_operands_only(case: Case) -> Arrays:
    return _with_tangents(case, ["x"])


@mutant("the bias itself is added to the jvp")
def jvp_with_bias(case: Case) -> Arrays:
    if case.tangents is None or case.bias is None:
        return right(case)
    moved = case.with_arrays({"tangent.bias": case.tangents["bias"] + case.bias})
    return right(case) | {"jvp": right_result(moved, "jvp")}


@mutant("the jvp is y of all tangents at once")
def jvp_is_not_linear(case: Case) -> Arrays:
    if case.tangents is None:
        return right(case)
    moved = replace(case.with_arrays(case.tangents), tangents=None)
    return right(case) | {"jvp": right_result(moved, "y")}


def _with_tangents(case: Case, still: list[str]) -> Arrays:
    """With tangents of zero for some arrays."""
    if case.tangents is None:
        return right(case)
    zeros = {f"tangent.{name}": np.zeros_like(case.tangents[name]) for name in still if name in case.tangents}
    return right(case) | {"jvp": right_result(case.with_arrays(zeros), "jvp")}
