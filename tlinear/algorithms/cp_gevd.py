"""CP by a generalized eigenvalue problem: of an exact tensor, all components at once and without iterating."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tlinear.algorithms.fallbacks import fallback
from tlinear.algorithms.lapack import FAILURES, eig, least_squares
from tlinear.algorithms.truncated_svd import leading_subspace
from tlinear.arrays import Array

__all__ = ["cp_gevd"]

_MOST_MODES = 7
"""The ways to merge modes grow as the power of their number; with more modes none is looked for."""

_FAR = 0.5
"""When no tensor of the rank has a smaller relative error, this is no way to find a near one."""

_MOST_SLICES = 4
"""Quotients of a single slice by the largest are tried up to this one."""

_POWER_STEPS = 8
"""Steps of the power iteration that splits a vector into factors; one does where the vector is such a product."""

Group = tuple[int, ...]


def cp_gevd(tensor: Array, rank: int) -> Iterator[list[Array]]:
    r"""Factors of unit columns, from one quotient of slices after another; none where it does not apply.

    The modes are merged into three groups, of which the first two have sizes of at least R.  The
    slices of the third have the form

    .. math:: T_s = A \, \mathrm{diag}(c_s) \, B^T, \qquad \text{so that} \qquad T_s T_t^{-1} = A D A^{-1}

    for two combinations of slices, within the leading subspaces, and eigenvectors are columns of A.
    The rows of :math:`A^{-1} T_{(1)}` are the products of the columns of B and C, each of which is split
    into its modes by approximations of rank one.

    Where the first two groups alone cannot be approximated to a relative error of a half, no
    tensor of the rank is near, and none is made.

    A tensor of rank R whose matrices A and B have rank R, and whose eigenvalues differ, is
    factorized exactly.  Of any other it is a start: conjugate pairs of eigenvectors of
    a real tensor are replaced by their real and imaginary parts.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        In float64 or complex128, all entries finite and, as in :func:`tlinear.decompose`, near 1.
    rank : int

    References
    ----------
    S. E. Leurgans, R. T. Ross, R. B. Abel, A decomposition for three-way arrays, SIAM J. Matrix
    Anal. Appl. 14 (1993).  E. Sanchez and B. R. Kowalski, Tensorial resolution: a direct trilinear
    decomposition, J. Chemometr. 4 (1990).

    Examples
    --------
    >>> a = np.array([[1.0, 2.0], [3.0, 5.0]])
    >>> first, _, _ = next(cp_gevd(np.einsum("ir,jr,kr->ijk", a, a, a), 2))
    >>> np.sort(first[0] / first[1]).round(12).tolist()
    [0.333333333333, 0.4]
    """
    groups = _merge(tensor.shape, rank)
    if groups is None:
        return
    sizes = [math.prod(tensor.shape[k] for k in group) for group in groups]
    cube = tensor.transpose([k for group in groups for k in group]).reshape(sizes)
    square, bases = float(np.linalg.norm(cube)) ** 2, {}
    for axis in (*sorted((0, 1), key=lambda axis: sizes[axis]), 2):
        unfolding = np.moveaxis(cube, axis, 0).reshape(sizes[axis], -1)
        basis, outside = leading_subspace(unfolding, min(max(2, rank) if axis == 2 else rank, *unfolding.shape))
        if axis < 2 and (basis.shape[1] < rank or outside > _FAR**2 * square):
            return
        bases[axis] = basis.conj()
    within = np.tensordot(bases[0], cube, axes=(0, 0))
    slices = np.einsum("aqs,qb,sc->cab", within, bases[1], bases[2], optimize=True)
    for numerator, denominator in _quotients(slices):
        try:
            vectors = _eigenvectors(numerator, denominator)
            rows = least_squares(vectors, within.reshape(rank, -1))
        except FAILURES:
            fallback("an algebraic start passed over, whose quotient of slices was singular")
            # a singular denominator says nothing about another
            continue
        factors = dict(_split(rows, [k for group in groups[1:] for k in group], tensor.shape))
        factors |= dict(_split((bases[0].conj() @ vectors).T, groups[0], tensor.shape))
        yield [factors[k] for k in range(tensor.ndim)]


def _merge(shape: Sequence[int], rank: int) -> tuple[Group, Group, Group] | None:
    """Three groups of modes, the first two at least `rank` in size, and better twice that, the third at least 2."""
    found: list[tuple[tuple[int, int, int], tuple[Group, Group, Group]]] = []
    ample = 2 * rank
    for places in itertools.product(range(3), repeat=len(shape)) if len(shape) <= _MOST_MODES else ():
        first, second, third = (tuple(k for k, place in enumerate(places) if place == g) for g in range(3))
        sizes = [math.prod(shape[k] for k in group) for group in (first, second, third)]
        if min(sizes[0], sizes[1]) >= rank and sizes[2] >= 2:
            preference = min(sizes[0], sizes[1], ample), min(sizes[0], ample), -sizes[0] - sizes[1]
            found.append((preference, (first, second, third)))
    return max(found)[1] if found else None


def _quotients(slices: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of combinations of slices, the largest of which is the first.

    Where the columns of C are nearly collinear, all components are in the largest slice, and the others
    tell them apart.  Where they are orthogonal, every slice is one component, and only a combination has all.
    What two eigenvalues of one quotient are too close for, those of another may tell.
    """
    if len(slices) < 2:
        return
    angles = 1.0 + np.arange(len(slices))
    yield np.tensordot(np.sin(angles), slices, 1), np.tensordot(np.cos(angles), slices, 1)
    yield np.sum(slices[1:], axis=0), slices[0]
    for other in slices[1:_MOST_SLICES]:
        yield other, slices[0]


def _eigenvectors(first: Array, second: Array) -> Array:
    """Those of ``first second^-1``, with the conjugate pairs of real matrices in their real and imaginary parts."""
    values, vectors = eig(np.linalg.solve(second.T, first.T).T)
    if first.dtype.kind != "c":
        vectors = np.where(values.imag < 0.0, vectors.imag, vectors.real)
    return np.asarray(vectors)


def _split(rows: Array, modes: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """For each mode, the unit vectors of outer products that approximate the rows, one a row."""
    for mode in modes:
        matrices = rows.reshape(len(rows), shape[mode], -1)
        largest = np.argmax(np.linalg.norm(matrices, axis=1), axis=1)
        left = np.take_along_axis(matrices, largest[:, None, None], axis=2)
        for _ in range(_POWER_STEPS):
            left = _unit(left)
            left = matrices @ (matrices.conj().swapaxes(1, 2) @ left)
        left = _unit(left)
        yield mode, left[:, :, 0].T
        rows = (left.conj().swapaxes(1, 2) @ matrices)[:, 0]


def _unit(columns: Array) -> Array:
    norms = np.linalg.norm(columns, axis=1, keepdims=True)
    return np.where(norms > 0.0, columns / np.where(norms > 0.0, norms, 1.0), 1.0 / math.sqrt(columns.shape[1]))
