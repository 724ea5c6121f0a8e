"""The dense tensor of a factorization, its unfoldings and its counts, against TensorLy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorly
from hypothesis import given
from hypothesis import strategies as st
from tensorly.cp_tensor import _cp_n_param
from tensorly.tt_matrix import _tt_matrix_n_param, tt_matrix_to_matrix
from tensorly.tt_tensor import _tt_n_param
from tensorly.tucker_tensor import _tucker_n_param

from .bounds import rounding_bound
from .cases import generators, integers, make_case, normals, structure, structures
from .tensorly_numpy import on_numpy, to_tensor

TENSORLY_FORMATS = ("cp", "tucker", "tt", "blocktt")
DTYPES = ("float64", "complex128")


def weights(factorization: str):
    """TensorLy's TT-matrix pairs the modes, so that both sides must have equally many."""
    return structures(factorization, equal_counts=factorization == "blocktt")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factorization", TENSORLY_FORMATS)
@given(data=st.data(), rng=generators)
def test_integers_give_the_same_tensor_to_the_last_bit(factorization, dtype, data, rng):
    case = make_case(data.draw(weights(factorization)), (), integers(rng, dtype))
    np.testing.assert_array_equal(case.weight.to_tensor(), to_tensor(factorization, case.operands))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factorization", TENSORLY_FORMATS)
@given(data=st.data(), rng=generators)
def test_gaussians_give_the_same_tensor_within_rounding(factorization, dtype, data, rng):
    """A column of the matrix is what the layer makes of a unit vector, and rounded no more often."""
    case = make_case(data.draw(weights(factorization)), (), normals(rng, dtype), bias=False)
    n_in = math.prod(case.weight.in_shape)
    difference = np.abs(case.weight.to_tensor() - to_tensor(factorization, case.operands)).reshape(n_in, -1)
    for unit, row in zip(np.eye(n_in), difference, strict=True):
        column = replace(case, x=unit)
        assert np.all(row <= rounding_bound(column, "y", dtype))


@pytest.mark.parametrize("factorization", TENSORLY_FORMATS)
@given(data=st.data(), rng=generators)
def test_the_parameters_are_as_many_as_tensorly_counts(factorization, data, rng):
    """TensorLy counts the weights of CP only when asked to."""
    weight = make_case(data.draw(weights(factorization)), (), integers(rng)).weight
    count = {
        "cp": lambda shape, rank: _cp_n_param(shape, rank, weights=True),
        "tucker": _tucker_n_param,
        "tt": _tt_n_param,
        "blocktt": _tt_matrix_n_param,
    }[factorization]
    assert weight.n_parameters == count(weight.shape, weight.rank)


@given(data=st.data(), rng=generators)
def test_the_unfoldings_of_cp_are_a_factor_times_the_khatri_rao_product_of_the_others(data, rng):
    weight = make_case(data.draw(structures("cp")), (), integers(rng)).weight
    for mode, factor in enumerate(weight.factors):
        others = [other for k, other in enumerate(weight.factors) if k != mode]
        product = on_numpy(tensorly.tenalg.khatri_rao)(others)
        unfolding = on_numpy(tensorly.unfold)(weight.to_tensor(), mode)
        np.testing.assert_array_equal(unfolding, (factor * weight.weights) @ product.T)


@given(data=st.data(), rng=generators)
def test_the_unfoldings_of_tucker_are_a_factor_times_the_core_times_the_kronecker_product_of_the_others(data, rng):
    weight = make_case(data.draw(structures("tucker", max_modes=2)), (), integers(rng)).weight
    for mode, factor in enumerate(weight.factors):
        product = on_numpy(tensorly.tenalg.kronecker)([other for k, other in enumerate(weight.factors) if k != mode])
        core = on_numpy(tensorly.unfold)(weight.core, mode)
        unfolding = on_numpy(tensorly.unfold)(weight.to_tensor(), mode)
        np.testing.assert_array_equal(unfolding, factor @ core @ product.T)


@given(data=st.data(), rng=generators)
def test_the_vector_of_tucker_is_the_kronecker_product_of_the_factors_times_that_of_the_core(data, rng):
    weight = make_case(data.draw(structures("tucker", max_modes=2)), (), integers(rng)).weight
    product = on_numpy(tensorly.tenalg.kronecker)(list(weight.factors))
    np.testing.assert_array_equal(weight.to_tensor().ravel(), product @ weight.core.ravel())


@given(data=st.data(), rng=generators)
def test_the_unfoldings_of_tt_are_the_product_of_its_left_and_right_chains(data, rng):
    case = make_case(data.draw(structures("tt")), (), integers(rng))
    cores = list(case.operands.values())
    for cut in range(1, len(cores)):
        rank = cores[cut].shape[0]
        # a chain cut at a rank is itself a train, with that rank as one more mode
        left = to_tensor("tt", dict(enumerate([*cores[:cut], np.eye(rank)[:, :, None]]))).reshape(-1, rank)
        right = to_tensor("tt", dict(enumerate([np.eye(rank)[None], *cores[cut:]]))).reshape(rank, -1)
        np.testing.assert_array_equal(case.weight.to_tensor().reshape(len(left), -1), left @ right)


@given(rng=generators)
def test_the_matrix_of_a_tt_matrix_is_the_transpose_of_tensorly_which_has_our_inputs_as_rows(rng):
    case = make_case(structure("blocktt", (2, 2, 2), (3, 3, 3), (2, 2)), (), integers(rng))
    theirs = on_numpy(tt_matrix_to_matrix)(list(case.operands.values()))
    assert theirs.shape == (8, 27)
    np.testing.assert_array_equal(case.weight.to_matrix(), theirs.T)
