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
import gc
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from types import SimpleNamespace

import numpy as np
import opt_einsum
from grid import GRID, Setting, Shape, fewest_flops, size
from threadpoolctl import threadpool_info, threadpool_limits

import tlinear
from tlinear import FactorizedLinear
from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.plan import Mode, Plan
from tlinear.formats import find_format
from tlinear.formats.rank_rules import rank_rules

try:
    import tltorch
    import torch
    from tltorch.factorized_tensors import BlockTT, CPTensorized, TuckerTensorized
except ImportError as error:
    raise SystemExit(
        f"{error}. This benchmark measures tltorch beside tlinear; install the peers with pip install '.[parity,bench]'."
    ) from error

MODES: dict[str, Mode] = {"forward": "forward", "forward+backward": "training"}
IMPLEMENTATIONS = ("factorized", "reconstructed", "auto")
PROBES = ("gemm", "copy", "call")
GEMM_SIZE, COPY_BYTES, CALLS = 1024, 2**27, 100
ROUNDS, LONG = 5, 1.5
MOST_SECONDS, LOW = 20.0, 0.1
CHECKED_ROWS = 4
FLOAT = np.dtype(np.float32)

Call = Callable[[], object]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


FORMATS = GRID["seed"].formats
BATCHES = (1, 32, 100, 1024)


# ------------------------------------------------------------------------------------------ the same layer on both sides


def resolved_rank(setting: Setting, factorization: str) -> int | float | Shape:
    """tltorch's rank of this layer in tlinear's form, no larger than some tensor of the shape needs."""
    if factorization == "tt":
        return setting.rank
    peer = tltorch.FactorizedLinear(
        setting.in_shape, setting.out_shape, factorization=factorization, rank=setting.rank, bias=False
    )
    rank = peer.weight.rank
    if factorization == "cp":
        bonds: Shape = (int(rank),)
    elif factorization == "tucker":
        n_out = len(setting.out_shape)
        bonds = (*rank[n_out:], *rank[:n_out])
    else:
        bonds = tuple(rank[1:-1])
    cls = find_format(factorization)
    rules = rank_rules(cls, setting.in_shape, setting.out_shape)
    realizable = rules.useful(tuple(min(bond, most) for bond, most in zip(bonds, rules.largest, strict=True)))
    return cls.rank_of_bonds(realizable)


def peer_layout(layer: FactorizedLinear) -> list[tuple[str, Shape]]:
    """tltorch's operands in its order: tlinear's name of each, and tlinear's axes in tltorch's order."""
    n_in, n_out = len(layer.in_tensorized_features), len(layer.out_tensorized_features)
    out_first = (*range(n_in, n_in + n_out), *range(n_in))
    factors = [(f"factors.{k}", (0, 1)) for k in out_first]
    if layer.weight.factorization == "cp":
        return [("weights", (0,)), *factors]
    if layer.weight.factorization == "tucker":
        return [("core", out_first), *factors]
    return [(f"cores.{k}", (0, 2, 1, 3)) for k in range(n_in)]


def peer_of(layer: FactorizedLinear, implementation: str) -> torch.nn.Module:
    """The tltorch layer of the same numbers."""
    shape = (layer.out_tensorized_features, layer.in_tensorized_features)
    operands = [
        torch.nn.Parameter(torch.tensor(np.ascontiguousarray(layer.weight.operands[name].transpose(axes))))
        for name, axes in peer_layout(layer)
    ]
    first, *others = operands
    if layer.weight.factorization == "cp":
        weight = CPTensorized(first, others, shape)
    elif layer.weight.factorization == "tucker":
        weight = TuckerTensorized(first, others, shape)
    else:
        weight = BlockTT(operands, shape, (*(core.shape[0] for core in operands), 1))
    module = tltorch.FactorizedLinear(
        layer.in_tensorized_features,
        layer.out_tensorized_features,
        factorization=weight,
        implementation=implementation,
        dtype=operands[0].dtype,
    )
    module.bias.data = torch.tensor(layer.bias)
    module.operands = torch.nn.ParameterList(operands)
    return module


# ---------------------------------------------------------------------------------------------------------------- orders


Steps = list[tuple[Labels, Labels, Labels]]


def steps_of_plan(plan: Plan) -> Steps:
    """The labels of both operands and of the result of every step."""
    return [(step.pair.a, step.pair.b, step.pair.out) for step in plan.steps]


def steps_along(inputs: Sequence[Labels], output: Labels, path: Iterable[Sequence[int]]) -> Steps:
    """The labels of both operands and of the result of every pair of opt_einsum's path."""
    open_labels, steps = [frozenset(labels) for labels in inputs], []
    for chosen in path:
        taken = [open_labels.pop(k) for k in sorted(chosen, reverse=True)]
        result = frozenset().union(*taken) & frozenset(output).union(*open_labels)
        open_labels.append(result)
        a, b = (taken * 2)[:2]
        steps.append((tuple(a), tuple(b), tuple(result)))
    return steps


def steps_of_peer(layer: FactorizedLinear, batch: int) -> Steps:
    """The steps of tltorch's factorized layer: opt_einsum's, whom torch.einsum asks for the order."""
    network = layer.weight.layer_network
    slot = {name: k for k, name in enumerate(network.names)}
    inputs = [network.inputs[slot[name]] for name in ("x", *(name for name, _ in peer_layout(layer)))]
    sizes = {**network.sizes, BATCH: batch}
    path = opt_einsum.paths.auto([frozenset(labels) for labels in inputs], frozenset(network.output), sizes)
    return steps_along(inputs, network.output, path)


def flops_of_steps(network: Network, steps: Steps, batch: int) -> int:
    return sum(size(network, {*a, *b}, batch) * (2 if {*a, *b} - {*out} else 1) for a, b, out in steps)


def entries_of_steps(network: Network, steps: Steps, batch: int) -> int:
    """The entries of all results together."""
    return sum(size(network, out, batch) for _, _, out in steps)


# ---------------------------------------------------------------------------------------------------- the same results


def roundings(network: Network, steps: Steps, batch: int, *, backward: bool = False) -> int:
    """K of the bound ``gamma_K |operands|``: the terms summed in every step, and in its two adjoints if asked for."""
    products = list(steps)
    if backward:
        products += [(out, b, a) for a, b, out in steps] + [(out, a, b) for a, b, out in steps]
    return sum(size(network, {*a, *b} - {*out}, batch) for a, b, out in products)


def exact(network: Network, arrays: dict[str, np.ndarray], wanted: str) -> tuple[np.ndarray, np.ndarray, int]:
    """The array of this name from all others in float64, the same of their absolute values, and its roundings.

    ``y``, or the gradient of x or of an operand by multilinearity: what y's cotangent and all others make.
    """
    labels = {**dict(zip(network.names, network.inputs, strict=True)), "y": network.output}
    shape = arrays[wanted].shape
    # the ones carry labels of size 1 that no other array has
    names, axes = [name for name in labels if name != wanted], labels[wanted]
    inputs = [*(labels[name] for name in names), axes]
    operands = [*(arrays[name].astype(np.float64) for name in names), np.ones(shape)]
    keys = {label: opt_einsum.get_symbol(k) for k, label in enumerate((BATCH, *network.sizes))}
    equation = ",".join("".join(keys[label] for label in group) for group in inputs)
    equation += "->" + "".join(keys[label] for label in axes)
    path, _ = opt_einsum.contract_path(equation, *operands)
    batch = arrays["x"].shape[0]
    values, magnitude = (
        opt_einsum.contract(equation, *group, optimize=path)
        for group in (operands, [np.abs(operand) for operand in operands])
    )
    return values, magnitude, roundings(network, steps_along(inputs, axes, path), batch)


def gamma(n_roundings: int, dtype: np.dtype) -> float:
    unit = float(np.finfo(dtype).eps) / 2
    if n_roundings * unit >= 0.5:
        raise SystemExit(f"{n_roundings} roundings of {dtype} are too many for a bound.")
    return n_roundings * unit / (1 - n_roundings * unit)


def check(name: str, found: np.ndarray, count: int, expected: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Raise SystemExit unless `found`, of so many roundings, lies within the bounds of both, entry by entry."""
    values, magnitude, own = expected
    factor = gamma(count, found.dtype) + gamma(own, values.dtype)
    excess = np.abs(found - values) / (factor * magnitude + np.finfo(found.dtype).tiny)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    if not excess[worst] <= 1:
        raise SystemExit(
            f"{name}, {found.dtype}: entry {tuple(map(int, worst))} is {found[worst]} instead of {values[worst]}, "
            f"{excess[worst]:.3g} times the bound of {count} roundings, {factor:.3g} * {magnitude[worst]:.3g}. "
            "Nothing of this cell was timed."
        )


def check_outputs(title: str, layers: Sequence[FactorizedLinear], x: np.ndarray) -> None:
    """Both sides' outputs as they are timed, on some of the rows."""
    layer, batch = layers[0], len(x)
    network, weight = layer.weight.layer_network, layer.weight
    rows = np.unique(np.linspace(0, batch - 1, CHECKED_ROWS).astype(int))
    y = {own: (own(x)[rows], steps_of_plan(own.plan(batch))) for own in layers}
    found = {f"tlinear {own.implementation}": result for own, result in y.items()}
    if weight.factorization != "tt":
        with torch.inference_mode():
            found["tltorch"] = (
                peer_of(layer, "factorized")(torch.from_numpy(x)).numpy()[rows],
                steps_of_peer(layer, batch),
            )
    arrays = {"x": x[rows].reshape(len(rows), *weight.in_shape), **weight.operands}
    arrays["y"] = np.empty((len(rows), *weight.out_shape))
    values, magnitude, count = exact(network, arrays, "y")
    shape = (len(rows), layer.out_features)
    expected = values.reshape(shape) + layer.bias, magnitude.reshape(shape) + np.abs(layer.bias), count + 1
    for side, (result, steps) in found.items():
        check(f"{title}, {side}", result, roundings(network, steps, batch) + 1, expected)


def check_gradients(title: str, layers: Sequence[FactorizedLinear], x: np.ndarray) -> None:
    """Both sides' gradients of x and of every operand, by the same code in float64, where the bound is sharp."""
    weight, batch = layers[0].weight.astype(np.float64), len(x)
    layer, network = FactorizedLinear.from_weight(weight, layers[0].bias.astype(np.float64)), weight.layer_network
    x, dy = x.astype(np.float64), np.random.default_rng(1).standard_normal((batch, layer.out_features))
    found: dict[str, tuple[dict[str, np.ndarray], Steps]] = {}
    for implementation in IMPLEMENTATIONS:
        own = FactorizedLinear.from_weight(weight, layer.bias, implementation=implementation)
        gradients = own.vjp(x)[1](dy)
        results = {name: gradients.parameters[f"weight.{name}"] for name in weight.operands} | {"x": gradients.x}
        found[f"tlinear {implementation}"] = results, steps_of_plan(own.plan(batch, mode="training"))
    if weight.factorization != "tt":
        peer, given = peer_of(layer, "factorized"), torch.from_numpy(x).requires_grad_()
        gradient_of_x, *gradients = torch.autograd.grad(peer(given), [given, *peer.operands], torch.from_numpy(dy))
        results = {"x": gradient_of_x.numpy()}
        for (name, axes), gradient in zip(peer_layout(layer), gradients, strict=True):
            results[name] = gradient.numpy().transpose(np.argsort(axes))
        found["tltorch"] = results, steps_of_peer(layer, batch)
    arrays = {"x": x.reshape(batch, *weight.in_shape), **weight.operands, "y": dy.reshape(batch, *weight.out_shape)}
    for wanted in network.names:
        expected = exact(network, arrays, wanted)
        for side, (results, steps) in found.items():
            count = roundings(network, steps, batch, backward=True)
            check(f"{title}, {side}, gradient of {wanted}", results[wanted].reshape(expected[0].shape), count, expected)


# ------------------------------------------------------------------------------------------------------------------ time


def timed(call: Call, clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def interleaved(calls: dict[str, Call], seconds: float, clock: Clock) -> dict[str, list[float]]:
    """Times of calls that take turns.  Each has `seconds` in all, an equal share of it in every round.

    The first call of a share is not counted, unless one call is longer than the share.  Such a call is made
    once in every round while all rounds together stay below `LONG` seconds, otherwise in two or more.  Of a
    call that takes more than `MOST_SECONDS` the very first time is all there is.
    """
    share = seconds / ROUNDS
    first = {name: timed(call, clock) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            record = times[name]
            if first[name] > share:
                if first[name] > MOST_SECONDS:
                    record[:] = [first[name]]
                elif len(record) < max(2, min(ROUNDS, LONG / first[name])):
                    record.append(timed(call, clock))
            else:
                call()
                end = time.perf_counter() + share
                while time.perf_counter() < end or not record:
                    record.append(timed(call, clock))
    gc.enable()
    return times


class Split:
    """Forward and backward in one call, the seconds of each kept."""

    def __init__(self, vjp: Callable, x: np.ndarray, dy: np.ndarray, clock: Clock) -> None:
        self.vjp, self.x, self.dy, self.clock = vjp, x, dy, clock
        self.seconds: list[tuple[float, float]] = []

    def __call__(self) -> object:
        start = self.clock()
        y, pullback = self.vjp(self.x)
        middle = self.clock()
        gradients = pullback(self.dy)
        self.seconds.append((middle - start, self.clock() - middle))
        return y, gradients

    def medians(self) -> tuple[float, float]:
        forward, backward = zip(*(self.seconds[1:] or self.seconds), strict=True)
        return statistics.median(forward), statistics.median(backward)


def probes() -> dict[str, Call]:
    """The machine's own rates as contenders."""
    a, source = np.ones((GEMM_SIZE, GEMM_SIZE), FLOAT), np.ones(COPY_BYTES // 4, FLOAT)
    target, tiny = np.empty_like(source), np.ones((1, 2, 2), FLOAT)

    def few_calls() -> None:
        for _ in range(CALLS):
            np.matmul(tiny.reshape(2, 2), tiny.reshape(2, 2)).reshape(4)

    return {"gemm": lambda: a @ a, "copy": lambda: np.copyto(target, source), "call": few_calls}


@dataclass(frozen=True)
class Rates:
    """FLOP/s of a large matrix product, bytes read and written per second by a copy, seconds of a tiny product."""

    flops: float
    bytes: float
    call: float

    @classmethod
    def of(cls, times: dict[str, list[float]]) -> "Rates":
        gemm, copy, call = (statistics.median(times[name]) for name in PROBES)
        return cls(2 * GEMM_SIZE**3 / gemm, 2 * COPY_BYTES / copy, call / CALLS)


@dataclass
class Contender:
    """A call, and what is known of its cost before it is made."""

    call: Call
    flops: float
    bytes: float

    def predicted(self, peak: float, smaller: tuple[float, float] | None) -> float:
        """Seconds: at the peak, or from the FLOPs and the seconds of a smaller batch.

        There in proportion to the FLOPs, or, when that is less, those added at `LOW` of the peak: rebuilding
        the weight costs the same at every batch.
        """
        if smaller is None:
            return self.flops / peak
        flops, seconds = smaller
        return max(seconds, min(seconds * self.flops / flops, seconds + (self.flops - flops) / (LOW * peak)))


@dataclass
class Row:
    """What was measured of one cell; seconds, bytes and FLOPs."""

    threads: int
    layer: str
    title: str
    factorization: str
    rank: object
    batch: int
    mode: str
    rates: Rates
    seconds: dict[str, float]
    quartiles: dict[str, tuple[float, float]]
    samples: dict[str, int]
    skipped: dict[str, str]
    implementation: str
    plan_flops: int
    plan_bytes: int
    plan_steps: int
    plan_seconds: float
    least_flops: int
    least_bytes: int
    predicted_peak: int
    measured_peak: int
    tape_bytes: int
    recompute_peak: int | None = None
    parameters_peak: int | None = None
    split: dict[str, tuple[float, float]] = field(default_factory=dict)
    floor: float = 0.0
    ratio: float | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        self.floor = max(self.least_flops / self.rates.flops, self.least_bytes / self.rates.bytes)
        peer = self.seconds.get("tltorch")
        if peer is not None and "auto" in self.seconds:
            self.ratio, self.ceiling = peer / self.seconds["auto"], peer / self.floor

    @property
    def name(self) -> str:
        return f"{self.title}, {self.factorization}, batch {self.batch}, {self.mode}"

    @property
    def efficiency(self) -> float:
        """Achieved FLOP/s over the peak."""
        return self.plan_flops / self.seconds["auto"] / self.rates.flops

    @property
    def parts(self) -> dict[str, float]:
        """The time that each resource explains."""
        rates = self.rates
        return {
            "FLOPs": self.plan_flops / rates.flops,
            "bytes": self.plan_bytes / rates.bytes,
            "calls": self.plan_steps * rates.call,
        }

    @property
    def bound_by(self) -> str:
        parts = self.parts
        explained = sum(parts.values()) >= self.seconds["auto"] / 2
        return max(parts, key=lambda part: parts[part]) + "?" * (not explained)

    @property
    def off_the_faster(self) -> float:
        """Seconds that ``'auto'`` takes beyond the faster implementation."""
        others = [self.seconds[name] for name in IMPLEMENTATIONS[:2] if name in self.seconds]
        return self.seconds["auto"] - min(others, default=math.inf)

    @property
    def takes_the_faster(self) -> bool:
        """Whether ``'auto'`` takes the implementation whose time is less: being late is noise, then."""
        others = [name for name in IMPLEMENTATIONS[:2] if name in self.seconds]
        return self.implementation == min(others, key=lambda name: self.seconds[name], default=None)

    @property
    def is_late(self) -> bool:
        late = self.off_the_faster
        return late > 5e-6 and late > 0.1 * (self.seconds["auto"] - late)


# ------------------------------------------------------------------------------------------------------------- the cells


def contenders_of(
    layers: Sequence[FactorizedLinear], matrix: np.ndarray, x: np.ndarray, mode: str, clock: Clock
) -> dict[str, Contender]:
    """Dense NumPy, and tlinear in each implementation."""
    layer, batch, training = layers[-1], len(x), mode != "forward"
    bias, dy = layer.bias, np.random.default_rng(1).standard_normal((batch, layer.out_features), FLOAT)

    def dense() -> object:
        y = x @ matrix.T + bias
        return (y, dy @ matrix, dy.T @ x, dy.sum(axis=0)) if training else y

    flops = 2 * batch * matrix.size * (3 if training else 1)
    contenders = {"dense": Contender(dense, flops, 4 * matrix.size if training else 0)}
    for own in layers:
        plan = own.plan(batch, mode=MODES[mode])
        call = Split(own.vjp, x, dy, clock) if training else lambda own=own: own(x)
        contenders[own.implementation] = Contender(call, plan.flops, plan.peak_bytes)
    if training:
        for memory in ("store", "recompute"):
            own = layer.with_options(memory=memory)
            plan = own.plan(batch, mode="training")
            contenders[memory] = Contender(Split(own.vjp, x, dy, clock), plan.flops, plan.peak_bytes)
    return contenders


def peer_contenders(layer: FactorizedLinear, x: np.ndarray, mode: str) -> dict[str, Contender]:
    """tltorch's layer in both implementations."""
    network, batch, training = layer.weight.layer_network, len(x), mode != "forward"
    given = torch.from_numpy(x).requires_grad_(training)
    dy = torch.from_numpy(np.random.default_rng(1).standard_normal((batch, layer.out_features), FLOAT))
    scale = 3 if training else 1

    def call_of(implementation: str) -> Call:
        module = peer_of(layer, implementation)
        wanted = [given, module.bias, *module.operands]

        def forward() -> object:
            with torch.inference_mode():
                return module(given)

        return (lambda: torch.autograd.grad(module(given), wanted, dy)) if training else forward

    steps = steps_of_peer(layer, batch)
    flops = flops_of_steps(network, steps, batch) * scale
    entries = entries_of_steps(network, steps, batch) * (2 if training else 1)
    dense = layer.in_features * layer.out_features
    rebuilding = fewest_flops(layer.weight.network, 1) + 2 * batch * dense
    # tltorch rebuilds a CP weight from the Khatri-Rao product of all its factors but the first
    largest = dense // layer.weight.out_shape[0] * layer.rank if layer.weight.factorization == "cp" else dense
    return {
        "tltorch": Contender(call_of("factorized"), flops, 4 * entries),
        "tltorch reconstructed": Contender(call_of("reconstructed"), rebuilding * scale, 8 * largest * scale),
    }


def measured_peak(call: Call) -> int:
    """The most bytes that a call holds at once beyond what was there before."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    result = call()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    del result
    return peak


def parameters_peak(layer: FactorizedLinear, x: np.ndarray) -> int:
    """The peak of a pass under 'recompute' that leaves the input's gradient out."""
    own, dy = layer.with_options(memory="recompute"), np.ones((len(x), layer.out_features), FLOAT)

    def call() -> object:
        y, pullback = own.vjp(x, list(own.parameters()))
        return y, pullback(dy)

    call()
    return measured_peak(call)


def cells(setting: Setting, factorization: str, options: argparse.Namespace, machine: Rates) -> Iterator[Row | str]:
    """The rows of one layer in one format, and in words those cells that tlinear would take too long for."""
    rank = resolved_rank(setting, factorization)
    layer = FactorizedLinear(
        setting.in_shape, setting.out_shape, factorization=factorization, rank=rank, dtype=FLOAT, rng=0
    )
    layers = [
        FactorizedLinear.from_weight(layer.weight, layer.bias, implementation=implementation)
        for implementation in IMPLEMENTATIONS
    ]
    matrix, network = layer.weight.to_matrix(), layer.weight.layer_network
    has_peer, clock = factorization != "tt", CLOCKS[options.clock]
    rng, smaller = np.random.default_rng(2), {}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    x = rng.standard_normal((CHECKED_ROWS, layer.in_features), FLOAT)
    check_gradients(f"{setting.title}, {factorization}, batch {CHECKED_ROWS}", layers, x)
    machine_calls = probes()
    for batch in sorted(options.batches):
        x = rng.standard_normal((batch, layer.in_features), FLOAT)
        title = f"{setting.title}, {factorization}, batch {batch}"
        check_outputs(title, layers, x)
        for mode in options.modes:
            contenders = contenders_of(layers, matrix, x, mode, clock)
            contenders |= peer_contenders(layer, x, mode) if has_peer else {}
            skipped = {}
            for name, contender in list(contenders.items()):
                predicted = contender.predicted(machine.flops, smaller.get((name, mode)))
                if predicted > MOST_SECONDS:
                    skipped[name] = f"[{predicted:.0f} s]"
                elif contender.bytes > memory:
                    skipped[name] = f"[{contender.bytes / 1e9:.0f} GB]"
                elif name == "tltorch reconstructed" and "tltorch" in contenders:
                    contenders["tltorch"].call()
                    least = max(contender.flops / machine.flops, smaller.get((name, mode), (0.0, 0.0))[1])
                    if least > 1.5 * timed(contenders["tltorch"].call, clock):
                        skipped[name] = f">= {least * 1e6:,.0f}"
                if name in skipped:
                    del contenders[name]
            calls = machine_calls | {name: contender.call for name, contender in contenders.items()}
            times = interleaved(calls, options.seconds, clock)
            seconds = {name: statistics.median(record) for name, record in times.items()}
            for name, contender in contenders.items():
                smaller[name, mode] = contender.flops, seconds[name]
            if "auto" not in contenders:
                yield f"{title}, {mode}: tlinear {skipped['auto']}"
                continue
            n_passes, n_products = (1, 1) if mode == "forward" else (2, 3)
            split = {
                name: contender.call.medians()
                for name, contender in contenders.items()
                if isinstance(contender.call, Split)
            }
            plan = layers[-1].plan(batch, mode=MODES[mode])
            yield Row(
                threads=options.n_threads,
                layer=setting.name,
                title=setting.title,
                factorization=factorization,
                rank=layer.rank,
                batch=batch,
                mode=mode,
                rates=Rates.of(times),
                seconds={name: seconds[name] for name in contenders},
                quartiles={name: tuple(np.quantile(times[name], (0.25, 0.75))) for name in contenders},
                samples={name: len(times[name]) for name in contenders},
                skipped=skipped,
                implementation=plan.implementation,
                plan_flops=plan.flops,
                plan_bytes=plan.bytes_moved,
                plan_steps=len(plan.steps) * n_products,
                plan_seconds=plan.seconds,
                least_flops=fewest_flops(network, batch) * n_products,
                least_bytes=4 * (n_passes * batch * (layer.in_features + layer.out_features) + layer.n_parameters),
                predicted_peak=plan.peak_bytes,
                measured_peak=measured_peak(contenders["auto"].call),
                tape_bytes=4 * entries_of_steps(network, steps_of_plan(plan), batch),
                recompute_peak=measured_peak(contenders["recompute"].call) if "recompute" in contenders else None,
                parameters_peak=parameters_peak(layer, x) if "recompute" in contenders else None,
                split=split,
            )


# ----------------------------------------------------------------------------------------------------- single questions


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


# ---------------------------------------------------------------------------------------------------------------- report


COLUMNS = (
    *("layer", "format", "batch", "mode", "dense us", "tltorch us", "tltorch reconstructed us"),
    *("factorized us", "reconstructed us", "auto us", "auto takes", "ratio", "floor us", "ceiling", "of floor"),
    *("GFLOP/s", "of peak", "bound by", "spread", "peak MB", "predicted"),
)


def fields_of(row: Row) -> list[str]:
    def shown(name: str) -> str:
        return f"{row.seconds[name] * 1e6:,.0f}" if name in row.seconds else row.skipped.get(name, "")

    spread = max(
        (high - low) / row.seconds[name]
        for name, (low, high) in row.quartiles.items()
        if name in ("tltorch", "auto") or (name == "dense" and "tltorch" not in row.quartiles)
    )
    faster_peer = row.seconds.get("tltorch reconstructed", math.inf) < row.seconds.get("tltorch", math.inf)
    peer = shown("tltorch reconstructed")
    return [
        row.title,
        row.factorization,
        str(row.batch),
        row.mode,
        *(shown(name) for name in ("dense", "tltorch")),
        f"**{peer}**" if faster_peer and "tltorch" in row.seconds else peer,
        *(shown(name) for name in IMPLEMENTATIONS[:2]),
        shown("auto") + " !" * row.is_late,
        row.implementation,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.floor * 1e6:,.1f}",
        "" if row.ceiling is None else f"{row.ceiling:.1f}",
        f"{row.floor / row.seconds['auto']:.0%}",
        f"{row.plan_flops / row.seconds['auto'] / 1e9:.1f}",
        f"{row.efficiency:.0%}",
        row.bound_by,
        f"{spread:.0%}",
        f"{row.measured_peak / 1e6:.2f}",
        f"{row.predicted_peak / row.measured_peak:.0%}",
    ]


def geometric_mean(values: Iterable[float]) -> float:
    return statistics.geometric_mean(values)


def listed(rows: Sequence[Row], describe: Callable[[Row], str], most: int = 12) -> str:
    """So many cells, and the first of them by name."""
    if not rows:
        return "none"
    named = "; ".join(f"{row.name}: {describe(row)}" for row in rows[:most])
    return f"{len(rows)}: {named}{'; ..' if len(rows) > most else ''}"


def summary(
    rows: Sequence[Row], missing: Sequence[str], seed_overheads: dict[str, float], n_searches: int
) -> list[tuple[str, str, str]]:
    """What is looked at, what was measured, and what was asked for."""
    beside = [row for row in rows if row.ratio is not None]
    lines = []
    asked = {1: ">= 10, no cell below 2", 32: ">= 3", 100: ">= 3", 1024: ">= 2"}
    for batch, mode in sorted({(row.batch, row.mode) for row in beside}):
        some = [row for row in beside if (row.batch, row.mode) == (batch, mode)]
        mean, worst = geometric_mean(row.ratio for row in some), min(some, key=lambda row: row.ratio)
        faster = [
            min(row.seconds["tltorch"], row.seconds.get("tltorch reconstructed", math.inf)) / row.seconds["auto"]
            for row in some
        ]
        lines.append(
            (
                f"tltorch / tlinear, batch {batch}, {mode}",
                f"geometric mean {mean:.2f} over {len(some)} cells (beside its faster implementation "
                f"{geometric_mean(faster):.2f}), worst {worst.ratio:.2f}: {worst.title}, {worst.factorization}",
                asked.get(batch, ""),
            )
        )
    if beside:
        worst = min(beside, key=lambda row: row.ratio)
        lines.append(("worst cell", f"{worst.ratio:.2f}: {worst.name}, ceiling {worst.ceiling:.1f}", ""))
        swapped = [row for row in beside if row.seconds.get("tltorch reconstructed", math.inf) < row.seconds["tltorch"]]
        lines.append(
            (
                "tltorch's 'reconstructed' is faster than its 'factorized'",
                listed(swapped, lambda row: f"{row.seconds['tltorch'] / row.seconds['tltorch reconstructed']:.2f}x"),
                "",
            )
        )
    large = [row for row in beside if row.batch >= 100]
    if large:
        share = geometric_mean(row.ratio / row.ceiling for row in large)
        lines.append(("ratio / ceiling, batch >= 100", f"geometric mean {share:.2f} over {len(large)} cells", ">= 0.6"))
        low = [row for row in large if row.ratio < (1 if row.ceiling >= 1.5 else 0.9)]
        lines.append(
            (
                "cells below 1x, or below 0.9x where the ceiling is below 1.5, batch >= 100",
                listed(low, lambda row: f"{row.ratio:.2f} of {row.ceiling:.1f}"),
                "none",
            )
        )
    bad = sorted((row for row in rows if row.is_late), key=lambda row: -row.off_the_faster)
    lines.append(
        (
            "cells where 'auto' is more than 10 % and 5 us behind the faster implementation",
            listed(
                bad,
                lambda row: (
                    f"{row.off_the_faster * 1e6:,.0f} us of {row.seconds['auto'] * 1e6:,.0f}, "
                    f"takes {'the faster one' if row.takes_the_faster else row.implementation}"
                ),
            ),
            "none",
        )
    )
    slow = [row for row in rows if row.efficiency < 0.5 and row.bound_by.startswith("FLOPs")]
    causes = {
        cause: sum(row.efficiency < 0.5 and row.bound_by == cause for row in rows)
        for cause in sorted({row.bound_by for row in rows})
    }
    lines.append(
        (
            "cells below 50 % of the GEMM peak although their FLOPs take longest",
            listed(sorted(slow, key=lambda row: row.efficiency), lambda row: f"{row.efficiency:.0%}"),
            "none, or the reason",
        )
    )
    lines.append(
        (
            "cells below 50 % of the GEMM peak, by what bounds them",
            ", ".join(f"{cause} {count}" for cause, count in causes.items() if count) or "none",
            "",
        )
    )
    for policy, most in (("store", "<= 2.2"), ("recompute", "<= 3.3")):
        splits = [row.split[policy] for row in rows if policy in row.split]
        if splits:
            forward, backward = (sum(part) for part in zip(*splits, strict=True))
            text = f"{backward / forward:.2f}: {backward:.3f} s over {forward:.3f} s, sums over {len(splits)} cells"
            lines.append((f"backward / forward, memory={policy!r}", text, most))
    for batch, asked_for in ((1, ">= 50"), (100, ">= 10")):
        for row in rows:
            if (row.layer, row.factorization, row.batch) == ("fc6", "blocktt", batch) and "dense" in row.seconds:
                text = f"{row.seconds['dense'] / row.seconds['auto']:.1f}"
                wanted = asked_for if row.mode == "forward" else ""
                lines.append((f"fc6 BlockTT: dense / tlinear, batch {batch}, {row.mode}", text, wanted))
    lines.append(
        (
            "cached call of the seed layer beyond its bare products, batch 1",
            ", ".join(f"{name} {seconds * 1e6:.1f} us" for name, seconds in seed_overheads.items()),
            "<= 40 us",
        )
    )
    lines.append(("batches 1..1000 in random order that search for an order", str(n_searches), "<= 11"))
    heavy = [row for row in rows if row.measured_peak > 1e6]
    if heavy:
        off = sorted(
            (row for row in heavy if abs(row.predicted_peak / row.measured_peak - 1) > 0.1),
            key=lambda row: -abs(math.log(row.predicted_peak / row.measured_peak)),
        )
        shares = [row.predicted_peak / row.measured_peak for row in heavy]
        lines.append(
            (
                "predicted peak memory / tracemalloc's, peaks above 1 MB",
                f"{min(shares):.2f} to {max(shares):.2f}, {len(heavy) - len(off)} of {len(heavy)} within 10 %; beyond: "
                + listed(off, lambda row: f"{row.predicted_peak / row.measured_peak:.2f}"),
                "0.90 to 1.10",
            )
        )
    for row in rows:
        if (row.layer, row.factorization, row.mode) == ("4096", "cp", "forward+backward"):
            text = f"{row.measured_peak / 1e9:.3f} GB"
            lines.append((f"peak of 4096->4096 CP, forward+backward, batch {row.batch}", text, "< 1 GB"))
        if (row.layer, row.factorization, row.batch) == ("fc6", "blocktt", 1024) and row.recompute_peak:
            text = (
                f"{row.tape_bytes / 1e6:,.0f} MB / {row.parameters_peak / 1e6:,.0f} MB = "
                f"{row.tape_bytes / row.parameters_peak:.1f}; with the gradient of x, which takes "
                f"{row.batch * 25088 * 4 / 1e6:,.0f} MB, {row.recompute_peak / 1e6:,.0f} MB"
            )
            lines.append(("fc6 BlockTT, batch 1024: all intermediates / peak under 'recompute'", text, ">= 8"))
    left_out = [
        f"{row.name}: {name} {text}" for row in rows for name, text in row.skipped.items() if text.startswith("[")
    ]
    lines.append(
        (
            f"left out, predicted beyond {MOST_SECONDS:.0f} s a call or half of the memory",
            "; ".join([*missing, *left_out]) or "none",
            "",
        )
    )
    return lines


def machine_line(threads: int, rows: Sequence[Row]) -> str:
    libraries = sorted({f"{info['internal_api']} {info.get('version') or ''}".strip() for info in threadpool_info()})
    peaks, copies = ([f(row.rates) / 1e9 for row in rows] for f in (lambda r: r.flops, lambda r: r.bytes))
    return (
        f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}; CPython "
        f"{platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, tltorch {tltorch.__version__}, "
        f"opt_einsum {opt_einsum.__version__}, tlinear {tlinear.__version__} ({', '.join(libraries)}). "
        f"SGEMM peak {statistics.median(peaks):.0f} GFLOP/s ({min(peaks):.0f} to {max(peaks):.0f} over the cells), "
        f"copy {statistics.median(copies):.1f} GB/s ({min(copies):.1f} to {max(copies):.1f})."
    )


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def markdown_row(cells_: Sequence[str]) -> str:
    return "| " + " | ".join(cells_) + " |"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([markdown_row(header), markdown_row(["---"] * len(header)), *(markdown_row(row) for row in rows)])


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
