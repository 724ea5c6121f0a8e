"""The tensor train from either end, over any axes, and refined: the guarantee holds, and the error never rises."""

import itertools
import math

import numpy as np
import pytest
from algorithms.tensors import (
    DTYPES,
    assert_isometric,
    generators,
    kinds,
    normal,
    rounding,
    shapes,
    singular_values,
    tail,
)
from hypothesis import given
from hypothesis import strategies as st

from tlinear.algorithms import tt_svd as module
from tlinear.algorithms import unfolding as unfolding_module
from tlinear.algorithms.report import product_error, relative_error
from tlinear.algorithms.train import fit_train, refine_train
from tlinear.algorithms.train_order import cheapest_order, cutting_order
from tlinear.algorithms.tt_svd import train_halves, tt_product, tt_svd
from tlinear.errors import OptionError
from tlinear.formats import TTTensor
from tlinear.formats.rank_rules import rank_rules

DIRECTIONS = ("left", "right", "cheapest", "best")


def bonds_of(shape, data):
    wanted = tuple(data.draw(st.integers(1, math.prod(shape))) for _ in shape[1:])
    return rank_rules(TTTensor, shape[:1], shape[1:]).useful(wanted)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=shapes, data=st.data())
def test_from_any_end_the_error_is_within_the_tails_and_the_last_core_carries_the_norm(
    direction, dtype, rng, shape, data
):
    """``|T - W|^2`` is at most the sum over the bonds of what a truncated SVD of T there would lose."""
    tensor, bonds = kinds(rng, shape, dtype), bonds_of(shape, data)
    cores, ranks = tt_svd(tensor, bonds, direction=direction), (1, *bonds, 1)
    assert [core.shape for core in cores] == [(ranks[k], shape[k], ranks[k + 1]) for k in range(len(shape))]
    for core in cores[:-1]:
        assert_isometric(core.reshape(-1, core.shape[-1]))
    error = np.linalg.norm(tensor - tt_product(cores))
    tails = [tail(singular_values(tensor, k + 1), rank) for k, rank in enumerate(bonds)]
    # one QR decomposition a core follows
    slack = 2 * rounding(shape) * np.linalg.norm(tensor)
    assert error <= np.linalg.norm(tails) + slack
    # Pythagoras: |T - W|^2 = |T|^2 - |W|^2
    squares = np.linalg.norm(tensor) ** 2 - np.linalg.norm(cores[-1]) ** 2
    assert abs(error**2 - squares) <= 4 * slack * np.linalg.norm(tensor)


@given(rng=generators, shape=shapes, data=st.data())
def test_the_best_direction_is_no_worse_than_either(rng, shape, data):
    tensor, bonds = kinds(rng, shape), bonds_of(shape, data)
    errors = {d: np.linalg.norm(tensor - tt_product(tt_svd(tensor, bonds, direction=d))) for d in DIRECTIONS}
    slack = math.sqrt(4 * rounding(shape)) * np.linalg.norm(tensor)  # the two are compared by their squares
    assert errors["best"] <= min(errors["left"], errors["right"]) + slack


@given(shape=shapes, data=st.data())
def test_orders_are_d_minus_1_ends_and_the_cheapest_costs_no_more_than_any(shape, data):
    bonds = bonds_of(shape, data)
    orders = [cutting_order(shape, bonds, direction) for direction in ("left", "right", "cheapest")]
    for order in orders:
        assert len(order) == len(shape) - 1
        assert set(order) <= {"left", "right"}

    from tlinear.algorithms.train_order import _cost as cost_of_one

    def cost(order):
        total, ranks, a, b = 0.0, (1, *bonds, 1), 0, 0
        for end in order:
            entries = ranks[a] * math.prod(shape[a : len(shape) - b]) * ranks[len(shape) - b]
            if end == "left":
                rows, rank, a = ranks[a] * shape[a], ranks[a + 1], a + 1
            else:
                rows, rank, b = shape[-1 - b] * ranks[len(shape) - b], ranks[len(shape) - b - 1], b + 1
            total += cost_of_one(rows, entries // rows, rank)
        return total

    least = min(cost(order) for order in itertools.product(("left", "right"), repeat=len(shape) - 1))
    assert cost(cheapest_order(shape, bonds)) <= least * (1.0 + 1e-12)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "together with the next"])
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_axes_of_a_site_are_never_transposed_but_the_train_is_the_same(monkeypatch, dtype, later):
    """BlockTT without its transposition, a truncation that leaves much being carried out with the next."""
    monkeypatch.setattr(unfolding_module, "BLOCK", 64)
    monkeypatch.setattr(module, "BLOCK", 64 if later else 2**40)
    tensor = normal(np.random.default_rng(0), (2, 4, 3, 5, 3, 4, 2, 2), dtype).astype(dtype)
    sites = [(k, 4 + k) for k in range(4)]
    sizes = [tensor.shape[i] * tensor.shape[o] for i, o in sites]
    paired = tensor.transpose([axis for site in sites for axis in site]).reshape(sizes)
    bonds = (5, 8, 6)
    for direction in ("left", "right"):
        train, block = (tt_svd(t, bonds, sites=s, direction=direction) for t, s in ((paired, None), (tensor, sites)))
        errors = [relative_error(paired, tt_product(cores)) for cores in (train, block)]
        assert abs(errors[0] ** 2 - errors[1] ** 2) <= 16 * rounding(tensor.shape)


# ------------------------------------------------------------ the error, without a reconstruction


@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-5, 0.0])
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_the_error_from_blocks_is_that_of_the_reconstruction(monkeypatch, dtype, noise):
    """From squares, whose rounding is 1e-13 of that of the norm, it is good to 1e-13 / 2e-3 where it is above 1e-3."""
    monkeypatch.setattr(unfolding_module, "BLOCK", 100)
    rng, sites = np.random.default_rng(0), [(0, 3), (1, 4), (2, 5)]
    cores = [normal(rng, shape, dtype) for shape in ((1, 12, 3), (3, 20, 4), (4, 12, 1))]
    tensor = tt_product(cores).reshape(3, 4, 4, 5, 2, 6).transpose(0, 2, 4, 1, 3, 5)
    noisy = (
        tensor + noise * np.linalg.norm(tensor) / math.sqrt(tensor.size) * normal(rng, tensor.shape, dtype)
    ).astype(dtype)
    expected = relative_error(noisy.astype(tensor.dtype), tensor)
    found = product_error(noisy, *train_halves(cores, sites, tensor.shape))
    assert abs(found - expected) <= (1e-13 / 2e-3 if expected > 1e-3 else rounding(tensor.shape, 4))


# ------------------------------------------------------------ refinement


@pytest.mark.parametrize("dtype", DTYPES)
@given(rng=generators, shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple), data=st.data())
def test_refinement_never_raises_the_error_and_keeps_isometries(dtype, rng, shape, data):
    tensor, bonds = kinds(rng, shape, dtype), bonds_of(shape, data)
    start = tt_svd(tensor, bonds)
    cores, report = refine_train(tensor, start, 4)
    for core, other in zip(cores, start, strict=True):
        assert core.shape == other.shape
    for core in cores[:-1]:
        assert_isometric(core.reshape(-1, core.shape[-1]))
    errors = [relative_error(tensor, tt_product(train)) for train in (start, cores)]
    assert all(b <= a for a, b in itertools.pairwise(report.history))
    # both are compared by their squares
    assert errors[1] ** 2 <= errors[0] ** 2 + 16 * rounding(shape)
    if report.history:
        assert abs(report.history[-1] ** 2 - errors[1] ** 2) <= 16 * rounding(shape)


def test_refinement_lowers_the_error_of_noise_and_ends_where_each_core_is_the_best():
    """At the end no core can be replaced: the gradient in each is beneath what a relative gain of 1e-6 leaves."""
    tensor = normal(np.random.default_rng(0), (4, 5, 4, 5))
    start = tt_svd(tensor, (2, 3, 2))
    cores, report = refine_train(tensor, start, 500)
    errors = [relative_error(tensor, tt_product(train)) for train in (start, cores)]
    assert errors[1] < errors[0] - 1e-3
    assert report.converged
    again, _ = refine_train(tensor, cores, 1)
    assert errors[1] - relative_error(tensor, tt_product(again)) <= 1e-6 * errors[1]


def test_sites_of_several_axes_are_refined_too():
    tensor = normal(np.random.default_rng(0), (2, 3, 4, 3, 2, 2))
    sites = [(0, 3), (1, 4), (2, 5)]
    _, report = fit_train(tensor, (3, 3), sites=sites, refine=5)
    paired = tensor.transpose(0, 3, 1, 4, 2, 5).reshape(6, 6, 8)
    _, expected = fit_train(paired, (3, 3), refine=5)
    np.testing.assert_allclose(report.history, expected.history, rtol=0, atol=rounding(tensor.shape, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": -1}, "refine=-1 must be an integer >= 0"),
        ({"refine": 1.0}, "refine=1.0 must be an integer >= 0"),
        ({"direction": "up"}, "direction='up' is not known. Choose 'left', 'right', 'cheapest' or 'best'"),
        ({"svd": "gram"}, "svd='gram' is not known. Choose 'auto', 'qr' or 'randomized'"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        fit_train(np.ones((2, 2)), (1,), **options)
