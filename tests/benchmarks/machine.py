"""The constants of the cost model, measured on this machine: ``python tests/benchmarks/machine.py``.

Prints, for one thread and float32, what :class:`tlinear.contraction.cost.CostModel` has in use and what a
small experiment finds here.  What is chosen depends on the ratios of the constants alone.
"""

import statistics
import time
from dataclasses import fields

import numpy as np
from threadpoolctl import threadpool_limits

from tlinear.contraction.compile import kernel_of
from tlinear.contraction.cost import CostModel
from tlinear.contraction.layout import ways
from tlinear.contraction.network import Network
from tlinear.contraction.permute import permuted

FLOAT = np.dtype(np.float32)
GIVEN = {
    "large_multiplications": "of OpenBLAS",
    "vector_bytes": "of the processor",
    "cache_bytes": "of the processor",
    "shared_bytes": "of the processor",
    "inner_cache_bytes": "of the processor",
}
"""What no experiment here finds."""


def seconds(call, repeats=15):
    """The median of the time of a call, a short one being made often enough to fill a millisecond."""
    start = time.perf_counter()
    call()
    call()
    n = max(1, int(2e-3 / (time.perf_counter() - start)))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(n):
            call()
        times.append((time.perf_counter() - start) / n)
    return statistics.median(times)


def ones(*shape):
    return np.ones(shape, FLOAT)


def product(m, inner, n):
    a, b, out = ones(m, inner), ones(inner, n), np.empty((m, n), FLOAT)
    return seconds(lambda: np.matmul(a, b, out=out))


def moving(n_bytes):
    """Bytes read and written per second of a sum of two arrays, all three of so many bytes."""
    a, b, out = (np.ones(n_bytes // 12, FLOAT) for _ in range(3))
    return n_bytes / seconds(lambda: np.add(a, b, out=out))


def copying(line, n=100_000):
    """Seconds of an entry of a copy that exchanges two axes before a last one of this size."""
    first, second = 10, n // line // 10
    source, out = ones(first, second, line), np.empty((second, first, line), FLOAT)
    return seconds(lambda: np.copyto(out, source.transpose(1, 0, 2))) / out.size


def fresh(n_bytes=1 << 27):
    def call():
        np.empty(n_bytes // 4, FLOAT).fill(1)

    return n_bytes / seconds(call)


def matrices(n=4000):
    a, b, out = ones(n, 2, 2), ones(2, 2), np.empty((n, 2, 2), FLOAT)
    return seconds(lambda: np.matmul(a, b, out=out)) / n


def lines(line=8, n=1 << 15):
    a, b, out = ones(n, 1), ones(line), np.empty((n, line), FLOAT)
    wide = ones(n * line)
    return (seconds(lambda: np.multiply(a, b, out=out)) - seconds(lambda: np.multiply(wide, wide, out=wide))) / n


def jumps(n=64, rows=256, right=8):
    """Seconds that a line of a result takes longer if the lines of the other matrices lie between."""
    a, b = ones(n, rows, 4), ones(4, right)
    apart = np.empty((rows, n, right), FLOAT).transpose(1, 0, 2)
    together = np.empty((n, rows, right), FLOAT)
    longer, usual = (seconds(lambda out=out: np.matmul(a, b, out=out)) for out in (apart, together))
    return (longer - usual) / (n * rows)


def vectors(rows=2048, inner=4, right=16):
    rate = 2 * 64**3 / product(64, 64, 64)
    return (product(rows, inner, right) - 2 * rows * inner * right / rate) / rows


def turning(rows=128, inner=64, right=64):
    a, b, out = ones(rows, inner), ones(inner, right), np.empty((right, rows), FLOAT)
    return seconds(lambda: np.matmul(a, b, out=out.T)) / product(rows, inner, right)


def facing(n=64, rows=32, inner=32, right=16):
    """How much longer stacks of products take whose lines both go over what is summed."""
    a, b, out = ones(n, rows, inner), ones(n, right, inner), np.empty((n, rows, right), FLOAT)
    other = ones(n, inner, right)
    return seconds(lambda: np.matmul(a, b.mT, out=out)) / seconds(lambda: np.matmul(a, other, out=out))


def pullback(n=16, r=1024):
    a, b, out = ones(n, 1, r), ones(1, 16, r), np.empty((n, 16, r), FLOAT)
    forward, da = seconds(lambda: np.multiply(a, b, out=out)), np.empty((n, r), FLOAT)
    return seconds(lambda: np.einsum("abc,bc->ac", out, b[0], out=da)) / forward


def stacks():
    """What a stack of two products of two rows costs beyond one of four."""
    stack, matrix, two = ones(2, 2, 2), ones(4, 2), ones(2, 2)
    return seconds(lambda: np.matmul(stack, two)) - seconds(lambda: matrix.dot(two))


def einsums():
    """What products of entries that are summed cost beyond those that are not."""
    a, b, out = ones(2, 2), ones(2, 2), np.empty((2,), FLOAT)
    return seconds(lambda: np.einsum("ab,ab->b", a, b, out=out)) - seconds(lambda: np.multiply(a, b))


def copies():
    """What a copy in another order costs before it does anything."""
    a = ones(2, 2, 2)
    copy = permuted((2, 2, 2), (1, 0, 2))
    return seconds(lambda: copy(a))


def calls():
    tiny = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 2), (2, 2)), n_in=1, n_modes=2)
    kernel, two = kernel_of(next(ways(tiny, (0, 2), (2, 1), {0, 1})), 1), ones(2, 2)
    return seconds(lambda: [kernel.forward(two, two) for _ in range(1000)]) / 1000


def packing(rows=4096, inner=1024, right=4):
    """Bytes per second of a product whose time is that of packing its first operand."""
    rate = 2 * 1500**3 / product(1500, 1500, 1500)
    packed = 4 * (rows * inner + inner * right + rows * right)
    return packed / (product(rows, inner, right) - 2 * rows * inner * right / rate)


EXPERIMENTS = {
    "small_bytes_per_second": lambda: 4 * 2 * 64**3 / product(64, 64, 64),
    "large_bytes_per_second": lambda: 4 * 2 * 1500**3 / product(1500, 1500, 1500),
    "pack_bytes_per_second": packing,
    "cache_bytes_per_second": lambda: moving(1 << 18),
    "shared_bytes_per_second": lambda: moving(1 << 24),
    "memory_bytes_per_second": lambda: moving(1 << 28),
    "fresh_bytes_per_second": fresh,
    "copy_bytes_per_second": lambda: 8 / copying(1024),
    "copied_line_seconds": lambda: 4 * copying(4),
    "copied_entry_seconds": lambda: copying(1),
    "matrix_seconds": matrices,
    "line_seconds": lines,
    "jump_seconds": jumps,
    "vector_seconds": vectors,
    "turning_factor": turning,
    "facing_factor": facing,
    "product_pullback": pullback,
    "call_seconds": calls,
    "stack_seconds": stacks,
    "einsum_seconds": einsums,
    "copy_call_seconds": copies,
}


def main():
    model = CostModel()
    with threadpool_limits(1):
        print(f"{'constant':26} {'in use':>10} {'here':>10}")
        for field in fields(model):
            found = GIVEN.get(field.name) or f"{EXPERIMENTS[field.name]():.2g}"
            print(f"{field.name:26} {getattr(model, field.name):10.2g} {found:>10}")


if __name__ == "__main__":
    main()
