"""The layers that the engine is measured by, and the fewest FLOPs that any order of their contraction takes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from tlinear.contraction.network import BATCH, Label, Network
from tlinear.contraction.options import Mode

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """A layer of the grid."""

    name: str
    in_shape: Shape
    out_shape: Shape
    rank: int | float
    formats: tuple[str, ...] = ("cp", "tucker", "blocktt", "tt")

    @property
    def title(self) -> str:
        return f"{math.prod(self.in_shape)}->{math.prod(self.out_shape)}, rank {self.rank}"


GRID = {
    setting.name: setting
    for setting in (
        Setting("seed", (4, 4), (2, 5), 0.5),
        Setting("768", (8, 8, 12), (8, 8, 12), 0.1),
        Setting("3072", (8, 8, 12), (12, 16, 16), 0.1),
        Setting("1024", (4, 8, 8, 4), (4, 8, 8, 4), 8),
        Setting("4096", (8, 8, 8, 8), (8, 8, 8, 8), 0.01),
        Setting("fc6", (2, 7, 8, 8, 7, 4), (4, 4, 4, 4, 4, 4), 4, ("cp", "blocktt")),
    )
}


FORMATS = GRID["seed"].formats
BATCHES = (1, 32, 100, 1024)
MODES: dict[str, Mode] = {"forward": "forward", "forward+backward": "training"}
IMPLEMENTATIONS = ("factorized", "reconstructed", "auto")
FLOAT = np.dtype(np.float32)


def size(network: Network, labels: Iterable[Label], batch: int) -> int:
    return math.prod(batch if label == BATCH else network.sizes[label] for label in labels)


@cache
def _submasks(mask: int) -> np.ndarray:
    """All subsets of a set of bits, the empty one first and the set itself last."""
    if not mask:
        return np.zeros(1, np.int64)
    top = 1 << (mask.bit_length() - 1)
    below = _submasks(mask ^ top)
    return np.concatenate([below, below | top])


@cache
def fewest_flops(network: Network, batch: int) -> int:
    """The fewest FLOPs of any pairwise order, outer products among them: the best split of every set of operands.

    A pair costs the product of all its sizes, twice where it sums.
    """
    labels = [label for label in (BATCH, *network.sizes) if size(network, [label], batch) > 1]
    bit = {label: 1 << k for k, label in enumerate(labels)}
    sizes = np.ones(1)
    for label in labels:
        sizes = np.concatenate([sizes, sizes * size(network, [label], batch)])
    carried = [sum(bit.get(label, 0) for label in axes) for axes in network.inputs]
    output = sum(bit.get(label, 0) for label in network.output)
    every = (1 << len(carried)) - 1
    touched = np.zeros(every + 1, np.int64)
    for k, mask in enumerate(carried):
        touched[np.flatnonzero(np.arange(every + 1) >> k & 1)] |= mask
    kept = touched & (output | touched[every - np.arange(every + 1)])
    best = np.zeros(every + 1)
    for group in range(1, every + 1):
        last = group & -group
        if group == last:
            continue
        left = _submasks(group ^ last)[:-1] | last
        right = group ^ left
        joined = kept[left] | kept[right]
        best[group] = np.min(best[left] + best[right] + sizes[joined] * np.where(joined != kept[group], 2, 1))
    return int(best[every])
