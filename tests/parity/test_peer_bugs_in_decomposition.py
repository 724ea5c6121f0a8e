"""Faults of TensorLy 0.10, pyttb 1.8 and torchTT 0.5 in decomposing tensors, and what is right.

The peer's own answer is asserted too: where it changes, the comparison has lost its point.
"""

import math
import warnings

import numpy as np
import pytest
import tensorly
from tensorly.decomposition import parafac, tensor_train, tucker
from tensorly.tt_matrix import validate_tt_matrix_rank

import tlinear
from tlinear import decompose
from tlinear.errors import NonFiniteError, RankError, ShapeError

FORMATS = ("cp", "tucker", "tt", "blocktt")
TOLERANCES = [10.0**-k for k in range(2, 14)]


@pytest.fixture(autouse=True)
def peers_compute_in_numpy_and_may_warn():
    with tensorly.backend_context("numpy"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def error_of(tensor, result):
    """The relative error, where squares may overflow, too."""
    scale = float(np.abs(tensor).max()) or 1.0
    difference = (tensor - np.asarray(result)) / scale
    return float(np.linalg.norm(difference) / (np.linalg.norm(tensor / scale) or 1.0))


def planted(shape, rank, congruence):
    """A sum of outer products, all pairs of columns of a factor at the same angle."""
    rng = np.random.default_rng((1, 0))
    mix = np.linalg.cholesky(np.full((rank, rank), congruence) + (1.0 - congruence) * np.eye(rank)).T
    factors = [np.linalg.qr(rng.standard_normal((size, rank)))[0] @ mix for size in shape]
    return tlinear.CPTensor(np.ones(rank), tuple(factors)).to_tensor()


# ------------------------------------------------------------ CP


@pytest.mark.parametrize("congruence", [0.9, 0.99])
def test_a_swamp_is_left_and_what_is_not_found_is_flagged(congruence):
    """TensorLy stops far from an exact tensor after a few sweeps, and returns nothing that tells."""
    tensor = planted((16,) * 4, 8, congruence)
    peer = parafac(tensor, 8, init="random", random_state=0)
    assert error_of(tensor, peer.to_tensor()) > 1e-3
    result = decompose(tensor, "cp", 8)
    assert result.converged
    assert result.relative_error <= 1e-11


def test_single_precision_in_is_not_single_precision_inside():
    """TensorLy computes in the dtype of the tensor, and loses all but two digits of it."""
    tensor = planted((16,) * 4, 8, 0.9).astype(np.float32)
    peer = parafac(tensor, 8, init="svd", n_iter_max=300, tol=1e-9)
    assert error_of(tensor, peer.to_tensor()) > 1e-3
    result = decompose(tensor, "cp", 8)
    assert result.tensor.dtype == np.float32
    assert result.relative_error <= 1e-6


@pytest.mark.parametrize("init", ["random", "svd"])
@pytest.mark.parametrize("tensor", [np.zeros((4, 5, 6)), np.ones((4, 5, 6))], ids=["zero", "constant"])
def test_a_tensor_of_lower_rank_than_asked_is_no_singular_matrix(tensor, init):
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        parafac(tensor, 5, init=init, random_state=0)
    result = decompose(tensor, "cp", 5)
    assert result.converged
    assert result.relative_error <= 1e-10


def test_large_numbers_end_in_no_nan():
    tensor = np.ldexp(planted((5, 6, 7), 2, 0.1), 664)  # times about 1e200
    assert not np.all(np.isfinite(parafac(tensor, 2, init="random", random_state=0).to_tensor()))
    assert decompose(tensor, "cp", 2).relative_error == decompose(np.ldexp(tensor, -664), "cp", 2).relative_error


def test_small_numbers_make_no_singular_matrix():
    tensor = np.ldexp(planted((5, 6, 7), 2, 0.1), -664)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        parafac(tensor, 2, init="random", random_state=0)
    assert decompose(tensor, "cp", 2).relative_error == decompose(np.ldexp(tensor, 664), "cp", 2).relative_error


def test_integers_are_not_rounded_towards_zero():
    """TensorLy draws its start in the dtype of the tensor: numbers below 1 become 0."""
    tensor = np.multiply.outer(np.multiply.outer([1, 2], [3, 4, 5]), [6, 7])
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        parafac(tensor, 1, init="random", random_state=0)
    result = decompose(tensor, "cp", 1)
    assert (result.tensor.dtype, result.relative_error <= 1e-13) == (np.float64, True)


@pytest.mark.parametrize("shape", [(1, 4, 1, 5), (3, 1, 4), (1, 1, 1)])
def test_modes_of_size_one_are_exact(shape):
    tensor = np.random.default_rng(0).standard_normal(shape)
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        parafac(tensor, 5, init="svd")
    for factorization in ("cp", "tucker", "tt"):
        assert decompose(tensor, factorization, 5).relative_error <= 1e-12


def test_the_start_and_the_tensor_are_not_written_to():
    tensor = np.random.default_rng(0).standard_normal((3, 4, 5))
    tensor.flags.writeable = False
    before = tensor.copy()
    for factorization in FORMATS:
        decompose(tensor, factorization, 2, n_in=1)
    np.testing.assert_array_equal(tensor, before)


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_seed_reproduces_and_no_global_one_matters(factorization):
    """TensorLy without a seed draws from NumPy's global state."""
    tensor = np.random.default_rng(0).standard_normal((4, 3, 2, 5))
    results = []
    for state in (0, 1):
        np.random.seed(state)
        results.append(decompose(tensor, factorization, 3, n_in=2).tensor.to_tensor())
    np.testing.assert_array_equal(*results)
    peers = []
    for state in (0, 1):
        np.random.seed(state)
        peers.append(parafac(tensor, 3, init="random", n_iter_max=5).to_tensor())
    assert not np.array_equal(*peers)


# ------------------------------------------------------------ Tucker


@pytest.mark.parametrize("shape", [(3, 4, 2), (1, 5, 1, 4), (2, 2, 2)])
def test_a_tucker_rank_above_the_sizes_is_capped_and_not_padded_with_random_columns(shape):
    """TensorLy returns a tensor that is farther from the given one than zero is."""
    tensor = np.random.default_rng(0).standard_normal(shape)
    rank = [5] * len(shape)
    errors = [error_of(tensor, tucker(tensor, rank, random_state=seed).to_tensor()) for seed in range(5)]
    assert max(errors) > 1.0
    result = decompose(tensor, "tucker", 5)
    assert all(r <= size for r, size in zip(result.rank, shape, strict=True))
    assert result.relative_error <= 1e-14
    with pytest.raises(RankError, match="needs more than"):
        decompose(tensor, "tucker", tuple(rank))


# ------------------------------------------------------------ every format


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused_in_words(bad):
    """TensorLy returns NaN from CP without a word, and says of the others that an SVD did not converge."""
    tensor = np.random.default_rng(0).standard_normal((4, 3, 2, 5))
    tensor[1, 2, 0, 3] = bad
    assert not np.all(np.isfinite(parafac(tensor, 2, init="random", random_state=0).to_tensor()))
    for call in (lambda: tucker(tensor, [2] * 4), lambda: tensor_train(tensor, [1, 2, 2, 2, 1])):
        with pytest.raises(np.linalg.LinAlgError):
            call()
    for factorization in FORMATS:
        with pytest.raises(NonFiniteError, match="has 1 entry that is NaN or infinite, of 120"):
            decompose(tensor, factorization, 2, n_in=2)


def test_a_vector_is_its_own_factorization():
    vector = np.arange(5.0)
    for call in (lambda: parafac(vector, 1), lambda: tucker(vector, [1]), lambda: tensor_train(vector, [1, 1])):
        with pytest.raises((IndexError, ValueError)):
            call()
    for factorization in ("cp", "tucker", "tt"):
        np.testing.assert_allclose(decompose(vector, factorization, 1).tensor.to_tensor(), vector, rtol=1e-15)


def test_half_precision_is_taken_and_given_back():
    tensor = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(np.float16)
    with pytest.raises(TypeError):
        tensor_train(tensor, [1, 2, 2, 2, 1])
    for factorization in FORMATS:
        assert decompose(tensor, factorization, 2, n_in=2).tensor.dtype == np.float16


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 0, 4)])
def test_nothing_to_factorize_is_said_in_words(factorization, shape):
    """TensorLy's messages are of reshapes, of divisions by zero, or of indices out of range."""
    with pytest.raises(ShapeError, match="has nothing to factorize"):
        decompose(np.zeros(shape), factorization, 1, n_in=1)


def test_an_error_below_the_root_of_rounding_is_told():
    """From the norms, as peers take it, an error has a floor of 1e-8."""
    tensor = planted((6, 7, 8), 3, 0.2)
    _, errors = parafac(tensor, 3, init="svd", n_iter_max=200, tol=1e-14, return_errors=True)
    result = decompose(tensor, "cp", 3)
    assert float(errors[-1]) > 1e-10 or float(errors[-1]) == 0.0
    assert result.relative_error == pytest.approx(error_of(tensor, result.tensor.to_tensor()), rel=1e-6, abs=1e-16)
    assert result.relative_error < 1e-12


def test_a_train_of_matrices_of_one_core_is_the_matrix():
    tensor = np.random.default_rng(0).standard_normal((4, 5))
    with pytest.raises(IndexError):
        validate_tt_matrix_rank(tensor.shape, "same")
    assert decompose(tensor, "blocktt", "same", n_in=1).relative_error == 0.0


# ------------------------------------------------------------ tolerances


def falling(rate=0.3):
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((size, 16)))[0] for size in (16, 17, 18)]
    return np.einsum("r,ir,jr,kr->ijk", rate ** np.arange(16.0), *bases)


@pytest.mark.parametrize("factorization", ["tucker", "tt"])
def test_a_tolerance_is_kept_down_to_the_last_digits(factorization):
    tensor = falling()
    for tolerance in TOLERANCES:
        result = decompose(tensor, factorization, tolerance=tolerance)
        assert max(result.relative_error, error_of(tensor, result.tensor.to_tensor())) <= tolerance


def test_tolerances_that_pyttb_misses():
    """``pyttb.hosvd`` takes Gram matrices at every tolerance: from 1e-8 on it delivers the same, some 1e-9."""
    import pyttb

    tensor = falling()
    found = pyttb.hosvd(pyttb.tensor(tensor), tol=1e-12, verbosity=0).full().data
    assert error_of(tensor, found) > 1e-11
    assert decompose(tensor, "tucker", tolerance=1e-12).relative_error <= 1e-12


@pytest.mark.parametrize("exponent", [664, -664])
def test_numbers_whose_squares_leave_the_range(exponent):
    """pyttb fails on them, or returns a tensor of no use; torchTT returns a worse one: .947 instead of .648 or so."""
    import torch
    import torchtt

    tensor = np.random.default_rng(0).standard_normal((6, 5, 4, 3))
    scaled = np.ldexp(tensor, exponent)
    rank = decompose(tensor, "tt", 2).rank
    peer = [error_of(x, torchtt.TT(torch.from_numpy(x), rmax=2).full().numpy()) for x in (tensor, scaled)]
    assert not peer[1] <= 1.05 * peer[0]
    for factorization in FORMATS:
        errors = [decompose(x, factorization, 2, n_in=2).relative_error for x in (tensor, scaled)]
        assert errors[0] == errors[1]
    assert decompose(scaled, "tt", 2).rank == rank


def test_pyttb_fails_where_nothing_is_wrong():
    """A zero tensor, a constant one, NaN, and CP of more components than a mode is long from singular vectors."""
    import pyttb

    rng = np.random.default_rng(0)

    def fails(tensor, rank, **options):
        try:
            found = pyttb.cp_als(pyttb.tensor(tensor), rank, printitn=0, maxiters=20, **options)[0]
        except (np.linalg.LinAlgError, ValueError, AssertionError):
            return True
        return not error_of(tensor, found.full().data) <= 0.5

    constant, short = np.ones((4, 5, 6)), np.einsum("ir,jr,kr->ijk", *(rng.standard_normal((3, 4)) for _ in range(3)))
    assert fails(constant, 5)
    assert fails(np.ldexp(constant + rng.random(constant.shape), 664), 2)
    assert fails(short, 4, init="nvecs")
    assert decompose(constant, "cp", 5).relative_error <= 1e-12
    assert decompose(short, "cp", 4).relative_error < 0.1


def test_the_version_that_is_judged():
    assert tensorly.__version__.startswith("0.10")
