"""How long a pairwise contraction takes: floating-point operations, bytes moved, and calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tlinear.arrays import DType
from tlinear.contraction.network import Labels, Network
from tlinear.contraction.pair import Pair, Work

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
        How many times the FLOPs of a product seem to be whose lines go over the rows, while those of A do not.
    product_pullback : float
        How many times a product of entries each of its pullbacks takes.
    call_seconds : float
        What one pair costs before it does anything.
    """

    small_bytes_per_second: float = 5.8e11
    large_bytes_per_second: float = 4.4e11
    large_multiplications: float = 1.0e6
    pack_bytes_per_second: float = 2.0e10
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
    turning_factor: float = 2.0
    product_pullback: float = 2.0
    call_seconds: float = 2.0e-6

    def seconds(self, pair: Pair, batch_size: int, dtype: DType, *, pullbacks: int = 0) -> float:
        """The predicted time of one pair, and of the pullbacks to its operands: none, B's, or both."""
        return self.work_seconds(pair.work(max(batch_size, 1)), dtype, pullbacks=pullbacks)

    def work_seconds(self, work: Work, dtype: DType, *, pullbacks: int = 0) -> float:
        """The same of any pair that is this work."""
        entry, manner = dtype.itemsize, work.manner
        total = self.call_seconds + self._moving_seconds((work.a + work.b + work.out) * entry)
        if manner.is_product:
            total += work.out / work.line * self.line_seconds
        else:
            total += self._matmul_seconds(work, dtype)
        if manner.copies_a:
            total += self.copy_seconds(work.a, dtype, work.line_a)
        if not pullbacks:
            return total
        factor = 1 + pullbacks * (self.product_pullback if manner.is_product else 1)
        return factor * total + 2 * work.entries_summed * entry / self.cache_bytes_per_second

    def _moving_seconds(self, n_bytes: int) -> float:
        if n_bytes <= self.cache_bytes:
            return n_bytes / self.cache_bytes_per_second
        if n_bytes <= self.shared_bytes:
            return n_bytes / self.shared_bytes_per_second
        return n_bytes / self.memory_bytes_per_second

    def _matmul_seconds(self, work: Work, dtype: DType) -> float:
        """What the matrix products take beyond moving their arrays."""
        entry, scale = dtype.itemsize, flops_per_multiply(dtype)
        real = entry // 2 if dtype.kind == "c" else entry
        rows, inner, right, out = work.rows, work.contracted, work.right, work.out
        n_matrices = out // (rows * right)
        is_small = rows * inner * right <= self.large_multiplications
        over_rows = right == 1 or (rows > 1 and work.ends_with_rows)
        line = rows if over_rows else right
        lanes = self.vector_bytes // real
        if is_small and work.turns_b and not work.manner.a_ends_with_rows:  # each entry is a dot product of two lines
            vectors = float(out * scale)
            flops = 2.0 * -(-inner // lanes) * lanes * vectors
        else:
            vectors = out / line * -(-line // lanes) * scale
            flops = 2 * inner * lanes * vectors
            if over_rows and rows > 1 and right > 1 and not work.manner.a_ends_with_rows:
                flops *= self.turning_factor
        if is_small:
            b_bytes = inner * right * entry
            again = n_matrices * b_bytes / self.cache_bytes_per_second if b_bytes > self.inner_cache_bytes else 0.0
            jumps = (out / line if work.scatters else 0) + (work.a / inner if work.manner.scatters_a else 0)
            calls = n_matrices * self.matrix_seconds + jumps * self.jump_seconds + vectors * self.vector_seconds
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
        return n_bytes / self.copy_bytes_per_second + lines

    def least_seconds(
        self,
        network: Network,
        triples: Sequence[Sequence[Labels]],
        batch_size: int,
        dtype: DType,
        *,
        passes: int = 1,
    ) -> float:
        """What no layout of these contractions ``(a, b, out)`` can undercut: all in the cache, and nothing copied."""
        total = 0.0
        entry = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
        for a, b, out in triples:
            moved = sum(network.size(labels, batch_size) for labels in (a, b, out)) * dtype.itemsize
            total += self.call_seconds + moved / self.cache_bytes_per_second
            everything = tuple({*a, *b})
            if len(everything) > len(out):
                flops = 2 * network.size(everything, batch_size) * flops_per_multiply(dtype)
                total += flops * entry / self.small_bytes_per_second
        return total * passes

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
            work = pair.work(max(chunk_size, 1))
            seconds = self.work_seconds(work, dtype, pullbacks=pullbacks(pair))
            total += seconds * (n_chunks if pair.has_batch else weight_share)
            total += self.arranging_seconds(work, dtype) * weight_share
        return total


def flops_per_multiply(dtype: DType) -> int:
    """A complex product costs four real ones."""
    return 4 if dtype.kind == "c" else 1
