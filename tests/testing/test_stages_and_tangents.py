"""Intermediate results, of which the first wrong one is named; and the derivative of y along tangents."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from testing.drawn import some_cases

from tlinear import micro
from tlinear.errors import ShapeError
from tlinear.testing import Case, check, judge
from tlinear.testing import strategies as st
from tlinear.testing.mutants import right
from tlinear.testing.reference import reference
from tlinear.testing.vectors import corpus


def by_stages(case, wrong=None):
    """Contract x with one operand after the other, and return what there is after each; one of them is off by one."""
    n = int(np.prod(case.batch_shape))
    found, labels = case.x.reshape(n, *case.in_shape), (-1, *case.in_labels)
    stages = {}
    for stage, (name, axes) in zip(case.stages, case.labels.items(), strict=True):
        kept = case.stage_labels(stage)
        found = micro.contract([(found, labels), (case.operands[name], axes)], kept)
        if stage == wrong:
            found = found + np.arange(found.size).reshape(found.shape)
        labels = kept
        stages[stage] = found.reshape(case.shape_of(stage))
    order = [labels.index(label) for label in (*case.joint_labels, -1, *case.out_labels)]
    y = found.transpose(order).reshape(case.shape_of("y"))
    if case.bias is not None:
        y = y + case.bias.reshape(*case.bias.shape[:-1], *(1,) * (case.n_layers > 1) * len(case.batch_shape), -1)
    return {"y": y, **stages}


@given(st.cases(values=("whole",), n_layers=(1, 2), max_modes=2, large=False))
def test_stages_are_what_a_contraction_one_by_one_has(case):
    if all(case.batch_shape):
        verdict = judge(case, by_stages(case))
        assert verdict.passed, verdict.findings[0]
        assert set(case.stages) <= set(verdict.judged)


@pytest.mark.parametrize("name", ["cp", "tucker", "tt", "blocktt", "dense"])
def test_the_first_wrong_stage_is_named(name):
    case = next(v.case for v in corpus() if v.id == f"{name}-equal_sizes-1")
    for k, wrong in enumerate(case.stages):
        found = {finding.result: finding for finding in judge(case, by_stages(case, wrong)).findings}
        assert found["y"].step == wrong
        assert f"step      {wrong} is the first intermediate result that is wrong" in str(found["y"])
        assert not set(case.stages[:k]) & set(found)


def test_a_report_says_which_stage_is_wrong():
    report = check(lambda case: by_stages(case, "after.cores.0"), formats=["tt"], max_examples=40, large=False)
    assert "after.cores.0 is the first intermediate result that is wrong" in str(report)


def test_stages_of_the_wrong_shape_are_told():
    case = next(v.case for v in corpus() if v.id == "tt-equal_sizes-0")
    results = right(case) | {"after.cores.0": np.zeros(3)}
    assert "it has shape (3,) instead of" in judge(case, results).findings[0].message


# --------------------------------------------------------------------------------------------------------- tangents


@given(st.cases(values=("whole",), n_layers=(1, 2), max_modes=2, large=False, tangents=True, dtypes=("float64",)))
def test_the_jvp_is_the_coefficient_of_t(case):
    """y along a line is a polynomial in its parameter: of which exact values at enough points give the slope at 0."""
    degree = len(case.operands) + 1
    points = range(degree + 1)

    def along(t):
        arrays = {name: getattr_of(case, name) + t * tangent for name, tangent in case.tangents.items()}
        exact = case.with_arrays(arrays).map(lambda array: array.astype(int).astype(object))
        return reference(exact, "y")

    values = [along(t) for t in points]
    if not values[0].size or 0 in case.batch_shape:
        return
    slope = derivative_at_zero(values)
    np.testing.assert_array_equal(slope, right(case)["jvp"].astype(int))


def getattr_of(case, name):
    return case.x if name == "x" else case.bias if name == "bias" else case.operands[name]


def derivative_at_zero(values):
    """Newton's series: the sum over k of (-1)^(k-1) / k times the k-th difference."""
    total, differences = 0, list(values)
    for k in range(1, len(values)):
        differences = [b - a for a, b in itertools.pairwise(differences)]
        total = total + differences[0] * Fraction((-1) ** (k - 1), k)
    return total


def test_every_dtype_is_judged_and_the_right_one_passes():
    report = check(right, jvp=True, n_layers=(1, 2), max_examples=100, large=False, max_modes=3)
    assert report.passed, str(report)
    assert sum(report.coverage.tiers["jvp"].values()) == 100


def test_an_implementation_that_gives_no_jvp_is_not_judged_by_it():
    report = check(lambda case: {"y": right(case)["y"]}, jvp=True, max_examples=20)
    assert report.passed
    assert report.coverage.tiers["jvp"]["not returned"] == 20


def test_a_jvp_that_nobody_asked_for_is_told():
    case = some_cases(10)[0]
    assert "is none of" in judge(case, right(case) | {"jvp": right(case)["y"]}).findings[0].message


def test_tangents_must_have_the_shapes_of_what_moves():
    arrays = {"tensor": np.ones((2, 3))}
    x, dy = np.ones((4, 2)), np.ones((4, 3))
    with pytest.raises(ShapeError, match="The tangents have shapes"):
        Case("dense", (2,), (3,), arrays, x, dy, tangents={"x": x})
