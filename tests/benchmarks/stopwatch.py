"""Times of calls that take turns, and what the machine does meanwhile."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from grid import FLOAT

PROBES = ("gemm", "copy", "call")
GEMM_SIZE, COPY_BYTES, CALLS = 1024, 2**27, 100
ROUNDS, LONG, MOST_SECONDS = 5, 1.5, 20.0

Call = Callable[[], object]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


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
