"""What is right, by every arithmetic that can say so."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testing.drawn import by_micro

from tlinear.errors import ShapeError
from tlinear.testing import Case
from tlinear.testing.reference import reference, widened
from tlinear.testing.strategies import cases

small = {"max_modes": 2, "large": False}
whole = cases(values=("whole",), dtypes=("float64", "complex128"), **small)


@given(whole)
def test_it_is_what_the_first_page_says(case):
    found = by_micro(case)
    for name in case.results:
        np.testing.assert_array_equal(reference(case, name), found[name], err_msg=name)


@given(cases(values=("whole",), dtypes=("float64",), **small))
@settings(max_examples=20)
def test_it_is_the_same_in_fractions(case):
    quarters = case.map(lambda array: array / 4)
    exact = quarters.map(_fractions)
    for name in case.results:
        np.testing.assert_array_equal(reference(exact, name), reference(quarters, name))


def _fractions(array):
    exact = np.empty(array.shape, object)
    exact.ravel()[:] = [Fraction(float(number)) for number in array.ravel()]
    return exact


@given(cases(n_layers=(2, 3), values=("whole",), dtypes=("float64",), **small))
def test_joint_layers_are_each_a_layer_of_their_own(case):
    tensor = {"tensor": _dense(case)}
    for j in range(case.n_layers):
        bias = None if case.bias is None else case.bias[j]
        single = Case("dense", case.in_shape, case.out_shape, {"tensor": tensor["tensor"][j]}, case.x, case.dy[j], bias)
        np.testing.assert_array_equal(reference(case, "y")[j], reference(single, "y"))
        if bias is not None:
            np.testing.assert_array_equal(reference(case, "dbias")[j], reference(single, "dbias"))
    total = sum(
        reference(Case("dense", case.in_shape, case.out_shape, {"tensor": t}, case.x, dy), "dx")
        for t, dy in zip(tensor["tensor"], case.dy, strict=True)
    )
    np.testing.assert_array_equal(reference(case, "dx"), total)


def _dense(case):
    """The joint weights, one unit vector after another."""
    eye = np.eye(case.in_features)
    plain = Case(
        case.format,
        case.in_shape,
        case.out_shape,
        case.operands,
        eye,
        np.zeros((case.n_layers, case.in_features, case.out_features)),
        None,
        case.n_layers,
    )
    return reference(plain, "y").reshape(case.n_layers, *case.in_shape, *case.out_shape)


@given(whole, st.sampled_from(["adjoint", "transpose"]))
def test_the_transpose_is_the_adjoint_of_the_conjugate(case, convention):
    other = case.map(np.conj).with_arrays({"dy": case.dy})
    for name in set(case.results) - {"y"}:
        there = "transpose" if convention == "adjoint" else "adjoint"
        np.testing.assert_array_equal(reference(case, name, convention), reference(other, name, there))


@given(cases(dtypes=("float16", "float32", "float64", "complex64")))
def test_widening_changes_no_number(case):
    for (name, array), (_, wide) in zip(case.arrays(), widened(case).arrays(), strict=True):
        assert np.array_equal(np.asarray(wide, array.dtype), array), name


def test_a_case_that_does_not_fit_together_is_refused():
    tensor, x, dy = np.ones((2, 3)), np.ones((4, 2)), np.ones((4, 3))
    Case("dense", (2,), (3,), {"tensor": tensor}, x, dy)
    with pytest.raises(ShapeError, match=r"tensor of shape \(3, 2\) does not fit"):
        Case("dense", (2,), (3,), {"tensor": tensor.T}, x, dy)
    with pytest.raises(ShapeError, match=r"x has shape \(4, 3\)"):
        Case("dense", (2,), (3,), {"tensor": tensor}, dy, dy)
    with pytest.raises(ShapeError, match=r"dy has shape \(3, 3\)"):
        Case("dense", (2,), (3,), {"tensor": tensor}, x, dy[:3])
    with pytest.raises(ShapeError, match=r"bias has shape \(2,\)"):
        Case("dense", (2,), (3,), {"tensor": tensor}, x, dy, np.ones(2))
    with pytest.raises(ShapeError, match="operands"):
        Case("dense", (2,), (3,), {"core": tensor}, x, dy)
