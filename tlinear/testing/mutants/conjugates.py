"""Conjugates that are forgotten, or are too many."""

from __future__ import annotations

from tlinear.testing.case import Case
from tlinear.testing.mutants.registry import (
    Arrays,
    mutant,
    operand_gradients,
    right,
    right_result,
    with_conjugate_operands,
)

__all__: list[str] = []


@mutant("the operands are not conjugated in dx")
def dx_without_conjugate(case: Case) -> Arrays:
    return right(case) | {"dx": right_result(with_conjugate_operands(case), "dx")}


@mutant("neither x nor the other operands are conjugated in the gradients of the operands")
def operand_gradients_without_conjugate(case: Case) -> Arrays:
    other = right(with_conjugate_operands(case).with_arrays({"x": case.x.conj()}))
    return right(case) | operand_gradients(other)


@mutant("x is not conjugated in the gradients of the operands")
def x_without_conjugate(case: Case) -> Arrays:
    return right(case) | operand_gradients(right(case.with_arrays({"x": case.x.conj()})))


@mutant("the operands are conjugated in the forward pass")
def operands_conjugated(case: Case) -> Arrays:
    return right(case) | {"y": right_result(with_conjugate_operands(case), "y")}


@mutant("dy is conjugated")
def dy_conjugated(case: Case) -> Arrays:
    return right(case.with_arrays({"dy": case.dy.conj()})) | {"y": right_result(case, "y")}
