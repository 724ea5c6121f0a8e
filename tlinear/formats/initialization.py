"""Random operands whose reconstruction has exactly a requested standard deviation."""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np

from tlinear.arrays import Array, DType, as_dtype, largest_part, limits_of
from tlinear.capacity import check_capacity, naming_memory
from tlinear.contraction.network import Network
from tlinear.errors import OptionError, ShapeError

__all__ = ["linear_std", "operand_std", "random_operands"]

_IN_RANGE = 2**1000
_REMEDY = "Lower the rank, or choose fewer or smaller modes."


def operand_std(network: Network, std: float, constant: Container[str] = ()) -> float:
    r"""The standard deviation of every random operand, such that every entry of the result has `std`.

    Each entry of the reconstruction is a sum over all assignments ``r = (r_1, .., r_q)`` of the
    ranks of products of one entry of each of the n random operands (a constant operand is all ones):

    .. math:: W_e = \sum_r \prod_{k=1}^n g^{(k)}_{e, r}

    The entries have mean zero and are independent, and two different assignments differ in the
    entry of at least one operand, because every rank is an axis of a random operand.  So
    :math:`E[W_e] = 0`, the mixed terms of :math:`E[W_e^2]` vanish, and with variance :math:`s^2`
    in every operand

    .. math:: E[W_e^2] = \sum_r \prod_{k=1}^n s^2 = R \, s^{2n}, \qquad R = \prod_{l=1}^q R_l .

    Hence :math:`s = (\mathrm{std} / \sqrt R)^{1/n}`.  It is the second moment that is exact: the
    distribution itself has heavier tails than a Gaussian, the more so the lower the rank.

    Parameters
    ----------
    network : Network
        Of the weight alone.
    std : float
        Of every entry of the reconstruction.
    constant : container of str
        The operands that are all ones.

    Examples
    --------
    A product of a 2x4 and a 4x3 matrix has R = 4 and n = 2:

    >>> product = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 3), (2, 4)), n_in=1, n_modes=2)
    >>> operand_std(product, 0.5)
    0.5
    """
    if not 0.0 <= std < math.inf:
        raise OptionError(f"std={std!r} must be a finite number, 0 or more.")
    n_random = sum(name not in constant for name in network.names)
    n_assignments = math.prod(size for label, size in network.label_sizes if label >= network.n_modes)
    if std > 0.0 and n_assignments > _IN_RANGE:
        return float(2.0 ** ((math.log2(std) - math.log2(n_assignments) / 2.0) / n_random))
    if std == 0.0:
        return 0.0
    return float((std / math.sqrt(n_assignments)) ** (1.0 / n_random))


def linear_std(in_features: int) -> float:
    """The standard deviation of the weights that ``torch.nn.Linear`` starts from, ``1 / sqrt(3 in_features)``.

    Raises
    ------
    ShapeError
        When there are more features than floating-point numbers can count.

    Examples
    --------
    >>> linear_std(12) == 1 / 6
    True
    """
    if in_features > _IN_RANGE:
        raise ShapeError(
            f"An input of 2^{in_features.bit_length() - 1} features or more has no default standard deviation of the "
            "weight. Pass std to random, or choose fewer or smaller modes."
        )
    return 1.0 / math.sqrt(3 * in_features)


def random_operands(
    network: Network, std: float, dtype: DType, rng: np.random.Generator, constant: Container[str] = ()
) -> dict[str, Array]:
    """Independent Gaussian operands by name, those in `constant` all ones; see :func:`operand_std`.

    Raises
    ------
    MemoryLimitError
        When they take more bytes than arrays can have, or than there are.
    ShapeError
        When one has more axes than an array can have.
    """
    shapes = {name: network.shape(labels) for name, labels in zip(network.names, network.inputs, strict=True)}
    for name, shape in shapes.items():
        check_capacity(f"The operand {name}", shape, dtype.itemsize, _REMEDY)
    what, n = "All operands together", network.n_parameters
    check_capacity(what, (n,), dtype.itemsize, _REMEDY)
    with naming_memory(what, n * dtype.itemsize, _REMEDY):
        scale = operand_std(network, std, constant)
        return {
            name: np.ones(shape, dtype) if name in constant else _normal(shape, scale, dtype, rng)
            for name, shape in shapes.items()
        }


def _normal(shape: tuple[int, ...], std: float, dtype: DType, rng: np.random.Generator) -> Array:
    """Independent Gaussians of mean 0 and ``E|z|^2 = std^2``, the same numbers for a seed in every real dtype."""
    if dtype.kind == "c":
        real, imag = rng.standard_normal((2, *shape))
        drawn = np.asarray((real + 1j * imag) * (std / math.sqrt(2.0)))
    else:
        drawn = np.asarray(rng.standard_normal(shape) * std)
    if dtype != drawn.dtype:
        limits, what, largest = limits_of(dtype), f"An operand of standard deviation {std:g}", largest_part(drawn)
        limits.check(what, largest, dtype)
        limits.check_not_lost(what, largest, dtype)
    return as_dtype(drawn, dtype)
