"""What several calls cost, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["interleaved_medians"]


def interleaved_medians(calls: Sequence[Callable[[], object]], n_rounds: int) -> list[float]:
    """The median seconds of each call over rounds that make every call in turn.

    Whatever else the machine does while a round lasts slows all calls alike, so that the ratios of
    the medians can be trusted where the medians cannot.
    """
    seconds = np.empty((n_rounds, len(calls)))
    for one_round in seconds:
        for k, call in enumerate(calls):
            call()  # fetches into the caches what the call before pushed out
            start = time.perf_counter()
            call()
            one_round[k] = time.perf_counter() - start
    return [float(median) for median in np.median(seconds, axis=0)]
