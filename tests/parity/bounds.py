"""When results must be equal to the last bit, and otherwise how far apart rounding may take them.

Every result of the layer is one contraction of all other arrays: y of x and the operands, the
gradient of an operand of x, dy and the other operands.
"""

from math import prod

import numpy as np

from .cases import BATCH, Case


def significand_bits(dtype) -> int:
    """p, such that every integer up to 2^p in absolute value is a number of this dtype."""
    return np.finfo(dtype).nmant + 1


def exactness_bits(case: Case) -> float:
    """log2 of a bound on every intermediate of every order of contraction.

    A sum of products of integers never exceeds the product of the largest entries times the
    number of terms.  With at most p bits nothing is ever rounded, so every order, every BLAS and
    every FMA gives the same numbers.  Each result is a contraction of all arrays but one, and the
    bias is added at last.
    """
    bias = [] if case.bias is None else [case.bias]
    # |Re zw| <= (|Re z| + |Im z|)(|Re w| + |Im w|), so that this holds for complex integers too
    largest, largest_bias = (
        [max(1.0, float(np.max(np.abs(a.real) + np.abs(a.imag), initial=0.0))) for a in arrays]
        for arrays in ([case.x, case.dy, *case.operands.values()], bias)
    )
    n_terms = prod(case.structure.sizes.values()) * max(prod(case.batch_shape), 1)
    return float(np.log2(prod(largest) / min(largest) * n_terms + sum(largest_bias)))


def magnitude(case: Case, result: str) -> np.ndarray:
    """The result of this name, ``y``, ``x`` or ``weight.<operand>``, of the absolute values of all arrays."""
    structure = case.structure
    flat = {
        "x": case.x.reshape(-1, *structure.in_shape),
        "y": case.dy.reshape(-1, *structure.out_shape),
        **{f"weight.{name}": array for name, array in case.operands.items()},
    }
    letters = {
        "x": BATCH + structure.in_letters,
        "y": BATCH + structure.out_letters,
        **{f"weight.{name}": axes for name, axes in structure.letters.items()},
    }
    wanted = letters[result]
    others = [name for name in flat if name != result]
    # a letter that no other array carries has a size all the same
    ones = np.ones(flat[result].shape)
    equation = ",".join([*(letters[name] for name in others), wanted]) + "->" + wanted
    return np.einsum(equation, *(np.abs(flat[name]) for name in others), ones, optimize=True)


def gamma(k: float, dtype) -> float:
    """``k u / (1 - k u)``; a complex product counts as three roundings, since sqrt(2) gamma_2 <= gamma_3."""
    u = float(np.finfo(dtype).eps) / 2.0
    n = 3 * k if np.dtype(dtype).kind == "c" else k
    return n * u / (1.0 - n * u)


def rounding_bound(case: Case, result: str, dtype) -> np.ndarray:
    """How far two roundings of this result may lie apart, entry by entry, whatever the order of contraction.

    Any pairwise plan has ``|y^ - y| <= gamma_K contract(|operands|)``, K the sum over the steps of
    ``max(1, size contracted)``.  The sizes multiply to P, so K <= P + n for n arrays, one addition
    of the bias included.  Two results lie within twice that, and the contraction on the right is
    itself only known within a factor 1 - gamma_K: gamma_2K, as ``2 gamma_K / (1 - gamma_K)`` is at most that.
    """
    if result == "bias":
        terms = np.abs(case.dy.reshape(-1, case.dy.shape[-1])).sum(axis=0)
        return gamma(2 * (prod(case.batch_shape) + 1), dtype) * terms
    terms = magnitude(case, result)
    n_terms = prod(case.structure.sizes.values()) * prod(case.batch_shape) // max(terms.size, 1)
    k = n_terms + len(case.operands) + 2
    if result == "y":
        terms = terms.reshape(case.dy.shape) + (0.0 if case.bias is None else np.abs(case.bias))
    elif result == "x":
        terms = terms.reshape(case.x.shape)
    return gamma(2 * k, dtype) * terms


def assert_identical(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """The same names, shapes and dtypes, and every number the same."""
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert (name, ours[name].shape, ours[name].dtype) == (name, array.shape, array.dtype)
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def assert_equal_exactly(case: Case, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Identical, as they must be for a case of integers that no order of contraction rounds."""
    assert exactness_bits(case) <= min(significand_bits(array.dtype) for array in theirs.values())
    assert_identical(ours, theirs)


def assert_equal_within_rounding(case: Case, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """The same names, shapes and dtypes, and no entry farther apart than rounding explains."""
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert (name, ours[name].shape, ours[name].dtype) == (name, array.shape, array.dtype)
        excess = np.abs(ours[name] - array) - rounding_bound(case, name, array.dtype)
        assert np.all(excess <= 0.0), f"{name} is beyond its bound by {np.max(excess)}"
