"""Known answers, worked out by hand for the tests of TensorLy: whole numbers, and so to the last bit."""

import numpy as np
import pytest

import tlinear

from .tensorly_numpy import to_tensor


def consecutive(first: int, *shape: int) -> np.ndarray:
    """The whole numbers from `first` on, in this shape."""
    return np.arange(first, first + np.prod(shape), dtype=float).reshape(shape)


def sum_of_indices() -> np.ndarray:
    """``T[i, j, k] = i + j + k``, all counted from 1, of shape (3, 4, 2)."""
    return np.add.outer(np.add.outer(np.arange(1.0, 4.0), np.arange(1.0, 5.0)), np.arange(1.0, 3.0))


def sum_of_indices_cores() -> tuple[np.ndarray, ...]:
    """``[i 1] [1 0; j 1] [1; k]``, the train of ranks (1, 2, 2, 1) whose product is ``i + j + k``."""
    i, j, k = (np.arange(1.0, size + 1.0) for size in (3, 4, 2))
    first = np.stack([i, np.ones(3)], axis=-1)[None]
    middle = np.array([[np.ones(4), np.zeros(4)], [j, np.ones(4)]]).transpose(0, 2, 1)
    return first, middle, np.stack([np.ones(2), k])[..., None]


def test_a_weighted_sum_of_two_outer_products():
    cp = tlinear.CPTensor([2.0, -1.0], (consecutive(1, 2, 2), consecutive(5, 2, 2)), n_in=1)
    np.testing.assert_array_equal(cp.to_tensor(), [[-2.0, -2.0], [6.0, 10.0]])


def test_a_cp_tensor_of_four_modes():
    factors = (consecutive(1, 3, 3), consecutive(10, 4, 3), consecutive(22, 2, 3), consecutive(28, 2, 3))
    tensor = tlinear.CPTensor(np.ones(3), factors).to_tensor()
    assert tensor.shape == (3, 4, 2, 2)
    np.testing.assert_array_equal(tensor[0, 0], [[46754.0, 51524.0], [52748.0, 58130.0]])
    np.testing.assert_array_equal(tensor[2, 3], [[324728.0, 358154.0], [366830.0, 404594.0]])
    np.testing.assert_array_equal(tensor, to_tensor("cp", {"weights": np.ones(3), **dict(enumerate(factors))}))


def test_a_tucker_tensor_of_three_modes():
    core = consecutive(1, 2, 4, 3).transpose(2, 1, 0)
    factors = tuple(consecutive(0, rows, columns) for rows, columns in ((2, 3), (3, 4), (4, 2)))
    expected = [
        [[390.0, 1518, 2646, 3774], [1310, 4966, 8622, 12278], [2230, 8414, 14598, 20782]],
        [[1524, 5892, 10260, 14628], [5108, 19204, 33300, 47396], [8692, 32516, 56340, 80164]],
    ]
    np.testing.assert_array_equal(tlinear.TuckerTensor(core, factors).to_tensor(), expected)


def test_a_tensor_train_of_the_sum_of_the_indices():
    tt = tlinear.TTTensor(sum_of_indices_cores())
    assert tt.rank == (1, 2, 2, 1)
    np.testing.assert_array_equal(tt.to_tensor(), sum_of_indices())


@pytest.mark.parametrize("rank", [2, 3, (1, 2, 2, 1), (2, 2)])
def test_the_sum_of_the_indices_is_found_to_have_ranks_two(rank):
    """To rounding: both bonds come from one orthogonal factorization each, backward stable in the 24 entries."""
    result = tlinear.decompose(sum_of_indices(), "tt", rank)
    assert max(result.rank) <= np.max(rank)
    assert result.relative_error <= 2 * sum_of_indices().size * np.finfo(float).eps
