"""What it costs that memory is given back to the system: ``python tests/benchmarks/room.py``.

Trains layers in processes of their own, as they are and with :func:`tlinear.contraction.room.keep_room` doing nothing,
in turns, and prints the median time of a forward and backward pass and the page faults of one, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

CASES = (
    ("768->768, rank 0.1", (8, 8, 12), (8, 8, 12), 0.1, "cp", 1),
    ("768->768, rank 0.1", (8, 8, 12), (8, 8, 12), 0.1, "tucker", 1024),
    ("768->768, rank 0.1", (8, 8, 12), (8, 8, 12), 0.1, "blocktt", 100),
    ("4096->4096, rank 0.01", (8, 8, 8, 8), (8, 8, 8, 8), 0.01, "blocktt", 1),
    ("1024->1024, rank 8", (4, 8, 8, 4), (4, 8, 8, 4), 8, "blocktt", 1024),
)


def measure(number: int, *, keeps: bool) -> tuple[float, float]:
    """Seconds and page faults of a pass of a case in this process."""
    import numpy as np

    import tlinear
    from tlinear.contraction import search

    if not keeps:
        search.keep_room = lambda n_bytes: None
    _, in_shape, out_shape, rank, factorization, batch = CASES[number]
    layer = tlinear.FactorizedLinear(
        in_shape, out_shape, factorization=factorization, rank=rank, dtype=np.float32, rng=0
    )
    x = np.ones((batch, layer.in_features), np.float32)
    dy = np.ones((batch, layer.out_features), np.float32)

    def step() -> object:
        y, pullback = layer.vjp(x)
        return y, pullback(dy)

    step()
    times, before, start = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    while len(times) < 5 or time.perf_counter() < start + 0.5:
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return statistics.median(times), faults / len(times)


def in_a_process_of_its_own(number: int, keeps: bool) -> tuple[float, float]:
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--case", str(number), *(["--keeps"] if keeps else [])]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | threads)
    seconds, faults = json.loads(found.stdout)
    return seconds, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, help="measure one case in this process, and print it as JSON")
    parser.add_argument("--keeps", action="store_true", help="as the package is")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(options.case, keeps=options.keeps)))
        return
    print("| layer | format | batch | given back us | faults | kept us | faults | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, (name, _, _, _, factorization, batch) in enumerate(CASES):
        runs = {False: [], True: []}
        for _ in range(options.rounds):
            for keeps, found in runs.items():
                found.append(in_a_process_of_its_own(number, keeps))
        (given, some), (kept, few) = ([statistics.median(each) for each in zip(*runs[k], strict=True)] for k in runs)
        row = (name, factorization, batch, f"{given * 1e6:,.0f}", f"{some:,.0f}", f"{kept * 1e6:,.0f}", f"{few:,.0f}")
        print(f"| {' | '.join(map(str, row))} | {given / kept:.2f} |")


if __name__ == "__main__":
    main()
