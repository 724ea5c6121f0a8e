"""The kinds of hardware that plans are searched for, each with the constants of its cost model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from tlinear.contraction.cost import CostModel

__all__ = ["MODELS", "Hardware"]

Hardware: TypeAlias = Literal["cpu", "gpu"]

MODELS: Mapping[Hardware, CostModel] = MappingProxyType(
    {
        "cpu": CostModel(),
        # Of the order of what a data centre's GPU is sold with: 40 TFLOP/s of matrix products in single precision,
        # 3 TB/s of memory, 50 MB of cache for all cores.  A call takes what Python and CuPy took before the GPU of an
        # H200 had anything to do, by docs/gpu.md: more than most chunks save, and a stack of products is one call,
        # however many matrices it has.
        "gpu": CostModel(
            small_bytes_per_second=4.0e13,
            large_bytes_per_second=1.6e14,
            large_multiplications=1.0e9,
            pack_bytes_per_second=5.0e12,
            vector_bytes=64,
            cache_bytes_per_second=6.0e12,
            shared_bytes_per_second=5.0e12,
            memory_bytes_per_second=2.5e12,
            fresh_bytes_per_second=2.5e12,
            cache_bytes=2.5e7,
            shared_bytes=5.0e7,
            copy_bytes_per_second=1.5e12,
            copied_line_seconds=5.0e-12,
            copied_entry_seconds=2.0e-12,
            inner_cache_bytes=2.0e5,
            matrix_seconds=2.0e-9,
            line_seconds=1.0e-11,
            jump_seconds=1.0e-11,
            vector_seconds=1.0e-12,
            turning_factor=1.0,
            facing_factor=1.0,
            call_seconds=3.5e-5,
            stack_seconds=5.0e-6,
            einsum_seconds=2.0e-5,
            copy_call_seconds=2.5e-5,
        ),
    }
)
"""What is chosen depends on the ratios of these."""
