"""tlinear.micro is the text a reader starts with: it is judged by the literal sums, and judges the package."""

import inspect
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from cases import FACTORIZATIONS, IMPLEMENTATIONS, cases, flat, micro_network, weights
from hypothesis import given
from hypothesis import strategies as st

from tlinear import micro
from tlinear.contraction.options import PlanOptions
from tlinear.functional import factorized_linear, linear_vjp


def literal_entry(weight, index):
    """One entry of W by its equation, term by term."""
    shape, operands = weight.shape, weight.operands
    d = len(shape)
    if weight.factorization == "dense":
        return weight.tensor[index]
    if weight.factorization == "cp":
        return sum(
            weight.weights[r] * math.prod(weight.factors[k][index[k], r] for k in range(d)) for r in range(weight.rank)
        )
    if weight.factorization == "tucker":
        return sum(
            weight.core[r] * math.prod(weight.factors[k][index[k], r[k]] for k in range(d))
            for r in itertools.product(*map(range, weight.rank))
        )
    n_in, n_out = len(weight.in_shape), len(weight.out_shape)
    if weight.factorization == "tt":
        slices = [core[:, index[k], :] for k, core in enumerate(operands.values())]
    else:
        i, o = (*index[:n_in], *[0] * n_out), (*index[n_in:], *[0] * n_in)
        slices = [core[:, i[k], o[k], :] for k, core in enumerate(operands.values())]
    product = slices[0]
    for part in slices[1:]:
        product = product @ part
    return product[0, 0]


@given(weights())
def test_micro_reconstructs_what_the_equations_say(weight):
    tensor = micro.to_tensor(micro_network(weight), len(weight.shape))
    for index in itertools.product(*map(range, weight.shape)):
        assert tensor[index] == literal_entry(weight, index)


@given(weights())
def test_package_reconstructs_what_micro_does(weight):
    np.testing.assert_array_equal(weight.to_tensor(), micro.to_tensor(micro_network(weight), len(weight.shape)))


@given(cases(), st.sampled_from(IMPLEMENTATIONS))
def test_package_computes_what_micro_does(case, implementation):
    weight, network = case.weight, micro_network(case.weight)
    y, pullback = linear_vjp(case.x, weight, case.bias, options=PlanOptions(implementation))
    gradients = pullback(case.dy)

    shapes = weight.in_shape, weight.out_shape
    np.testing.assert_array_equal(flat(y), micro.forward(flat(case.x), network, *shapes, case.bias))
    dx, operand_gradients, dbias = micro.backward(flat(case.x), flat(case.dy), network, *shapes)
    np.testing.assert_array_equal(flat(gradients.x), dx)
    for name, expected in zip(weight.operands, operand_gradients, strict=True):
        np.testing.assert_array_equal(gradients.parameters[f"weight.{name}"], expected)
    if case.bias is not None:
        np.testing.assert_array_equal(gradients.parameters["bias"], dbias)
    np.testing.assert_array_equal(factorized_linear(case.x, weight, case.bias, implementation=implementation), y)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@given(st.data())
def test_micro_is_exact_in_fractions(factorization, data):
    """The same equations on rationals: halving every operand halves W once for each."""
    weight = data.draw(weights(factorizations=(factorization,), dtypes=("float64",)))
    halves = [
        (np.array([Fraction(int(a), 2) for a in operand.ravel()], dtype=object).reshape(operand.shape), indices)
        for operand, indices in micro_network(weight)
    ]
    tensor = micro.to_tensor(halves, len(weight.shape))
    scale = Fraction(1, 2 ** len(halves))
    expected = [Fraction(int(entry)) * scale for entry in weight.to_tensor().ravel()]
    assert tensor.ravel().tolist() == expected


def test_micro_fits_on_its_page():
    assert len(inspect.getsource(micro).splitlines()) <= 150
