"""Components of a CP that cancel each other, and whether they have settled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.hosvd import tucker_product
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, gram, khatri_rao
from tlinear.algorithms.lapack import FAILURES, least_squares
from tlinear.arrays import Array

__all__ = ["SETTLED", "cancellation", "foretold_change"]

SETTLED = 0.25
"""Components have settled when an undamped step would change their sizes by at most this fraction.

That is half of the least by which it changes those that grow without end, and ten times what is left to do where most
descents end."""

_CANCELS = 0.5
"""The part of a component that others have to take away before it is said to cancel: three equal ones that sum to zero
take as much from each other, and those that grow without end nearly all."""

_NEAR = 0.25
"""The least cosine, without its sign, of the components that are looked at together with one that cancels."""

_MOST_ENTRIES = 1 << 20
"""The largest derivative of the components that are looked at together."""

_RANK = 1e-13
"""A singular value of at most this, relative to the largest, is rounding."""


def cancellation(point: Kruskal) -> Array:
    r"""The part of each component that others take away.

    .. math:: \sum_s \frac{\min(w_r, w_s)}{w_r} \max(0, -\mathrm{Re} \langle c_r, c_s \rangle)

    with :math:`w_r c_r` the components, the norm of :math:`c_r` being 1.

    Parameters
    ----------
    point : Kruskal

    Returns
    -------
    array of shape (R,)
        0 for a component of weight zero.

    Examples
    --------
    >>> opposite = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> cancellation(Kruskal(np.array([4.0, 1.0, 2.0]), [opposite, np.abs(opposite)], 0.0)).tolist()
    [0.25, 1.0, 0.0]
    """
    weights = point.weights
    smaller = np.minimum(weights, weights[:, None])
    against = np.sum(smaller * np.maximum(0.0, -_cosines(point)), axis=1)
    return np.where(weights > 0.0, against / np.where(weights > 0.0, weights, 1.0), 0.0)


def foretold_change(target: Target, point: Kruskal) -> float:
    r"""Relative change that an undamped step would make to the sizes of components that cancel; 0 if none do.

    A tensor may have no best approximation of rank R: the infimum is then approached by components that grow and
    cancel.  That the error hardly falls any more does not tell this from a minimum.  The step

    .. math:: \min_{\dot w, \dot a} \Big\| T - X - \sum_{r \in G} \Big(
              \dot w_r \, a_r^{(1)} \circ \cdots \circ a_r^{(d)}
              + w_r \sum_k a_r^{(1)} \circ \cdots \circ \dot a_r^{(k)} \circ \cdots \circ a_r^{(d)} \Big) \Big\|,
              \qquad \dot a_r^{(k)} \perp a_r^{(k)},

    does, for each group G of components that cancel.  The result is the largest :math:`\|\dot w\| / \|w\|`.

    At a minimum it is zero.  Where two components :math:`\pm \frac{1}{2t} (a \pm t b) \circ (a' \pm t b') \circ \cdots`
    approach a derivative, X is off by :math:`t^2` times a tensor and its derivative in t is 2 t times the same.  So the
    step takes t to t / 2, and changes :math:`w \sim 1 / t`, to first order, by half of itself, however small t is.
    Where the infimum is not zero, the squared error falls by a multiple of :math:`t^2` alone, and the change grows
    without bound as t falls.  The measure has no scale, and rounding is of no consequence to it while the squared
    weights, relative to the tensor, are far below ``1 / eps``.

    It looks only at the subspaces that the columns of a group span.

    Parameters
    ----------
    target : Target
        In double precision.
    point : Kruskal

    References
    ----------
    V. de Silva and L.-H. Lim, Tensor rank and the ill-posedness of the best low-rank approximation problem, SIAM J.
    Matrix Anal. Appl. 30 (2008).  W. P. Krijnen, T. K. Dijkstra, A. Stegeman, On the non-existence of optimal
    solutions and the occurrence of "degeneracy" in the CANDECOMP/PARAFAC model, Psychometrika 73 (2008).

    Examples
    --------
    A derivative, and a difference quotient of step 1/32, whose step is to be halved:

    >>> a, b = np.eye(2)
    >>> outer = lambda x, y, z: np.multiply.outer(np.outer(x, y), z)
    >>> derivative = Target.of(outer(a, a, b) + outer(a, b, a) + outer(b, a, a))
    >>> columns = np.array([[32.0, -32.0], [1.0, 1.0]]) / 1025.0**0.5
    >>> weights, factors = np.full(2, 1025.0**1.5 / 2048), [columns] * 3
    >>> point = Kruskal(weights, factors, derivative.error(weights, factors))
    >>> round(foretold_change(derivative, point), 2)
    0.5
    """
    unit = 2.0 ** float(np.frexp(np.sqrt(target.square))[1])
    return max((_change(target.tensor, point, group, unit) for group in _groups(point)), default=0.0)


def _cosines(point: Kruskal) -> Array:
    product = np.ones((len(point.weights),) * 2)
    for factor in point.factors:
        product = product * gram(factor)
    return product.real


def _groups(point: Kruskal) -> Iterator[Array]:
    """The components that cancel, each with those that are nearest to it, until all have been in a group."""
    left = cancellation(point)
    near = np.where(point.weights > 0.0, np.abs(_cosines(point)), 0.0)
    most = _most_together([len(factor) for factor in point.factors], len(left))
    while np.max(left) >= _CANCELS:
        first = np.argmax(left)
        nearest = np.argsort(-near[first], kind="stable")[:most]
        group = nearest[near[first][nearest] >= _NEAR]
        left[group] = 0.0
        yield group


def _most_together(shape: Sequence[int], rank: int) -> int:
    """The largest number of components that can be looked at together."""
    most = 2
    while most < rank:
        sizes = [min(size, most + 1) for size in shape]
        if math.prod(sizes) * (most + 1) * (1 + sum(size - 1 for size in sizes)) > _MOST_ENTRIES:
            break
        most += 1
    return most


def _change(tensor: Array, point: Kruskal, group: Array, unit: float) -> float:
    bases = [np.linalg.qr(factor[:, group])[0].conj().T for factor in point.factors]
    within = [basis @ factor for basis, factor in zip(bases, point.factors, strict=True)]
    residual = tucker_product(tensor, bases) / unit - cp_product(point.weights / unit, within)
    columns = [factor[:, group] for factor in within]
    # at right angles to each column, so that scaling one column up and another down is no step
    blocks = [khatri_rao(columns)]
    for mode, column in enumerate(columns):
        size, rank = column.shape
        if size == 1:
            continue
        orthogonal = np.linalg.qr(column.T[:, :, None], mode="complete")[0][:, :, 1:]
        repeated = [np.repeat(other, size - 1, axis=1) for other in columns]
        repeated[mode] = orthogonal.transpose(1, 0, 2).reshape(size, rank * (size - 1))
        blocks.append(khatri_rao(repeated))
    try:
        step = least_squares(np.hstack(blocks), residual.ravel(), _RANK)
    except FAILURES:
        fallback("components that cancel taken for unsettled, whose least squares problem was not solved")
        return math.inf
    return float(np.linalg.norm(step[: len(group)]) / np.linalg.norm(point.weights[group] / unit))
