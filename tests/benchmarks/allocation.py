"""How much ranks from the spectrum gain on trained weights: ``python tests/benchmarks/allocation.py [--quick] [--markdown]``.

Every figure is measured anew.  It needs the weights (``tests/weights/minilm.py`` says how to install them) and
``pip install '.[bench]'``; where TensorLy-Torch is installed, ``pip install '.[parity]'``, its ranks are measured, too.

The matrices are those of `MATRICES`, widened to float64, which is exact, and reshaped as a layer does it.  Each is
decomposed at each budget with ranks in proportion to the sizes, with ranks from the spectrum, and with ranks from the
spectrum that have at most the parameters of the first.  Beside them stands the truncated SVD of the matrix itself, of
the largest rank that costs no more than the ranks from the spectrum.

TensorLy's ranks are what its own rules make of the same budget, cut to what is realizable, and used by the same
algorithms: what differs is the ranks, not the implementation.

Time is that of the second decomposition divided by that of the first: processor time of one thread, taken in turn,
which other work on the machine does not count towards; and the median over the matrices.
"""

import argparse
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import tlinear
from tlinear import Decomposition, decompose
from tlinear.formats import find_format
from tlinear.formats.rank_rules import rank_rules

sys.path.append(str(Path(__file__).resolve().parents[1]))
from weights.minilm import MATRICES, MissingWeightsError, as_tensor, matrix, weights_file

try:
    import tensorly
    from tltorch.factorized_tensors.tensorized_matrices import validate_block_tt_rank
except ImportError:
    tensorly = None

FACTORIZATIONS = ("tucker", "tt", "blocktt")
MODES = (2, 3)
BUDGETS = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Case:
    """What one matrix, in one format and shape, makes of one budget."""

    budget: float
    entries: int
    proportional: Decomposition
    spectrum: Decomposition
    same_parameters: Decomposition
    svd: float
    peer: Decomposition | None
    time_ratio: float

    def gain(self, other: Decomposition) -> float:
        """How much less of the squared norm is lost than by the proportional ranks, in per cent of what they lose."""
        return 100.0 * (1.0 - (other.relative_error / self.proportional.relative_error) ** 2)

    @property
    def is_worse(self) -> bool:
        """At the budget or at the parameters of the proportional ranks."""
        return min(self.gain(self.spectrum), self.gain(self.same_parameters)) < 0.0

    def used(self, result: Decomposition) -> float:
        """In per cent of the budget."""
        return 100.0 * result.n_parameters / (self.budget * self.entries)


def measure(name: str, factorization: str, n_modes: int, budget: float, repeats: int) -> Case:
    weight = matrix(name).astype(np.float64)
    tensor = as_tensor(weight, n_modes)

    def run(rank, allocation="proportional", dense_parameters=None):
        return decompose(
            tensor, factorization, rank, n_in=n_modes, allocation=allocation, dense_parameters=dense_parameters
        )

    seconds = {"proportional": [], "spectrum": []}
    for _ in range(repeats):
        results = {}
        for allocation, record in seconds.items():
            start = time.process_time()
            results[allocation] = run(budget, allocation)
            record.append(time.process_time() - start)
    proportional, spectrum = results["proportional"], results["spectrum"]
    times = {allocation: statistics.median(record) for allocation, record in seconds.items()}
    return Case(
        budget=budget,
        entries=weight.size,
        proportional=proportional,
        spectrum=spectrum,
        same_parameters=run(1.0, "spectrum", proportional.n_parameters),
        svd=truncated_svd_error(weight, spectrum.n_parameters),
        peer=run(tensorly_rank(factorization, tensor.shape, budget)) if tensorly else None,
        time_ratio=times["spectrum"] / times["proportional"],
    )


def truncated_svd_error(weight: np.ndarray, n_parameters: int) -> float:
    """Of the best product of two matrices with at most so many entries."""
    values = np.linalg.svd(weight, compute_uv=False)
    return float(np.linalg.norm(values[n_parameters // sum(weight.shape) :]) / np.linalg.norm(values))


def tensorly_rank(factorization: str, shape: tuple[int, ...], budget: float) -> tuple[int, ...]:
    """What TensorLy, and for BlockTT TensorLy-Torch, resolves a budget to, no rank larger than a tensor can need."""
    sides = shape[: len(shape) // 2], shape[len(shape) // 2 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two cores it says that they are a matrix
        match factorization:
            case "tucker":
                bonds = tensorly.tucker_tensor.validate_tucker_rank(shape, budget)
            case "tt":
                bonds = tensorly.tt_tensor.validate_tt_rank(shape, budget)[1:-1]
            case "blocktt":
                bonds = validate_block_tt_rank(sides, budget)[1:-1]
    rules = rank_rules(find_format(factorization), *sides)
    return rules.form(rules.useful(tuple(map(int, bonds))))


def row(factorization: str, n_modes: int, budget: float, cases: list[Case]) -> dict[str, str]:
    """The means over the matrices, but where the header says something else."""
    mean = statistics.fmean
    gains = [case.gain(case.spectrum) for case in cases]
    signs = [np.sign(case.proportional.relative_error - case.spectrum.relative_error) for case in cases]
    cells = {
        "format": factorization,
        "modes": f"{n_modes} + {n_modes}",
        "budget": f"{budget:g}",
        "proportional": f"{mean(case.proportional.relative_error for case in cases):.4f}",
        "spectrum": f"{mean(case.spectrum.relative_error for case in cases):.4f}",
        "matrix SVD": f"{mean(case.svd for case in cases):.4f}",
        "gain, %": f"{mean(gains):.2f}",
        "largest gain, %": f"{max(gains):.2f}",
        "gain at the same parameters, %": f"{mean(case.gain(case.same_parameters) for case in cases):.2f}",
        "better / equal / worse": " / ".join(str(signs.count(sign)) for sign in (1, 0, -1)),
        "budget used, %": " / ".join(
            f"{mean(case.used(result(case)) for case in cases):.1f}"
            for result in (lambda case: case.proportional, lambda case: case.spectrum)
        ),
        "time": f"{statistics.median(case.time_ratio for case in cases):.2f}",
    }
    if tensorly:
        cells["TensorLy's ranks"] = f"{mean(case.peer.relative_error for case in cases):.4f}"
        cells["TensorLy uses, %"] = f"{mean(case.used(case.peer) for case in cases):.1f}"
    return cells


def print_environment(names: tuple[str, ...]) -> None:
    versions = {"tlinear": tlinear.__version__, "numpy": np.__version__, "python": platform.python_version()}
    if tensorly:
        versions["tensorly"] = tensorly.__version__
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{len(names)} matrices: {', '.join(names)}")
    if not tensorly:
        print("TensorLy-Torch is not installed, so that its ranks are left out: pip install '.[parity]'")
    print()


def print_table(rows: Iterator[dict[str, str]], markdown: bool) -> None:
    """Each row as soon as it is there."""
    for number, cells in enumerate(rows):
        widths = [3 if markdown else max(8, len(name)) for name in cells]
        lines = (cells, ["-" * width for width in widths], cells.values())
        for texts in lines if number == 0 else lines[2:]:
            if markdown:
                line = f"| {' | '.join(texts)} |"
            else:
                line = "  ".join(text.rjust(width) for text, width in zip(texts, widths, strict=True))
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 matrices instead of 12")
    parser.add_argument("--repeats", type=int, default=1, help="how often each decomposition is timed")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    options = parser.parse_args()
    try:
        weights_file()
    except MissingWeightsError as missing:
        raise SystemExit(str(missing)) from missing
    names = MATRICES[::5] if options.quick else MATRICES
    print_environment(names)
    worse: list[str] = []

    def rows() -> Iterator[dict[str, str]]:
        for setting in product(FACTORIZATIONS, MODES, BUDGETS):
            cases = {name: measure(name, *setting, options.repeats) for name in names}
            worse.extend(f"{name} {setting}" for name, case in cases.items() if case.is_worse)
            yield row(*setting, list(cases.values()))

    with threadpool_limits(1):
        print_table(rows(), options.markdown)
    if worse:
        raise SystemExit(f"Worse than proportional ranks, which must not be: {', '.join(worse)}")


if __name__ == "__main__":
    main()
