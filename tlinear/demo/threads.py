"""One BLAS thread while the demo works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tlinear.dependency import dependency

__all__ = ["one_blas_thread"]


@contextmanager
def one_blas_thread() -> Iterator[str]:
    """Inside, BLAS uses one thread; yields what is in force, in words, as the libraries report it.

    The products of the demo are small: threads gain little, wait for each other whenever the
    machine is busy, and let the last bits of a result depend on their number.
    """
    with dependency("threadpoolctl"):
        from threadpoolctl import ThreadpoolController
    # CP-ALS solves with SciPy, whose BLAS is one of its own and can be limited only once it is loaded
    import scipy.linalg  # noqa: F401

    blas = ThreadpoolController().select(user_api="blas")
    with blas.limit(limits=1):
        kinds = {f"{library['internal_api']} {library['version']}" for library in blas.info()}
        most = max((library["num_threads"] for library in blas.info()), default=0)
        yield f"{most} BLAS thread{'s' * (most != 1)} ({', '.join(sorted(kinds))})" if most else "an unknown BLAS"
