"""What rounds nothing is judged by equality alone, and what no arithmetic can hold is not judged at all."""

from fractions import Fraction

import numpy as np
import pytest

from tlinear.testing import Case, Rules, check, judge
from tlinear.testing.check import drawn
from tlinear.testing.mutants import right
from tlinear.testing.strategies import LAYOUTS, cases
from tlinear.testing.vectors import check_vectors

HALVES = {"dtypes": ["object"], "max_examples": 30, "max_modes": 2}


def test_fractions_and_integers_pass_through_every_result():
    report = check(right, dtypes=["int64", "object"], n_layers=(1, 2), jvp=True, max_examples=60, max_modes=3)
    assert report.passed, str(report)
    assert {"jvp", "dx", "dbias", "dcores", "dweights"} <= set(report.coverage.tiers)
    assert all(set(tiers) == {"exact"} for tiers in report.coverage.tiers.values())


@pytest.mark.parametrize("name", ["y", "dx", "dcores.0"])
def test_one_part_in_a_billion_is_wrong(name):
    def almost(case):
        results = right(case)
        return results | {name: results[name] * Fraction(10**9 + 1, 10**9)}

    report = check(almost, formats=["tt"], **HALVES)
    found = next(failure for failure in report.failures if failure.result == name)
    assert found.tier == "exact"
    assert isinstance(found.expected, Fraction | int)


def test_vectors_are_judged_in_fractions_too():
    report = check_vectors(right, formats=["tt"], dtypes=["object", "int64"])
    assert report.passed, str(report)
    assert set(report.coverage.of("dtype")) == {"int64", "object"}


def dense(x, weight):
    one = np.ones((len(x), 1), x.dtype)
    return Case("dense", (x.shape[1],), (1,), {"tensor": weight}, x=x, dy=one)


def test_what_overflows_in_some_order_is_a_warning_and_in_none_is_wrong():
    big = dense(np.full((1, 2), 300.5, "f2"), np.full((2, 1), 300.5, "f2"))
    verdict = judge(big, {"y": np.full((1, 1), np.inf, "f2")})
    assert verdict.passed
    assert any("overflows" in text for text in verdict.warnings.values())
    small = dense(np.full((1, 2), 3.7, "f2"), np.full((2, 1), 3.7, "f2"))
    assert not judge(small, {"y": np.full((1, 1), np.inf, "f2")}).passed


@pytest.mark.parametrize(("u", "bits"), [(2.0**-8, 8), (2.0**-11, 11)])
def test_bfloat16_and_tf32_are_certified_by_their_own_bits(u, bits):
    def verdict(factor):
        case = dense(np.full((1, 2), factor, "f4"), np.ones((2, 1), "f4"))
        return judge(case, {"y": np.full((1, 1), 2 * factor, "f4")}, Rules(unit_roundoff=u)).judged["y"]

    assert verdict(2.0 ** (bits - 1)) == "certified"
    assert verdict(2.0 ** (bits - 1) + 1) == "bound"


def test_every_array_lies_in_memory_in_every_way():
    found = {"x": set(), "dy": set(), "operand": set(), "bias": set()}
    for case in drawn(cases(formats=("tt",), dtypes=("float64",), large=False), 200, 0):
        arrays = {"x": case.x, "dy": case.dy, "operand": case.operands["cores.0"]}
        for name, array in (arrays | ({} if case.bias is None else {"bias": case.bias})).items():
            if array.size > 1:
                found[name] |= {
                    *(["contiguous"] if array.flags.c_contiguous else ["not"]),
                    *(["reversed"] if any(stride < 0 for stride in array.strides) else []),
                    *(["broadcast"] if 0 in array.strides else []),
                    *([] if array.flags.writeable else ["read-only"]),
                }
    assert len(LAYOUTS) == 6
    for name, ways in found.items():
        wanted = {"contiguous", "not", "reversed", "read-only"} | (set() if name == "operand" else {"broadcast"})
        assert wanted <= ways, name
