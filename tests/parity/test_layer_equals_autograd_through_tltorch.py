"""Forward, dx, dbias and the gradient of every operand, against tltorch's two implementations in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .bounds import assert_equal_exactly, assert_equal_within_rounding
from .cases import IMPLEMENTATIONS, batch_shapes, generators, integers, make_case, normals, structures
from .tltorch_layers import TLTORCH_FORMATS, TLTORCH_IMPLEMENTATIONS, TltorchLayer

nonempty_batches = batch_shapes.filter(lambda shape: 0 not in shape)


def weights(factorization: str):
    """tltorch pairs the modes of Tucker and BlockTT, so that both sides must have equally many."""
    return structures(factorization, equal_counts=factorization != "cp")


@pytest.mark.parametrize("theirs", TLTORCH_IMPLEMENTATIONS)
@pytest.mark.parametrize("ours", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", TLTORCH_FORMATS)
@given(data=st.data(), batch_shape=nonempty_batches, rng=generators, bias=st.booleans())
def test_integers_give_the_same_results_to_the_last_bit(factorization, ours, theirs, data, batch_shape, rng, bias):
    case = make_case(data.draw(weights(factorization)), batch_shape, integers(rng), bias=bias)
    assert_equal_exactly(case, case.results(ours), TltorchLayer(case, theirs).results(case))


@pytest.mark.parametrize("theirs", TLTORCH_IMPLEMENTATIONS)
@pytest.mark.parametrize("ours", IMPLEMENTATIONS)
@pytest.mark.parametrize("factorization", TLTORCH_FORMATS)
@given(data=st.data(), batch_shape=nonempty_batches, rng=generators)
def test_gaussians_give_the_same_results_within_rounding(factorization, ours, theirs, data, batch_shape, rng):
    case = make_case(data.draw(weights(factorization)), batch_shape, normals(rng))
    assert_equal_within_rounding(case, case.results(ours), TltorchLayer(case, theirs).results(case))


@pytest.mark.parametrize("factorization", TLTORCH_FORMATS)
@given(data=st.data(), rng=generators)
def test_the_layouts_hold_the_same_matrix(factorization, data, rng):
    case = make_case(data.draw(weights(factorization)), (), integers(rng))
    theirs = TltorchLayer(case, "factorized").weight.to_matrix().detach().numpy()
    np.testing.assert_array_equal(case.weight.to_matrix(), theirs)


@pytest.mark.parametrize("factorization", TLTORCH_FORMATS)
@given(data=st.data(), rng=generators)
def test_the_tensors_are_transposes_of_each_other(factorization, data, rng):
    weight = data.draw(weights(factorization))
    case = make_case(weight, (), integers(rng))
    theirs = TltorchLayer(case, "factorized").weight.to_tensor().detach().numpy()
    n_in, n = len(weight.in_shape), case.weight.n_modes
    np.testing.assert_array_equal(case.weight.to_tensor().transpose(*range(n_in, n), *range(n_in)), theirs)
