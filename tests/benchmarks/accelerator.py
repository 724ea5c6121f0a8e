"""A GPU as gpu.py needs it: its clock, its pool of memory, numbers on it, and its probes; by CuPy or by torch."""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlinear.arrays import NUMPY, Space, find_space

__all__ = ["LIBRARIES", "WARM_UP", "Accelerator", "ByTorch", "Call", "find_accelerator"]

LIBRARIES = ("cupy", "torch")
WARM_UP, DRAWN = 3, 1024
GEMM_SIZE, COPY_BYTES = 8192, 2**30

Call = Callable[[], object]


@dataclass(frozen=True)
class Accelerator:
    """A GPU by CuPy, or what stands in for it.

    Attributes
    ----------
    library : module
    gemm_size, copy_bytes : int
        How large its probes are.
    """

    library: Any
    gemm_size: int = GEMM_SIZE
    copy_bytes: int = COPY_BYTES

    @property
    def space(self) -> Space:
        return find_space(self.library, None, NUMPY)

    @property
    def name(self) -> str:
        return self.library.cuda.runtime.getDeviceProperties(0)["name"].decode()

    @property
    def out_of_memory(self) -> type[Exception]:
        return self.library.cuda.memory.OutOfMemoryError

    def asarray(self, array: np.ndarray) -> Any:
        return self.library.asarray(array)

    def dtype(self, name: str) -> Any:
        """None where the library has none of this name."""
        return getattr(self.library, name, None)

    def milliseconds(self, call: Call) -> float:
        start, end = self.library.cuda.Event(), self.library.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        return self.library.cuda.get_elapsed_time(start, end)

    def captured(self, call: Call) -> Call | None:
        """None: CuPy refuses to call cuBLAS while a graph is captured."""
        return None

    def free(self) -> None:
        """Give the memory of a cell back before the next: within one it is the pool's."""
        gc.collect()
        self.library.get_default_memory_pool().free_all_blocks()

    def numbers(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Normal numbers, of which some rows are drawn on the host and repeated."""
        rows = np.random.default_rng(0).standard_normal((min(shape[0], DRAWN), shape[1])).astype(np.float32)
        drawn = self.space.astype(self.asarray(rows), self.dtype(dtype))
        return self.space.xp.concat([drawn] * -(-shape[0] // len(rows)), axis=0)[: shape[0], ...]

    def probes(self, dtype: str) -> dict[str, Call]:
        """A large product and a large copy."""
        n = self.gemm_size
        a = self.numbers((n, n), dtype)
        source = self.numbers((self.copy_bytes // 4 // n, n), "float32")
        return {"gemm": lambda: a @ a, "copy": lambda: self.space.copy(source)}


class ByTorch(Accelerator):
    """The same by torch."""

    @property
    def space(self) -> Space:
        return find_space(self.library, "cuda:0", NUMPY)

    @property
    def name(self) -> str:
        return self.library.cuda.get_device_name(0)

    @property
    def out_of_memory(self) -> type[Exception]:
        return self.library.cuda.OutOfMemoryError

    def asarray(self, array: np.ndarray) -> Any:
        return self.library.asarray(array, device="cuda:0")

    def milliseconds(self, call: Call) -> float:
        start, end = (self.library.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def captured(self, call: Call) -> Call:
        """A CUDA graph of the call, which launches all of its steps at once, on the arrays that it was captured with."""
        side = self.library.cuda.Stream()
        side.wait_stream(self.library.cuda.current_stream())
        with self.library.cuda.stream(side):
            for _ in range(WARM_UP):
                call()
        self.library.cuda.current_stream().wait_stream(side)
        graph = self.library.cuda.CUDAGraph()
        with self.library.cuda.graph(graph):
            made = call()

        def replay() -> object:
            graph.replay()
            return made

        return replay

    def free(self) -> None:
        gc.collect()
        self.library.cuda.empty_cache()


def find_accelerator(library: str, *, mock: bool) -> Accelerator:
    """Ends the program where there is no GPU, and says what to do."""
    if mock:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        import mock_cupy

        return Accelerator(mock_cupy, 32, 2**12)
    try:
        module = __import__(library)
    except ImportError as error:
        extra = "pip install '.[cupy]'" if library == "cupy" else "a torch that has CUDA"
        raise SystemExit(f"{error}. Install it where there is a GPU: {extra}; or pass --mock.") from None
    if not module.cuda.is_available():
        raise SystemExit(f"{library} finds no GPU. Run this where there is one, or pass --mock.")
    return (Accelerator if library == "cupy" else ByTorch)(module)
