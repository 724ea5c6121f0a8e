"""What is contracted: operands whose axes carry integer labels.

A network means ``out[output labels] = sum over all other labels of the product of
the operands``, as in einsum, with integers for letters so that they never run out.
Three kinds of label are told apart by their value alone, so that a person reading a
plan or a trace sees which is which:

=====================  =====================================  ==============
labels                 axes                                   printed
=====================  =====================================  ==============
``BATCH`` = -1         the flattened batch axes of the input  ``b``
0 .. n_in - 1          the input modes                        ``i1 i2 ..``
n_in .. n_modes - 1    the output modes                       ``o1 o2 ..``
n_modes ..             the ranks                              ``r1 r2 ..``
=====================  =====================================  ==============
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tlinear.errors import NetworkError, ShapeError
from tlinear.shapes import MOST_MODES

__all__ = ["BATCH", "Label", "Labels", "Network"]

Label = int
Labels = tuple[int, ...]

BATCH: Label = -1


@dataclass(frozen=True)
class Network:
    """Operands by name, the labels of their axes, the labels of the result, and every size.

    The batch label has no size here: a network is the same for every batch.

    Attributes
    ----------
    names : tuple of str
        The name of each operand.
    inputs : tuple of labels
        The labels of the axes of each operand.
    output : labels
        The labels of the axes of the result.
    label_sizes : tuple of (label, size)
        The size of every label but the batch.
    n_in, n_modes : int
        How many of the labels are input modes, and modes at all.

    Examples
    --------
    The product of a 2x3 and a 3x4 matrix, whose shared label 2 is a rank:

    >>> product = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 4), (2, 3)), n_in=1, n_modes=2)
    >>> print(product)
    A[i1 r1] B[r1 o1] -> [i1 o1]
    >>> product.shape(product.inputs[1])
    (3, 4)
    """

    names: tuple[str, ...]
    inputs: tuple[Labels, ...]
    output: Labels
    label_sizes: tuple[tuple[Label, int], ...]
    n_in: int
    n_modes: int

    def __post_init__(self) -> None:
        for name, labels in zip(self.names, self.inputs, strict=True):
            if len(set(labels)) < len(labels):
                raise NetworkError(
                    f"Operand {name!r} carries a label twice: {self.describe(labels)}. "
                    "Take its diagonal first, so that each of its axes has a label of its own."
                )
        unknown = {label for labels in self.inputs for label in labels} - set(self.sizes) - {BATCH}
        missing = set(self.output) - {label for labels in self.inputs for label in labels}
        if unknown or missing:
            raise NetworkError(
                f"Labels without a size: {sorted(unknown)}; output labels that no operand carries: {sorted(missing)}. "
                f"The network is {self}."
            )

    @cached_property
    def sizes(self) -> Mapping[Label, int]:
        """The size of every label but the batch."""
        return dict(self.label_sizes)

    @cached_property
    def _hash(self) -> int:
        return hash((self.inputs, self.output, self.label_sizes))

    def __hash__(self) -> int:
        return self._hash

    def shape(self, labels: Sequence[Label], batch_size: int = 1) -> tuple[int, ...]:
        """The sizes of `labels`."""
        return tuple(batch_size if label == BATCH else self.sizes[label] for label in labels)

    def size(self, labels: Sequence[Label], batch_size: int = 1) -> int:
        """The number of entries of an array with these labels."""
        known = self._products.get(tuple(labels))
        if known is None:
            known = self._products[tuple(labels)] = math.prod(self.shape(labels)), BATCH in labels
        n, has_batch = known
        return n * batch_size if has_batch else n

    @cached_property
    def _products(self) -> dict[Labels, tuple[int, bool]]:
        return {}

    @cached_property
    def n_parameters(self) -> int:
        """The number of entries of all operands together."""
        return sum(self.size(labels) for labels in self.inputs)

    @cached_property
    def lone_labels(self) -> tuple[Labels, ...]:
        """For each operand, the labels that it alone carries and the output does not: it is summed over them first."""
        count = Counter(label for labels in (self.output, *self.inputs) for label in labels)
        return tuple(tuple(label for label in labels if count[label] == 1) for labels in self.inputs)

    @cached_property
    def reduced_inputs(self) -> tuple[Labels, ...]:
        """The labels of every operand once it is summed over those that it alone carries."""
        return tuple(
            tuple(label for label in labels if label not in lone)
            for labels, lone in zip(self.inputs, self.lone_labels, strict=True)
        )

    def kept(self, others: Iterable[Labels]) -> set[Label]:
        """The labels that a result must keep: the output's, and those of the others still to be contracted."""
        return set(self.output).union(*others)

    def with_input(self) -> Network:
        """The network of the layer: the input ``x[b, i1..in]`` joined to this one, with the result ``y[b, o1..om]``."""
        most = max(self.n_in, self.n_modes - self.n_in)
        if most >= MOST_MODES:
            raise ShapeError(
                f"One side has {most} modes, but an array can have {MOST_MODES} axes, the batch among them. Choose "
                "fewer modes."
            )
        return Network(
            names=("x", *self.names),
            inputs=((BATCH, *range(self.n_in)), *self.inputs),
            output=(BATCH, *range(self.n_in, self.n_modes)),
            label_sizes=self.label_sizes,
            n_in=self.n_in,
            n_modes=self.n_modes,
        )

    def symbol(self, label: Label) -> str:
        """The printed form of a label."""
        if label == BATCH:
            return "b"
        if label < self.n_in:
            return f"i{label + 1}"
        if label < self.n_modes:
            return f"o{label - self.n_in + 1}"
        return f"r{label - self.n_modes + 1}"

    def describe(self, labels: Sequence[Label]) -> str:
        """Labels in brackets, as they stand behind an operand's name."""
        return "[" + " ".join(self.symbol(label) for label in labels) + "]"

    def __str__(self) -> str:
        operands = " ".join(name + self.describe(labels) for name, labels in zip(self.names, self.inputs, strict=True))
        return f"{operands} -> {self.describe(self.output)}"
