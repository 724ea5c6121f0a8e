"""How often the oracle accuses what is right: ``PYTHONPATH=tests python -m testing.false_alarms --cases 20000``.

tlinear's layer is judged in each of its ways of computing in turn, so that they share the cases; its first page and the
reference of the mutants on all of them; with ``--peers`` TensorLy-Torch, TensorLy and torchTT where they have the format.
"""

import argparse
import math
import sys
import time
from collections import Counter
from functools import partial

from testing.drawn import by_layer, by_micro, in_small_chunks

from tlinear.testing import strategies as st
from tlinear.testing.check import drawn
from tlinear.testing.implementation import Function
from tlinear.testing.judge import Rules
from tlinear.testing.mutants import right
from tlinear.testing.session import Session

AT_ONCE = 100
DTYPES = ("float32", "float64")


OPTIONS = (
    {"implementation": "auto"},
    {"implementation": "factorized"},
    {"implementation": "reconstructed"},
    {"memory": "recompute"},
    {"memory": "store"},
    {"optimize": "greedy"},
)


def ours():
    """Name, function, and which of the cases it takes, by their number: to plan a layer takes longer than to judge it."""
    ways = {f"tlinear {'='.join(*chosen.items())}": partial(by_layer, **chosen) for chosen in OPTIONS}
    ways["tlinear in small chunks"] = in_small_chunks
    for k, (name, run) in enumerate(ways.items()):
        yield name, run, lambda number, case, k=k: number % len(ways) == k
    yield "tlinear.micro", by_micro, lambda number, case: True
    yield "tlinear.testing.reference", right, lambda number, case: True


def accused(implementations, n, seed, *, seconds=math.inf, dtypes=DTYPES, **options):
    """A session for each implementation, by name, after its share of the same cases; and how many these were."""
    strategy = st.cases(dtypes=dtypes, **options)
    sessions = {name: Session(Function(run), Rules(), seed) for name, run, _ in implementations}
    end = time.monotonic() + seconds
    for start in range(0, n, AT_ONCE):
        if time.monotonic() > end:
            return sessions, start
        batch = drawn(strategy, min(AT_ONCE, n - start), seed + start)
        for name, _, takes in implementations:
            sessions[name].sweep([case for k, case in enumerate(batch, start) if takes(k, case)])
    return sessions, n


def table(sessions):
    """A line for each implementation, and what is wrong."""
    lines = [f"{'implementation':<36}{'judged':>8}{'float32':>9}{'float64':>9}{'accused':>9}"]
    for name, session in sessions.items():
        report = session.report(tuple(session.worst.values()), "")
        of = Counter({dtype: counts.total() for dtype, counts in report.coverage.of("dtype").items()})
        lines.append(f"{name:<36}{report.n_cases:>8}{of['float32']:>9}{of['float64']:>9}{len(report.failures):>9}")
        lines += [str(failure) for failure in report.failures]
    total = sum(session.n_cases for session in sessions.values())
    return [*lines, f"{sum(len(session.worst) for session in sessions.values())} false alarms in {total} judgements"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no further hundred cases after these")
    given = parser.parse_args()
    implementations = list(ours())
    if given.peers:
        from parity.peers import peers

        implementations = list(peers())
    sessions, n = accused(implementations, given.cases, given.seed, seconds=given.seconds)
    print(f"{n} cases, seed {given.seed}, {', '.join(DTYPES)}")
    print("\n".join(table(sessions)))
    return 1 if any(session.worst for session in sessions.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
