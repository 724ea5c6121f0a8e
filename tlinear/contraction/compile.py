"""From a pair to what it does to arrays of one batch size."""

from __future__ import annotations

from tlinear.arrays import NUMPY, Space
from tlinear.contraction.adjoint import Adjoint
from tlinear.contraction.entries import entries_kernel
from tlinear.contraction.kernel import Kernel
from tlinear.contraction.matrices import dot_kernel, matmul_kernel
from tlinear.contraction.pair import Pair
from tlinear.contraction.portable import portable_kernel

__all__ = ["kernel_of"]

_PLAIN = Adjoint()


def kernel_of(pair: Pair, batch_size: int, adjoint: Adjoint = _PLAIN, space: Space = NUMPY) -> Kernel:
    """The kernel of a pair for the arrays of a space, whose pullbacks are done as `adjoint` says.

    Examples
    --------
    >>> import numpy as np
    >>> from tlinear.contraction.network import Network
    >>> net = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 4), (2, 3)), n_in=1, n_modes=2)
    >>> pair = Pair(net, a=(0, 2), b=(2, 1), out=(0, 1), lying=(0, 2), loops=(), rows=(0,), contracted=(2,), right=(1,))
    >>> kernel = kernel_of(pair, batch_size=1)
    >>> kernel.forward(np.ones((2, 3)), kernel.arrange(np.ones((3, 4)))).shape
    (2, 4)
    """
    if space is not NUMPY:
        return portable_kernel(pair, batch_size, space)
    if pair.by_entries:
        return entries_kernel(pair, batch_size)
    has_loops = any(pair.size(run, batch_size) != 1 for run in pair.loops)
    return matmul_kernel(pair, batch_size, adjoint) if has_loops else dot_kernel(pair, batch_size, adjoint)
