"""A tensor seen as a matrix, which is never formed: it is read block by block, in double precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tlinear.arrays import Array, DType

__all__ = ["BLOCK", "Unfolding"]

BLOCK = 2**17
"""Entries of a block: a mebibyte in double precision, which stays in the cache until it has been used."""


@dataclass(frozen=True)
class Unfolding:
    """The matrix whose rows are the first axes of a tensor, and whose columns are the others.

    Neither the transposition nor the wider copy that this may take is ever made of the whole tensor.  How it is cut
    into blocks depends on its shape and layout only, so that a float32 tensor gives the same bits as its wider copy.

    Attributes
    ----------
    tensor : array
        Of any strides, in any inexact dtype that double precision holds.
    n_row_axes : int
    basis : array of shape (m_1, r), optional
        Isometric columns, in coordinates of which the first m_1 rows' indices are taken: the matrix is then
        ``(basis^H x I) A``, of which no more is ever there than of A itself.

    Examples
    --------
    >>> unfolding = Unfolding.of(np.arange(24.0).reshape(2, 3, 4), rows=(1,))
    >>> unfolding.shape, unfolding.gram().shape, unfolding.project(np.eye(3)[:, :2]).shape
    ((3, 8), (3, 3), (2, 2, 4))
    """

    tensor: Array
    n_row_axes: int
    basis: Array | None = None

    @classmethod
    def of(cls, tensor: Array, rows: Sequence[int], basis: Array | None = None) -> Unfolding:
        """That whose rows are these axes, in this order, and whose columns are the others in theirs."""
        columns = [axis for axis in range(tensor.ndim) if axis not in rows]
        return cls(tensor.transpose([*rows, *columns]), len(rows), basis)

    @property
    def column_shape(self) -> tuple[int, ...]:
        """The sizes of the axes that make the columns."""
        return self.tensor.shape[self.n_row_axes :]

    @cached_property
    def shape(self) -> tuple[int, int]:
        rows = math.prod(self.tensor.shape[: self.n_row_axes])
        if self.basis is not None:
            rows = rows // self.basis.shape[0] * self.basis.shape[1]
        return rows, math.prod(self.column_shape)

    @property
    def block_shape(self) -> tuple[int, ...]:
        """The sizes of the axes that blocks are indexed by."""
        return self._merged.shape[self._n_merged_rows :]

    @property
    def dtype(self) -> DType:
        """That of the computation."""
        return np.dtype(np.complex128 if self.tensor.dtype.kind == "c" else np.float64)

    @property
    def transposed(self) -> Unfolding:
        """Rows and columns exchanged."""
        k, tensor = self.n_row_axes, self.tensor
        if self.basis is not None:  # its rows are few enough to be there
            k, tensor = 1, self.matrix().reshape(-1, *self.column_shape)
        return Unfolding(tensor.transpose([*range(k, tensor.ndim), *range(k)]), tensor.ndim - k)

    def matrix(self) -> Array:
        """All of it."""
        wide = self.tensor.astype(self.dtype, copy=False)
        return self._in_basis(wide.reshape(math.prod(wide.shape[: self.n_row_axes]), -1))

    def _in_basis(self, block: Array) -> Array:
        if self.basis is None:
            return block
        first, rank = self.basis.shape
        return (self.basis.conj().T @ block.reshape(first, -1)).reshape(rank * (len(block) // first), -1)

    def blocks(self, n_columns: int = 0) -> Iterator[tuple[tuple[Any, ...], Array]]:
        """Blocks of columns, each with its index into the axes of :attr:`block_shape`.

        A block is to be used before the next is asked for, which may take its place, and not to be written to.

        Parameters
        ----------
        n_columns : int
            How many columns a block should have at least.
        """
        view, k, n = self._merged, self._n_merged_rows, self.shape[1]
        m = math.prod(view.shape[:k])
        sizes, axis, inner = view.shape[k:], view.ndim - k - 1, 1
        most = max(n_columns, BLOCK // m)
        while axis > 0 and inner * sizes[axis] <= most:
            inner *= sizes[axis]
            axis -= 1
        if axis < 0 or n <= most:
            yield (...,), self.matrix()
            return
        step = max(1, most // inner)
        read = _Reader(self.dtype, m, m * step * inner, k)
        for outer in np.ndindex(sizes[:axis]):
            for start in range(0, sizes[axis], step):
                index = (*outer, slice(start, start + step))
                yield index, self._in_basis(read(view[(*(slice(None),) * k, *index)]))

    def gram(self) -> Array:
        """``A A^H``."""
        total = None
        for _, block in self.blocks(self.shape[0] // 2):
            square = block @ block.conj().T
            total = square if total is None else np.add(total, square, out=total)
        return np.zeros((self.shape[0],) * 2, self.dtype) if total is None else total

    def triangle(self) -> Array:
        """An upper triangular R with ``R^H R = A A^H``: the QR decomposition of ``A^H``, without Q."""
        upper: Array = np.empty((0, self.shape[0]), self.dtype)
        for _, block in self.blocks(4 * self.shape[0]):
            stack = block.conj().T if len(upper) == 0 else np.concatenate((upper, block.conj().T))
            upper = np.asarray(np.linalg.qr(stack, mode="r"))
        return upper

    def project(self, basis: Array, *, last: bool = False) -> Array:
        """``basis^H A``, with the new axis before those of the columns, or after them.

        Examples
        --------
        >>> Unfolding.of(np.ones((2, 3)), rows=(0,)).project(np.ones((2, 1)), last=True).tolist()
        [[2.0], [2.0], [2.0]]
        """
        if self.shape[0] > self.shape[1] and self.basis is None:
            product = self._summed(basis)
            return (product.T.copy() if last else product).reshape(
                (*self.column_shape, basis.shape[1]) if last else (basis.shape[1], *self.column_shape)
            )
        rank, conjugate, adjoint = basis.shape[1], basis.conj(), basis.conj().T
        merged = self.block_shape
        result = np.empty((*merged, rank) if last else (rank, *merged), np.result_type(self.dtype, basis.dtype))
        for index, block in self.blocks():
            if last:
                np.matmul(block.T, conjugate, out=result[index].reshape(-1, rank))
                continue
            place = result[(slice(None), *index)]
            if place.ndim == 2:
                np.matmul(adjoint, block, out=place)
            else:
                place[...] = (adjoint @ block).reshape(place.shape)
        return result.reshape((*self.column_shape, rank) if last else (rank, *self.column_shape))

    def _summed(self, basis: Array) -> Array:
        """``basis^H A`` of a tall matrix, block by block of rows: of columns, each would read all of the basis."""
        tall = self.transposed
        rows = basis.reshape(*tall.block_shape, -1)
        total = np.zeros((basis.shape[1], self.shape[1]), np.result_type(self.dtype, basis.dtype))
        for index, block in tall.blocks():
            total += rows[index].reshape(-1, basis.shape[1]).conj().T @ block.T
        return total

    @cached_property
    def _merged(self) -> Array:
        """The same tensor with neighbouring axes of the rows, and of the columns, merged where that needs no copy."""
        k, view = self.n_row_axes, self.tensor
        sides = (_merge(view.shape[part], view.strides[part]) for part in (slice(k), slice(k, None)))
        (rows, row_strides), (columns, column_strides) = sides
        return as_strided(view, (*rows, *columns), (*row_strides, *column_strides), writeable=False)

    @cached_property
    def _n_merged_rows(self) -> int:
        return len(_merge(self.tensor.shape[: self.n_row_axes], self.tensor.strides[: self.n_row_axes])[0])


def _merge(shape: Sequence[int], strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Sizes and strides with each axis merged into the one before where the two are as one; at least one axis."""
    sizes, steps = [1], [0]
    for size, stride in zip(shape, strides, strict=True):
        if sizes[-1] == 1 or size == 1:
            steps[-1] = stride if size > 1 else steps[-1]
            sizes[-1] *= size
        elif steps[-1] == size * stride:
            sizes[-1] *= size
            steps[-1] = stride
        else:
            sizes.append(size)
            steps.append(stride)
    return sizes, steps


class _Reader:
    """Makes a matrix in double precision of a part of a tensor: a view where that will do, or a copy in a buffer."""

    def __init__(self, dtype: DType, n_rows: int, n_entries: int, n_row_axes: int) -> None:
        self.dtype, self.n_rows, self.n_row_axes = dtype, n_rows, n_row_axes
        self.n_entries = n_entries
        self.buffer: Array | None = None

    def __call__(self, part: Array) -> Array:
        k = self.n_row_axes
        if part.dtype == self.dtype and part.ndim == 2:
            return part
        if self.buffer is None:
            self.buffer = np.empty(self.n_entries, self.dtype)
        # the axes that lie closest together stay the last
        rows_last = part.strides[k - 1] < part.strides[-1] if k else False
        ordered = part.transpose([*range(k, part.ndim), *range(k)]) if rows_last else part
        copy = self.buffer[: part.size].reshape(ordered.shape)
        np.copyto(copy, ordered)
        return copy.reshape(-1, self.n_rows).T if rows_last else copy.reshape(self.n_rows, -1)
