"""Each tier says no more than it can prove, and no less."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tlinear import micro
from tlinear.errors import OptionError
from tlinear.testing import Case, Rules, judge
from tlinear.testing.arithmetic import arithmetic_of
from tlinear.testing.bound import bound_of
from tlinear.testing.certificate import is_certified, largest_magnitude
from tlinear.testing.mutants import right
from tlinear.testing.reference import sum_of, widened
from tlinear.testing.strategies import cases


def in_a_random_order(total, rng):
    """The sum of a case, two arrays at a time, in the arithmetic that they have."""
    arrays = list(total.arrays)
    while len(arrays) > 1:
        j, k = sorted(rng.choice(len(arrays), 2, replace=False))
        others = [a for n, a in enumerate(arrays) if n not in (j, k)]
        wanted = set(total.out).union(*(labels for _, labels in others))
        labels = tuple(dict.fromkeys(label for _, axes in (arrays[j], arrays[k]) for label in axes if label in wanted))
        arrays = [*others, (micro.contract([arrays[j], arrays[k]], labels), labels)]
    value = micro.contract(arrays, total.out)
    return value if total.bias is None else value + total.bias


small = {"max_modes": 2, "large": False}


@given(cases(values=("whole",), dtypes=("float32", "complex64"), **small), st.integers(0, 2**32 - 1))
def test_what_is_certified_has_the_same_bits_in_any_order(case, seed):
    rng = np.random.default_rng(seed)
    for name in case.results:
        total = sum_of(case, name)
        if is_certified(case, name, 24):
            np.testing.assert_array_equal(
                in_a_random_order(total, rng).reshape(case.shape_of(name)), right(case)[name], err_msg=name
            )


def test_a_certificate_counts_what_another_order_would_meet():
    big, zero = np.full((2, 2), 2.0**13), np.zeros((2, 2))
    operands = {"cores.0": big.reshape(1, 2, 2), "cores.1": zero.reshape(2, 2, 1)}
    case = Case("tt", (2,), (2,), operands, x=np.full((1, 2), 1.0), dy=np.ones((1, 2)))
    assert largest_magnitude(sum_of(case, "y")) == 2**13 * 4
    assert is_certified(case, "y", 15)
    assert not is_certified(case, "y", 14)
    half = case.with_arrays({"x": np.full((1, 2), 0.5)})
    assert not is_certified(half, "y", 53)


@given(cases(values=("real", "wide"), dtypes=("float32", "complex64"), **small), st.integers(0, 2**32 - 1))
def test_rounding_stays_within_the_bound_in_any_order(case, seed):
    rng, name = np.random.default_rng(seed), "y"
    total = sum_of(case, name)
    bound = bound_of([sum_of(widened(case), name)], arithmetic_of(case.dtype), is_complex=case.dtype.kind == "c")
    assert bound is not None
    error = np.abs(in_a_random_order(total, rng) - sum_of(widened(case), name).value())
    # K is that of a few orders; this one is its own
    several = len(total.arrays) * total.n_terms / max(1, bound.n_roundings) + 1
    assert np.all(error <= several * 3 * bound.error)


@given(cases(values=("real",), dtypes=("float32", "float64"), layouts=("C",), **small))
def test_what_rounds_once_passes_and_what_is_off_by_more_than_the_bound_fails(case):
    assume(case.dy.size)
    results = right(case)
    assert judge(case, results).passed
    total = sum_of(widened(case), "y")
    bound = bound_of([total], arithmetic_of(case.dtype), is_complex=False)
    assume(bound is not None and np.all(bound.error > 0))
    wrong = results["y"] + (3 * bound.error).reshape(results["y"].shape).astype(case.dtype)
    verdict = judge(case, results | {"y": wrong})
    assert [(finding.result, finding.tier) for finding in verdict.findings] == [("y", "bound")]
    assert "roundings explain" in verdict.findings[0].message


ONES = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "y is wrong (form): it is missing."),
        ({"y": None}, "it is missing."),
        ({"y": np.ones((3, 2))}, "it has shape (3, 2) instead of (3, 1)."),
        ({"y": np.full((3, 1), 2.0, "float32")}, "its dtype is float32 instead of float64."),
        ({"y": np.full((3, 1), np.nan)}, "an integer that no rounding touches differs."),
        ({"y": np.full((3, 1), 2.0), "dz": np.ones(1)}, "is none of y, dx, dtensor."),
        ({"y": object()}, "which is no array of numbers."),
        ({"y": "2 2 2"}, "which is no array of numbers."),
        ([1], "a dict of arrays was expected"),
    ],
)
def test_what_has_not_the_right_form_is_wrong(results, message):
    verdict = judge(ONES, results)
    assert not verdict.passed
    assert message in "\n".join(map(str, verdict.findings))


def test_what_is_not_returned_is_not_judged():
    verdict = judge(ONES, {"y": np.full((3, 1), 2.0)})
    assert verdict.passed
    assert verdict.judged == {"y": "certified"}
    assert verdict.not_judged == {"dx": "not returned", "dtensor": "not returned"}


def test_too_many_roundings_are_not_judged():
    n = 2**11
    case = Case(
        "dense", (n,), (1,), {"tensor": np.full((n, 1), 0.5, "f2")}, np.ones((1, n), "f2"), np.ones((1, 1), "f2")
    )
    verdict = judge(case, {"y": np.full((1, 1), 0, "f2")})
    assert verdict.passed
    assert "roundings" in verdict.not_judged["y"]


def test_hardware_that_rounds_more_is_judged_by_its_own_roundoff():
    x = np.full((1, 1), 1 + 2.0**-12, "float32")
    case = Case("dense", (1,), (1,), {"tensor": np.ones((1, 1), "float32")}, x, np.ones((1, 1), "float32"))
    rounded = {"y": np.ones((1, 1), "float32")}
    assert not judge(case, rounded).passed
    assert judge(case, rounded, Rules(unit_roundoff=2.0**-11)).passed
    for wrong in ({"unit_roundoff": 0.0}, {"terms": 0}, {"convention": "torch"}):
        with pytest.raises(OptionError):
            Rules(**wrong)


def test_integers_and_fractions_are_judged_by_equality():
    case = ONES.map(lambda array: array.astype(int))
    assert judge(case, {"y": np.full((3, 1), 2)}).judged["y"] == "exact"
    assert not judge(case, {"y": np.full((3, 1), 3)}).passed
