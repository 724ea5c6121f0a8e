"""How fast the contraction engine is: beside tltorch, beside dense NumPy, and beside what the machine allows.

``python tests/benchmarks/engine.py [--markdown] [--quick]`` measures every figure of its table anew; it needs
the peers, ``pip install '.[parity,bench]'``.

The layer is the same on both sides: tltorch resolves the rank, ranks that no tensor of the shape needs are
lowered to those that it does, tlinear draws the numbers, and tltorch is given copies of them.  Both are
float32 and have a bias.  tltorch has no layer in the TT format, so that TT stands beside dense NumPy alone.
Before a cell is timed, both outputs must lie within the rounding bound of the contraction in float64; and for a
small batch of every layer both give their gradients in float64 too, which must lie within that sharper bound.

Times.  All contenders of a cell take turns in the rounds of one run, with the same number of threads; each has
an equal share of every round, whose first call fetches its data into the caches and is not counted.  What is
shown is the median, and as the spread the distance of the quartiles over it, tlinear's or tltorch's, whichever is
larger.  ``--clock cpu`` counts processor time instead of wall time, which on a busy machine is what one thread
would take on an idle one.  Dense is the bare ``x @ W.T + bias``, and its backward pass ``dy @ W``, ``dy.T @ x`` and a
sum.  tltorch runs in inference mode where no gradient is asked for, and otherwise under ``torch.autograd.grad``.
The ratio is to ``'factorized'``, which tltorch's users get unless they ask; its ``'reconstructed'`` is timed
wherever it may be the faster one, and is then in bold.  Where its FLOPs at the machine's peak, or its time at a
smaller batch, already exceed the time of ``'factorized'``, that least time is given instead, as ``>= 12``.  A
contender that would take more than `MOST_SECONDS` a call, or half of the memory, is left out, and its
predicted figure is given in brackets.  A ``!`` marks a cell in which ``'auto'`` is slow to a degree that
the summary counts.

Floor.  ``max(FLOPs / peak, bytes / bandwidth)``: the fewest FLOPs of any pairwise order of the network of x and
all operands, rebuilding the weight among them, three times for forward and backward; the bytes of x, y, their
gradients, the operands and the bias, each once.  Peak is a matrix product of `GEMM_SIZE` and bandwidth a copy
of `COPY_BYTES`, both contenders of every cell.  The ceiling is tltorch's time over the floor: forward, no engine
that contracts in pairs can have a higher ratio, unless its data stay in the caches.

Bound by.  The largest of what the plan's FLOPs take at the peak, its bytes at the bandwidth, and its steps at
the cost of a product of two tiny arrays; with a question mark where all three explain less than half the time.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
import time
import warnings
from dataclasses import asdict
from functools import cache
from types import SimpleNamespace

import numpy as np
from agreement import steps_of_plan
from cells import Row, cells
from grid import BATCHES, FLOAT, FORMATS, GRID, MODES, size
from peer import resolved_rank, torch
from report import COLUMNS, fields_of, machine_line, markdown_row, markdown_table, summary
from stopwatch import CLOCKS, Call, Rates, interleaved, probes
from threadpoolctl import threadpool_limits

from tlinear import FactorizedLinear
from tlinear.contraction.plan import Plan


def bare_products(plan: Plan) -> Call:
    """The products of a plan's steps alone, of arrays that are there already."""
    network, batch = plan.network, plan.batch_size
    operations = []
    for a, b, out in steps_of_plan(plan):
        common = size(network, {*a} & {*b} & {*out}, batch)
        summed = size(network, ({*a} & {*b}) - {*out}, batch)
        rows, columns = size(network, {*a} - {*b}, batch), size(network, {*b} - {*a}, batch)
        left, right = (np.ones((common, *shape), FLOAT) for shape in ((rows, summed), (summed, columns)))
        operations.append((left[0], right[0]) if common == 1 else (left, right))

    def call() -> None:
        for left, right in operations:
            np.matmul(left, right)

    return call


def overheads(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a call of the seed's layer at batch 1 beyond those of its bare products, for every format."""
    setting, found = GRID["seed"], {}
    x = np.ones((1, math.prod(setting.in_shape)), FLOAT)
    for factorization in options.formats:
        rank = resolved_rank(setting, factorization)
        layer = FactorizedLinear(
            setting.in_shape, setting.out_shape, factorization=factorization, rank=rank, dtype=FLOAT, rng=0
        )
        bare = bare_products(layer.plan(1))
        times = interleaved(
            {"layer": lambda layer=layer: layer(x), "bare": bare}, options.seconds, CLOCKS[options.clock]
        )
        found[factorization] = statistics.median(times["layer"]) - statistics.median(times["bare"])
    return found


@cache
def path_searches(most: int = 1000) -> int:
    """How many of the batches 1..`most`, in random order, make a new layer search for an order of contraction."""
    layer = FactorizedLinear((3, 5), (5, 3), factorization="tucker", rank=2, dtype=FLOAT, rng=0)
    x = np.ones((most, layer.in_features), FLOAT)
    searched = False

    def watch(frame, event, argument) -> None:
        nonlocal searched
        name = frame.f_globals.get("__name__", "")
        searched = searched or name.startswith("opt_einsum") or name == "tlinear.contraction.order"

    count = 0
    for batch in np.random.default_rng(0).permutation(np.arange(1, most + 1)):
        searched = False
        sys.setprofile(watch)
        layer(x[:batch])
        sys.setprofile(None)
        count += searched
    return count


def run(options: argparse.Namespace, threads: int) -> SimpleNamespace:
    """Every cell at this number of threads."""
    options.n_threads = threads
    torch.set_num_threads(threads)
    started, rows, missing = time.perf_counter(), [], []
    with threadpool_limits(threads):
        machine = Rates.of(interleaved(probes(), 5 * options.seconds, CLOCKS[options.clock]))
        for name, factorization in itertools.product(options.layers, options.formats):
            setting = GRID[name]
            if factorization not in setting.formats:
                continue
            for row in cells(setting, factorization, options, machine):
                if isinstance(row, Row):
                    rows.append(row)
                    print(markdown_row(fields_of(row)), file=options.progress, flush=True)
                else:
                    missing.append(row)
                    print(row, file=sys.stderr, flush=True)
        found = summary(rows, missing, overheads(options), path_searches())
    elapsed = time.perf_counter() - started
    return SimpleNamespace(
        threads=threads, rows=rows, summary=found, machine=machine_line(threads, rows), seconds=elapsed
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", choices=list(GRID), default=list(GRID))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1], help="one run for each number")
    parser.add_argument("--seconds", type=float, default=0.15, help="for each contender of a cell")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: processor time, for one thread")
    parser.add_argument("--quick", action="store_true", help="three layers, batches 1 and 100, a third of the time")
    parser.add_argument("--markdown", action="store_true", help="print the report alone, as it is kept in docs")
    parser.add_argument("--json", metavar="FILE", help="write every figure there, quartiles among them")
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != [1]:
        parser.error("--clock cpu adds up the time of all threads, waiting among it; use it with --threads 1.")
    if options.quick:
        options.layers = [name for name in options.layers if name in ("seed", "768", "1024")]
        options.batches, options.seconds = [1, 100], options.seconds / 3
    options.progress = sys.stderr if options.markdown else sys.stdout
    return options


def main() -> None:
    options = arguments()
    warnings.simplefilter("ignore")
    if not options.markdown:
        print(markdown_table(COLUMNS, ()), flush=True)
    runs = [run(options, threads) for threads in options.threads]
    for done in runs:
        print(
            f"\n{done.machine}\nTimes are {options.clock} times, measured in {done.seconds:.0f} s by `python {' '.join(sys.argv)}`.\n"
        )
        if options.markdown:
            print(markdown_table(COLUMNS, map(fields_of, done.rows)), "\n", sep="")
        print(markdown_table(("of the grid", "measured", "asked for"), done.summary))
    if options.json:
        report = [
            {
                "threads": done.threads,
                "machine": done.machine,
                "seconds": done.seconds,
                "rows": [asdict(row) for row in done.rows],
                "summary": done.summary,
            }
            for done in runs
        ]
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1, default=str)


if __name__ == "__main__":
    main()
