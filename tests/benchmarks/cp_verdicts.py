"""What CP says of its end: ``python tests/benchmarks/cp_verdicts.py [--markdown] [--seeds N] [--kernels K ..] [--threads N ..]``.

It needs ``pip install '.[bench]'``.  Every kernel of OpenBLAS and every number of threads runs in a process of its own,
by OPENBLAS_CORETYPE and OPENBLAS_NUM_THREADS; 'native' is what OpenBLAS takes of itself.  The head of a column is the kernel
that really ran, which the processor may not have let be the one that was asked for.

The first table is of tensors that have no best approximation of their rank, and counts how many
`tlinear.decompose` says to have converged, which should be none:

- the derivative of a product of vectors, ``a' b c + a b' c + a b c'``, and its analogues (of rank 3 and more, with tensors
  of rank 2 as near as one likes: de Silva and Lim, 2008);
- a second derivative of such a product, in the same way a limit of tensors of rank 3;
- real 2 x 2 x 2 tensors of negative hyperdeterminant, the two slices of which have a complex pair of eigenvalues (no
  such tensor has a best approximation of rank 2, theorem 8.1 there, nor one in a larger space that has it as its core);
- real n x n x 2 tensors with such a pair (almost none has one of rank n: Stegeman, Psychometrika 71, 2006).

The second is of tensors that have one, and counts how many are not said to have converged, which should be none, too.
There are N seeds of the first row of the first table and of 2 x 2 x 2 tensors, a tenth as many of the others, and
a fifth as many of each row of the second table.

The third is of Gaussian tensors, which may or may not have one, with the native kernel and N / 2 seeds: the verdict
by default beside that of a descent to a stop tolerance of 1e-10.  That one ends *elsewhere* where its error is smaller by more
than 1e-5 of it, so that the first had come to no end at all.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from processor import processor
from table import show
from threadpoolctl import threadpool_info

from tlinear import decompose
from tlinear.algorithms.descent import EXACT
from tlinear.algorithms.kruskal import cp_product

KERNELS = ("native", "Haswell", "Sandybridge", "Nehalem", "Prescott")


@dataclass(frozen=True)
class Kind:
    """Tensors, one a seed, and how they are decomposed."""

    name: str
    draw: Callable[[np.random.Generator], np.ndarray]
    rank: int
    share: float = 0.1
    """Of the seeds."""
    options: dict[str, object] = field(default_factory=dict)


def outer(*vectors: np.ndarray) -> np.ndarray:
    return cp_product(np.ones(1), [vector[:, None] for vector in vectors])


def derivative(
    shape: tuple[int, ...], *, order: int = 1, dtype: str = "f8", scale: float = 1.0
) -> Callable[[np.random.Generator], np.ndarray]:
    """Of the given order at t = 0, of the product of ``a_k + t a_k' + t^2 a_k'' ..`` over the modes."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        # small integers, of which the sums of products are exact in single precision
        curves = rng.integers(-3, 4, (len(shape), 1 + order, max(shape))) if dtype == "f4" else None
        if curves is None:
            curves = rng.standard_normal((len(shape), 1 + order, max(shape)))
        if dtype == "c16":
            curves = curves + 1j * rng.standard_normal(curves.shape)
        terms = [
            outer(*(curve[power, :size] for curve, power, size in zip(curves, powers, shape, strict=True)))
            for powers in np.ndindex(*((1 + order,) * len(shape)))
            if sum(powers) == order
        ]
        return scale * sum(terms).astype(dtype)

    return draw


def turning(size: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Real slices whose quotient has a complex pair of eigenvalues: those of a turn and a scaling."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        while True:
            tensor = rng.standard_normal((size, size, 2))
            if np.linalg.eigvals(np.linalg.solve(tensor[..., 0], tensor[..., 1])).imag.any():
                return tensor

    return draw


def within(size: int, draw: Callable[[np.random.Generator], np.ndarray]) -> Callable[[np.random.Generator], np.ndarray]:
    """The same as the core of a larger tensor."""

    def larger(rng: np.random.Generator) -> np.ndarray:
        tensor = draw(rng)
        for mode in range(tensor.ndim):
            basis = np.linalg.qr(rng.standard_normal((size, tensor.shape[mode])))[0]
            tensor = np.moveaxis(np.tensordot(basis, tensor, axes=(1, mode)), 0, mode)
        return tensor

    return larger


def planted(
    shape: tuple[int, ...], rank: int, cosine: float, noise: float, *, alternating: bool = False
) -> Callable[[np.random.Generator], np.ndarray]:
    """Columns that have this cosine to each other in every mode, components of alternating signs if so said, and noise."""
    upper = np.linalg.cholesky(np.full((rank, rank), cosine) + (1.0 - cosine) * np.eye(rank)).T

    def draw(rng: np.random.Generator) -> np.ndarray:
        factors = [np.linalg.qr(rng.standard_normal((size, rank)))[0] @ upper for size in shape]
        tensor = cp_product((-1.0) ** np.arange(rank) if alternating else np.ones(rank), factors)
        disturbance = rng.standard_normal(shape)
        return tensor + noise * np.linalg.norm(tensor) / np.linalg.norm(disturbance) * disturbance

    return draw


def gaussian(shape: tuple[int, ...]) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.standard_normal(shape)


NINE = derivative((9,) * 3)
WITHOUT = (
    Kind("derivative, 9^3, R = 2", NINE, 2, 1.0),
    Kind("the same, stop_tolerance=1e-3", NINE, 2, options={"stop_tolerance": 1e-3}),
    Kind("the same, stop_tolerance=1e-9", NINE, 2, options={"stop_tolerance": 1e-9}),
    Kind("the same, ridge=1e-3", NINE, 2, options={"ridge": 1e-3}),
    Kind("the same, n_starts=3", NINE, 2, options={"n_starts": 3}),
    Kind("the same, times 1e-100", derivative((9,) * 3, scale=1e-100), 2),
    Kind("the same, times 1e100", derivative((9,) * 3, scale=1e100), 2),
    Kind("the same, of integers in float32", derivative((9,) * 3, dtype="f4"), 2),
    Kind("derivative, complex, 9^3, R = 2", derivative((9,) * 3, dtype="c16"), 2),
    Kind("derivative, 3 x 4 x 5, R = 2", derivative((3, 4, 5)), 2),
    Kind("derivative, 5^4, R = 2", derivative((5,) * 4), 2),
    Kind("second derivative, 6^3, R = 3", derivative((6,) * 3, order=2), 3),
    Kind("2 x 2 x 2, complex pair, R = 2", turning(2), 2, 1.0),
    Kind("the same as a core of 7^3", within(7, turning(2)), 2),
    Kind("3 x 3 x 2, complex pair, R = 3", turning(3), 3),
    Kind("4 x 4 x 2, complex pair, R = 4", turning(4), 4),
)
WITH = (
    Kind("exact, 6 x 7 x 8, R = 4", planted((6, 7, 8), 4, 0.0, 0.0), 4, 0.2),
    Kind("congruence .9, noise 1e-2, 6 x 7 x 8, R = 4", planted((6, 7, 8), 4, 0.9, 1e-2), 4, 0.2),
    Kind("congruence .99, noise 1e-4, 6 x 7 x 8, R = 4", planted((6, 7, 8), 4, 0.99, 1e-4), 4, 0.2),
    Kind("the same, alternating signs", planted((6, 7, 8), 4, 0.99, 1e-4, alternating=True), 4, 0.2),
    Kind(
        "congruence .9, alternating, noise 1e-2, 5^4, R = 4", planted((5,) * 4, 4, 0.9, 1e-2, alternating=True), 4, 0.2
    ),
    Kind("noise .1, 6 x 7 x 8, R = 3", planted((6, 7, 8), 3, 0.0, 0.1), 3, 0.2),
    Kind("congruence .9, noise 1e-3, 12^3, R = 5", planted((12,) * 3, 5, 0.9, 1e-3), 5, 0.2),
    Kind("Gaussian, 6 x 7 x 8, R = 1", gaussian((6, 7, 8)), 1, 0.2),
    Kind("Gaussian, 8^3, of which .7 a tensor of rank 2, R = 2", planted((8,) * 3, 2, 0.0, 1.0), 2, 0.2),
    Kind("Gaussian, 5^4, R = 1", gaussian((5,) * 4), 1, 0.2),
)


ANY = (
    Kind("Gaussian, 4^3, R = 3", gaussian((4,) * 3), 3),
    Kind("Gaussian, 5 x 6 x 7, R = 2", gaussian((5, 6, 7)), 2),
    Kind("Gaussian, 5 x 6 x 7, R = 4", gaussian((5, 6, 7)), 4),
    Kind("Gaussian, 4^4, R = 3", gaussian((4,) * 4), 3),
    Kind("Gaussian, 10^3, R = 3", gaussian((10,) * 3), 3),
)


def seeds_of(kind: Kind, seeds: int) -> int:
    return max(1, math.ceil(kind.share * seeds))


def count(seeds: int) -> dict[str, object]:
    """Of each kind, how many get the wrong verdict; in this process."""
    start, counts = time.process_time(), []
    for has_best, kinds in ((False, WITHOUT), (True, WITH)):
        for kind in kinds:
            wrong = 0
            for seed in range(seeds_of(kind, seeds)):
                tensor = kind.draw(np.random.default_rng(seed))
                result = decompose(tensor, "cp", kind.rank, **kind.options)
                # what is found to all digits is found, whatever lies beyond
                wrong += result.converged != has_best and result.relative_error > EXACT
            counts.append(wrong)
    kernel = next(info["architecture"] for info in threadpool_info() if info["internal_api"] == "openblas")
    return {"kernel": kernel, "counts": counts, "seconds": time.process_time() - start}


def counted(kernel: str, threads: int, seeds: int) -> dict[str, object]:
    """The same, in a process of that kernel and number of threads."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads)}
    environment.pop("OPENBLAS_CORETYPE", None)
    if kernel != "native":
        environment["OPENBLAS_CORETYPE"] = kernel
    command = [sys.executable, __file__, "--here", "--seeds", str(seeds)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def beside_longer(kind: Kind, seeds: int) -> list[str]:
    """How many there are of each pair of verdicts."""
    pairs, elsewhere = {(a, b): 0 for a in (True, False) for b in (True, False)}, 0
    for seed in range(seeds):
        tensor = kind.draw(np.random.default_rng(seed))
        result = decompose(tensor, "cp", kind.rank)
        longer = decompose(tensor, "cp", kind.rank, stop_tolerance=1e-10, max_iterations=5000)
        if longer.relative_error < result.relative_error * (1.0 - 1e-5):
            elsewhere += 1
        else:
            pairs[result.converged, longer.converged] += 1
    return [kind.name, str(seeds), *map(str, pairs.values()), str(elsewhere)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--kernels", nargs="+", default=KERNELS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--here", action="store_true", help="count in this process, and print JSON")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(count(options.seeds)))
        return
    runs = []
    for kernel in options.kernels:
        for threads in options.threads:
            run = counted(kernel, threads, options.seeds)
            runs.append(run)
            run["head"] = f"{run['kernel']}, {threads} thread{'s' if threads > 1 else ''}"
            print(f"{kernel}: {run['head']}, {run['seconds']:.0f} s", *run["counts"], file=sys.stderr)
    print(f"{processor()}; CPython {platform.python_version()}, numpy {np.__version__}\n")
    heads = [run["head"] for run in runs]
    rows = [
        [kind.name, str(seeds_of(kind, options.seeds)), *(str(run["counts"][place]) for run in runs)]
        for place, kind in enumerate((*WITHOUT, *WITH))
    ]
    show([["no best approximation: said to converge", "of", *heads], *rows[: len(WITHOUT)]], options.markdown)
    show([["a best approximation: not said to converge", "of", *heads], *rows[len(WITHOUT) :]], options.markdown)
    heads = ["both converge", "only the first", "only the longer", "neither", "the longer elsewhere"]
    rows = [beside_longer(kind, max(1, options.seeds // 2)) for kind in ANY]
    show([["either may be the case", "of", *heads], *rows], options.markdown)


if __name__ == "__main__":
    main()
