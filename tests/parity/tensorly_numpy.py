"""TensorLy on NumPy arrays, by the names of tlinear's formats.

Importing tltorch switches TensorLy's global backend to PyTorch, so that every call here says
which one it wants.
"""

from collections.abc import Callable

import numpy as np
import tensorly
from tensorly.decomposition import tensor_train, tensor_train_matrix, tucker
from tensorly.tt_matrix import tt_matrix_to_tensor


def on_numpy(function: Callable) -> Callable:
    """The function, run with TensorLy's NumPy backend."""

    def call(*args, **kwargs):
        with tensorly.backend_context("numpy"):
            return function(*args, **kwargs)

    return call


@on_numpy
def to_tensor(factorization: str, operands: dict[str, np.ndarray]) -> np.ndarray:
    """The dense tensor of tlinear's operands, in the order of tlinear's modes."""
    first, *others = operands.values()
    if factorization == "cp":
        return tensorly.cp_to_tensor((first, others))
    if factorization == "tucker":
        return tensorly.tucker_to_tensor((first, others))
    if factorization == "tt":
        return tensorly.tt_to_tensor([first, *others])
    return tt_matrix_to_tensor([first, *others])


@on_numpy
def decomposition_error(tensor: np.ndarray, factorization: str, rank: tuple[int, ...]) -> float:
    """The relative error of TensorLy's decomposition at these ranks, its options as it ships them."""
    if factorization == "tucker":
        result = tensorly.tucker_to_tensor(tucker(tensor, list(rank), init="svd"))
    elif factorization == "tt":
        result = tensorly.tt_to_tensor(tensor_train(tensor, list(rank)))
    else:
        result = tt_matrix_to_tensor(tensor_train_matrix(tensor, list(rank)))
    return float(np.linalg.norm(tensor - result) / np.linalg.norm(tensor))
