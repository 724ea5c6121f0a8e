"""Cases as text, and back; and what is no case."""

import json

import numpy as np
import pytest
from hypothesis import given

from tlinear.errors import VectorError
from tlinear.testing import Case
from tlinear.testing.files import array_from_json, array_to_json, case_from_json, case_to_json, dumps, results_from_text
from tlinear.testing.strategies import cases


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@given(cases(n_layers=(1, 3), max_modes=2, large=False))
def test_a_case_comes_back_bit_by_bit(case):
    text = dumps(case_to_json(case))
    again = case_from_json(json.loads(text))
    assert str(again) == str(case)
    for (name, array), (_, other) in zip(case.arrays(), again.arrays(), strict=True):
        assert same(np.ascontiguousarray(array), other), name
    assert dumps(json.loads(text)) == text


@pytest.mark.parametrize("number", [0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 2.0**53, -3.0])
def test_numbers_come_back_as_they_were(number):
    for dtype in (np.float64, np.complex128):
        array = np.array([number], dtype)
        assert same(array_from_json(json.loads(json.dumps(array_to_json(array))), array.dtype, "x"), array)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([1, 2], "x is no array"),
        ({"shape": [2]}, "x is no array"),
        ({"shape": 2, "data": [1, 2]}, "has the shape 2"),
        ({"shape": [-1], "data": []}, r"has the shape \[-1\]"),
        ({"shape": [2], "data": [1]}, "has 1 numbers instead of 2"),
        ({"shape": [1], "data": ["one"]}, "holds what is no number"),
        ({"shape": [1], "data": [None]}, "holds what is no number"),
        ({"shape": [1], "data": "1"}, "entries of type str"),
    ],
)
def test_what_is_no_array_is_refused(stored, message):
    with pytest.raises(VectorError, match=message):
        array_from_json(stored, np.dtype(float), "x")


def test_what_is_no_case_is_refused():
    case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))
    stored = case_to_json(case)
    for name in stored:
        if name not in ("rank", "batch_shape"):
            with pytest.raises(VectorError, match=f"has no '{name}'"):
                case_from_json({key: value for key, value in stored.items() if key != name})
    for wrong in ({"format": "tt"}, {"in_shape": [3]}, {"in_shape": None}, {"dtype": "no dtype"}, {"arrays": 3}):
        with pytest.raises(VectorError):
            case_from_json(stored | wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y 1 1 2\n", "comes before any 'case'"),
        ("case 7\n", "names a case that was not given"),
        ("case\n", "has no number"),
        ("case 0\ny\n", "has no number"),
        ("case 0\ny 2 3\n", "numbers instead of"),
        ("case 0\ny 2 3 1 1 2 x\n", "holds what is no number"),
        ("the quick brown fox\n", "comes before any 'case'"),
    ],
)
def test_garbage_is_refused(text, message):
    case = Case("dense", (2,), (1,), {"tensor": np.ones((2, 1))}, x=np.ones((3, 2)), dy=np.ones((3, 1)))
    with pytest.raises(VectorError, match=message):
        results_from_text(text, [case])
