"""CP beside its peers: ``python tests/benchmarks/cp.py [--markdown] [--quick] [--plot FILE] [CASE ..]``.

Every figure is measured anew.  It needs ``pip install '.[parity,bench]'``, and for the trained weight what
``tests/weights/minilm.py`` says; where pyttb and pytensorlab are installed, they are measured, too.  A CASE is a part of
the names of the cases to be measured, the trained weight being one; all are unless some are named.

All contenders of a case take turns on the same tensor, one seed after the other, with one thread, tlinear three times as
often; times are those of the processor, which others that share the machine do not lengthen by taking turns, and medians
over the seeds.  Every error is computed anew, from a full reconstruction in float64.

Planted cases.  A tensor of random factors plus Gaussian noise of a norm relative to its own.  The factors are
Gaussian; or uniform in [0, 1); or of orthonormal columns mixed so that all pairs of columns have the given cosine, the
congruence.  TensorLy and pyttb start at random and run to their own stop, `PEER_STOP`
and at most `PEER_SWEEPS` sweeps; pytensorlab's ``cpd`` and tlinear run as they do by default.  *At least* and *reach for*
are what was set out to be reached, of each peer in turn.  Swamps are the small ones of large congruence;
the optimum of a noisy one is what a descent from the planted factors ends at, and `at the optimum` counts the
seeds that end within 1e-5 of it, relative.

Trained weight.  The time of a sweep is that of plain alternating least squares; of TensorLy it is the difference
between a long and a short run, over that of their sweeps.  The time to TensorLy's error is that of `TENSORLY_SWEEPS` sweeps of TensorLy, and of tlinear until its error is as small.
TensorLy is given the weight in float32, as it comes, and in float64; the sweeps of tlinear are those that it begins
with, which read a weight in float32 in single precision and do all else in double, and ends in double precision throughout.

``--plot`` draws the relative error over time instead, of tlinear, of TensorLy and of tlinear's plain sweeps from the
same kind of start, and needs Matplotlib.
"""

import argparse
import contextlib
import io
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorly
from processor import processor
from table import show
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
try:
    import pytensorlab
except ImportError:
    pytensorlab = None

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
    goals: str = ""
    """How many times the time of tlinear a peer is to take at least, and what to reach for."""

    def draw(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        rng = np.random.default_rng((1, seed))  # not that of any contender, whose random start might be the answer
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


SWAMP = "10 / 40, 10 / 40, 2 / 5"
PLANTED = (
    Planted("200^3, R = 30, noise 1e-2", (200,) * 3, 30, 0.0, 1e-2, 3, "large", "25 / 100, 20 / 90"),
    Planted("200^3, R = 30, uniform, noise 1e-2", (200,) * 3, 30, None, 1e-2, 3, "large", "25 / 100, 20 / 90"),
    Planted("60^4, R = 10, congruence .8, noise 1e-2", (60,) * 4, 10, 0.8, 1e-2, 3, "large", "100 / 300, 60 / 200"),
    Planted("100^3, R = 20, noise 1e-2", (100,) * 3, 20, 0.0, 1e-2, 3),
    Planted("16^4, R = 8", (16,) * 4, 8, 0.0, 0.0, 5),
    Planted("16^4, R = 8, congruence .9", (16,) * 4, 8, 0.9, 0.0, 5, goals=SWAMP),
    Planted("16^4, R = 8, congruence .99", (16,) * 4, 8, 0.99, 0.0, 5, goals=SWAMP),
    Planted("16^4, R = 8, congruence .99, noise 1e-4", (16,) * 4, 8, 0.99, 1e-4, 20, goals=SWAMP),
    Planted("20^3, R = 10, congruence .95, noise 1e-4", (20,) * 3, 10, 0.95, 1e-4, 20, goals=SWAMP),
    Planted("20^3, R = 10, congruence .9, noise 1e-2", (20,) * 3, 10, 0.9, 1e-2, 20, goals=SWAMP),
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
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def by_tensorly(tensor: np.ndarray, rank: int, seed: int, sweeps: int, stop: float) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parafac(tensor, rank, n_iter_max=sweeps, tol=stop, init="random", random_state=seed)


def by_pyttb(tensor: object, rank: int, seed: int, sweeps: int, stop: float) -> object:
    np.random.seed(seed)
    return pyttb.cp_als(tensor, rank, maxiters=sweeps, stoptol=stop, printitn=0)[0]


def by_pytensorlab(tensor: np.ndarray, rank: int, seed: int) -> object:
    pytensorlab.set_rng(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        result = pytensorlab.cpd(tensor, rank)
    return (result[0] if isinstance(result, tuple) else result).factors


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


def contenders(case: Planted, tensor: np.ndarray, seed: int) -> dict[str, Callable[[], object]]:
    sweeps, stop = PEER_SWEEPS[case.size], PEER_STOP[case.size]
    calls = {
        "tlinear": lambda: decompose(tensor, "cp", case.rank),
        "TensorLy": lambda: by_tensorly(tensor, case.rank, seed, sweeps, stop),
    }
    if pyttb:
        held = pyttb.tensor(tensor)
        calls["pyttb"] = lambda: by_pyttb(held, case.rank, seed, sweeps, stop)
    if pytensorlab:
        calls["pytensorlab"] = lambda: by_pytensorlab(tensor, case.rank, seed)
    return calls


def operands(name: str, result: object) -> tuple[np.ndarray, list[np.ndarray]]:
    """The weights and factors of what a contender returns."""
    match name:
        case "tlinear":
            return result.tensor.weights, list(result.tensor.factors)
        case "TensorLy":
            return result[0], list(result[1])
        case "pyttb":
            return result.weights, result.factor_matrices
        case _:
            return np.ones(result[0].shape[1]), list(result)


def measure(case: Planted, seeds: int) -> dict[str, Runs]:
    runs: dict[str, Runs] = {}
    for seed in range(seeds):
        tensor, planted = case.draw(seed)
        best = optimum(case, tensor, planted) if case.noise and case.size == "small" else None
        for name, call in contenders(case, tensor, seed).items():
            run = runs.setdefault(name, Runs())
            taken = [timed(call) for _ in range(3 if name == "tlinear" else 1)]
            run.seconds.append(statistics.median(seconds for seconds, _ in taken))
            run.errors.append(error_of(tensor, *operands(name, taken[-1][1])))
            run.at_optimum += best is not None and run.errors[-1] <= best * (1.0 + 1e-5)
    return runs


def planted_table(cases: list[Planted], seeds: int) -> list[list[str]]:
    peers = ["TensorLy", *(["pyttb"] if pyttb else []), *(["pytensorlab"] if pytensorlab else [])]
    rows = [["case", "seeds", "tlinear s", "largest error", "at the optimum"]]
    for peer in peers:
        rows[0] += [f"{peer} s", "median error", "at the optimum", f"{peer} / tlinear"]
    rows[0].append("at least / reach for")
    tiny = Planted("", (4, 4, 4), 2, 0.0, 1e-2, 1)
    for call in contenders(tiny, tiny.draw(0)[0], 0).values():
        call()  # the first one takes longer
    for case in cases:
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
            row.append(f"**{ratio:.1f}**")
        rows.append([*row, case.goals])
        print(" ".join(row), file=sys.stderr)
    return rows


def tensorly_sweep(run: Callable[[int], object], short: int = 2, long: int = 6) -> float:
    """Seconds."""
    return (timed(lambda: run(long))[0] - timed(lambda: run(short))[0]) / (long - short)


def tlinear_sweep(target: Target, rank: int, n_sweeps: int = 10) -> float:
    """Seconds."""
    rng, tensor = np.random.default_rng(0), target.tensor
    factors = [rng.standard_normal((size, rank)) for size in tensor.shape]
    point = Kruskal(np.zeros(rank), [normalized(factor, factor)[1] for factor in factors], 1.0)
    start = time.process_time()
    for _ in range(n_sweeps):
        point = als_sweep(target, point, 1e-10)
    return (time.process_time() - start) / n_sweeps


def weight_table(quick: bool) -> list[list[str]]:
    rows = [
        [
            "weight",
            "R",
            "tlinear ms a sweep, single",
            "TensorLy float32",
            "ratio",
            "tlinear, double",
            "TensorLy float64",
            "ratio",
            "TensorLy's error",
            "TensorLy s",
            "tlinear s to it",
            "ratio",
            "at least / reach for",
        ]
    ]
    wide, square = as_tensor(matrix("0.intermediate"), 3), matrix("0.query")[:256, :256].T.reshape((16,) * 4)
    for tensor, rank, goals in ((wide, 64, "25 / 55 a sweep"), (wide, 256, "50 / 200 to it"), (square, 1008, "")):
        tensor, n_in = np.ascontiguousarray(tensor), tensor.ndim // 2
        double = tensor.astype(np.float64)

        def ours(sweeps: int, tensor=tensor, rank=rank, n_in=n_in, **options) -> object:
            return decompose(
                tensor, "cp", rank, n_in=n_in, max_iterations=sweeps, stop_tolerance=0.0, n_starts=1, **options
            )

        def theirs(sweeps: int, tensor=tensor, rank=rank) -> object:
            return by_tensorly(tensor, rank, 0, sweeps, 1e-30)

        target, sweeps, double_sweeps, singles, doubles = Target.of(double), [], [], [], []
        single_target = target.in_single()
        assert single_target is not None
        for _ in range(1 if quick else 3):
            sweeps.append(tlinear_sweep(single_target, rank))
            double_sweeps.append(tlinear_sweep(target, rank))
            singles.append(tensorly_sweep(theirs))
            doubles.append(tensorly_sweep(lambda sweeps, theirs=theirs, double=double: theirs(sweeps, double)))
        sweep, double_sweep, single, wide_single = map(statistics.median, (sweeps, double_sweeps, singles, doubles))
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
                f"{1e3 * double_sweep:.1f}",
                f"{1e3 * wide_single:.0f}",
                f"**{wide_single / double_sweep:.0f}**",
                f"{aim:.5f} ({n_sweeps} sweeps)",
                f"{peer_seconds:.2f}",
                f"{seconds:.3f} ({result.n_iterations} sweeps)",
                f"**{peer_seconds / seconds:.0f}**",
                goals,
            ]
        )
        print(" ".join(rows[-1]), file=sys.stderr)
    return rows


Curve = tuple[list[float], list[float]]


def curves(tensor: np.ndarray, rank: int, sweeps: int) -> dict[str, Curve]:
    """Seconds since the call, and the errors then."""

    def tlinear_curve() -> Curve:
        seconds, errors, start = [], [], time.process_time()

        def record(_: int, error: float) -> None:
            seconds.append(time.process_time() - start)
            errors.append(error)

        decompose(tensor, "cp", rank, n_starts=1, max_iterations=sweeps, callback=record)
        return seconds, errors

    def plain_curve() -> Curve:
        seconds, errors, start = [], [], time.process_time()
        rng, target = np.random.default_rng(0), Target.of(tensor)
        factors = [rng.standard_normal((size, rank)) for size in tensor.shape]
        point = Kruskal(np.zeros(rank), [normalized(factor, factor)[1] for factor in factors], 1.0)
        for _ in range(sweeps):
            point = als_sweep(target, point, 1e-10)
            seconds.append(time.process_time() - start)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="a part of the names of the cases to be measured")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--quick", action="store_true", help="one seed a case, and fewer sweeps")
    parser.add_argument("--plot", metavar="FILE", help="draw the errors over time instead of printing tables")
    options = parser.parse_args()
    chosen = [case for case in PLANTED if not options.cases or any(part in case.name for part in options.cases)]
    with threadpool_limits(1):
        if options.plot:
            plot(options.plot, options.quick)
            return
        versions = {"CPython": platform.python_version(), "numpy": np.__version__, "TensorLy": tensorly.__version__}
        versions |= {"pyttb": pyttb.__version__} if pyttb else {}
        versions |= {"pytensorlab": metadata.version("pytensorlab")} if pytensorlab else {}
        print(
            f"{processor()}, 1 thread; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "\n"
        )
        if chosen:
            show(planted_table(chosen, 1 if options.quick else 100), options.markdown)
        try:
            if not options.cases or any(part in "trained weight" for part in options.cases):
                show(weight_table(options.quick), options.markdown)
        except MissingWeightsError as error:
            print(error)


if __name__ == "__main__":
    main()
