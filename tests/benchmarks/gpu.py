"""How fast the layer is on a GPU: beside tltorch, beside dense cuBLAS, and beside what the machine allows.

``python tests/benchmarks/gpu.py [--quick]`` measures every figure of its table anew and prints it in Markdown; it needs
CuPy and a GPU, ``pip install '.[cupy]'``, and for tltorch's column torch with CUDA and ``pip install '.[parity]'``.
``--library torch`` takes torch's arrays instead of CuPy's.
``--mock`` runs it from end to end on array-api-strict instead, which proves the script and measures nothing.

The layer is the same on both sides, as in engine.py.  Before anything is timed, the outputs of every layer in single
precision must lie within the rounding bound of the contraction in double precision on the host.

Times.  All contenders of a cell take turns; each call stands between two events of its own stream, the first calls are
not counted, and what is shown is the median.  Dense is ``x @ W.T + bias``, and its backward pass ``dy @ W``, ``dy.T @ x``
and a sum, in cuBLAS through the same array library.  *Its graph* is the same call captured once as a CUDA graph and
replayed, where the library can: all launches at once.

Floor.  ``max(FLOPs / rate, bytes / bandwidth)``, as in engine.py: the fewest FLOPs of any pairwise order, three times
with the backward pass, at the rate of a large matrix product of the same dtype; x, y, their gradients, the operands and
the bias, each moved once, at the bandwidth of a copy.  Both rates are measured in the same run.
"""

import argparse
import itertools
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from accelerator import LIBRARIES, WARM_UP, Accelerator, ByTorch, Call, find_accelerator
from grid import GRID, Setting, fewest_flops

from tlinear import FactorizedLinear
from tlinear.arrays import to_numpy
from tlinear.contraction.plan import Plan

BATCHES = (1024, 8192, 65536)
DTYPES = ("float32", "float16", "bfloat16")
MODES = ("forward", "forward+backward")
ASKED = "tltorch's time over tlinear's with the backward pass, geometric mean", "of the floor where FLOPs bound it"


def found_peer() -> Any:
    """torch and the peer's layers, if both are here with a GPU; else None."""
    try:
        import torch
        from peer import peer_of, resolved_rank
    except (ImportError, SystemExit):
        return None
    return (
        SimpleNamespace(torch=torch, peer_of=peer_of, resolved_rank=resolved_rank)
        if torch.cuda.is_available()
        else None
    )


# ----------------------------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True)
class Row:
    """What was measured of one cell, in milliseconds."""

    title: str
    factorization: str
    batch: int
    dtype: str
    mode: str
    taken: str
    tlinear: float
    graph: float | None
    dense: float | None
    peer: float | None
    flops_floor: float
    bytes_floor: float

    @property
    def floor(self) -> float:
        return max(self.flops_floor, self.bytes_floor)

    @property
    def is_bound_by_flops(self) -> bool:
        return self.flops_floor > self.bytes_floor

    def fields(self) -> list[str]:
        ratio = None if self.peer is None else self.peer / self.tlinear
        bound = "FLOPs" if self.is_bound_by_flops else "bytes"
        shown = [shown_time(time) for time in (self.tlinear, self.graph, self.peer, self.dense, self.floor)]
        head = [self.title, self.factorization, f"{self.batch:,}", self.dtype, self.mode, self.taken]
        reached = [None if time is None else self.floor / time for time in (self.tlinear, self.graph)]
        return [*head, *shown, shown_ratio(ratio), *map(shown_ratio, reached), bound]


COLUMNS = (
    *("layer", "format", "batch", "dtype", "pass", "'auto' took", "tlinear ms", "its graph ms", "tltorch ms"),
    *("dense ms", "floor ms", "ratio", "of floor", "its graph", "floor of"),
)


def shown_time(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.3f}"


def shown_ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def layer_of(setting: Setting, factorization: str, peer: Any) -> FactorizedLinear:
    """In single precision on the host, of the rank that tltorch gives it where it is there."""
    rank = setting.rank if peer is None else peer.resolved_rank(setting, factorization)
    shapes = setting.in_shape, setting.out_shape
    return FactorizedLinear(*shapes, factorization=factorization, rank=rank, dtype="float32", rng=0)


def check_output(layer: FactorizedLinear, machine: Accelerator) -> None:
    """``|y - y64| <= gamma_K |x| |operands|``, K the roundings of the longest chain, in single precision."""
    x = np.random.default_rng(1).standard_normal((4, layer.in_features)).astype(np.float32)
    there = layer.to(machine.library, machine.space.device)
    y, plan = to_numpy(there(machine.asarray(x))), there.plan(len(x))
    sizes = plan.network.sizes
    roundings = 2 + sum(math.prod(sizes[label] for label in step.pair.contracted) + 1 for step in plan.steps)
    u = np.finfo(np.float32).eps / 2
    exact, absolute = (
        FactorizedLinear.from_weight(
            layer.weight.with_operands({k: change(a.astype(np.float64)) for k, a in layer.weight.operands.items()}),
            change(layer.bias.astype(np.float64)),
        )(change(x.astype(np.float64)))
        for change in (np.asarray, np.abs)
    )
    if not np.all(np.abs(y - exact) <= roundings * u / (1 - roundings * u) * absolute):
        raise SystemExit(f"{layer!r} is wrong on {machine.name}: no time of it would mean anything.")


def contenders(layer: FactorizedLinear, x: Any, dy: Any, mode: str) -> dict[str, Call]:
    """The layer and the dense one, forward or with all gradients."""
    w, bias, space = layer.weight.to_matrix(), layer.bias, layer.space
    transposed = space.turned(w)

    def dense() -> object:
        return x @ transposed + bias

    def dense_with_gradients() -> object:
        return x @ transposed + bias, dy @ w, space.turned(dy) @ x, space.sum(dy, 0)

    if mode == "forward":
        return {"tlinear": lambda: layer(x), "dense": dense}
    return {"tlinear": lambda: layer.vjp(x)[1](dy), "dense": dense_with_gradients}


def peer_contender(layer: FactorizedLinear, batch: int, dtype: str, mode: str, peer: Any) -> tuple[Call, Callable]:
    """tltorch's layer of the same numbers on the same GPU, and how its calls are timed."""
    torch = peer.torch
    module = peer.peer_of(layer, "factorized").to("cuda", getattr(torch, dtype))
    x = torch.randn(batch, layer.in_features, device="cuda", dtype=getattr(torch, dtype), requires_grad=True)
    dy = torch.randn(batch, layer.out_features, device="cuda", dtype=getattr(torch, dtype))
    wanted = [x, *module.parameters()]

    def forward() -> object:
        with torch.inference_mode():
            return module(x)

    def with_gradients() -> object:
        return torch.autograd.grad(module(x), wanted, dy)

    return (forward if mode == "forward" else with_gradients), ByTorch(torch).milliseconds


def medians(calls: dict[str, tuple[Call, Callable[[Call], float]]], repeats: int) -> dict[str, float]:
    """Of calls that take turns, each timed in its own way."""
    for call, clock in calls.values():
        for _ in range(WARM_UP):
            clock(call)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, (call, clock) in calls.items():
            times[name].append(clock(call))
    return {name: statistics.median(found) for name, found in times.items()}


def bytes_moved_once(plan: Plan, layer: FactorizedLinear, mode: str) -> int:
    samples = plan.batch_size * (layer.in_features + layer.out_features)
    return (samples + layer.n_parameters) * plan.dtype.itemsize * (1 if mode == "forward" else 2)


def cells(
    setting: Setting, factorization: str, options: argparse.Namespace, machine: Accelerator, peer: Any
) -> Iterator[Row]:
    host = layer_of(setting, factorization, peer)
    check_output(host, machine)
    for dtype in options.dtypes:
        there, own = host.to(machine.library, machine.space.device), machine.dtype(dtype)
        layer = FactorizedLinear.from_weight(there.weight.astype(own), there.space.astype(there.bias, own))
        for batch, mode in itertools.product(options.batches, options.modes):
            machine.free()
            try:
                yield measured(setting, host, layer, batch, dtype, mode, options, machine, peer)
            except machine.out_of_memory:
                print(f"{setting.title}, {factorization}, batch {batch}, {dtype}: out of memory", file=sys.stderr)


def measured(
    setting: Setting,
    host: FactorizedLinear,
    layer: FactorizedLinear,
    batch: int,
    dtype: str,
    mode: str,
    options: argparse.Namespace,
    machine: Accelerator,
    peer: Any,
) -> Row:
    x, dy = machine.numbers((batch, layer.in_features), dtype), machine.numbers((batch, layer.out_features), dtype)
    own = contenders(layer, x, dy, mode)
    graph = machine.captured(own["tlinear"])
    if graph is not None:
        own["graph"] = graph
    calls = {name: (call, machine.milliseconds) for name, call in {**own, **machine.probes(dtype)}.items()}
    if peer is not None and layer.weight.factorization != "tt":
        calls["tltorch"] = peer_contender(host, batch, dtype, mode, peer)
    times = medians(calls, options.repeats)
    passes = 1 if mode == "forward" else 3
    flops_rate = 2 * machine.gemm_size**3 / times["gemm"]
    bandwidth = 2 * machine.copy_bytes / times["copy"]
    plan = layer.plan(batch, "forward" if mode == "forward" else "training")
    return Row(
        setting.title,
        layer.weight.factorization,
        batch,
        dtype,
        mode,
        plan.implementation,
        times["tlinear"],
        times.get("graph"),
        times["dense"],
        times.get("tltorch"),
        passes * fewest_flops(layer.weight.layer_network, batch) / flops_rate,
        bytes_moved_once(plan, layer, mode) / bandwidth,
    )


# ---------------------------------------------------------------------------------------------------------------- report


def geometric_mean(values: Sequence[float]) -> float | None:
    return statistics.geometric_mean(values) if values else None


def markdown_row(cells_: Sequence[str]) -> str:
    return "| " + " | ".join(cells_) + " |"


def summary(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """What was asked for, beside what was measured."""
    ratios = [row.peer / row.tlinear for row in rows if row.peer is not None and row.mode != "forward"]
    lines = [(ASKED[0], shown_ratio(geometric_mean(ratios)) or "no peer", ">= 2")]
    for batch in sorted({row.batch for row in rows}):
        bound = [row for row in rows if row.is_bound_by_flops and row.batch == batch]
        reached = [row.floor / row.tlinear for row in bound]
        if not reached:
            continue
        lines += [
            (f"{ASKED[1]}, batch {batch:,}, the least", shown_ratio(min(reached)), ">= 0.60"),
            (f"{ASKED[1]}, batch {batch:,}, geometric mean", shown_ratio(geometric_mean(reached)), ""),
        ]
        graphs = [row.floor / row.graph for row in bound if row.graph is not None]
        if graphs:
            lines.append((f"the same, as a graph, batch {batch:,}", shown_ratio(geometric_mean(graphs)), ""))
        dense = [row.dense / row.tlinear for row in rows if row.batch == batch]
        lines.append(
            (f"dense time over tlinear's, batch {batch:,}, geometric mean", shown_ratio(geometric_mean(dense)), "")
        )
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    formats = GRID["seed"].formats
    parser.add_argument("--layers", nargs="+", choices=list(GRID), default=list(GRID))
    parser.add_argument("--formats", nargs="+", choices=formats, default=list(formats))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--repeats", type=int, default=30, help="calls of each contender of a cell")
    parser.add_argument(
        "--quick", action="store_true", help="three layers, the two smaller batches, a third of the calls"
    )
    parser.add_argument("--library", choices=LIBRARIES, default=LIBRARIES[0], help="whose arrays the layer has")
    parser.add_argument("--mock", action="store_true", help="array-api-strict in place of CuPy")
    options = parser.parse_args()
    if options.quick:
        options.layers = [name for name in options.layers if name in ("seed", "768", "1024")]
        options.batches, options.repeats = options.batches[:2], max(options.repeats // 3, 1)
    return options


def main() -> None:
    options = arguments()
    machine, peer = find_accelerator(options.library, mock=options.mock), None if options.mock else found_peer()
    lacking = [dtype for dtype in options.dtypes if machine.dtype(dtype) is None]
    options.dtypes = [dtype for dtype in options.dtypes if dtype not in lacking]
    print(*(f"{machine.library.__name__} has no {dtype}" for dtype in lacking), sep="\n", file=sys.stderr)
    rows = []
    for line in (COLUMNS, ["---"] * len(COLUMNS)):
        print(markdown_row(line), flush=True)
    for name, factorization in itertools.product(options.layers, options.formats):
        if factorization in GRID[name].formats:
            for row in cells(GRID[name], factorization, options, machine, peer):
                rows.append(row)
                print(markdown_row(row.fields()), flush=True)
    library = f"{machine.library.__name__} {machine.library.__version__}"
    print(f"\nOn {machine.name}, {library}, by `python {' '.join(sys.argv)}`.\n")
    for line in (("of the grid", "measured", "asked for"), ["---"] * 3, *summary(rows)):
        print(markdown_row(line))


if __name__ == "__main__":
    main()
