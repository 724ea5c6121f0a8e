"""What becomes of a parameter budget and of a number of features, here and in tltorch.

``python tests/benchmarks/resolution.py [--quick] [--markdown]`` measures every figure of its tables anew;
it needs the peers, ``pip install '.[parity]'``.

Ranks.  Each of the random layer shapes is asked for seven budgets in four formats.  A shape has 2, 3 or 4
modes a side, the same number on both because tltorch's BlockTT pairs them, and every size is uniform on
2..16: ``rng = default_rng(SEED)``, then for each shape ``n = rng.integers(2, 5)`` and two draws of
``rng.integers(2, 17, n)``, the input's first.  tltorch is given the modes in the same order.  The ranks of
both libraries are counted by one rule, every array included, CP's weights too.  A call is feasible when
rank 1 is within the budget; what is said of ratios is said of feasible calls.

The best.  The largest number of parameters within the budget, over all ranks that some tensor of the shape
needs, is found by enumerating rank tuples mode by mode; two beginnings that cost the same and leave the
same choice are one.  Where more than `MAX_STATES` would be open at once it is left out, and the table says
in how many calls it was found.  For Tucker only tuples in which modes of equal size have ranks that differ
by at most 1 take part, because that law is part of tlinear's contract.

Shapes.  Twenty feature counts with the same twenty, in 2, 3 and 4 modes a side.  The most balanced
factorization has the least largest size, then the least sum, then the greatest smallest size; it is found
here by trying all.  tlinear resolves each side alone, and a pair is refused when a side is.

Time.  A call is timed three times, the libraries in turn, with tlinear's caches emptied before each; the
median is one sample.  Of tltorch only the resolver is timed, not the tensor that is made of the result.
"""

import argparse
import itertools
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import numpy as np

import tlinear
from tlinear.errors import InfeasibleRankError, ShapeError

sys.path.insert(0, str(Path(__file__).parents[1]))
from best_ranks import CP, MAX_STATES, Bonds, Chain, Sizes, Tucker

try:
    import tensorly
    import tltorch
    import torch
    from tltorch.factorized_tensors.tensorized_matrices import validate_block_tt_rank
    from tltorch.utils import get_tensorized_shape
except ImportError as error:
    raise SystemExit(
        f"{error}. This benchmark measures tltorch beside tlinear; install the peers with pip install '.[parity]'."
    ) from error

SEED = 20240601
PERCENTS = (1, 5, 10, 25, 50, 90, 100)
FEATURES = (
    *(10, 16, 97, 100, 127, 128, 210, 256, 384, 512),
    *(768, 784, 1000, 1024, 2048, 3072, 4096, 11008, 25088, 50257),
)
ORDERS = (2, 3, 4)
MOST_FEATURES, MOST_MODES = 10**6, 12
REPEATS = 3

Pair = tuple[Sizes, Sizes]


@dataclass(frozen=True)
class Format:
    """A factorization: its rules, the sizes that they are about, and how tltorch resolves and builds it."""

    name: str
    rules: type[CP] | type[Tucker] | type[Chain]
    sizes: Callable[[Sizes, Sizes], Sizes]
    peer_resolve: Callable[[Pair, float | str], object]
    peer_new: Callable[[Pair, float | str], tltorch.FactorizedTensor]

    def bonds(self, rank: object) -> Bonds:
        """The free entries of a library's rank."""
        ranks = (rank,) if isinstance(rank, int) else tuple(int(r) for r in rank)
        return ranks[1:-1] if self.rules is Chain else ranks


def _flat(in_shape: Sizes, out_shape: Sizes) -> Sizes:
    return in_shape + out_shape


def _pairs(in_shape: Sizes, out_shape: Sizes) -> Sizes:
    return tuple(i * o for i, o in zip(in_shape, out_shape, strict=True))


def _new_tensorized(factorization: str) -> Callable[[Pair, float | str], tltorch.FactorizedTensor]:
    return lambda shapes, rank: tltorch.TensorizedTensor.new(shapes, rank, factorization=factorization, device="meta")


FORMATS = (
    Format(
        "cp",
        CP,
        _flat,
        lambda shapes, rank: tensorly.cp_tensor.validate_cp_rank(_flat(*shapes), rank),
        _new_tensorized("cp"),
    ),
    Format(
        "tucker",
        Tucker,
        _flat,
        lambda shapes, rank: tensorly.tucker_tensor.validate_tucker_rank(_flat(*shapes), rank),
        _new_tensorized("tucker"),
    ),
    Format(
        "tt",
        Chain,
        _flat,
        lambda shapes, rank: tensorly.tt_tensor.validate_tt_rank(_flat(*shapes), rank),
        lambda shapes, rank: tltorch.FactorizedTensor.new(_flat(*shapes), rank, factorization="tt", device="meta"),
    ),
    Format("blocktt", Chain, _pairs, validate_block_tt_rank, _new_tensorized("blocktt")),
)


# ---------------------------------------------------------------- timing


def _tlinear_caches() -> list[Callable[[], None]]:
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "tlinear"]
    return [value.cache_clear for module in modules for value in vars(module).values() if hasattr(value, "cache_clear")]


def timed(*calls: Callable[[], object]) -> list[float]:
    """The median seconds of each call, all called in turn, whatever they return or refuse."""
    caches = _tlinear_caches()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, record in zip(calls, times, strict=True):
            for clear in caches:
                clear()
            start = time.perf_counter()
            call()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in times]


# ---------------------------------------------------------------- ranks, measured


@dataclass(frozen=True)
class Call:
    """A layer shape and the percentage of its dense parameters that may be used."""

    in_shape: Sizes
    out_shape: Sizes
    percent: int

    @property
    def shapes(self) -> Pair:
        return self.in_shape, self.out_shape

    @property
    def rank(self) -> float | str:
        return "same" if self.percent == 100 else self.percent / 100

    @property
    def limit(self) -> int:
        """The most parameters, in exact arithmetic."""
        return self.percent * math.prod(_flat(*self.shapes)) // 100


@dataclass
class Answers:
    """What one library answered to every call: NaN parameters where it refused."""

    parameters: np.ndarray
    unrealizable: np.ndarray
    rank_zero: np.ndarray
    seconds: np.ndarray

    @classmethod
    def empty(cls, n: int) -> "Answers":
        return cls(np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, bool), np.zeros(n))


@dataclass
class Measured:
    """All calls of one format."""

    percents: np.ndarray
    budgets: np.ndarray
    """The fraction of the dense parameters, which need not be an integer."""
    feasible: np.ndarray
    best: np.ndarray
    """The most parameters within the budget, NaN where they were not found."""
    answers: dict[str, Answers]


def draw_calls(n_shapes: int) -> list[Call]:
    rng = np.random.default_rng(SEED)
    calls = []
    for _ in range(n_shapes):
        n = rng.integers(2, 5)
        in_shape, out_shape = (tuple(rng.integers(2, 17, n).tolist()) for _ in range(2))
        calls += [Call(in_shape, out_shape, percent) for percent in PERCENTS]
    return calls


def measure_ranks(format_: Format, calls: list[Call]) -> Measured:
    n = len(calls)
    answers = {"tltorch": Answers.empty(n), "tlinear": Answers.empty(n)}
    feasible, best = np.zeros(n, bool), np.full(n, np.nan)
    for c, call in enumerate(calls):
        sizes = format_.sizes(*call.shapes)
        one = (1,) * format_.rules.n_bonds(sizes)
        feasible[c] = format_.rules.count(sizes, one) <= call.limit
        if feasible[c]:
            best[c] = format_.rules.best(sizes, call.limit) or np.nan
        found = {"tltorch": _peer_bonds(format_, call), "tlinear": _our_bonds(format_, call)}
        seconds = timed(
            lambda call=call: format_.peer_resolve(call.shapes, call.rank), lambda call=call: _our_bonds(format_, call)
        )
        for (library, bonds), duration in zip(found.items(), seconds, strict=True):
            answer = answers[library]
            answer.seconds[c] = duration
            if bonds is not None:
                answer.parameters[c] = format_.rules.count(sizes, bonds)
                answer.rank_zero[c] = min(bonds) < 1
                answer.unrealizable[c] = not answer.rank_zero[c] and not format_.rules.is_realizable(sizes, bonds)
                if not answer.unrealizable[c] and best[c] < answer.parameters[c] <= call.limit:
                    raise RuntimeError(f"{library}'s {bonds} for {call} in {format_.name} is better than the best")
    budgets = np.array([call.percent * math.prod(_flat(*call.shapes)) / 100 for call in calls])
    return Measured(np.array([call.percent for call in calls]), budgets, feasible, best, answers)


def _peer_bonds(format_: Format, call: Call) -> Bonds:
    tensor = format_.peer_new(call.shapes, call.rank)
    bonds = format_.bonds(tensor.rank)
    counted = format_.rules.count(format_.sizes(*call.shapes), bonds)
    allocated = sum(parameter.numel() for parameter in tensor.parameters())
    if counted != allocated or format_.bonds(format_.peer_resolve(call.shapes, call.rank)) != bonds:
        raise RuntimeError(f"tltorch allocates {allocated} parameters for {call}, counted {counted} for {bonds}")
    return bonds


def _our_bonds(format_: Format, call: Call) -> Bonds | None:
    try:
        return format_.bonds(tlinear.resolve_rank(format_.name, *call.shapes, call.rank))
    except InfeasibleRankError:
        return None


# ---------------------------------------------------------------- shapes, measured


@cache
def most_balanced(features: int, n_modes: int) -> Sizes | None:
    """The ascending sizes of least maximum, then least sum, then greatest minimum, among all that there are."""
    found = _factorizations(features, n_modes, 2)
    return min(found, key=lambda sizes: (sizes[-1], sum(sizes), -sizes[0]), default=None)


def _factorizations(features: int, n_modes: int, least: int) -> Iterator[Sizes]:
    if n_modes == 1:
        if features >= least:
            yield (features,)
        return
    for size in range(least, math.isqrt(features) + 1):
        if features % size == 0:
            yield from ((size, *rest) for rest in _factorizations(features // size, n_modes - 1, size))


def tltorch_pair(a: int, b: int, order: int) -> Pair | None:
    first, second = get_tensorized_shape(a, b, order=order, verbose=False)
    return tuple(sorted(first)), tuple(sorted(second))


def tlinear_pair(a: int, b: int, order: int, **options: bool) -> Pair | None:
    try:
        return tlinear.tensorize_shape(a, order, **options), tlinear.tensorize_shape(b, order, **options)
    except ShapeError:
        return None


PAIRINGS: dict[str, Callable[[int, int, int], Pair | None]] = {
    "tltorch": tltorch_pair,
    "tlinear": tlinear_pair,
    "tlinear, pad=True": lambda a, b, order: tlinear_pair(a, b, order, pad=True),
}


# ---------------------------------------------------------------- rows


def column(header: str, form: str = "") -> object:
    """A field of a row: its heading, and the format specification of its value."""
    return field(metadata={"header": header, "form": form})


@dataclass(frozen=True)
class RankRow:
    """One format in one library."""

    format: str = column("format")
    library: str = column("library")
    feasible: int = column("feasible")
    refused: int = column("feasible refused")
    infeasible: int = column("infeasible")
    infeasible_refused: int = column("infeasible refused")
    over: int = column("exceed")
    far_over: int = column("exceed by > 5 %")
    least: float = column("min", ".3f")
    low: float = column("p5", ".3f")
    median: float = column("median", ".3f")
    high: float = column("p95", ".3f")
    most: float = column("max", ".3f")
    off: int = column("off by > 10 %")
    unrealizable: int = column("unrealizable")
    rank_zero: int = column("rank 0")
    of_best: str = column("used of the best: min / p5 / median")
    n_best: int = column("best known in")
    reached: int = column("best reached in")
    microseconds: float = column("us a call", ".0f")


@dataclass(frozen=True)
class BudgetRow:
    """One format and budget in both libraries."""

    format: str = column("format")
    rank: str = column("rank")
    feasible: int = column("feasible")
    peer_ratios: str = column("tltorch: min / p5 / median / p95 / max")
    peer_over: int = column("exceed")
    ratios: str = column("tlinear: min / p5 / median / p95 / max")
    over: int = column("exceed")


@dataclass(frozen=True)
class ShapeRow:
    """One number of modes in one library."""

    order: int = column("modes")
    library: str = column("library")
    pairs: int = column("pairs")
    fewer: int = column("fewer modes than asked")
    fewer_both: int = column("exact for both sides")
    fewer_one: int = column("exact for one side")
    refused: int = column("refused")
    unbalanced: str = column("sides not the most balanced")
    imbalance: str = column("max/min of a side: median / p95 / max")
    swap: int = column("swap changes")
    sums: str = column("sum of sizes to the least: median / p95 / max")
    padded: str = column("sides padded: overhead median / max")


@dataclass(frozen=True)
class TimeRow:
    """One kind of call."""

    what: str = column("call")
    library: str = column("library")
    calls: int = column("calls")
    median: float = column("median, us", ".0f")
    high: float = column("p99, us", ".0f")
    most: float = column("max, us", ".0f")


def _quantiles(values: np.ndarray, percents: tuple[int, ...]) -> list[float]:
    return [float(q) for q in np.percentile(values, percents)] if len(values) else [math.nan] * len(percents)


def _joined(values: np.ndarray | list[float], percents: tuple[int, ...], form: str) -> str:
    return " / ".join(f"{q:{form}}" for q in _quantiles(np.asarray(values), percents))


def rank_rows(format_: Format, measured: Measured) -> list[RankRow]:
    rows = []
    for library, answer in measured.answers.items():
        refused = np.isnan(answer.parameters)
        ratios = (answer.parameters / measured.budgets)[measured.feasible & ~refused]
        of_best = (answer.parameters / measured.best)[~np.isnan(measured.best) & ~refused]
        least, low, median, high, most = _quantiles(ratios, (0, 5, 50, 95, 100))
        rows.append(
            RankRow(
                format=format_.name,
                library=library,
                feasible=int(measured.feasible.sum()),
                refused=int((refused & measured.feasible).sum()),
                infeasible=int((~measured.feasible).sum()),
                infeasible_refused=int((refused & ~measured.feasible).sum()),
                over=int((ratios > 1).sum()),
                far_over=int((ratios > 1.05).sum()),
                least=least,
                low=low,
                median=median,
                high=high,
                most=most,
                off=int((abs(ratios - 1) > 0.1).sum()),
                unrealizable=int(answer.unrealizable.sum()),
                rank_zero=int(answer.rank_zero.sum()),
                of_best=_joined(of_best, (0, 5, 50), ".3f"),
                n_best=len(of_best),
                reached=int((of_best == 1).sum()),
                microseconds=1e6 * float(np.median(answer.seconds)),
            )
        )
    return rows


def budget_rows(format_: Format, measured: Measured) -> list[BudgetRow]:
    rows = []
    for percent in PERCENTS:
        chosen = (measured.percents == percent) & measured.feasible
        ratios = [answer.parameters[chosen] / measured.budgets[chosen] for answer in measured.answers.values()]
        peer, ours = (ratio[~np.isnan(ratio)] for ratio in ratios)
        rank = str(Call((), (), percent).rank)
        spread = [_joined(ratio, (0, 5, 50, 95, 100), ".3f") for ratio in (peer, ours)]
        over = [int((ratio > 1).sum()) for ratio in (peer, ours)]
        rows.append(BudgetRow(format_.name, rank, int(chosen.sum()), spread[0], over[0], spread[1], over[1]))
    return rows


def shape_row(order: int, library: str) -> ShapeRow:
    pairing = PAIRINGS[library]
    asked = list(itertools.product(FEATURES, repeat=2))
    answers = {(a, b): pairing(a, b, order) for a, b in asked}
    exact = {features: most_balanced(features, order) for features in FEATURES}
    given = {pair: answer for pair, answer in answers.items() if answer is not None}
    fewer = [pair for pair, answer in given.items() if min(map(len, answer)) < order]
    full = {pair: answer for pair, answer in given.items() if min(map(len, answer)) == order}
    sides = [(features, side) for pair, answer in full.items() for features, side in zip(pair, answer, strict=True)]
    n_unbalanced = sum(side != most_balanced(math.prod(side), order) for _, side in sides)
    sums = [
        sum(map(sum, answer)) / (sum(exact[pair[0]]) + sum(exact[pair[1]]))
        for pair, answer in full.items()
        if exact[pair[0]] and exact[pair[1]]
    ]
    overheads = [100 * (math.prod(side) / features - 1) for features, side in sides if math.prod(side) != features]
    n_exact = [sum(exact[features] is not None for features in pair) for pair in fewer]
    return ShapeRow(
        order=order,
        library=library,
        pairs=len(asked),
        fewer=len(fewer),
        fewer_both=n_exact.count(2),
        fewer_one=n_exact.count(1),
        refused=len(asked) - len(given),
        unbalanced=f"{n_unbalanced} of {len(sides)}",
        imbalance=_joined([side[-1] / side[0] for _, side in sides], (50, 95, 100), ".2f"),
        swap=sum(answers[b, a] != (answer and answer[::-1]) for (a, b), answer in answers.items()),
        sums=_joined(sums, (50, 95, 100), ".2f"),
        padded=f"{len(overheads)}: {_joined(overheads, (50, 100), '.2f')} %" if overheads else "0",
    )


def _time_row(what: str, library: str, seconds: np.ndarray) -> TimeRow:
    median, high, most = _quantiles(1e6 * seconds, (50, 99, 100))
    return TimeRow(what, library, len(seconds), median, high, most)


def rank_time_rows(format_: Format, measured: Measured) -> list[TimeRow]:
    return [_time_row(f"rank, {format_.name}", name, answer.seconds) for name, answer in measured.answers.items()]


def shape_time_rows(n_features: int) -> list[TimeRow]:
    """One side for tlinear, and for tltorch two equal sides, for it knows no single one; refusals apart."""
    rng = np.random.default_rng(SEED)
    drawn = zip(
        rng.integers(2, MOST_FEATURES + 1, n_features), rng.integers(2, MOST_MODES + 1, n_features), strict=True
    )
    times: dict[tuple[str, str], list[float]] = {}
    for features, n_modes in (map(int, numbers) for numbers in drawn):
        calls = {
            "tltorch": lambda f=features, n=n_modes: tltorch_pair(f, f, n),
            "tlinear": lambda f=features, n=n_modes: _our_sizes(f, n),
            "tlinear, pad=True": lambda f=features, n=n_modes: _our_sizes(f, n, pad=True),
        }
        for (library, call), seconds in zip(calls.items(), timed(*calls.values()), strict=True):
            outcome = "refused" if call() is None else "answered"
            times.setdefault((library, outcome), []).append(seconds)
    return [
        _time_row(f"shape, {outcome}", library, np.array(seconds))
        for (library, outcome), seconds in sorted(times.items(), key=lambda item: list(PAIRINGS).index(item[0][0]))
    ]


def _our_sizes(features: int, n_modes: int, **options: bool) -> Sizes | None:
    try:
        return tlinear.tensorize_shape(features, n_modes, **options)
    except ShapeError:
        return None


# ---------------------------------------------------------------- printing

RANK_NOTE = f"""Ratios are of the parameters to the budget, over the feasible calls. Unrealizable and rank 0 are of all calls.
The best is the most parameters within the budget of any realizable ranks, for Tucker of those in which modes of
equal size differ by at most 1; it is known where at most {MAX_STATES} partial ranks were open at once."""
BUDGET_NOTE = "Ratios of the parameters to the budget, over the feasible calls of that budget."
SHAPE_NOTE = """Sides, ratios and sums are of the pairs that have as many modes as asked; sums of those with an exact answer for both
sides. A padded side is compared with the most balanced shape of its own product."""
TIME_NOTE = f"""Each sample is the median of {REPEATS} calls; tlinear with empty caches; a refusal of a rank counts as a call.
A shape is of one random number up to {MOST_FEATURES} in 2 to {MOST_MODES} modes; tltorch is asked for two
equal sides, and what it answers may have fewer modes."""


def print_table(title: str, note: str, rows: list, markdown: bool) -> None:
    headers = [f.metadata["header"] for f in fields(rows[0])]
    body = [[f"{getattr(row, f.name):{f.metadata['form']}}" for f in fields(row)] for row in rows]
    print(f"\n{'### ' if markdown else ''}{title}\n\n{note}\n")
    if markdown:
        for cells in (headers, ["---"] * len(headers), *body):
            print(f"| {' | '.join(cells)} |")
    else:
        widths = [max(map(len, cells)) for cells in zip(headers, *body, strict=True)]
        for cells in (headers, ["-" * width for width in widths], *body):
            print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))
    sys.stdout.flush()


def print_environment(n_shapes: int) -> None:
    versions = {
        "tlinear": tlinear.__version__,
        "tensorly-torch": tltorch.__version__,
        "tensorly": tensorly.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{named}; seed {SEED}; {n_shapes} shapes, {n_shapes * len(PERCENTS)} calls a format")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 shapes instead of 500")
    parser.add_argument("--markdown", action="store_true", help="the tables as Markdown")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    n_shapes = 50 if options.quick else 500
    print_environment(n_shapes)
    calls = draw_calls(n_shapes)
    measured = {format_: measure_ranks(format_, calls) for format_ in FORMATS}

    def by_format(rows: Callable[[Format, Measured], list]) -> list:
        return [row for item in measured.items() for row in rows(*item)]

    def show(title: str, note: str, rows: list) -> None:
        print_table(title, note, rows, options.markdown)

    show("Ranks, all budgets", RANK_NOTE, by_format(rank_rows))
    show("Ranks, each budget", BUDGET_NOTE, by_format(budget_rows))
    show("Shapes", SHAPE_NOTE, [shape_row(order, library) for order in ORDERS for library in PAIRINGS])
    show("Time", TIME_NOTE, by_format(rank_time_rows) + shape_time_rows(4 * n_shapes))


if __name__ == "__main__":
    main()
