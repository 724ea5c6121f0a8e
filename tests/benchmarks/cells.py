"""A cell of the grid: who is timed in it, and what is measured."""

import argparse
import gc
import math
import os
import statistics
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from agreement import (
    CHECKED_ROWS,
    check_gradients,
    check_outputs,
    entries_of_steps,
    flops_of_steps,
    steps_of_peer,
    steps_of_plan,
)
from grid import FLOAT, IMPLEMENTATIONS, MODES, Setting, fewest_flops
from peer import peer_of, resolved_rank, torch
from stopwatch import CLOCKS, MOST_SECONDS, Call, Clock, Rates, Split, interleaved, probes, timed

from tlinear import FactorizedLinear

LOW = 0.1


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
