"""What was measured, as tables."""

import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import opt_einsum
from cells import Row
from grid import IMPLEMENTATIONS
from peer import tltorch, torch
from processor import processor
from stopwatch import MOST_SECONDS
from threadpoolctl import threadpool_info

import tlinear

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
        mean, worst = statistics.geometric_mean(row.ratio for row in some), min(some, key=lambda row: row.ratio)
        faster = [
            min(row.seconds["tltorch"], row.seconds.get("tltorch reconstructed", math.inf)) / row.seconds["auto"]
            for row in some
        ]
        lines.append(
            (
                f"tltorch / tlinear, batch {batch}, {mode}",
                f"geometric mean {mean:.2f} over {len(some)} cells (beside its faster implementation "
                f"{statistics.geometric_mean(faster):.2f}), worst {worst.ratio:.2f}: {worst.title}, {worst.factorization}",
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
        share = statistics.geometric_mean(row.ratio / row.ceiling for row in large)
        lines.append(("ratio / ceiling, batch >= 100", f"geometric mean {share:.2f} over {len(large)} cells", ">= 0.6"))
        small, others = (
            [row for row in large if (row.layer == "seed") is is_small and "dense" in row.seconds]
            for is_small in (True, False)
        )
        if small and others:
            of_floor, of_others = (
                statistics.geometric_mean(row.ratio / row.ceiling for row in some) for some in (small, others)
            )
            bare = statistics.geometric_mean(row.floor / row.seconds["dense"] for row in small)
            lines.append(
                (
                    "the same without the layer of 16 x 10",
                    f"{of_others:.2f} over {len(others)} cells; with it alone {of_floor:.2f}, where the dense layer's "
                    f"bare products in NumPy come to {bare:.2f}",
                    "",
                )
            )
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


def markdown_row(cells_: Sequence[str]) -> str:
    return "| " + " | ".join(cells_) + " |"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([markdown_row(header), markdown_row(["---"] * len(header)), *(markdown_row(row) for row in rows)])
