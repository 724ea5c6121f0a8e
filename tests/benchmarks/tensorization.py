"""What a search for the shape gains on trained weights: ``python tests/benchmarks/tensorization.py [--quick] [--markdown]``.

Every figure is measured anew.  It needs the weights (``tests/weights/minilm.py`` says how to install them) and
``pip install '.[bench]'``.

Each of `MATRICES` is compressed by `from_linear` at a budget in the balanced shape, in the worst of its orders ascending and
descending on either side, and in the shape that ``tensorization="search"`` finds.  Beside them stands the truncated
singular value decomposition of the matrix itself, of the largest rank that costs no more.

Time is that of the search, in processor seconds of one thread; the median over the matrices.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from processor import processor
from threadpoolctl import threadpool_limits

import tlinear
from tlinear import FactorizedLinear, Linear

sys.path.append(str(Path(__file__).resolve().parents[1]))
from weights.minilm import MATRICES, MissingWeightsError, matrix, weights_file

SETTINGS = (("blocktt", 3), ("blocktt", 2), ("tt", 3))


@dataclass(frozen=True)
class Case:
    """What one matrix, in one format and number of modes, makes of one budget."""

    balanced: float
    worst_order: float
    searched: float
    matrix: float
    shape: tuple[int, ...]
    seconds: float

    @property
    def gain(self) -> float:
        """How much less of the squared norm is lost than in the balanced shape, in per cent of what that loses."""
        return 100.0 * (1.0 - (self.searched / self.balanced) ** 2)


def compressed(name: str, **asked) -> FactorizedLinear:
    return FactorizedLinear.from_linear(Linear.from_arrays(matrix(name)), **asked)


def measure(name: str, factorization: str, n_modes: int, budget: float) -> Case:
    asked = {"factorization": factorization, "n_tensorized_modes": n_modes, "rank": budget}
    balanced = compressed(name, **asked)
    sides = balanced.in_tensorized_features, balanced.out_tensorized_features
    orders = [
        compressed(name, **asked, in_tensorized_features=i, out_tensorized_features=o).decomposition.relative_error
        for i, o in product(*((side, side[::-1]) for side in sides))
    ]
    start = time.process_time()
    searched = compressed(name, **asked, tensorization="search")
    seconds = time.process_time() - start
    result = searched.decomposition
    return Case(
        balanced.decomposition.relative_error,
        max(orders),
        result.relative_error,
        result.baseline.relative_error,
        searched.weight.shape,
        seconds,
    )


def row(factorization: str, n_modes: int, budget: float, cases: list[Case]) -> dict[str, str]:
    """The means over the matrices, but where the header says something else."""

    def mean(name: str) -> str:
        return f"{statistics.fmean(getattr(case, name) for case in cases):.4f}"

    gains = [case.gain for case in cases]
    return {
        "format": factorization,
        "modes": f"{n_modes} + {n_modes}",
        "budget": f"{budget:g}",
        "balanced": mean("balanced"),
        "worst order": mean("worst_order"),
        "search": f"**{mean('searched')}**",
        "matrix SVD": mean("matrix"),
        "gain, %": f"{statistics.fmean(gains):.1f} ({min(gains):.1f} to {max(gains):.1f})",
        "s": f"{statistics.median(case.seconds for case in cases):.1f}",
        f"shape of {NAMED}": " x ".join(map(str, cases[-2].shape)),
    }


NAMED = MATRICES[-2]
"""The matrix whose shape is printed."""


def print_table(rows: Iterator[dict[str, str]], markdown: bool) -> None:
    """Each row as soon as it is there."""
    for number, cells in enumerate(rows):
        widths = [3 if markdown else max(8, len(name)) for name in cells]
        lines = (cells, ["-" * width for width in widths], cells.values())
        for texts in lines if number == 0 else lines[2:]:
            if markdown:
                print(f"| {' | '.join(texts)} |", flush=True)
            else:
                print("  ".join(text.rjust(width) for text, width in zip(texts, widths, strict=True)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 matrices instead of 12")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.25], help="0.25 unless given")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    options = parser.parse_args()
    try:
        weights_file()
    except MissingWeightsError as missing:
        raise SystemExit(str(missing)) from missing
    names = MATRICES[8:] if options.quick else MATRICES
    print(
        f"{processor()}, 1 thread; tlinear {tlinear.__version__}, python {platform.python_version()}, "
        f"numpy {np.__version__}"
    )
    print(f"{len(names)} matrices: {', '.join(names)}\n")
    with threadpool_limits(1):
        print_table(
            (
                row(*setting, budget, [measure(name, *setting, budget) for name in names])
                for setting in SETTINGS
                for budget in options.budgets
            ),
            options.markdown,
        )


if __name__ == "__main__":
    main()
