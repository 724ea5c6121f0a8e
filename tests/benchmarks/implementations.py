"""Does ``'auto'`` choose well?  ``python tests/benchmarks/implementations.py [--batches 1 32 1024]``.

One row for each layer and batch: the time of the dense layer, and those of the factorized layer's
implementations as ratios to it, all interleaved in one run on one thread, medians of the repeats.
"""

import argparse
import statistics
import time

import numpy as np
from threadpoolctl import threadpool_limits

from tlinear import FactorizedLinear, Linear

LAYERS = [
    ((4, 4), (2, 5), 0.5),
    ((8, 8, 12), (8, 8, 12), 0.1),
    ((8, 8, 12), (12, 16, 16), 0.1),
    ((4, 8, 8, 4), (4, 8, 8, 4), 8),
    ((8, 8, 8, 8), (8, 8, 8, 8), 0.01),
]
IMPLEMENTATIONS = ("factorized", "reconstructed", "auto")


def interleaved(calls, budget):
    """The median seconds of each call, all called in turn until the budget is spent, at least three times."""
    for call in calls:
        call()
    times = [[] for _ in calls]
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(times[0]) < 3:
        for call, record in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 1024])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each row")
    options = parser.parse_args()
    print("| layer | format | batch | dense, us | factorized | reconstructed | auto | auto takes |")
    print("|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    with threadpool_limits(1):
        for in_shape, out_shape, rank in LAYERS:
            n_in, n_out = np.prod(in_shape), np.prod(out_shape)
            dense = Linear(n_in, n_out, dtype=np.float32, rng=0)
            for factorization in ("cp", "tucker", "tt", "blocktt"):
                layers = [
                    FactorizedLinear(
                        in_shape,
                        out_shape,
                        factorization=factorization,
                        rank=rank,
                        implementation=implementation,
                        dtype=np.float32,
                        rng=0,
                    )
                    for implementation in IMPLEMENTATIONS
                ]
                for batch in options.batches:
                    x = rng.standard_normal((batch, n_in), dtype=np.float32)
                    base, *others = interleaved([lambda f=f: f(x) for f in (dense, *layers)], options.seconds)  # noqa: B023
                    ratios = " | ".join(f"{t / base:.2f}" for t in others)
                    chosen = layers[-1].plan(batch).implementation
                    name = f"{n_in}->{n_out}, rank {rank} | {factorization}"
                    print(f"| {name} | {batch} | {base * 1e6:.1f} | {ratios} | {chosen} |", flush=True)


if __name__ == "__main__":
    main()
