"""CP beside its peers: ``python tests/benchmarks/cp.py [--markdown] [--quick] [--plot FILE]``.

Every figure is measured anew.  It needs ``pip install '.[parity,bench]'``, and for the trained weight what
``tests/weights/minilm.py`` says; where pyttb is installed, it is measured, too.

All contenders of a case take turns on the same tensor, one seed after the other, with one thread; times are wall
times, and medians over the seeds.  Every error is computed anew, from a full reconstruction in float64.

Planted cases.  A tensor of random factors plus Gaussian noise of a norm relative to its own.  The factors are
Gaussian; or uniform in [0, 1); or of orthonormal columns mixed so that all pairs of columns have the given cosine, the
congruence.  TensorLy and pyttb start at random and run to their own stop, `PEER_STOP`
and at most `PEER_SWEEPS` sweeps; tlinear runs as it does by default.  Swamps are the small ones of large congruence;
the optimum of a noisy one is what a descent from the planted factors ends at, and `at the optimum` counts the
seeds that end within 1e-5 of it, relative.

Trained weight.  The time of a sweep is that of plain alternating least squares; of TensorLy it is the difference
between a long and a short run, over that of their sweeps.  The time to TensorLy's error is that of `TENSORLY_SWEEPS` sweeps of TensorLy, and of tlinear until its error is as small.
TensorLy is given the weight in float32, as it comes; tlinear computes in float64 whatever it is given.

``--plot`` draws the relative error over time instead, of tlinear, of TensorLy and of tlinear's plain sweeps from the
same kind of start, and needs Matplotlib.
"""

import argparse
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorly
from tensorly.decomposition import parafac
from threadpoolctl import threadpool_limits

from tlinear import decompose
from tlinear.algorithms.cp_als import als_sweep
from tlinear.algorithms.cp_gauss_newton import Damped, gauss_newton_step
from tlinear.algorithms.kruskal import Kruskal, Target, cp_product, normalized

sys.path.append(str(Path(__file__).resolve().parents[1]))
from weights.minilm import MissingWeightsError, as_tensor, matrix

try:
    import pyttb
except ImportError:
    pyttb = None

PEER_STOP, PEER_SWEEPS = {"large": 1e-9, "small": 1e-12}, {"large": 200, "small": 1000}
TENSORLY_SWEEPS = {64: 100, 256: 60, 1008: 60}


@dataclass(frozen=True)
class Planted:
    """A tensor of known components, and noise."""

    name: str
    shape: tuple[int, ...]
    rank: int
    congruence: float | None
    """None for uniform factors, 0 for Gaussian ones."""
    noise: float
    seeds: int
    size: str = "small"

    def draw(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        rng = np.random.default_rng(seed)
        if self.congruence is None:
            factors = [rng.uniform(size=(size, self.rank)) for size in self.shape]
        else:
            factors = [rng.standard_normal((size, self.rank)) for size in self.shape]
        if self.congruence:
            gram = np.full((self.rank, self.rank), self.congruence) + (1.0 - self.congruence) * np.eye(self.rank)
            upper = np.linalg.cholesky(gram).T
            factors = [np.linalg.qr(factor)[0] @ upper for factor in factors]
        tensor, noise = cp_product(np.ones(self.rank), factors), rng.standard_normal(self.shape)
        return tensor + self.noise * np.linalg.norm(tensor) / np.linalg.norm(noise) * noise, factors


PLANTED = (
    Planted("200^3, R = 30, noise 1e-2", (200,) * 3, 30, 0.0, 1e-2, 3, "large"),
    Planted("200^3, R = 30, uniform, noise 1e-2", (200,) * 3, 30, None, 1e-2, 3, "large"),
    Planted("60^4, R = 10, congruence .8, noise 1e-2", (60,) * 4, 10, 0.8, 1e-2, 3, "large"),
    Planted("100^3, R = 20, noise 1e-2", (100,) * 3, 20, 0.0, 1e-2, 3),
    Planted("16^4, R = 8", (16,) * 4, 8, 0.0, 0.0, 5),
    Planted("16^4, R = 8, congruence .9", (16,) * 4, 8, 0.9, 0.0, 5),
    Planted("16^4, R = 8, congruence .99", (16,) * 4, 8, 0.99, 0.0, 5),
    Planted("16^4, R = 8, congruence .99, noise 1e-4", (16,) * 4, 8, 0.99, 1e-4, 20),
    Planted("20^3, R = 10, congruence .95, noise 1e-4", (20,) * 3, 10, 0.95, 1e-4, 20),
    Planted("20^3, R = 10, congruence .9, noise 1e-2", (20,) * 3, 10, 0.9, 1e-2, 20),
    Planted("16^4, R = 24", (16,) * 4, 24, 0.0, 0.0, 5),
)


@dataclass
class Runs:
    """What a contender has made of a case."""

    seconds: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    at_optimum: int = 0

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.seconds)


def timed(call: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def by_tensorly(tensor: np.ndarray, rank: int, seed: int, sweeps: int, stop: float) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parafac(tensor, rank, n_iter_max=sweeps, tol=stop, init="random", random_state=seed)


def by_pyttb(tensor: object, rank: int, seed: int, sweeps: int, stop: float) -> object:
    np.random.seed(seed)
    return pyttb.cp_als(tensor, rank, maxiters=sweeps, stoptol=stop, printitn=0)[0]


def error_of(tensor: np.ndarray, weights: np.ndarray, factors: list[np.ndarray]) -> float:
    return Target.of(tensor).error(weights.astype(float), [factor.astype(float) for factor in factors])


def optimum(case: Planted, tensor: np.ndarray, planted: list[np.ndarray]) -> float:
    target, weights, units = Target.of(tensor), np.ones(case.rank), []
    for factor in planted:
        norms, columns = normalized(factor, factor)
        weights = weights * norms
        units.append(columns)
    state = Damped(Kruskal(weights, units, target.error(weights, units)))
    for _ in range(60):
        state = gauss_newton_step(target, state, 1e-10)
    return state.error


def measure(case: Planted, seeds: int) -> dict[str, Runs]:
    runs = {"tlinear": Runs(), "TensorLy": Runs(), **({"pyttb": Runs()} if pyttb else {})}
    sweeps, stop = PEER_SWEEPS[case.size], PEER_STOP[case.size]
    for seed in range(seeds):
        tensor, planted = case.draw(seed)
        best = optimum(case, tensor, planted) if case.noise and case.size == "small" else None
        for name, run in runs.items():
            if name == "tlinear":
                seconds, result = timed(lambda tensor=tensor: decompose(tensor, "cp", case.rank))
                weights, factors = result.tensor.weights, list(result.tensor.factors)
            elif name == "TensorLy":
                seconds, (weights, factors) = timed(
                    lambda tensor=tensor, seed=seed: by_tensorly(tensor, case.rank, seed, sweeps, stop)
                )
            else:
                held = pyttb.tensor(tensor)
                seconds, result = timed(lambda held=held, seed=seed: by_pyttb(held, case.rank, seed, sweeps, stop))
                weights, factors = result.weights, result.factor_matrices
            run.seconds.append(seconds)
            run.errors.append(error_of(tensor, weights, factors))
            run.at_optimum += best is not None and run.errors[-1] <= best * (1.0 + 1e-5)
    return runs


def planted_table(seeds: int) -> list[list[str]]:
    peers = ["TensorLy", *(["pyttb"] if pyttb else [])]
    rows = [["case", "seeds", "tlinear s", "largest error", "at the optimum"]]
    for peer in peers:
        rows[0] += [f"{peer} s", "median error", "at the optimum", f"{peer} / tlinear"]
    for case in PLANTED:
        # memory that the process has had before is had sooner
        decompose(np.ones(case.shape), "cp", 1)
        n = min(seeds, case.seeds)
        runs = measure(case, n)

        def optima(run: Runs, case: Planted = case, n: int = n) -> str:
            return f"{run.at_optimum} of {n}" if case.noise and case.size == "small" else ""

        ours = runs["tlinear"]
        row = [case.name, str(n), f"{ours.median_seconds:.4f}", f"{max(ours.errors):.3g}", optima(ours)]
        for peer in peers:
            theirs = runs[peer]
            ratio = theirs.median_seconds / ours.median_seconds
            row += [f"{theirs.median_seconds:.3f}", f"{statistics.median(theirs.errors):.3g}", optima(theirs)]
            row.append(f"**{ratio:.0f}**")
        rows.append(row)
        print(" ".join(row), file=sys.stderr)
    return rows


def tensorly_sweep(run: Callable[[int], object], short: int = 2, long: int = 6) -> float:
    """Seconds."""
    return (timed(lambda: run(long))[0] - timed(lambda: run(short))[0]) / (long - short)


def tlinear_sweep(tensor: np.ndarray, rank: int, n_sweeps: int = 10) -> float:
    """Seconds."""
    rng, target = np.random.default_rng(0), Target.of(tensor)
    factors = [rng.standard_normal((size, rank)) for size in tensor.shape]
    point = Kruskal(np.zeros(rank), [normalized(factor, factor)[1] for factor in factors], 1.0)
    start = time.perf_counter()
    for _ in range(n_sweeps):
        point = als_sweep(target, point, 1e-10)
    return (time.perf_counter() - start) / n_sweeps


def weight_table(quick: bool) -> list[list[str]]:
    rows = [
        [
            "weight",
            "R",
            "tlinear ms a sweep",
            "TensorLy float32",
            "ratio",
            "TensorLy float64",
            "ratio",
            "TensorLy's error",
            "TensorLy s",
            "tlinear s to it",
            "ratio",
        ]
    ]
    wide, square = as_tensor(matrix("0.intermediate"), 3), matrix("0.query")[:256, :256].T.reshape((16,) * 4)
    for tensor, rank in ((wide, 64), (wide, 256), (square, 1008)):
        tensor, n_in = np.ascontiguousarray(tensor), tensor.ndim // 2
        double = tensor.astype(np.float64)

        def ours(sweeps: int, tensor=tensor, rank=rank, n_in=n_in, **options) -> object:
            return decompose(
                tensor, "cp", rank, n_in=n_in, max_iterations=sweeps, stop_tolerance=0.0, n_starts=1, **options
            )

        def theirs(sweeps: int, tensor=tensor, rank=rank) -> object:
            return by_tensorly(tensor, rank, 0, sweeps, 1e-30)

        sweeps, singles, doubles = [], [], []
        for _ in range(1 if quick else 3):
            sweeps.append(tlinear_sweep(double, rank))
            singles.append(tensorly_sweep(theirs))
            doubles.append(tensorly_sweep(lambda sweeps, theirs=theirs, double=double: theirs(sweeps, double)))
        sweep, single, wide_single = map(statistics.median, (sweeps, singles, doubles))
        n_sweeps = 10 if quick else TENSORLY_SWEEPS[rank]
        peer_seconds, (weights, factors) = timed(lambda theirs=theirs, n_sweeps=n_sweeps: theirs(n_sweeps))
        aim = error_of(double, weights, factors)
        seconds, result = timed(
            lambda ours=ours, aim=aim: ours(500, callback=lambda _, error: error <= aim * (1.0 - 1e-6))
        )
        assert result.relative_error <= aim
        rows.append(
            [
                f"{' x '.join(map(str, tensor.shape))}",
                str(rank),
                f"{1e3 * sweep:.1f}",
                f"{1e3 * single:.0f}",
                f"**{single / sweep:.0f}**",
                f"{1e3 * wide_single:.0f}",
                f"**{wide_single / sweep:.0f}**",
                f"{aim:.5f} ({n_sweeps} sweeps)",
                f"{peer_seconds:.2f}",
                f"{seconds:.3f} ({result.n_iterations} sweeps)",
                f"**{peer_seconds / seconds:.0f}**",
            ]
        )
        print(" ".join(rows[-1]), file=sys.stderr)
    return rows


Curve = tuple[list[float], list[float]]


def curves(tensor: np.ndarray, rank: int, sweeps: int) -> dict[str, Curve]:
    """Seconds since the call, and the errors then."""

    def tlinear_curve() -> Curve:
        seconds, errors, start = [], [], time.perf_counter()

        def record(_: int, error: float) -> None:
            seconds.append(time.perf_counter() - start)
            errors.append(error)

        decompose(tensor, "cp", rank, n_starts=1, max_iterations=sweeps, callback=record)
        return seconds, errors

    def plain_curve() -> Curve:
        seconds, errors, start = [], [], time.perf_counter()
        rng, target = np.random.default_rng(0), Target.of(tensor)
        factors = [rng.standard_normal((size, rank)) for size in tensor.shape]
        point = Kruskal(np.zeros(rank), [normalized(factor, factor)[1] for factor in factors], 1.0)
        for _ in range(sweeps):
            point = als_sweep(target, point, 1e-10)
            seconds.append(time.perf_counter() - start)
            errors.append(point.error)
        return seconds, errors

    def tensorly_curve() -> Curve:
        seconds, (_, errors) = timed(
            lambda: parafac(
                tensor, rank, n_iter_max=sweeps, tol=1e-12, init="random", random_state=0, return_errors=True
            )
        )
        return [seconds * (n + 1) / len(errors) for n in range(len(errors))], [float(error) for error in errors]

    return {"tlinear": tlinear_curve(), "plain sweeps": plain_curve(), "TensorLy": tensorly_curve()}


def plot(path: str, quick: bool) -> None:
    from matplotlib.figure import Figure

    sweeps = 20 if quick else 300
    cases = [(case.name, case.draw(0)[0], case.rank, sweeps) for case in PLANTED if case.noise and case.size == "small"]
    cases = cases[1:3]
    weight = np.ascontiguousarray(as_tensor(matrix("0.intermediate"), 3), np.float64)
    cases.append(("weight of 1536 x 384, R = 64", weight, 64, min(sweeps, 100)))
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (name, tensor, rank, n) in zip(figure.subplots(1, len(cases)), cases, strict=True):
        for label, (seconds, errors) in curves(tensor, rank, n).items():
            axes.plot(seconds, errors, label=label)
        axes.set(title=name, xscale="log", xlabel="seconds, one thread")
        if min(errors) < 0.1:
            axes.set_yscale("log")
    figure.axes[0].set_ylabel("relative error")
    figure.axes[0].legend()
    figure.savefig(path)


def show(rows: list[list[str]], markdown: bool) -> None:
    if markdown:
        rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--quick", action="store_true", help="one seed a case, and fewer sweeps")
    parser.add_argument("--plot", metavar="FILE", help="draw the errors over time instead of printing tables")
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.plot:
            plot(options.plot, options.quick)
            return
        print(
            f"{platform.processor() or platform.machine()}, 1 thread; CPython {platform.python_version()}, "
            f"numpy {np.__version__}, TensorLy {tensorly.__version__}"
            + (f", pyttb {pyttb.__version__}" if pyttb else "")
        )
        print()
        show(planted_table(1 if options.quick else 100), options.markdown)
        try:
            show(weight_table(options.quick), options.markdown)
        except MissingWeightsError as error:
            print(error)


if __name__ == "__main__":
    main()
