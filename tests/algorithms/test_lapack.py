"""NaN and infinity reach none of LAPACK's iterations, some builds of which would never return from them."""

import ast
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from algorithms.tensors import DTYPES, assert_isometric, normal
from spaces import PLACES

import tlinear
from tlinear.algorithms import lapack
from tlinear.algorithms.chain_allocation import allocate_chain
from tlinear.algorithms.cp import cp
from tlinear.algorithms.fallbacks import noting_fallbacks
from tlinear.algorithms.hooi import hooi
from tlinear.algorithms.hosvd import st_hosvd, st_hosvd_within
from tlinear.algorithms.portable import portable_train, portable_tucker
from tlinear.algorithms.truncated_svd import leading_left
from tlinear.algorithms.tt_svd import tt_svd, tt_svd_within
from tlinear.errors import DecompositionError, NonFiniteError
from tlinear.testing.decompositions import error_bounds

ITERATIVE = {"svd", "svdvals", "eigh", "eigvalsh", "eig", "eigvals", "lstsq", "pinv", "matrix_rank", "cond"}
"""Functions of numpy.linalg and scipy.linalg whose drivers iterate."""

BAD = (np.nan, np.inf, -np.inf)


@pytest.fixture
def guarded(monkeypatch):
    """Iterative drivers that tell on whoever hands them NaN or infinity, instead of hanging."""

    def telling(driver):
        def look(matrix, *others, **options):
            if not all(np.isfinite(array).all() for array in (matrix, *others)):
                pytest.fail("NaN or infinity has reached LAPACK")
            return driver(matrix, *others, **options)

        return look

    for library in (np.linalg, scipy.linalg):
        for name in ITERATIVE & set(dir(library)):
            monkeypatch.setattr(library, name, telling(getattr(library, name)))


CALLS = {
    "svd": lapack.svd,
    "singular values": lapack.singular_values,
    "eigh": lapack.eigh,
    "eig": lapack.eig,
    "least squares": lambda matrix: lapack.least_squares(matrix, np.ones((len(matrix), 2))),
    "right-hand side": lambda matrix: lapack.least_squares(np.eye(len(matrix)), matrix),
}


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_matrix_that_is_not_finite_is_refused_by_shape(call, bad, dtype):
    matrix = np.eye(3, dtype=dtype)
    call(matrix)
    matrix[1, 2] = bad
    with pytest.raises(NonFiniteError, match=r"matrix of shape \(3, 3\) to be decomposed holds NaN or infinity"):
        call(matrix)


ALGORITHMS = {
    "TT-SVD": lambda tensor: tt_svd(tensor, (2, 2)),
    "TT-SVD from either end": lambda tensor: tt_svd(tensor, (2, 2), direction="best"),
    "TT-SVD by the triangle": lambda tensor: tt_svd(tensor, (2, 2), svd="qr"),
    "TT-SVD, randomized": lambda tensor: tt_svd(tensor, (2, 2), svd="randomized"),
    "TT-SVD within a tolerance": lambda tensor: tt_svd_within(tensor, 0.1),
    "ST-HOSVD": lambda tensor: st_hosvd(tensor, (2, 2, 2)),
    "ST-HOSVD within a tolerance": lambda tensor: st_hosvd_within(tensor, 0.1),
    "HOOI": lambda tensor: hooi(tensor, (2, 2, 2)),
    "CP": lambda tensor: cp(tensor, 2, rng=np.random.default_rng(0)),
    "bounds of the error": lambda tensor: error_bounds(tensor, "tt", tensor.shape[:1], tensor.shape[1:], (2, 2)),
}


@pytest.mark.usefixtures("guarded")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("shape", [(3, 4, 5), (12, 10, 14)], ids=["by an SVD", "by a Gram matrix"])
def test_an_algorithm_refuses_nan_and_infinity_before_lapack(algorithm, bad, shape):
    tensor = normal(np.random.default_rng(0), shape)
    tensor[1, 2, 3] = bad
    with pytest.raises(NonFiniteError):
        algorithm(tensor)


@pytest.mark.usefixtures("guarded")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("bad", BAD)
def test_no_bonds_are_proposed_from_a_trial_that_is_not_finite(bad):
    tensor = normal(np.random.default_rng(0), (3, 4, 5))
    tensor[1, 2, 3] = bad
    assert allocate_chain(tensor, (1, 1), 40, lambda bonds: 1.0) == (1, 1)


@pytest.mark.parametrize("place", PLACES, ids=repr)
@pytest.mark.parametrize("bad", BAD)
def test_portable_algorithms_refuse_them_before_the_library_does(place, bad, monkeypatch):
    tensor = normal(np.random.default_rng(0), (3, 4, 5)).astype(np.float32)
    tensor[1, 2, 3] = bad
    tensor = place.array(tensor)
    monkeypatch.setattr(place.xp.linalg, "svd", lambda *_, **__: pytest.fail("NaN or infinity has reached LAPACK"))
    with pytest.raises(NonFiniteError, match=r"matrix of shape \(3, 20\)"):
        portable_train(tensor, (2, 2), ((0,), (1,), (2,)), place.space)
    with pytest.raises(NonFiniteError, match=r"matrix of shape \(3, 20\)"):
        portable_tucker(tensor, (2, 2, 2), place.space)


@pytest.mark.usefixtures("guarded")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
def test_a_gram_matrix_that_overflows_is_passed_over(shape):
    """The squares of finite numbers need not be finite; the singular values are, and the vectors the same."""
    matrix = np.zeros(shape)
    matrix[np.arange(3), np.arange(3)] = 4e200, 2e200, 1e200
    with noting_fallbacks() as notes:
        found = leading_left(matrix, 2)
    assert list(notes) == ["a singular value decomposition, after that of the Gram matrix had failed"]
    assert_isometric(found)
    np.testing.assert_array_equal(np.abs(found), np.eye(shape[0], 2))


def test_a_driver_that_fails_is_an_error_of_ones_own(monkeypatch):
    def refuse(*_, **options):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    for name, call in {"eigh": lapack.eigh, "eig": lapack.eig, "lstsq": CALLS["least squares"]}.items():
        monkeypatch.setattr(np.linalg, name, refuse)
        with pytest.raises(DecompositionError, match=r"failed on a matrix of shape \(2, 2\): Eigenvalues did not"):
            call(np.eye(2))


def test_iterative_drivers_are_called_in_one_module():
    package = Path(tlinear.__file__).parent
    for path in package.rglob("*.py"):
        if path == Path(lapack.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ITERATIVE:
                where = ast.unparse(node.value).split(".")[-1]
                assert where != "linalg", f"{path.relative_to(package)}:{node.lineno} calls {ast.unparse(node)}"
            elif isinstance(node, ast.ImportFrom) and node.module in ("numpy.linalg", "scipy.linalg"):
                pytest.fail(f"{path.relative_to(package)}:{node.lineno} imports from {node.module}")
