"""How long a pairwise contraction takes: floating-point operations, bytes moved, and calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tlinear.arrays import DType
from tlinear.contraction.adjoint import Adjoint
from tlinear.contraction.network import Labels, Network
from tlinear.contraction.pair import Pair
from tlinear.contraction.work import Work

__all__ = ["CostModel", "flops_per_multiply"]


@dataclass(frozen=True)
class CostModel:
    """Seconds as FLOPs at the rate of a matrix product, plus bytes at the rate of a copy, plus calls.

    The rates are of the order that ``python tests/benchmarks/machine.py`` prints for one core of a
    server; what is chosen depends on their ratios alone, which differ less between machines.

    A small matrix is multiplied as it lies; a large one is first packed into blocks, which costs what
    its entries take, and pays only where there is much to do with each.  Either way a vector unit
    computes `vector_bytes` of a row of the result at a time, however few of them are wanted.

    Attributes
    ----------
    small_bytes_per_second, large_bytes_per_second : float
        FLOP/s of real matrix products times the bytes of one entry: a core that does n FLOP/s in
        float64 does 2 n in float32.
    large_multiplications : float
        How many multiplications make a product a large one.
    pack_bytes_per_second : float
        Bytes of both operands and the result of a large product that are packed per second.
    vector_bytes : int
        What the vector unit holds.
    cache_bytes_per_second, shared_bytes_per_second, memory_bytes_per_second : float
        Bytes read and written per second by a step whose arrays fit in the cache that a core has of its own,
        in what the cores share, and in neither.
    cache_bytes, shared_bytes : float
        What the arrays of a step may take for that.
    fresh_bytes_per_second : float
        Bytes per second of memory that the kernel has to give first, as it does for each call that keeps more than
        `shared_bytes`.
    copy_bytes_per_second : float
        Bytes read and written per second by a copy that changes the order of the axes.
    copied_line_seconds, copied_entry_seconds : float
        What each line costs beyond that whose entries stay side by side, but each entry at most.
    inner_cache_bytes : float
        The size from which a matrix of B is read anew for each of A.
    matrix_seconds, line_seconds, jump_seconds : float
        What each further matrix of a product of many costs before it does anything; what each line of a product of
        entries does; and each line of a matrix whose lines lie far apart.
    vector_seconds : float
        What each vector of the result of a small product costs beside its FLOPs.
    turning_factor : float
        How many times the FLOPs of a product seem to be whose lines go over the rows, while those of A do not: it is
        computed along the right labels all the same.
    facing_factor : float
        How many times the FLOPs of a small product seem to be of two operands whose lines go over what is summed.
    product_pullback : float
        How many times a product of entries each of its pullbacks takes.
    call_seconds : float
        What one pair costs before it does anything.
    stack_seconds : float
        What one costs beyond that if it is a stack of matrix products.
    einsum_seconds : float
        What one costs beyond that whose entries are multiplied and summed without matrices.
    copy_call_seconds : float
        What a copy costs before it does anything.
    """

    small_bytes_per_second: float = 5.8e11
    large_bytes_per_second: float = 6.0e11
    large_multiplications: float = 1.0e6
    pack_bytes_per_second: float = 1.5e10
    vector_bytes: int = 64
    cache_bytes_per_second: float = 8.0e10
    shared_bytes_per_second: float = 2.5e10
    memory_bytes_per_second: float = 1.0e10
    fresh_bytes_per_second: float = 3.0e9
    cache_bytes: float = 1.5e6
    shared_bytes: float = 3.2e7
    copy_bytes_per_second: float = 2.0e10
    copied_line_seconds: float = 4.0e-9
    copied_entry_seconds: float = 2.0e-9
    inner_cache_bytes: float = 4.8e4
    matrix_seconds: float = 5.0e-8
    line_seconds: float = 8.0e-9
    jump_seconds: float = 1.0e-8
    vector_seconds: float = 6.0e-10
    turning_factor: float = 1.3
    facing_factor: float = 2.2
    product_pullback: float = 1.0
    call_seconds: float = 2.0e-6
    stack_seconds: float = 1.0e-6
    einsum_seconds: float = 2.0e-6
    copy_call_seconds: float = 1.0e-6

    def seconds(self, pair: Pair, batch_size: int, dtype: DType, *, pullbacks: int = 0) -> float:
        """The predicted time of one pair, and of the pullbacks to its operands: none, B's, or both."""
        return self.work_seconds(pair.work(max(batch_size, 1)), dtype, pullbacks=pullbacks)

    def work_seconds(self, work: Work, dtype: DType, *, pullbacks: int = 0, n_times: int = 1) -> float:
        """The same of any pair that is this work, and is done so many times with the same B."""
        entry, manner = dtype.itemsize, work.manner
        if manner.by_entries:
            total = self._entries_seconds(work, dtype)
            return total + pullbacks * (self.product_pullback * total + self.einsum_seconds)
        total = self.call_seconds + self._moving_seconds((work.a + work.b + work.out) * entry)
        total += self._matmul_seconds(work, dtype, faces=work.turns_b, dots=work.turns_b)
        if manner.copies_a:
            total += self.copy_seconds(work.a, dtype, work.line_a)
        if pullbacks:
            total += min(self._to_b_seconds(work, dtype))
        if pullbacks > 1:
            total += min(self._to_a_seconds(work, dtype, n_times).values())
        return total

    def adjoint_of(self, pair: Pair, batch_size: int, dtype: DType, *, n_times: int = 1) -> Adjoint:
        """How the pullbacks of a pair are done that are done so many times with the same B."""
        work = pair.work(max(batch_size, 1))
        if work.manner.by_entries:
            return Adjoint()
        to_a, to_b = self._to_a_seconds(work, dtype, n_times), self._to_b_seconds(work, dtype)
        way = min(to_a, key=to_a.__getitem__)
        return Adjoint(turns_b=way[0], flattens_a=way[1], flattens_b=to_b[1] < to_b[0])

    def _to_a_seconds(self, work: Work, dtype: DType, n_times: int) -> dict[tuple[bool, bool], float]:
        """The pullback to A, ``dC B^T``, by whether B is turned first, once for all, and the loops become rows."""
        manner = work.manner
        moving = self.call_seconds + self._moving_seconds((work.a + work.b + work.out) * dtype.itemsize)
        looped = work._replace(
            a=work.out,
            contracted=work.right,
            right=work.contracted,
            manner=manner._replace(a_ends_with_rows=work.ends_with_rows, scatters_a=work.scatters),
            ends_with_rows=manner.a_ends_with_rows,
            scatters=manner.scatters_a,
        )
        after = self.copy_seconds(work.a, dtype, work.line_a) if manner.copies_a else 0.0
        ways = {False: (looped, after)}
        if work.can_flatten:
            ways[True] = _flat(looped), self._flattening_seconds(work, dtype)
        turning = self.copy_seconds(work.b, dtype, 1) / n_times
        seconds = {}
        for is_flat, (adjoint, copying) in ways.items():
            for is_turned in (False, True) if not work.turns_b else (False,):
                faces = not work.turns_b and not is_turned
                product = self._matmul_seconds(adjoint, dtype, faces=faces)
                seconds[is_turned, is_flat] = moving + copying + product + (turning if is_turned else 0.0)
        return seconds

    def _to_b_seconds(self, work: Work, dtype: DType) -> tuple[float, float]:
        """The pullback to B, ``A^T dC``, summed over the loops, and with the loops as rows."""
        entry, manner, summed = dtype.itemsize, work.manner, work.entries_summed
        moving = self.call_seconds + self._moving_seconds((work.a + work.b + work.out) * entry)
        adjoint = work._replace(
            b=work.out,
            rows=work.contracted,
            contracted=work.rows,
            manner=manner._replace(a_ends_with_rows=not manner.a_ends_with_rows),
            ends_with_rows=False,
            scatters=False,
        )
        looped = moving + self._matmul_seconds(adjoint, dtype, faces=work.ends_with_rows)
        if summed > work.b:
            looped += 2 * summed * entry / self.cache_bytes_per_second
        if manner.copies_a:
            looped += self.copy_seconds(work.a, dtype, work.line_a)
        if not work.can_flatten:
            return looped, math.inf
        flat = adjoint._replace(
            contracted=work.rows * work.loops, manner=manner._replace(a_ends_with_rows=True, scatters_a=False)
        )
        return looped, moving + self._matmul_seconds(flat, dtype, faces=False) + self._flattening_seconds(work, dtype)

    def _flattening_seconds(self, work: Work, dtype: DType) -> float:
        """What it takes to copy A and dC, or dC to dA, so that the loops lie in front of the rows."""
        line_a = 1 if work.manner.copies_a or work.manner.a_ends_with_rows else work.contracted
        line_c = 1 if work.ends_with_rows else work.right
        total = 0.0 if work.manner.a_is_flat else self.copy_seconds(work.a, dtype, line_a)
        return total + (0.0 if work.is_flat else self.copy_seconds(work.out, dtype, line_c))

    def _entries_seconds(self, work: Work, dtype: DType) -> float:
        """What it takes entry by entry: no faster than a copy, and something for each line."""
        n_bytes = (work.a + work.b + work.out) * dtype.itemsize
        moving = max(self._moving_seconds(n_bytes), n_bytes / self.copy_bytes_per_second)
        calls = self.call_seconds + (self.einsum_seconds if work.contracted > 1 else 0.0)
        return calls + moving + max(work.a, work.out) / work.line * self.line_seconds

    def _moving_seconds(self, n_bytes: int) -> float:
        if n_bytes <= self.cache_bytes:
            return n_bytes / self.cache_bytes_per_second
        if n_bytes <= self.shared_bytes:
            return n_bytes / self.shared_bytes_per_second
        return n_bytes / self.memory_bytes_per_second

    def _matmul_seconds(self, work: Work, dtype: DType, *, faces: bool, dots: bool = False) -> float:
        """What the matrix products take beyond moving their arrays.

        B `faces` A if its lines go over what is summed; with few columns that makes `dots` of two lines each.
        """
        entry, scale, real = dtype.itemsize, flops_per_multiply(dtype), _real_bytes(dtype)
        rows, inner, right, out = work.rows, work.contracted, work.right, work.out
        n_matrices = out // (rows * right)
        is_small = rows * inner * right <= self.large_multiplications
        # BLAS computes along the lines of A where they go over the rows
        turns = not work.manner.a_ends_with_rows and rows > 1 and right > 1
        over_rows = right == 1 or (rows > 1 and work.ends_with_rows and not turns)
        line = rows if over_rows else right
        lanes = self.vector_bytes // real
        if is_small and dots and not work.manner.a_ends_with_rows:  # each entry is a dot product of two lines
            vectors = float(out * scale)
            flops = 2.0 * -(-inner // lanes) * lanes * vectors
        else:
            vectors = out / line * -(-line // lanes) * scale
            flops = 2 * inner * lanes * vectors
            if turns and work.ends_with_rows:
                flops *= self.turning_factor
            elif turns and faces and is_small:
                flops *= self.facing_factor
        if is_small:
            b_bytes = inner * right * entry
            again = n_matrices * b_bytes / self.cache_bytes_per_second if b_bytes > self.inner_cache_bytes else 0.0
            jumps = (out / line if work.scatters else 0) + (work.a / inner if work.manner.scatters_a else 0)
            stack = self.stack_seconds if n_matrices > 1 else 0.0
            calls = stack + n_matrices * self.matrix_seconds + jumps * self.jump_seconds + vectors * self.vector_seconds
            return flops * real / self.small_bytes_per_second + calls + again
        packed = n_matrices * (rows * inner + inner * right + rows * right) * entry
        return flops * real / self.large_bytes_per_second + packed / self.pack_bytes_per_second

    def arranging_seconds(self, work: Work, dtype: DType) -> float:
        """What it takes to rearrange the second operand of a pair, once for all chunks of a batch."""
        return self.copy_seconds(work.b, dtype, work.line_b) if work.manner.copies_b else 0.0

    def copy_seconds(self, n_entries: int, dtype: DType, line: int) -> float:
        """A copy that changes the order of the axes, but of those of a line."""
        n_bytes = 2 * n_entries * dtype.itemsize
        lines = n_entries * min(self.copied_line_seconds / line, self.copied_entry_seconds)
        return self.copy_call_seconds + n_bytes / self.copy_bytes_per_second + lines

    def least_seconds(
        self,
        network: Network,
        step: tuple[Labels, Labels, Labels],
        batch_size: int,
        dtype: DType,
        *,
        pullbacks: int = 0,
    ) -> float:
        """Lower bound of a contraction ``(a, b, out)`` in any layout: no line is too short, and nothing is copied."""
        a, b, out = step
        n_a, n_b, n_out = (network.size(labels, batch_size) for labels in step)
        moved = (n_a + n_b + n_out) * dtype.itemsize
        moving, everything = self._moving_seconds(moved), tuple({*a, *b})
        of_entries = self.call_seconds + max(moving, moved / self.copy_bytes_per_second)
        of_entries += pullbacks * self.product_pullback * of_entries
        if len(everything) == len(out):
            return of_entries
        scale, lanes = flops_per_multiply(dtype), self.vector_bytes // _real_bytes(dtype)
        multiplications = network.size(everything, batch_size)
        n_bytes = 2 * multiplications * scale * _real_bytes(dtype)
        large = n_bytes / self.large_bytes_per_second + moved / self.pack_bytes_per_second
        of_matrices = (1 + pullbacks) * (self.call_seconds + moving)
        for written in (n_out, n_b, n_a)[: 1 + pullbacks]:
            small = n_bytes / self.small_bytes_per_second + written * scale / lanes * self.vector_seconds
            of_matrices += small if multiplications <= self.large_multiplications else min(small, large)
        return min(of_matrices, of_entries) if len(everything) == len(a) else of_matrices

    def storing_seconds(self, n_bytes: int) -> float:
        """What it takes to keep arrays in new memory rather than in that of the ones before, and to read them back."""
        if n_bytes <= self.cache_bytes:
            return 0.0
        return n_bytes / (self.shared_bytes_per_second if n_bytes <= self.shared_bytes else self.fresh_bytes_per_second)

    def all_seconds(
        self,
        pairs: Sequence[Pair],
        n_chunks: int,
        chunk_size: int,
        dtype: DType,
        *,
        pullbacks: Callable[[Pair], int] = lambda pair: 0,
        weight_share: float = 1.0,
    ) -> float:
        """The predicted time of a whole plan: what has a batch is done once a chunk, and a share of what has none."""
        total = 0.0
        for pair in pairs:
            work, n_times = pair.work(max(chunk_size, 1)), max(n_chunks, 1) if pair.has_batch else 1
            seconds = self.work_seconds(work, dtype, pullbacks=pullbacks(pair), n_times=n_times)
            total += seconds * (n_chunks if pair.has_batch else weight_share)
            total += self.arranging_seconds(work, dtype) * weight_share
        return total


def _flat(work: Work) -> Work:
    """The same as one product whose rows are those of all loops."""
    manner = work.manner._replace(a_ends_with_rows=False, scatters_a=False)
    return work._replace(rows=work.rows * work.loops, manner=manner, ends_with_rows=False, scatters=False)


def flops_per_multiply(dtype: DType) -> int:
    """A complex product costs four real ones."""
    return 4 if dtype.kind == "c" else 1


def _real_bytes(dtype: DType) -> int:
    """The bytes of a real number, or of either part of a complex one."""
    return dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
