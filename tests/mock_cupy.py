"""A stand-in for CuPy where there is no GPU: array-api-strict on a device that is not the host.

It proves that what is written for a GPU runs from end to end, and that nothing comes to the host on the way.
Its events measure this machine, so that no time of it says anything about a GPU.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import array_api_strict as strict
import numpy as np

from tlinear.arrays import to_numpy

DEVICE = strict.Device("device1")
DOORS = ("to_device", "__array__", "__float__", "__int__", "__complex__", "__index__")
"""The methods by which an array comes to the host; CuPy's all go through ``get``."""

ndarray = strict._array_object.Array


def __getattr__(name):
    if name in ("float16", "bfloat16"):
        raise AttributeError(name)
    return getattr(strict, name)


def asarray(array, dtype=None):
    return strict.asarray(np.asarray(array), dtype=dtype, device=DEVICE)


def empty(shape, dtype=None):
    return strict.empty(shape, dtype=dtype, device=DEVICE)


def asnumpy(array):
    return to_numpy(array)


class Event:
    """A moment."""

    def record(self):
        self.seconds = time.perf_counter()

    def synchronize(self):
        """Nothing runs beside this."""


class Pool:
    """Memory that was never taken."""

    def total_bytes(self):
        return 0

    def free_all_blocks(self):
        """There are none."""


def get_default_memory_pool():
    return POOL


POOL = Pool()

cuda = SimpleNamespace(
    Event=Event,
    get_elapsed_time=lambda start, end: 1e3 * (end.seconds - start.seconds),
    memory=SimpleNamespace(OutOfMemoryError=MemoryError),
    runtime=SimpleNamespace(getDeviceProperties=lambda number: {"name": b"a mock, not a GPU"}),
)
