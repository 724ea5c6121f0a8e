"""How much memory a plan takes: the most bytes of arrays alive at once, counted as ``execute`` makes and drops them.

The input, the operands and a cotangent are the caller's and not counted; the result and the gradients are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tlinear.contraction.adjoint import Adjoint
from tlinear.contraction.network import Network
from tlinear.contraction.pair import Pair
from tlinear.contraction.step import Step

__all__ = ["Footprint", "Moment"]


class Moment(NamedTuple):
    """What is being done, to which step's pair, and the entries that are alive meanwhile."""

    doing: str
    step: Step | None
    entries: int


@dataclass(frozen=True)
class Footprint:
    """What a plan has alive, in entries."""

    network: Network
    weight_steps: tuple[Step, ...]
    batch_steps: tuple[Step, ...]
    batch_size: int
    chunk_size: int
    lies_in_order: bool
    is_complex: bool
    adjoint_of: Callable[[Pair, int], Adjoint]
    is_frozen: bool = False

    def forward_entries(self) -> int:
        """The most that is alive at a moment of a call."""
        return max((moment.entries for moment in self.forward_moments()), default=0)

    def training_entries(self, *, store: bool, has_dx: bool = True) -> int:
        """The most that is alive at a moment of a forward pass and its pullback."""
        return max(moment.entries for moment in self.training_moments(store=store, has_dx=has_dx))

    def forward_moments(self) -> Iterator[Moment]:
        """Of a call: what is contracted of the operands is dropped once used, and so is all of a chunk."""
        alive = yield from _weight_moments(self, drop=True)
        y = self.network.size(self.network.output, self.batch_size)
        in_chunks = self.batch_size > self.chunk_size
        yield from _chunk_moments(self, alive + y * in_chunks)
        if not (in_chunks or self.lies_in_order):
            yield Moment("put the result in order", self.batch_steps[-1] if self.batch_steps else None, 2 * y)

    def training_moments(self, *, store: bool, has_dx: bool = True) -> Iterator[Moment]:
        """Of a forward pass and its pullback to the operands, and the input, the result being kept until the end."""
        size, n, chunk = self.network.size, self.batch_size, min(self.chunk_size, self.batch_size)
        weights = yield from _weight_moments(self, drop=False)
        y, dx, inner = size(self.network.output, n), has_dx * size(self.network.inputs[0], n), self.batch_steps[:-1]
        held = weights + y + (sum(size(step.pair.out, n) for step in inner) if store else 0)
        if store:
            kept = weights
            for step in inner:
                kept += size(step.pair.out, n)
                yield Moment("contract", step, kept)
            yield Moment("contract", self.batch_steps[-1] if self.batch_steps else None, held)
        else:  # of a single chunk the last thing made is the result
            yield from _chunk_moments(self, weights + y * (n > chunk))
            yield Moment("put the result in order", None, weights + 2 * y * (not self.lies_in_order))
        anew = 0 if store else sum(size(step.pair.out, chunk) for step in inner)
        # conjugates of what the input meets are held too, and for a while those of what a step starts from
        conjugates = self.is_complex * sum(size(step.pair.b) for step in self.batch_steps)
        to_a = self.batch_steps[not has_dx :]
        turned = sum(size(step.pair.b) * self.adjoint_of(step.pair, chunk).turns_b for step in to_a)
        # the gradient of the input is written chunk by chunk, or made last
        gradients, alive = 0, held + dx * (n > chunk) + anew + max(conjugates, turned)
        if n > chunk:  # from the second chunk on the sums of all gradients are there
            gradients = sum(size(step.pair.b) for step in self.batch_steps)
        for step in reversed(self.batch_steps):
            pair, is_last = step.pair, step is self.batch_steps[-1]
            dc = 0 if is_last and self.lies_in_order else size(pair.out, chunk)
            da, db = size(pair.a, chunk) if step.a else dx * (n <= chunk), size(pair.b)
            conjugate = self.is_complex * size(pair.a, chunk)
            on_the_way_to_a, on_the_way_to_b = self._on_the_way(pair, chunk)
            yield Moment("pull back to b", step, alive + gradients + dc + conjugate + on_the_way_to_b + db)
            if n <= chunk:
                gradients += db
            yield Moment("pull back to a", step, alive + gradients + dc + on_the_way_to_a + da)
        alive = held + dx + gradients
        reordered = {
            step.b
            for step in (*self.weight_steps, *self.batch_steps)
            if step.pair.order_b != step.pair.b and not step.pair.lies_turned_b
        }
        for step in reversed(self.weight_steps):
            pair = step.pair
            db, da = size(pair.b), size(pair.a)
            if step.out in reordered:
                yield Moment("put the gradient in order", step, alive + size(pair.out))
            on_the_way_to_a, on_the_way_to_b = self._on_the_way(pair, 1)
            yield Moment("pull back to b", step, alive + db + on_the_way_to_b + self.is_complex * da)
            met = pair.entries_arranged(1) + db * (self.is_complex + self.adjoint_of(pair, 1).turns_b)
            yield Moment("pull back to a", step, alive + db + da + on_the_way_to_a + met)
            alive += db + da - size(pair.out)
        yield Moment("hand back the gradients", None, alive)

    def _on_the_way(self, pair: Pair, n_samples: int) -> tuple[int, int]:
        """The copies, and what is summed, in the pullbacks to the operands of a pair."""
        adjoint = self.adjoint_of(pair, n_samples)
        a, out = pair.size(pair.a, n_samples), pair.size(pair.out, n_samples)
        copied_out = 0 if pair.writing.is_flat else out
        to_a = a + copied_out if adjoint.flattens_a else pair.copies_a * a
        if adjoint.flattens_b:
            return to_a, (0 if pair.manner.a_is_flat else a) + copied_out
        return to_a, pair.copies_a * a + pair.entries_summed_at_once(n_samples)


def _weight_moments(plan: Footprint, *, drop: bool) -> Generator[Moment, None, int]:
    """While all that has no batch is contracted and arranged; returns what is alive once it is.

    In a frozen layer it is there already.
    """
    if plan.is_frozen:
        return 0
    size, n = plan.network.size, len(plan.network.inputs)
    out = {step.out: size(step.pair.out) for step in plan.weight_steps}
    alive = 0
    for step in plan.weight_steps:
        alive += out[step.out]
        yield Moment("contract", step, alive + _rearranged(step))
        if drop:
            alive -= sum(out[slot] for slot in (step.a, step.b) if slot >= n)
    chunk = max(min(plan.chunk_size, plan.batch_size), 1)
    alive += sum(step.pair.entries_arranged(chunk) for step in plan.batch_steps)
    yield Moment("arrange what the input meets", None, alive)
    return alive


def _rearranged(step: Step) -> int:
    """The copies that a step without a batch makes of its operands."""
    pair = step.pair
    return pair.copies_a * pair.network.size(pair.a) + pair.entries_arranged(1)


def _chunk_moments(plan: Footprint, alive: int) -> Iterator[Moment]:
    """While the steps of one chunk are done, beside what is alive already."""
    size, chunk = plan.network.size, min(plan.chunk_size, plan.batch_size)
    into_result = plan.batch_size > plan.chunk_size and plan.lies_in_order
    for number, step in enumerate(plan.batch_steps, start=1):
        pair = step.pair
        started_from = size(pair.a, chunk) if step.a else 0
        last = number == len(plan.batch_steps)
        made = 0 if last and into_result else size(pair.out, chunk)
        yield Moment("contract", step, alive + started_from + pair.copies_a * size(pair.a, chunk) + made)
