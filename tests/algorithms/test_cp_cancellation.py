"""Components that cancel: what an undamped step is foretold to do to them, at a minimum and far from any."""

import math

import numpy as np
import pytest
from algorithms.tensors import DTYPES, EPS, generators, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from tlinear import decompose
from tlinear.algorithms.cp import cp
from tlinear.algorithms.cp_cancellation import SETTLED, _groups, _most_together, cancellation, foretold_change
from tlinear.algorithms.cp_compression import compress
from tlinear.algorithms.fallbacks import noting_fallbacks
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, normalized


def kruskal(target, weights, factors):
    units = [normalized(factor, np.ones_like(factor))[1] for factor in factors]
    return Kruskal(weights, units, target.error(weights, units))


def isometry(rng, size, rank, dtype):
    return np.linalg.qr(normal(rng, (size, rank), dtype))[0]


def difference_quotient(rng, shape, step, dtype):
    """The derivative of a product of unit vectors along unit vectors at right angles, and ``(X(t) - X(-t)) / 2 t``."""
    pairs = [isometry(rng, size, 2, dtype) for size in shape]
    derivative = sum(
        cp_product(np.ones(1), [pair[:, [1 if j == k else 0]] for j, pair in enumerate(pairs)])
        for k in range(len(pairs))
    )
    factors = [pair @ np.array([[1.0, 1.0], [step, -step]]) for pair in pairs]
    factors[0] = factors[0] * [1.0, -1.0]
    weights = np.full(2, (1.0 + step**2) ** (len(shape) / 2) / (2.0 * step))
    target = Target.of(derivative)
    return target, kruskal(target, weights, factors)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rng=generators,
    shape=st.lists(st.integers(2, 4), min_size=3, max_size=4).map(tuple),
    exponent=st.integers(3, 12),
)
def test_a_difference_quotient_is_foretold_to_halve_its_step(dtype, rng, shape, exponent):
    r"""However small the step t is: ``X_t = X_0 + t^2 D`` for up to four modes, so that -t/2 along its tangent takes it
    to the derivative, exactly, and the weights are ``(1 + t^2)^(d/2) / 2 t``.

    The residual, of size t^2, is a difference of components of size 1 / t, and a weight moves by 1 / t times as much as
    t, which moves the tensor by 2 t: a rounding by eps in the components changes the quotient by eps / t^2.  As many
    as there are entries, in each of the products and in the QR decompositions, add up.
    """
    step = 2.0**-exponent
    target, point = difference_quotient(rng, shape, step, dtype)
    expected = abs(1.0 - len(shape) * step**2 / (1.0 + step**2)) / 2.0
    rounding = 8 * math.prod(shape) * EPS / step**2
    assert abs(foretold_change(target, point) - expected) <= rounding


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, cosine=st.sampled_from([0.9, 0.99]))
def test_at_a_minimum_no_change_is_foretold(dtype, rng, cosine):
    """The residual of two components that cancel, in a third direction of each mode, is at right angles to every step."""
    bases = [isometry(rng, 4, 3, dtype) for _ in range(3)]
    sine = math.sqrt(1.0 - cosine**2)
    factors = [
        basis @ np.array([[1.0, sign * cosine], [0.0, sine], [0.0, 0.0]])
        for sign, basis in zip([-1, 1, 1], bases, strict=True)
    ]
    weights = np.array([2.0, 1.5])
    outside = cp_product(np.ones(1), [basis[:, 2:] for basis in bases])
    target = Target.of(cp_product(weights, factors) + outside)
    point = kruskal(target, weights, factors)
    assert np.min(cancellation(point)) > 0.5
    # the tensor of the pair has a derivative whose smallest singular value is (1 - cos)^2 or more
    assert foretold_change(target, point) <= 64**2 * EPS / (1.0 - cosine) ** 2


@given(rng=generators)
def test_where_no_components_cancel_nothing_is_looked_at(rng):
    """Positive factors have positive cosines."""
    factors = [rng.uniform(0.1, 1.0, size=(4, 3)) for _ in range(3)]
    target = Target.of(normal(rng, (4, 4, 4)))
    point = kruskal(target, np.ones(3), factors)
    assert np.all(cancellation(point) == 0.0)
    assert foretold_change(target, point) == 0.0


@pytest.mark.parametrize("exponent", [-300, -37, 1, 300])
def test_a_power_of_two_changes_no_bit(exponent):
    target, point = difference_quotient(np.random.default_rng(0), (3, 4, 5), 0.125, "float64")
    scaled = Kruskal(np.ldexp(point.weights, exponent), point.factors, point.error)
    change = foretold_change(target, point)
    assert SETTLED < change < 0.5
    assert foretold_change(Target.of(np.ldexp(target.tensor, exponent)), scaled) == change


def test_components_elsewhere_change_nothing_and_weights_of_zero_do_not_count():
    """A third component at right angles to the others in every mode, and a fourth that is not there."""
    target, pair = difference_quotient(np.random.default_rng(0), (2, 2, 2), 0.125, "float64")
    tensor = np.zeros((3, 3, 3))
    tensor[:2, :2, :2], tensor[2, 2, 2] = target.tensor, 7.0
    factors = []
    for factor in pair.factors:
        wide = np.zeros((3, 4))
        wide[:2, :2], wide[2, 2], wide[:2, 3] = factor, 1.0, -factor[:, 0]
        factors.append(wide)
    whole = Target.of(tensor)
    weights = np.array([*pair.weights, 7.0, 0.0])
    point = Kruskal(weights, factors, whole.error(weights, factors))
    assert cancellation(point)[2:].tolist() == [0.0, 0.0]
    assert [sorted(group) for group in _groups(point)] == [[0, 1]]
    assert abs(foretold_change(whole, point) - foretold_change(target, pair)) <= 64 * 27 * EPS * 64


def test_what_cannot_be_solved_has_not_settled(monkeypatch):
    def failing(*_, **__):
        raise np.linalg.LinAlgError("SVD did not converge in Linear Least Squares")

    target, point = difference_quotient(np.random.default_rng(0), (2, 2, 2), 0.125, "float64")
    monkeypatch.setattr(np.linalg, "lstsq", failing)
    with noting_fallbacks() as notes:
        assert foretold_change(target, point) == math.inf
    assert len(notes) == 1


@given(rng=generators, shape=st.lists(st.integers(1, 16), min_size=3, max_size=6).map(tuple), rank=st.integers(2, 40))
def test_every_component_that_cancels_is_in_a_group_and_no_derivative_is_large(rng, shape, rank):
    factors = [rng.standard_normal((size, rank)) for size in shape]
    target = Target.of(np.zeros(shape))
    point = kruskal(target, 1.0 + rng.random(rank), factors)
    groups = list(_groups(point))
    assert set(np.flatnonzero(cancellation(point) >= 0.5)) <= {r for group in groups for r in group}
    most = max(2, _most_together(shape, rank))
    for group in groups:
        assert len(set(group)) == len(group) <= most
        sizes = [min(size, len(group)) for size in shape]
        if len(group) > 2:
            assert math.prod(sizes) * len(group) * (1 + sum(size - 1 for size in sizes)) <= 1 << 20


# ------------------------------------------------------------ what a decomposition says of its end


UNSETTLED = "but components that cancel each other had not settled"


def derivative(rng, shape, dtype="float64"):
    """Of a product of vectors, along as many others: tensors of rank 2 are as near as one likes, and none is nearest."""
    points, directions = ([normal(rng, size, dtype) for size in shape] for _ in range(2))
    tensor = np.zeros(shape, dtype)
    for k in range(len(shape)):
        factors = [(directions if j == k else points)[j][:, None] for j in range(len(shape))]
        tensor += cp_product(np.ones(1), factors)
    return tensor


def turning(rng, size):
    """Real slices whose quotient has a complex pair of eigenvalues: it has none either, of a rank of their size."""
    while True:
        tensor = rng.standard_normal((size, size, 2))
        if np.linalg.eigvals(np.linalg.solve(tensor[..., 0], tensor[..., 1])).imag.any():
            return tensor


def assert_not_converged(tensor, rank, **options):
    result = decompose(tensor, "cp", rank, **options)
    assert not result.converged
    assert result.stop_reason.endswith(("sweeps were done", UNSETTLED))


@pytest.mark.parametrize("seed", [1, 16, 28, 33, 56, 73, 90, 94])
def test_a_derivative_is_not_said_to_have_converged(seed):
    """Seeds at which one BLAS kernel or another takes a damped step of little gain along components that grow."""
    assert_not_converged(derivative(np.random.default_rng(seed), (9, 9, 9)), 2, max_iterations=40)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 5), (3, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("options", [{}, {"stop_tolerance": 1e-3}, {"ridge": 1e-3}], ids=str)
def test_a_derivative_has_no_best_approximation_by_whatever_options(dtype, shape, options):
    rng = np.random.default_rng(len(shape))
    assert_not_converged(derivative(rng, shape, dtype), 2, max_iterations=40, **options)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_a_derivative_has_no_best_approximation_at_any_scale(scale):
    assert_not_converged(scale * derivative(np.random.default_rng(0), (5, 5, 5)), 2, max_iterations=40)


def test_a_derivative_in_single_precision_has_no_best_approximation():
    """Small integers, whose products and sums are exact in it."""
    rng = np.random.default_rng(0)
    points, directions = (rng.integers(1, 4, (3, 5)).astype(np.float32) for _ in range(2))
    directions[:, 0] = -1.0
    tensor = sum(
        np.einsum("i,j,k->ijk", *(directions[j] if j == k else points[j] for j in range(3)), dtype=np.float32)
        for k in range(3)
    )
    assert_not_converged(tensor, 2, max_iterations=40)


@pytest.mark.parametrize(("size", "seed"), [(2, 0), (2, 1), (2, 4), (2, 5), (3, 1), (3, 6), (4, 0)])
def test_slices_with_a_complex_pair_are_not_said_to_have_converged(size, seed):
    """The infimum is not zero and not attained: de Silva and Lim (2008), theorem 8.1, and Stegeman (2006)."""
    assert_not_converged(turning(np.random.default_rng(seed), size), size)


def test_a_core_without_a_best_approximation_leaves_the_whole_tensor_without_one():
    """It is projected onto the subspaces of the core, whose best approximation would be the tensor's."""
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((9, 2)))[0] for _ in range(3)]
    tensor = np.einsum("abc,ia,jb,kc->ijk", turning(rng, 2), *bases)
    assert compress(tensor, 2).bases is not None
    assert_not_converged(tensor, 2)


@settings(max_examples=8)
@given(rng=generators, cosine=st.sampled_from([0.0, 0.9, 0.99]), size=st.sampled_from([4, 6, 12]))
def test_components_that_cancel_at_a_minimum_are_said_to_have_converged(rng, cosine, size):
    """Of alternating signs and with little noise: those that cancel most are five times the tensor that they add up to."""
    gram = np.full((4, 4), cosine) + (1.0 - cosine) * np.eye(4)
    upper = np.linalg.cholesky(gram).T
    factors = [np.linalg.qr(rng.standard_normal((size, 4)))[0] @ upper for _ in range(3)]
    exact, noise = cp_product(np.array([1.0, -1.0, 1.0, -1.0]), factors), rng.standard_normal((size,) * 3)
    result = decompose(exact + 1e-4 * np.linalg.norm(exact) / np.linalg.norm(noise) * noise, "cp", 4)
    assert result.converged, result.stop_reason


@pytest.mark.parametrize("seed", [4, 13, 109])
def test_an_end_that_leaves_a_doubt_is_followed_by_one_that_leaves_none(seed):
    """Noise, of which the first ends foretell a change by a fifth to two fifths: one has a minimum, two have none."""
    tensor = np.random.default_rng((8, seed)).standard_normal((4, 4, 4))
    weights, factors, report = cp(tensor, 3, rng=np.random.default_rng(0), n_starts=1)
    target = Target.of(tensor)
    change = foretold_change(target, Kruskal(weights, factors, target.error(weights, factors)))
    assert not 0.05 < change <= 1.0
    assert report.converged == (change <= SETTLED)
