"""The fewest FLOPs that any order of contraction takes, of many networks that differ in their sizes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH, Labels, Network

__all__ = ["fewest_flops"]

_MOST_OPERANDS = 9
"""Whose 3^9 ways to split a set of operands in two take a tenth of a second."""
_ROUNDING = 1e-12


def fewest_flops(networks: Sequence[Network], batch_size: int) -> Array:
    """Real FLOPs that no plan of a layer undercuts, for each of these networks of equal labels.

    With c(S) the fewest that contract a set S of operands into one array, and the labels that this has,

    .. math:: c(S) = \\min_{S = T \\cup U} c(T) + c(U) + \\mathrm{FLOPs}(T, U)

    over all ways to split S in two.  It is reached by some order of up to nine operands; of more, only what the
    largest of input and output takes is counted.

    Examples
    --------
    >>> import tlinear
    >>> layers = [tlinear.TTTensor.random((4, 4), (2, 5), rank, rng=0).layer_network for rank in (2, 3)]
    >>> [int(np.ceil(n)) for n in fewest_flops(layers, 100)]
    [10608, 16068]
    """
    first = networks[0]
    sizes = {label: np.array([float(network.sizes[label]) for network in networks]) for label in first.sizes}
    sizes[BATCH] = np.full(len(networks), float(batch_size))

    def size(labels: frozenset[int] | Labels) -> Array:
        return np.asarray(math.prod((sizes[label] for label in labels), start=np.ones(len(networks))))

    n = len(first.inputs)
    if n > _MOST_OPERANDS:
        return np.maximum(size(first.inputs[0]), size(first.output)) * (1.0 - _ROUNDING)
    held = _held(first)
    cost: dict[int, Array] = {1 << k: np.zeros(len(networks)) for k in range(n)}
    sized: dict[frozenset[int], Array] = {}
    for group in sorted(range(1, 1 << n), key=int.bit_count):
        if group in cost:
            continue
        part = (group - 1) & group
        best = np.full(len(networks), np.inf)
        while part:
            rest = group ^ part
            if part > rest:  # each way once
                both = held[part] | held[rest]
                if both not in sized:
                    sized[both] = size(both)
                flops = sized[both] if both == held[group] else 2.0 * sized[both]
                np.minimum(best, cost[part] + cost[rest] + flops, out=best)
            part = (part - 1) & group
        cost[group] = best
    return cost[(1 << n) - 1] * (1.0 - _ROUNDING)


def _held(network: Network) -> list[frozenset[int]]:
    """The labels of what every set of operands is contracted into, by the bits of its number."""
    held = []
    for group in range(1 << len(network.inputs)):
        inside, outside = (
            [labels for k, labels in enumerate(network.reduced_inputs) if group >> k & 1 == bit] for bit in (1, 0)
        )
        held.append(frozenset().union(*inside) & network.kept(outside))
    return held
