"""The two rates of the cost model, measured on this machine: ``python tests/benchmarks/machine.py``.

Prints, for one thread, FLOP/s of a large matrix product times the bytes of an entry, bytes per
second of a copy too large for the cache, and the seconds of a contraction of two tiny arrays.
"""

import statistics
import time

import numpy as np
from threadpoolctl import threadpool_limits

from tlinear.contraction.cost import CostModel
from tlinear.contraction.kernel import kernel_of
from tlinear.contraction.layout import ways
from tlinear.contraction.network import Network


def seconds(call, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    print(f"in use: {CostModel()}")
    with threadpool_limits(1):
        for dtype in (np.float32, np.float64):
            a = np.ones((1500, 1500), dtype)
            rate = 2 * 1500**3 / seconds(lambda a=a: a @ a, 9)
            print(f"{np.dtype(dtype)}: {rate / 1e9:.0f} GFLOP/s, {rate * a.itemsize:.2e} entry bytes/s")
        for layout, axes in (("one after the other", (0, 1, 2)), ("interleaved", (2, 0, 1))):
            shapes = [np.empty((1000, m, 8)).transpose(np.argsort(axes)).shape for m in (256, 8)]
            many, few = (np.ones(shape, np.float32).transpose(axes) for shape in shapes)
            rate = 2 * many.size * 8 / seconds(lambda many=many, few=few: many @ few, 9)
            print(f"batched: {rate / 1e9:.0f} GFLOP/s for 1000 products of 256x8 and 8x8 in float32, {layout}")
        source, target = np.ones(2**25), np.empty(2**25)
        print(f"copy: {2 * source.nbytes / seconds(lambda: np.copyto(target, source), 9):.2e} bytes/s")
        tiny = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 2), (2, 2)), n_in=1, n_modes=2)
        kernel, two = kernel_of(next(ways(tiny, (0, 2), (2, 1), {0, 1})), 1), np.ones((2, 2))
        print(f"call: {seconds(lambda: [kernel(two, two) for _ in range(1000)], 9) / 1000:.2e} seconds")


if __name__ == "__main__":
    main()
