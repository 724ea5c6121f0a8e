"""What calibration gains on real activations: ``python tests/benchmarks/calibration.py [--quick] [--markdown] [--plot FILE]``.

Every figure is measured anew.  It needs the weights (``tests/weights/minilm.py`` says how to install them) and
``pip install '.[bench,demo]'``.

The matrices are those of `MATRICES`, the activations what their layers are given when the network reads English text that is
installed anyway (``tests/weights/activations.py``): calibration and held-out text are of different sources.  An error is
``|X (M - M')| / |X M|`` with X the held-out activations, unless a column says something else.

Each matrix is compressed by `from_linear` as it comes, in float32, without and with the second moment of the calibration
activations.  Beside them stand two matrices of rank R, the largest that costs no more than the tensor: the truncated singular
value decomposition, and the one that is best on the calibration activations; these are TT with one mode on each side.

Time is that of the calibrated `from_linear`, in processor seconds of one thread; the median over the matrices.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import scipy
from processor import processor
from threadpoolctl import threadpool_limits

import tlinear
from tlinear import Calibration, FactorizedLinear, Linear

sys.path.append(str(Path(__file__).resolve().parents[1]))
from weights.activations import CALIBRATION, HELD_OUT, output_error, second_moments, tokens
from weights.minilm import MATRICES, MissingWeightsError, matrix, weights_file

SETTINGS = (("blocktt", 3), ("blocktt", 2), ("tt", 3), ("tucker", 3))
BUDGETS = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Case:
    """What one matrix, in one format and shape, makes of one budget."""

    plain: float
    calibrated: float
    on_calibration: float
    low_rank: float
    calibrated_low_rank: float
    iterations: int
    seconds: float


@cache
def calibration(name: str, ridge: float) -> Calibration:
    return Calibration(second_moment=second_moments(CALIBRATION)[name], ridge=ridge)


def held_out_error(layer: FactorizedLinear, name: str) -> float:
    weight, dense = layer.weight.astype(np.float64).to_matrix(), matrix(name).astype(np.float64)
    return output_error(dense, weight, second_moments(HELD_OUT)[name])


def compressed(name: str, calibrate: Calibration | None, **asked) -> FactorizedLinear:
    return FactorizedLinear.from_linear(Linear.from_arrays(matrix(name)), calibration=calibrate, **asked)


@cache
def low_rank_errors(name: str, n_parameters: int, ridge: float) -> tuple[float, float]:
    """Of the truncated singular value decomposition, and of the one in the metric."""
    asked = {"factorization": "tt", "n_tensorized_modes": 1, "rank": n_parameters // sum(matrix(name).shape)}
    plain, best = (held_out_error(compressed(name, c, **asked), name) for c in (None, calibration(name, ridge)))
    return plain, best


def measure(name: str, factorization: str, n_modes: int, budget: float, ridge: float) -> Case:
    asked = {"factorization": factorization, "n_tensorized_modes": n_modes, "rank": budget}
    plain, inputs = compressed(name, None, **asked), calibration(name, ridge)
    start = time.process_time()
    layer = compressed(name, inputs, **asked)
    seconds = time.process_time() - start
    result = layer.decomposition
    if result.relative_output_error > inputs.relative_output_error(matrix(name).T, plain.weight.to_matrix().T) * 1.0001:
        raise SystemExit(f"{name} {factorization} {budget}: worse on the calibration than the plain result.")
    return Case(
        held_out_error(plain, name),
        held_out_error(layer, name),
        result.relative_output_error,
        *low_rank_errors(name, layer.weight.n_parameters, ridge),
        result.n_iterations,
        seconds,
    )


def row(factorization: str, n_modes: int, budget: float, cases: list[Case]) -> dict[str, str]:
    def mean(name: str) -> str:
        return f"{statistics.fmean(getattr(case, name) for case in cases):.4f}"

    ratios = [case.calibrated / case.plain for case in cases]
    return {
        "format": factorization,
        "modes": f"{n_modes} + {n_modes}",
        "budget": f"{budget:g}",
        "plain": mean("plain"),
        "calibrated": f"**{mean('calibrated')}**",
        "of plain": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "on the calibration": mean("on_calibration"),
        "low-rank": mean("low_rank"),
        "low-rank, calibrated": mean("calibrated_low_rank"),
        "calibrated beats low-rank": f"{sum(c.calibrated < c.low_rank for c in cases)} of {len(cases)}",
        "iterations": f"{statistics.median(case.iterations for case in cases):.0f}",
        "s": f"{statistics.median(case.seconds for case in cases):.1f}",
    }


def print_environment(names: tuple[str, ...], ridge: float) -> None:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    print(
        f"{processor()}, 1 thread; tlinear {tlinear.__version__}, {', '.join(f'{k} {v}' for k, v in versions.items())}"
    )
    counts = ", ".join(f"{tokens(kind).size:,} {kind}" for kind in (CALIBRATION, HELD_OUT))
    print(f"{len(names)} matrices: {', '.join(names)}; tokens: {counts}; ridge {ridge:g}\n")


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


def plot(path: str) -> None:
    """The output error after each iteration, of one matrix in every format at the same budget."""
    import matplotlib.pyplot as plt

    name, budget = "3.intermediate", 0.25
    _, axes = plt.subplots(figsize=(6.0, 3.6))
    for factorization, n_modes in SETTINGS:
        asked = {"factorization": factorization, "n_tensorized_modes": n_modes, "rank": budget}
        inputs = Calibration(second_moment=second_moments(CALIBRATION)[name], stop_tolerance=0.0, max_iterations=300)
        history = compressed(name, inputs, **asked).decomposition.history
        axes.plot(range(1, len(history) + 1), history, label=f"{factorization}, {n_modes} + {n_modes} modes")
    axes.set(xlabel="iteration", ylabel="relative output error, on the calibration", xscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    plt.tight_layout()
    plt.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 matrices instead of 12")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="all of the table unless given")
    parser.add_argument("--ridge", type=float, default=1e-6, help="of the calibration")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--plot", metavar="FILE", help="draw the descent of one matrix instead")
    options = parser.parse_args()
    try:
        weights_file()
    except MissingWeightsError as missing:
        raise SystemExit(str(missing)) from missing
    names = MATRICES[::5] if options.quick else MATRICES
    with threadpool_limits(1):
        if options.plot:
            plot(options.plot)
            return
        print_environment(names, options.ridge)
        print_table(
            (
                row(*setting, budget, [measure(name, *setting, budget, options.ridge) for name in names])
                for setting in SETTINGS
                for budget in options.budgets
            ),
            options.markdown,
        )


if __name__ == "__main__":
    main()
