"""Tucker, TT and BlockTT beside their peers: ``python tests/benchmarks/svd_formats.py [--markdown] [--plot FILE] [ROW ..]``.

Every figure is measured anew.  It needs ``pip install '.[parity,bench]'``, and for the trained weights what
``tests/weights/minilm.py`` says; where pyttb is installed, it is measured, too.  A ROW is a part of the names of the rows
to be measured, 'tolerance' being the last two tables; all are unless some are named.

All contenders of a row take turns on the same tensor with one thread; times are those of the processor,
which others that share the machine do not lengthen by taking turns, and medians.  tlinear is
`tlinear.decompose` as it is called by a user, with its checks and its error; TensorLy is `tucker` with ``init='svd'``,
`tensor_train` and `tensor_train_matrix` with their defaults, at the same ranks, and in the dtype of the tensor.  Every error is computed
anew, from a full reconstruction in float64.

The weights are those of MiniLM-L6: the 1536 x 384 matrix of a layer in modes (8, 12, 16) and (6, 8, 8), and the
embedding of 30522 x 384 with rows of zeros up to 30720, in modes (30, 32, 32) and (6, 8, 8); float32.  The planted tensors
have the ranks of the row, and Gaussian noise of a norm relative to their own; '1024^2' is Gaussian noise alone.

The tolerance table is of a tensor of which all singular values of all unfoldings fall by a constant factor, in
float64: the error and the ranks at each tolerance, and the ranks by full singular value decompositions.  The table after
it counts, over the tensors of `SPECTRA` and tolerances from 1e-2 to 1e-13, how often each keeps the tolerance, and how often
with the ranks of full decompositions; *but for rounding* are those cases in which the norm of what is cut off, at one of the
truncations, lies within 10 units of roundoff of the norm of the tensor from the threshold.  torchTT is measured where it is
installed.

``--plot`` draws the relative error over the sweeps instead, of HOOI and of a refined train, and needs Matplotlib.
"""

import argparse
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorly
from processor import processor
from table import show
from tensorly.decomposition import tensor_train, tensor_train_matrix, tucker
from threadpoolctl import threadpool_limits

import tlinear
from tlinear.algorithms.tt_svd import tt_product

sys.path.append(str(Path(__file__).resolve().parents[1]))
from weights.minilm import MissingWeightsError, array, matrix

try:
    import pyttb
except ImportError:
    pyttb = None
try:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it runs without its C++ extension
        import torchtt
except ImportError:
    torchtt = None

LARGE = 2**24
"""Entries of a tensor on which the contenders take fewer turns."""


@dataclass(frozen=True)
class Row:
    """A tensor, and what is made of it."""

    name: str
    factorization: str
    rank: int | float | tuple[int, ...]
    n_in: int
    make: Callable[[], np.ndarray]
    least: int
    reach: int
    """How many times the time of tlinear TensorLy is to take at least, and what to reach for."""


def weight() -> np.ndarray:
    return np.ascontiguousarray(matrix("0.intermediate")).reshape(8, 12, 16, 6, 8, 8)


def embedding() -> np.ndarray:
    rows = array("embeddings.word_embeddings.weight")
    padded = np.zeros((30720, 384), np.float32)
    padded[: len(rows)] = rows
    return padded.reshape(30, 32, 32, 6, 8, 8)


def noisy(tensor: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """A slice at a time, as some of these are large."""
    scale = noise * np.linalg.norm(tensor.ravel()) / math.sqrt(tensor.size)
    for part in tensor:
        part += (scale * rng.standard_normal(part.shape, np.float32)).astype(tensor.dtype)
    return tensor


def train(sizes: list[int], rank: int, dtype: type, rng: np.random.Generator) -> np.ndarray:
    ranks = [1, *(rank for _ in sizes[1:]), 1]
    shapes = zip(ranks, sizes, ranks[1:], strict=False)
    return tt_product([rng.standard_normal(shape) / math.sqrt(shape[0]) for shape in shapes]).astype(dtype)


def planted_train(sizes: list[int], rank: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return noisy(train(sizes, rank, np.float64, rng), noise, rng)


def planted_block(in_shape: tuple[int, ...], out_shape: tuple[int, ...], rank: int, noise: float) -> np.ndarray:
    d, rng = len(in_shape), np.random.default_rng(0)
    paired = train([i * o for i, o in zip(in_shape, out_shape, strict=True)], rank, np.float32, rng)
    paired = paired.reshape([size for pair in zip(in_shape, out_shape, strict=True) for size in pair])
    order = [*range(0, 2 * d, 2), *range(1, 2 * d, 2)]
    return noisy(np.ascontiguousarray(paired.transpose(order)), noise, rng)


def planted_tucker(size: int, rank: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    core, factors = rng.standard_normal((rank,) * 3), [rng.standard_normal((size, rank)) for _ in range(3)]
    return noisy(np.einsum("abc,ia,jb,kc->ijk", core, *factors, optimize=True), noise, rng)


def gaussian() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 8, 8, 4) * 2)


ROWS = (
    Row("Tucker 1536 x 384, (7, 10, 14, 5, 7, 7)", "tucker", (7, 10, 14, 5, 7, 7), 3, weight, 6, 20),
    Row("Tucker 30720 x 384, a tenth", "tucker", 0.1, 3, embedding, 8, 25),
    Row("Tucker 200^3, R = 10, noise 1e-2", "tucker", 10, 1, lambda: planted_tucker(200, 10, 1e-2), 35, 150),
    Row("TT 1536 x 384, R = 64", "tt", 64, 3, weight, 4, 8),
    Row("TT 30720 x 384, R = 64", "tt", 64, 3, embedding, 9, 20),
    Row("TT 10^7, R = 8, noise 1e-2", "tt", 8, 3, lambda: planted_train([10] * 7, 8, 1e-2), 12, 30),
    Row("BlockTT 1536 x 384, R = 48", "blocktt", 48, 3, weight, 4, 10),
    Row("BlockTT 30720 x 384, R = 64", "blocktt", 64, 3, embedding, 16, 40),
    Row("BlockTT 1024^2, R = 16, noise alone", "blocktt", 16, 4, gaussian, 3, 7),
    Row(
        "BlockTT 4096^2, (4)^6, R = 8, noise .1",
        "blocktt",
        8,
        6,
        lambda: planted_block((4,) * 6, (4,) * 6, 8, 0.1),
        22,
        70,
    ),
    Row(
        "BlockTT 25088 x 4096, R = 8, noise .1",
        "blocktt",
        8,
        6,
        lambda: planted_block((2, 7, 8, 8, 7, 4), (4,) * 6, 8, 0.1),
        30,
        95,
    ),
)


# ------------------------------------------------------------ contenders, each with its operands in the end


def by_tensorly(tensor: np.ndarray, row: Row, rank: tuple[int, ...]) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match row.factorization:
            case "tucker":
                return tucker(tensor, rank=list(rank), init="svd")
            case "tt":
                return list(tensor_train(tensor, rank=list(rank)))
            case _:
                return list(tensor_train_matrix(tensor, rank=list(rank)))


def by_pyttb(tensor: np.ndarray, row: Row, rank: tuple[int, ...]) -> object:
    result = pyttb.hosvd(pyttb.tensor(tensor), tol=0.0, ranks=list(rank), verbosity=0)
    return result.core.data, result.factor_matrices


def operands_of(found: object, row: Row) -> dict[str, np.ndarray]:
    if row.factorization == "tucker":
        core, factors = found
        return {"core": core, **{f"factors.{k}": factor for k, factor in enumerate(factors)}}
    return {f"cores.{k}": core for k, core in enumerate(found)}


def error_of(tensor: np.ndarray, operands: dict[str, np.ndarray], row: Row) -> float:
    wide = {name: np.asarray(operand, np.float64) for name, operand in operands.items()}
    found = tlinear.formats.FORMATS[row.factorization].from_operands(wide, row.n_in, tensor.ndim - row.n_in).to_tensor()
    square = norm = 0.0
    for ours, part in zip(found, tensor, strict=True):
        part = part.astype(np.float64)
        norm += float(np.vdot(part, part))
        ours -= part
        square += float(np.vdot(ours, ours))
    return math.sqrt(square / norm)


def timed(call: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(row: Row, turns: int) -> list[str]:
    tensor = row.make()
    rank = tlinear.resolve_rank(row.factorization, tensor.shape[: row.n_in], tensor.shape[row.n_in :], row.rank)
    peers = {"TensorLy": by_tensorly}
    if pyttb and row.factorization == "tucker":
        peers["pyttb"] = by_pyttb
    seconds: dict[str, list[float]] = {name: [] for name in ("tlinear", *peers)}
    errors = {}
    # memory that the process has had before is had sooner
    tlinear.decompose(tensor, row.factorization, rank, n_in=row.n_in)
    for _ in range(1 if tensor.size > LARGE else turns):
        for name, peer in peers.items():
            for _ in range(3 if tensor.size <= LARGE else 2):
                taken, result = timed(lambda: tlinear.decompose(tensor, row.factorization, rank, n_in=row.n_in))
                seconds["tlinear"].append(taken)
            if "tlinear" not in errors:
                errors["tlinear"] = error_of(tensor, result.tensor.operands, row)
            taken, found = timed(lambda peer=peer: peer(tensor, row, rank))
            seconds[name].append(taken)
            if name not in errors:
                errors[name] = error_of(tensor, operands_of(found, row), row)
    ours = statistics.median(seconds["tlinear"])
    line = [row.name, f"{1e3 * ours:.1f}", f"{errors['tlinear']:.7f}"]
    for name in ("TensorLy", "pyttb"):
        if name in peers:
            theirs = statistics.median(seconds[name])
            line += [f"{1e3 * theirs:.0f}", f"{errors[name]:.7f}", f"**{theirs / ours:.1f}**"]
        elif pyttb:
            line += ["", "", ""]
    line.insert(6, f"{row.least} / {row.reach}")
    print(" ".join(line), file=sys.stderr)
    return line


def table(rows: list[Row], turns: int) -> list[list[str]]:
    header = ["problem", "tlinear ms", "error", "TensorLy ms", "error", "ratio", "at least / reach for"]
    header += ["pyttb.hosvd ms", "error", "ratio"] if pyttb else []
    return [header, *(measure(row, turns) for row in rows)]


# ------------------------------------------------------------ tolerances


def falling(shape: tuple[int, ...], rate: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((size, min(shape))))[0] for size in shape]
    return np.einsum("r,ir,jr,kr->ijk", rate ** np.arange(min(shape)), *bases)


def tails_by_svd(tensor: np.ndarray, format_name: str, tolerance: float) -> tuple[tuple[int, ...], bool]:
    """The ranks of TT-SVD or ST-HOSVD as they are written, with full decompositions, and whether rounding decides them."""
    n_cuts = tensor.ndim if format_name == "tucker" else tensor.ndim - 1
    norm, rest, ranks, close = float(np.linalg.norm(tensor)), tensor, [], False
    delta = tolerance * norm / math.sqrt(n_cuts)
    for size in tensor.shape[:n_cuts]:
        before = 1 if format_name == "tucker" else ([1, *ranks])[-1]
        _, values, right = np.linalg.svd(rest.reshape(before * size, -1), full_matrices=False)
        tails = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])
        close |= bool(np.any(np.abs(tails - delta) <= 10 * np.finfo(float).eps / 2 * norm))
        ranks.append(max(1, int(np.count_nonzero(tails > delta))))
        rest = values[: ranks[-1], None] * right[: ranks[-1]]
        if format_name == "tucker":  # the mode goes to the other end
            rest = rest.T.reshape(-1, ranks[-1])
    return (tuple(ranks) if format_name == "tucker" else (1, *ranks, 1)), close


def with_values(values: np.ndarray, shape: tuple[int, ...] = (24, 26, 28)) -> np.ndarray:
    """A tensor of which all unfoldings have these singular values."""
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in shape]
    return np.einsum("r,ir,jr,kr->ijk", values, *bases)


SPECTRA = {
    "falling by 0.3": lambda: with_values(0.3 ** np.arange(24)),
    "falling by 0.6": lambda: with_values(0.6 ** np.arange(24)),
    "1 / k^4": lambda: with_values(1.0 / np.arange(1, 25) ** 4.0),
    "two plateaus": lambda: with_values(np.repeat([1.0, 1e-7], 12)),
    "rank 5 and noise of 1e-9": lambda: with_values(np.r_[np.ones(5), np.full(19, 1e-9)]),
    "noise alone": lambda: np.random.default_rng(0).standard_normal((24, 26, 28)),
}


def error_by_torchtt(tensor: np.ndarray, tolerance: float) -> tuple[float, tuple[int, ...]]:
    found = torchtt.TT(torch.from_numpy(tensor), eps=tolerance)
    return float(np.linalg.norm(found.full().numpy() - tensor) / np.linalg.norm(tensor)), tuple(map(int, found.R))


def error_by_pyttb(tensor: np.ndarray, tolerance: float) -> tuple[float, tuple[int, ...]]:
    found = pyttb.hosvd(pyttb.tensor(tensor), tol=tolerance, verbosity=0)
    return float(np.linalg.norm(found.full().data - tensor) / np.linalg.norm(tensor)), tuple(found.core.shape)


def tolerance_table() -> list[list[str]]:
    tensor = SPECTRA["falling by 0.3"]()
    rows = [["tolerance", "TT error", "TT rank", "by full SVD", "Tucker error", "Tucker rank"]]
    rows[0] += ["pyttb.hosvd error", "its rank"] if pyttb else []
    rows[0] += ["torchTT error", "its rank"] if torchtt else []
    for exponent in range(2, 14):
        tolerance = 10.0**-exponent
        tt, other = (tlinear.decompose(tensor, name, tolerance=tolerance) for name in ("tt", "tucker"))
        line = [
            f"1e-{exponent}",
            f"{tt.relative_error:.2g}",
            f"{tt.rank}",
            f"{tails_by_svd(tensor, 'tt', tolerance)[0]}",
        ]
        line += [f"{other.relative_error:.2g}", f"{other.rank}"]
        for peer, find in ((pyttb, error_by_pyttb), (torchtt, error_by_torchtt)):
            if peer:
                error, rank = find(tensor, tolerance)
                line += [f"{error:.2g}", f"{rank}"]
        rows.append(line)
    return rows


def contract_table() -> list[list[str]]:
    rows = [["singular values", "format", "kept", "ranks of full SVDs", "but for rounding"]]
    rows[0] += ["pyttb.hosvd kept"] if pyttb else []
    rows[0] += ["torchTT kept"] if torchtt else []
    exponents = range(2, 14)
    for name, make in SPECTRA.items():
        tensor = make()
        for format_name in ("tt", "tucker", "blocktt"):
            kept = same = rounding = 0
            counts = {"pyttb": 0, "torchtt": 0}
            for exponent in exponents:
                tolerance = 10.0**-exponent
                # as pairs of input and output modes, of which the latter have one entry, BlockTT is that very train
                given = tensor.reshape(*tensor.shape, 1) if format_name == "blocktt" else tensor
                found = tlinear.decompose(
                    given, format_name, tolerance=tolerance, n_in=3 if format_name == "blocktt" else None
                )
                wide = np.linalg.norm(found.tensor.to_tensor() - given) / np.linalg.norm(given)
                ranks, close = tails_by_svd(tensor, format_name, tolerance)
                kept += bool(max(wide, found.relative_error) <= tolerance)
                same += found.rank == ranks
                rounding += found.rank != ranks and close
                if format_name == "tucker" and pyttb:
                    counts["pyttb"] += error_by_pyttb(tensor, tolerance)[0] <= tolerance
                if format_name == "tt" and torchtt:
                    counts["torchtt"] += error_by_torchtt(tensor, tolerance)[0] <= tolerance
            line = [name, format_name, *(f"{count} of {len(exponents)}" for count in (kept, same)), str(rounding)]
            line += [f"{counts['pyttb']} of {len(exponents)}" if format_name == "tucker" else ""] if pyttb else []
            line += [f"{counts['torchtt']} of {len(exponents)}" if format_name == "tt" else ""] if torchtt else []
            rows.append(line)
    return rows


# ------------------------------------------------------------ output


def plot(path: str) -> None:
    from matplotlib.figure import Figure

    tensor = weight()
    start = tlinear.decompose(tensor, "tucker", (7, 10, 14, 5, 7, 7), max_iterations=0).relative_error
    iterated = tlinear.decompose(tensor, "tucker", (7, 10, 14, 5, 7, 7), stop_tolerance=0.0)
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    left, *trains = figure.subplots(1, 3)
    left.plot([start, *iterated.history], marker=".")
    left.set(title="Tucker, 1536 x 384: HOOI", xlabel="sweeps", ylabel="relative error")
    for axes, format_name, rank in zip(trains, ("tt", "blocktt"), (64, 24), strict=True):
        for name, options in (("from the left", {}), ("from the right", {"direction": "right"})):
            start = tlinear.decompose(tensor, format_name, rank, n_in=3, **options).relative_error
            refined = tlinear.decompose(tensor, format_name, rank, n_in=3, refine=25, **options)
            axes.plot([start, *refined.history], marker=".", label=name)
        title = tlinear.formats.FORMATS[format_name].__name__.removesuffix("Tensor")
        axes.set(title=f"{title}, 1536 x 384, R = {rank}: refine=25", xlabel="sweeps")
        axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="a part of the names of the rows to be measured")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--quick", action="store_true", help="one turn a row")
    parser.add_argument("--plot", metavar="FILE", help="draw the errors over the sweeps instead of printing tables")
    options = parser.parse_args()
    chosen = [row for row in ROWS if not options.rows or any(part in row.name for part in options.rows)]
    with threadpool_limits(1):
        if options.plot:
            plot(options.plot)
            return
        versions = [
            f"CPython {platform.python_version()}",
            f"numpy {np.__version__}",
            f"TensorLy {tensorly.__version__}",
        ]
        versions += [f"pyttb {pyttb.__version__}"] if pyttb else []
        print(f"{processor()}, 1 thread; " + ", ".join(versions) + "\n")
        try:
            if chosen:
                show(table(chosen, 1 if options.quick else 3), options.markdown)
        except MissingWeightsError as error:
            print(error)
        if not options.rows or "tolerance" in options.rows:
            show(tolerance_table(), options.markdown)
            show(contract_table(), options.markdown)


if __name__ == "__main__":
    main()
