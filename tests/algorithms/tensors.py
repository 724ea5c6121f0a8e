"""Tensors to factorize, and how far rounding may take a factorization of them."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

EPS = float(np.finfo(np.float64).eps)
DTYPES = ("float64", "complex128")

generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def rounding(shape, n_steps=None):
    """The relative error that `n_steps` truncations, one a mode unless given, may add to a tensor of this shape.

    A truncation is a QR decomposition, an SVD and a product with an isometry.  Each is made of
    Householder reflections and is exact for a matrix that differs from the given m x n one by at
    most gamma_c(mn) of the norm (Higham, Accuracy and Stability of Numerical Algorithms, theorem
    19.4).  mn is the number N of entries.  c counts the roundings on the way of one entry: a
    reflection is formed (a square, a root, a division) and applied (a product, a scaling, a
    subtraction), which makes 6, or 16 where a complex product counts as three.  16 u = 8 eps.
    """
    steps = max(1, len(shape)) if n_steps is None else n_steps
    return 8.0 * EPS * steps * math.prod(shape)


def normal(rng, shape, dtype="float64"):
    array = rng.standard_normal(shape)
    return array + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else array


def integers(rng, shape, dtype="float64", largest=3):
    """Integer-valued numbers, whose short sums of products are exact in every order."""
    array = rng.integers(-largest, largest, size=shape, endpoint=True).astype(np.float64)
    if np.dtype(dtype).kind == "c":
        array = array + 1j * rng.integers(-largest, largest, size=shape, endpoint=True)
    return array


def kinds(rng, shape, dtype="float64"):
    """One tensor of this shape: noise, of decaying or of few singular values, or of few entries."""
    noise = normal(rng, shape, dtype)
    match rng.integers(4):
        case 0:
            return noise
        case 1:
            return noise * np.exp(-sum(np.ogrid[tuple(slice(size) for size in shape)]))
        case 2:
            return noise * rng.integers(0, 2, size=shape)
        case _:
            repeated = rng.integers(0, shape[0], size=shape[0])
            return noise[repeated]


def singular_values(tensor, n_left):
    """Those of the unfolding whose rows are the first `n_left` modes."""
    matrix = tensor.reshape(math.prod(tensor.shape[:n_left]), -1)
    return np.linalg.svd(matrix, compute_uv=False)


def tail(values, rank):
    """The error of the best approximation of this rank (Eckart and Young)."""
    return float(np.linalg.norm(values[rank:]))


def assert_isometric(matrix):
    """``A^H A = I`` for singular vectors of a matrix that was reduced to m x m, each column within rounding."""
    m, n = matrix.shape
    assert np.linalg.norm(matrix.conj().T @ matrix - np.eye(n)) <= math.sqrt(n) * rounding((m, m), 1)
