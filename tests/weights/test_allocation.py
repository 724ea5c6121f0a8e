"""Ranks from the spectrum of trained weights: within the budget, realizable, and never worse than proportional ones.

The weights are widened to float64, which is exact: errors are then compared to the last bit, with no rounding of the
result to float32 in between.
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from weights.minilm import HALF, MATRICES, as_tensor, matrix

from tlinear import decompose, resolve_rank

BUDGETS = (0.1, 0.25, 0.5)


class Outcome(NamedTuple):
    error: float
    rank: tuple[int, ...]
    n_parameters: int


@cache
def tensor_of(name, n_modes):
    return as_tensor(matrix(name), n_modes).astype(np.float64)


@cache
def outcome(name, factorization, n_modes, budget, allocation, dense_parameters=None):
    """Of a decomposition at a budget, which is a fraction of the tensor's entries unless told otherwise."""
    result = decompose(
        tensor_of(name, n_modes),
        factorization,
        budget,
        n_in=n_modes,
        allocation=allocation,
        dense_parameters=dense_parameters,
    )
    return Outcome(result.relative_error, result.rank, result.n_parameters)


def outcomes(name, factorization, n_modes, budget):
    """In proportion to the sizes, from the spectrum, and from the spectrum with exactly the parameters of the first."""
    proportional = outcome(name, factorization, n_modes, budget, "proportional")
    spectrum = outcome(name, factorization, n_modes, budget, "spectrum")
    exact = outcome(name, factorization, n_modes, 1.0, "spectrum", proportional.n_parameters)
    return proportional, spectrum, exact


cases = pytest.mark.parametrize(
    ("name", "factorization", "n_modes", "budget"),
    [
        (name, factorization, n_modes, budget)
        for name, factorization, n_modes, budget in product(MATRICES, ("tucker", "tt", "blocktt"), (2, 3), BUDGETS)
        if factorization != "tucker" or name in HALF  # Tucker iterates, and takes most of the time
    ],
)


@cases
def test_never_worse_at_the_same_budget(name, factorization, n_modes, budget):
    proportional, spectrum, _ = outcomes(name, factorization, n_modes, budget)
    assert spectrum.error <= proportional.error


@cases
def test_never_worse_at_the_same_number_of_parameters(name, factorization, n_modes, budget):
    proportional, _, exact = outcomes(name, factorization, n_modes, budget)
    assert exact.n_parameters <= proportional.n_parameters
    assert exact.error <= proportional.error


@cases
def test_the_same_error_is_of_the_same_ranks(name, factorization, n_modes, budget):
    """What is proposed is taken where it is better, and only there."""
    proportional, *others = outcomes(name, factorization, n_modes, budget)
    for other in others:
        assert (other.error == proportional.error) == (other.rank == proportional.rank)


@cases
def test_no_budget_is_exceeded(name, factorization, n_modes, budget):
    proportional, spectrum, _ = outcomes(name, factorization, n_modes, budget)
    entries = matrix(name).size
    assert proportional.n_parameters <= budget * entries
    assert spectrum.n_parameters <= budget * entries


@cases
def test_ranks_are_realizable(name, factorization, n_modes, budget):
    """A rank that no tensor of the shape needs is refused, and any other resolves to itself."""
    shape = tensor_of(name, n_modes).shape
    for found in outcomes(name, factorization, n_modes, budget):
        assert resolve_rank(factorization, shape[:n_modes], shape[n_modes:], found.rank) == found.rank
