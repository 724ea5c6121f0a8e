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
is an example.  Where both operands end with the same shared labels, such as the rank of CP, their lines
may be multiplied entry by entry too, and summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.work import Manner, Work, Writing, manner_of, order_of, work_of, writing_of

__all__ = ["Pair"]

_MOST_SUMMED = 1 << 18
_WORKS_KEPT = 64


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
        size = partial(self.network.size, batch_size=batch_size)
        return work_of(size, (a, b, rows, contracted, right), self.manner, self.writing)
