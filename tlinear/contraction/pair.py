"""One pairwise contraction ``C = sum A * B`` as one call of matmul on views of the arrays as they lie.

An array is contiguous in the order of its labels.  The labels of A and B fall into four groups:

========== =========== =========== =========
group      in A        in B        in C
========== =========== =========== =========
shared     yes         yes         yes
left       yes         no          yes
contracted yes         yes         no
right      no          yes         yes
========== =========== =========== =========

With something to contract it is ``C[loops, rows, right] = A[loops, rows, contracted] @ B[shared,
contracted, right]``: the rows are some of the left labels, the loops are all others that A keeps.
BLAS reads and writes a matrix in which one of the two axes has a unit stride, whatever the other's.
So A is read as it lies where its rows and its contracted labels each stand side by side and one of
the two comes last, and C may lie in any order that ends with the rows or with the right labels.  B
is small, or has no batch, and is arranged once for all chunks of one.

With nothing to contract it is the broadcast product ``C = A * B``, of which the Khatri-Rao product
is an example.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tlinear.contraction.network import BATCH, Labels, Network

__all__ = [
    "Manner",
    "Pair",
    "Work",
    "Writing",
    "common_end",
    "common_runs",
    "manner_of",
    "stand_together",
    "work_of",
    "writing_of",
]


_FEW_COLUMNS = 16
_SHORT_LINE = 8
_LONG_LINE = 16
_MOST_SUMMED = 1 << 18
_WORKS_KEPT = 64


class Manner(NamedTuple):
    """How the operands of a pair are read, as far as that takes time.

    Attributes
    ----------
    by_entries : bool
        Whether it is done entry by entry, not as products of matrices.
    copies_a, copies_b : bool
        Whether the operand is rearranged first.
    sums_loops : bool
        Whether the gradient of B is summed from one matrix for each value of the loops.
    scatters_a : bool
        Whether loops lie between the rows and the contracted labels of A.
    a_ends_with_rows : bool
        Whether a line of A goes over the rows.
    a_is_flat : bool
        Whether A is read as it lies, and the loops in front of the rows, so that they are but more rows.
    b_has_loops : bool
        Whether B has any of the loops.
    line_a, line_b : labels
        The last ones of an operand that is rearranged, as far as they stay where they are.
    """

    by_entries: bool
    copies_a: bool
    copies_b: bool
    sums_loops: bool
    scatters_a: bool
    a_ends_with_rows: bool
    a_is_flat: bool
    b_has_loops: bool
    line_a: Labels
    line_b: Labels


class Writing(NamedTuple):
    """How the result of a pair is written, as far as that takes time.

    Attributes
    ----------
    ends_with_rows : bool
        Whether a line of the result goes over the rows.
    scatters : bool
        Whether loops lie between the rows and the right labels.
    is_flat : bool
        Whether the loops lie in front of the rows, and these in front of the right labels.
    line : labels
        Of a product, the last ones of the result that an operand has all of, side by side, or none.
    """

    ends_with_rows: bool
    scatters: bool
    is_flat: bool
    line: Labels


class Work(NamedTuple):
    """What a pair is to the cost model: pairs that are the same work take the same time.

    Attributes
    ----------
    a, b : int
        The entries of the operands.
    rows, contracted, right : int
        The sizes of the axes of the matrices.
    manner : Manner
        How the operands are read.
    ends_with_rows, scatters, is_flat : bool
        How the result is written.
    line, line_a, line_b : int
        The entries that a product computes at a time, and those that a copy of an operand copies at a time.
    """

    a: int
    b: int
    rows: int
    contracted: int
    right: int
    manner: Manner
    ends_with_rows: bool
    scatters: bool
    is_flat: bool
    line: int
    line_a: int
    line_b: int

    @property
    def out(self) -> int:
        """The entries of the result, which has the axes of A but the contracted ones, and the right ones."""
        return self.a // self.contracted * self.right

    @property
    def loops(self) -> int:
        """How many matrix products it is."""
        return self.a // (self.rows * self.contracted)

    @property
    def can_flatten(self) -> bool:
        """Whether it is one product of matrices that are taller, of operands that may lie otherwise."""
        return self.loops > 1 and not self.manner.by_entries and not self.manner.b_has_loops

    @property
    def turns_b(self) -> bool:
        """Whether B is read with its contracted labels last: for BLAS, of a few long columns, or short ones."""
        if self.right == 1 or self.right > _FEW_COLUMNS or self.b > self.contracted * self.right:
            return False
        if self.manner.a_ends_with_rows:
            return self.contracted <= _SHORT_LINE and not self.ends_with_rows
        return self.contracted >= _LONG_LINE * self.right

    @property
    def entries_summed(self) -> int:
        """What the gradient of B is summed from: one matrix for each value of the loops, if there are several."""
        return self.a // self.rows * self.right if self.manner.sums_loops else 0


@dataclass(frozen=True)
class Pair:
    """How two arrays that lie as `a` and `b` are contracted into one that lies as `out`.

    Attributes
    ----------
    network : Network
        Which knows the sizes of the labels.
    a, b, out : labels
        In the order that the arrays lie in.
    lying : labels
        The order that A is copied into first; `a` itself where it is read as it lies.
    loops : tuple of labels
        Runs of labels, for each of whose values there is one matrix product.
    rows, contracted, right : labels
        The axes of the matrices.
    lines : bool
        Whether there are none: lines that both operands end with are multiplied entry by entry, and summed.

    Examples
    --------
    >>> net = Network(("A", "B"), ((0, 2), (2, 1)), (0, 1), ((0, 2), (1, 4), (2, 3)), n_in=1, n_modes=2)
    >>> pair = Pair(net, a=(0, 2), b=(2, 1), out=(0, 1), lying=(0, 2), loops=(), rows=(0,), contracted=(2,), right=(1,))
    >>> pair.flops(1)
    48
    """

    network: Network
    a: Labels
    b: Labels
    out: Labels
    lying: Labels
    loops: tuple[Labels, ...] = ()
    rows: Labels = ()
    contracted: Labels = ()
    right: Labels = ()
    lines: bool = False

    @cached_property
    def manner(self) -> Manner:
        """How the operands are read, as far as that takes time."""
        return manner_of(
            self.a,
            self.b,
            self.lying,
            loops=self.loops,
            rows=self.rows,
            contracted=self.contracted,
            right=self.right,
            lines=self.lines,
        )

    @cached_property
    def writing(self) -> Writing:
        """How the result is written, as far as that takes time."""
        groups = {"rows": self.rows, "contracted": self.contracted, "right": self.right}
        return writing_of(self.a, self.b, self.out, loops=self.loops, lines=self.lines, **groups)

    @property
    def is_product(self) -> bool:
        """Whether nothing is summed over."""
        return not self.contracted

    @property
    def by_entries(self) -> bool:
        """Whether it is done entry by entry, not as products of matrices."""
        return self.manner.by_entries

    @property
    def has_batch(self) -> bool:
        """Whether it is done anew for every chunk of a batch."""
        return BATCH in self.out or BATCH in self.a

    @property
    def copies_a(self) -> bool:
        """Whether A is rearranged first."""
        return self.manner.copies_a

    @cached_property
    def order_b(self) -> Labels:
        """The labels of B as it is arranged: the shared ones, run by run, the contracted and the right ones."""
        return order_of(self.b, loops=self.loops, contracted=self.contracted, right=self.right)

    @property
    def turned_order_b(self) -> Labels:
        """The same with the contracted labels last."""
        n_shared = len(self.order_b) - len(self.contracted) - len(self.right)
        return (*self.order_b[:n_shared], *self.right, *self.contracted)

    @property
    def lies_turned_b(self) -> bool:
        """Whether a single product finds B lying with its contracted labels last."""
        return bool(self.contracted) and not self.loops and self.b == self.turned_order_b != self.order_b

    @property
    def copies_b(self) -> bool:
        """Whether B must be rearranged to be read as matrices."""
        return self.manner.copies_b

    def entries_arranged(self, batch_size: int) -> int:
        """The entries of the copy of B that A meets, if it is one."""
        if self.by_entries:
            return 0
        is_turned = self.work(batch_size).turns_b
        is_copy = self.b != self.turned_order_b if is_turned else self.copies_b
        return self.size(self.b, batch_size) if is_copy else 0

    def size(self, labels: Labels, batch_size: int) -> int:
        """The number of entries of an array with these labels."""
        return self.network.size(labels, batch_size)

    def flops(self, batch_size: int) -> int:
        """Real multiplications and additions, of real operands."""
        return self.size((*self.out, *self.contracted), batch_size) * (1 if self.is_product else 2)

    def backward_flops(self, batch_size: int, pullbacks: int = 2) -> int:
        """Those of both pullbacks, or of B's."""
        n = self.size((*self.out, *self.contracted), batch_size)
        return sum(n * (1 if set(self.out) == set(labels) else 2) for labels in (self.b, self.a)[:pullbacks])

    def entries_moved(self, batch_size: int) -> int:
        """Entries read and written: both operands, the result, and each operand that must be copied first."""
        a, b, out = (self.size(labels, batch_size) for labels in (self.a, self.b, self.out))
        return a + b + out + 2 * a * self.copies_a + 2 * b * self.copies_b

    def backward_entries_moved(self, batch_size: int, pullbacks: int = 2) -> int:
        """Those of both pullbacks, or of B's, the gradients of B for each loop among them."""
        return pullbacks * self.entries_moved(batch_size) + (2 * self.entries_summed(batch_size) if pullbacks else 0)

    def entries_summed(self, batch_size: int) -> int:
        """What the gradient of B is summed from: one matrix for each value of the loops, if there are several."""
        loops = tuple(label for run in self.loops for label in run)
        return self.size((*loops, *self.contracted, *self.right), batch_size) if self.manner.sums_loops else 0

    def summed_at_once(self, batch_size: int) -> tuple[int, int, int]:
        """The largest loop that the gradient of B is summed over: its number, size, and how many values at a time."""
        axis = max(
            (k for k, run in enumerate(self.loops) if run[0] not in self.b),
            key=lambda k: self.size(self.loops[k], batch_size),
        )
        n, total = self.size(self.loops[axis], batch_size), self.entries_summed(batch_size)
        return axis, n, max(1, n * _MOST_SUMMED // max(total, 1))

    def entries_summed_at_once(self, batch_size: int) -> int:
        """How much of that is alive at once."""
        total = self.entries_summed(batch_size)
        if not total:
            return 0
        _, n, step = self.summed_at_once(batch_size)
        return total // n * min(step, n)

    @cached_property
    def _works(self) -> dict[int, Work]:
        return {}

    def work(self, batch_size: int) -> Work:
        """What it is to the cost model, of at least one sample."""
        found = self._works.get(batch_size)
        if found is None:
            if len(self._works) >= _WORKS_KEPT:
                self._works.clear()
            found = self._works[batch_size] = self._work(batch_size)
        return found

    def _work(self, batch_size: int) -> Work:
        a, b, rows, contracted, right = (
            self.size(labels, batch_size) for labels in (self.a, self.b, self.rows, self.contracted, self.right)
        )
        return work_of(self.network, batch_size, (a, b, rows, contracted, right), self.manner, self.writing)


def work_of(
    network: Network, batch_size: int, sizes: tuple[int, int, int, int, int], manner: Manner, writing: Writing
) -> Work:
    """The work of a pair whose operands, rows, contracted and right labels have these sizes."""
    line, line_a, line_b = (network.size(labels, batch_size) for labels in (writing.line, manner.line_a, manner.line_b))
    ends_with_rows, scatters, is_flat, _ = writing
    return Work(*sizes, manner, ends_with_rows, scatters, is_flat, line, line_a, line_b)


def stand_together(group: Sequence[int], labels: Labels) -> bool:
    """Whether the labels of a group stand side by side in `labels`, in the group's order."""
    if not group:
        return True
    start = labels.index(group[0])
    return labels[start : start + len(group)] == tuple(group)


def manner_of(
    a: Labels,
    b: Labels,
    lying: Labels,
    *,
    loops: Sequence[Labels],
    rows: Labels,
    contracted: Labels,
    right: Labels,
    lines: bool = False,
) -> Manner:
    """The manner of a pair with these labels."""
    by_entries = lines or not contracted
    together = stand_together(contracted, b) and stand_together(right, b)
    copies_b = not by_entries and not (together and (b[-1] in contracted or b[-1] in right))
    order_b = order_of(b, loops=loops, contracted=contracted, right=right)
    return Manner(
        by_entries=by_entries,
        copies_a=a != lying,
        copies_b=copies_b,
        sums_loops=any(run[0] not in b for run in loops),
        scatters_a=_lie_apart(rows, contracted, lying),
        a_ends_with_rows=bool(rows) and lying[-1] in rows,
        a_is_flat=a == (*(label for run in loops for label in run), *rows, *contracted),
        b_has_loops=any(run[0] in b for run in loops),
        line_a=common_end(a, lying) if a != lying else (),
        line_b=common_end(b, order_b) if copies_b else (),
    )


def order_of(b: Labels, *, loops: Sequence[Labels], contracted: Labels, right: Labels) -> Labels:
    """The labels of B as it is arranged: the shared ones, run by run, the contracted and the right ones."""
    shared = (label for run in loops for label in run if run[0] in b)
    return (*shared, *contracted, *right) if contracted else b


def common_end(first: Labels, second: Labels) -> Labels:
    """The last labels that two orders have in common."""
    n = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first[::-1], second[::-1], strict=False))
    )
    return first[len(first) - n :]


def writing_of(
    a: Labels,
    b: Labels,
    out: Labels,
    *,
    loops: Sequence[Labels],
    rows: Labels,
    contracted: Labels,
    right: Labels,
    lines: bool = False,
) -> Writing:
    """The writing of a pair with these labels."""
    if lines or not contracted:
        line = common_runs(out, (a, b))[-1] if out else ()
        return Writing(ends_with_rows=False, scatters=False, is_flat=False, line=line)
    return Writing(
        ends_with_rows=out[-1:] == rows[-1:],
        scatters=_lie_apart(rows, right, out),
        is_flat=out == (*(label for run in loops for label in run), *rows, *right),
        line=(),
    )


def common_runs(labels: Labels, others: Sequence[Labels]) -> list[Labels]:
    """`labels` cut wherever a label does not follow its predecessor in all of the others that have either."""
    runs: list[Labels] = []
    for label in labels:
        if runs and all(_follows(runs[-1][-1], label, other) for other in others):
            runs[-1] = (*runs[-1], label)
        else:
            runs.append((label,))
    return runs


def _follows(first: int, second: int, labels: Labels) -> bool:
    if first in labels and second in labels:
        return labels.index(second) == labels.index(first) + 1
    return first not in labels and second not in labels


def _lie_apart(first: Labels, second: Labels, labels: Labels) -> bool:
    """Whether other labels lie between two groups."""
    if not first or not second:
        return False
    places = [labels.index(label) for label in (*first, *second)]
    return max(places) - min(places) >= len(places)
