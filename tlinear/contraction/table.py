"""A plan as a table for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlinear.contraction.options import is_training

__all__ = ["printed"]


def printed(plan: Mapping[str, Any]) -> str:
    """The table of a plan, from its figures as ``Plan.to_dict`` gives them: a line for each step, and their sums."""
    trains, n, size = is_training(plan["mode"]), plan["batch_size"], plan["chunk_size"]
    rows = [("step", "shape", "FLOPs", "bytes", "us", "contraction")]
    for step in plan["steps"]:
        shape = "x".join(map(str, step["shape"]))
        rows.append((step["name"], shape, *_figures(step), step["equation"].split(" = ")[1]))
    rows.append(("all with the backward pass" if trains else "all", "", *_figures(plan), ""))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    chunks = f" in {-(-n // size)} chunks of {size}" if size < n else ""
    kept = f", memory={plan['memory']!r}" if trains else ""
    lines = [
        f"Plan: {plan['implementation']}, {plan['mode']}{kept}, batch {n}{chunks}, {plan['dtype']}",
        plan["network"],
        *(_line(row, widths) for row in rows),
        f"at most {plan['peak_bytes']:,} bytes alive; predicted {plan['seconds'] * 1e6:,.1f} us, dense "
        f"{plan['dense_seconds'] * 1e6:,.1f} us",
    ]
    return "\n  ".join([*lines, plan["reason"]] if plan["reason"] else lines)


def _figures(part: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{part['flops']:,}", f"{part['bytes_moved']:,}", f"{part['seconds'] * 1e6:,.1f}"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    name, *cells, contraction = row
    right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
    return "  ".join([name.ljust(widths[0]), *right, contraction]).rstrip()
