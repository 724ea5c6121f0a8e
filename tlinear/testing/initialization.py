r"""Judge how a layer is initialized: by the standard deviation that its weight has, where one was asked for.

Let the entries of operand k be independent of mean 0 and variance :math:`v_k`.  An entry of the weight is a sum of
as many products of one entry each as there are combinations of ranks, and so of variance

.. math:: s^2 = \prod_{ranks} R \; \prod_k v_k

Of n entries that were drawn the mean square is a :math:`\chi^2_n / n` times :math:`v_k` where they are Gaussian, and
(B. Laurent and P. Massart, 2000, Lemma 1) farther than :math:`2 \sqrt{t / n} + 2 t / n` from it at most 2 times in
:math:`e^t`; bounded entries and constant ones less often.  Here t = 30, so that nothing is accused for bad luck.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlinear.formats import find_format
from tlinear.testing.case import Shape
from tlinear.testing.resolvers import Comparison
from tlinear.testing.verdict import as_arrays

__all__ = ["FORMATS_JUDGED", "check_initialization"]

FORMATS_JUDGED = ("cp", "tucker", "tt", "blocktt")

_T = 30.0
_LAYERS: tuple[tuple[Shape, Shape, int], ...] = (
    ((8, 8), (8, 8), 2),
    ((8, 8), (8, 8), 4),
    ((4, 4, 4), (4, 4, 4), 2),
    ((2, 4), (4, 2), 1),
)


def check_initialization(
    draw: Callable[[str, Shape, Shape, int, float], Mapping[str, Any]],
    *,
    formats: Sequence[str] = FORMATS_JUDGED,
    stds: Sequence[float] = (1.0, 0.02),
    n_entries: int = 20_000,
) -> Comparison:
    """Judge an initialization by the standard deviation of the weight.

    Parameters
    ----------
    draw : callable
        ``draw(format, in_shape, out_shape, rank, std)``, the operands by name, other ones with every call; every rank
        is `rank`.
    formats : sequence of str
    stds : sequence of float
        To be asked for.
    n_entries : int
        How many of the smallest operand are drawn, at least.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def draw(name, in_shape, out_shape, rank, std):
    ...     first, last = rng.standard_normal((1, 8, 8, rank)), rng.standard_normal((rank, 8, 8, 1))
    ...     return {"cores.0": std / rank**0.5 * first, "cores.1": last}
    >>> from tlinear.testing import initialization
    >>> initialization.judged(draw, "blocktt", ((8, 8), (8, 8), 4), 1.0)
    ''
    >>> initialization.judged(lambda *given: draw(*given[:-1], 0.1), "blocktt", ((8, 8), (8, 8), 4), 1.0)
    'its standard deviation is 0.1, not 1'
    """
    failures, layers = [], list(itertools.product(formats, _LAYERS, stds))
    for name, layer, std in layers:
        wrong = judged(draw, name, layer, std, n_entries)
        if wrong:
            failures.append(f"{name} {layer[0]} -> {layer[1]}, rank {layer[2]}: {wrong}")
    return Comparison(getattr(draw, "__qualname__", type(draw).__name__), len(layers), tuple(failures))


def judged(
    draw: Callable[[str, Shape, Shape, int, float], Mapping[str, Any]],
    name: str,
    layer: tuple[Shape, Shape, int],
    std: float,
    n_entries: int = 20_000,
) -> str:
    """What is wrong with an initialization, in words; nothing if nothing is."""
    in_shape, out_shape, rank = layer
    cls = find_format(name)
    n_bonds = len(cls.bond_labels(len(in_shape), len(out_shape)))
    network = cls.network_for(in_shape, out_shape, (rank,) * n_bonds)
    wanted = {operand: network.shape(labels) for operand, labels in zip(network.names, network.inputs, strict=True)}
    squares, counts = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0)
    while min(counts.values()) < n_entries:
        try:
            found = as_arrays(draw(name, in_shape, out_shape, rank, std))
        except Exception as error:  # whatever it raises is its answer
            return f"it raised {type(error).__name__}: {error}"
        shapes = {operand: array.shape for operand, array in found.items()}
        if shapes != wanted:
            return f"its operands have shapes {shapes}, instead of {wanted}"
        for operand, array in found.items():
            squares[operand] += float(np.sum(np.abs(array.astype(np.complex128)) ** 2))
            counts[operand] += array.size
    variance = float(rank**n_bonds) * math.prod(squares[operand] / counts[operand] for operand in wanted)
    room = -sum(math.log1p(-min(0.999, 2 * math.sqrt(_T / n) + 2 * _T / n)) for n in counts.values())
    if variance > 0 and abs(math.log(variance) - 2 * math.log(std)) <= room:
        return ""
    return f"its standard deviation is {math.sqrt(variance):.2g}, not {std:.2g}"
