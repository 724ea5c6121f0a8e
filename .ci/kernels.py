"""Run the numerical tests under every BLAS kernel that this processor has, with one and with two threads.

OpenBLAS chooses a kernel by the processor, and another one when ``OPENBLAS_CORETYPE`` names it.  A verdict of the
package must hold under each.  What the processor does not have, or another BLAS does not know, is printed as not run.

    python .ci/kernels.py [--all] [--seed N]

Without ``--all``, each kernel runs with one thread, and those that the seed picks with two.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time

KERNELS = ("SkylakeX", "Haswell", "Sandybridge", "Nehalem", "Prescott")
TESTS = (
    "tests/algorithms",
    "tests/test_baseline.py",
    "tests/test_calibration.py",
    "tests/test_decomposition.py",
    "tests/test_determinism.py",
    "tests/test_gradients.py",
    "tests/test_micro.py",
    "tests/test_tolerance.py",
)
WITH_TWO_THREADS = 2
PROBE = """
import numpy as np, threadpoolctl
np.ones((2, 2)) @ np.ones((2, 2))
blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
print(blas[0].get("architecture", blas[0]["internal_api"]) if blas else "unknown")
"""


def loaded(kernel: str | None) -> str:
    """Return the kernel that NumPy's BLAS reports under this setting."""
    env = dict(os.environ) | ({} if kernel is None else {"OPENBLAS_CORETYPE": kernel})
    found = subprocess.run([sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else f"crashed ({found.returncode})"


def run(kernel: str, threads: int) -> tuple[bool, str]:
    """Run the tests under a kernel: whether they passed, and pytest's last line."""
    env = dict(os.environ) | {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": str(threads)}
    workers = max(1, (os.cpu_count() or 1) // threads)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--numprocesses={workers}", *TESTS]
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if found.returncode:
        print(found.stdout[-20_000:], found.stderr[-5_000:], sep="\n")
    last = re.sub(r"^=*|=*$", "", (found.stdout.strip().splitlines() or ["nothing was printed"])[-1]).strip()
    return found.returncode == 0, last


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="run every kernel with two threads, too")
    parser.add_argument("--seed", type=int, default=0, help="picks the kernels that run with two threads")
    options = parser.parse_args()
    own, missing, present = loaded(None), [], []
    for kernel in KERNELS:
        found = loaded(kernel)
        # another name than the one that was asked for is the processor's own kernel, or an alias such as Katmai
        if found.startswith("crashed") or (found == own and kernel != own):
            missing.append((kernel, found))
        else:
            present.append((kernel, found))
    doubled = [kernel for kernel, _ in present]
    if not options.all:
        doubled = random.Random(options.seed).sample(doubled, min(WITH_TWO_THREADS, len(doubled)))
    print(f"BLAS kernels on this processor, whose own is {own}:", flush=True)
    passed = True
    for kernel, found in present:
        for threads in (1, 2) if kernel in doubled else (1,):
            start = time.monotonic()
            fine, last = run(kernel, threads)
            passed = passed and fine
            seconds = time.monotonic() - start
            print(
                f"  {kernel:12} ran {found:12} {threads} thread{'s' * (threads > 1):1}  {seconds:4.0f} s  {last}",
                flush=True,
            )
        if kernel not in doubled:
            print(f"  {kernel:12} not run with 2 threads: the seed picked others", flush=True)
    for kernel, found in missing:
        print(f"  {kernel:12} not run: BLAS loads {found} instead", flush=True)
    return 0 if passed and present else 1


if __name__ == "__main__":
    sys.exit(main())
