"""What a pairwise contraction is to the cost model: its sizes, and how its operands are read and its result written."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tlinear.contraction.network import Labels

__all__ = [
    "Manner",
    "Work",
    "Writing",
    "common_end",
    "common_runs",
    "manner_of",
    "order_of",
    "stand_together",
    "work_of",
    "writing_of",
]

_FEW_COLUMNS = 16
_FEW_ROWS = 128
_SHORT_LINE = 8
_LONG_LINE = 16


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
        return self.contracted >= _LONG_LINE * self.right and self.rows <= _FEW_ROWS

    @property
    def entries_summed(self) -> int:
        """What the gradient of B is summed from: one matrix for each value of the loops, if there are several."""
        return self.a // self.rows * self.right if self.manner.sums_loops else 0


def work_of(
    size: Callable[[Labels], int], sizes: tuple[int, int, int, int, int], manner: Manner, writing: Writing
) -> Work:
    """The work of a pair whose operands, rows, contracted and right labels have these sizes; any labels have `size`."""
    ends_with_rows, scatters, is_flat, line = writing
    lines = size(line), size(manner.line_a), size(manner.line_b)
    return Work(*sizes, manner, ends_with_rows, scatters, is_flat, *lines)


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
