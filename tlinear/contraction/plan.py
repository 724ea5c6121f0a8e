"""How a network is contracted: the pairs, in order, and the samples at a time, with what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

from tlinear.arrays import NUMPY, DType, Space
from tlinear.contraction.adjoint import Adjoint
from tlinear.contraction.backward import Backward, Needs
from tlinear.contraction.compile import kernel_of
from tlinear.contraction.cost import CostModel, flops_per_multiply
from tlinear.contraction.hardware import MODELS, Hardware
from tlinear.contraction.kernel import Kernel, Read
from tlinear.contraction.memory import Footprint, Moment
from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.options import Mode, is_training
from tlinear.contraction.pair import Pair
from tlinear.contraction.step import Step
from tlinear.contraction.table import printed
from tlinear.contraction.work import common_end

__all__ = ["Plan", "Step", "n_chunks", "n_pullbacks", "weight_share"]

_PROGRAMS_KEPT = 64
_CALLS_WHEN_FROZEN = 1000


@dataclass(frozen=True)
class Plan:
    """What will be computed, in order.  ``print(plan)`` explains it.

    Attributes
    ----------
    network : Network
        What is contracted.
    implementation : {'factorized', 'reconstructed'}
        Whether the input meets the operands one by one, or the rebuilt weight.
    mode : {'forward', 'training', 'parameters', 'frozen'}
        Whether the backward pass is counted in the cost, of all operands or of all but the input; and whether what
        has no batch is: it is there in a frozen layer.
    batch_size : int
        The number of samples that the figures below are for.
    dtype : dtype
        What is computed in.
    steps : tuple of Step
        The pairs in order.
    chunk_size : int
        How many samples pass through the steps that have a batch at a time.
    memory : {'store', 'recompute'}
        Whether a training plan keeps its intermediates for the backward pass, or computes them anew.
    reason : str
        Why ``'auto'`` took this implementation; empty where it was asked for.
    hardware : {'cpu', 'gpu'}
        Whose cost model it was searched by.
    space : Space
        The library and device whose arrays it is worked out for.
    """

    network: Network
    implementation: Literal["factorized", "reconstructed"]
    mode: Mode
    batch_size: int
    dtype: DType
    steps: tuple[Step, ...]
    chunk_size: int
    memory: Literal["store", "recompute"] = "store"
    reason: str = ""
    hardware: Hardware = "cpu"
    space: Space = NUMPY

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the fields alone, from which the kernels follow."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def on(self, space: Space) -> Plan:
        """The same plan for the arrays of another space; worked out once."""
        if space is self.space:
            return self
        found = self._elsewhere.get(space)
        if found is None:
            found = self._elsewhere[space] = replace(self, space=space)
        return found

    @cached_property
    def _elsewhere(self) -> dict[Space, Plan]:
        return {}

    @property
    def model(self) -> CostModel:
        """What the time is predicted by."""
        return MODELS[self.hardware]

    @cached_property
    def weight_steps(self) -> tuple[Step, ...]:
        """The steps that have no batch: done once a call."""
        return tuple(step for step in self.steps if not step.pair.has_batch)

    @cached_property
    def batch_steps(self) -> tuple[Step, ...]:
        """The steps that the input passes through, each from the one before: done for every chunk."""
        return tuple(step for step in self.steps if step.pair.has_batch)

    @cached_property
    def arranging(self) -> tuple[tuple[Read, int], ...]:
        """For each of those, how what the input meets is arranged, and the slot that it is in."""
        # any number of samples meets it then, but a whole chunk meets it best
        kernels = self.batch_kernels(max(min(self.chunk_size, self.batch_size), 1))
        return tuple((kernel.arrange, step.b) for kernel, step in zip(kernels, self.batch_steps, strict=True))

    @cached_property
    def _batch_kernels(self) -> dict[int, tuple[Kernel, ...]]:
        return {}

    def batch_kernels(self, n_samples: int) -> tuple[Kernel, ...]:
        """The batch steps, worked out for this many samples."""
        found = self._batch_kernels.get(n_samples)
        if found is None:
            if len(self._batch_kernels) >= _PROGRAMS_KEPT:
                self._batch_kernels.clear()
            found = self._batch_kernels[n_samples] = tuple(
                kernel_of(step.pair, n_samples, self.adjoint_of(step.pair, n_samples), self.space)
                for step in self.batch_steps
            )
        return found

    def adjoint_of(self, pair: Pair, n_samples: int) -> Adjoint:
        """How the pullbacks to the operands of a pair are done."""
        if self.mode == "forward":
            return Adjoint()
        n_times = n_chunks(self.batch_size, self.chunk_size) if pair.has_batch else 1
        return self.model.adjoint_of(pair, n_samples, self.dtype, n_times=max(n_times, 1))

    @property
    def is_training(self) -> bool:
        """Whether a backward pass follows."""
        return is_training(self.mode)

    def pullbacks(self, pair: Pair) -> int:
        """To how many of its operands a pair is pulled back."""
        return n_pullbacks(self.network, self.mode, pair.a)

    @cached_property
    def done_in_a_call(self) -> tuple[Pair, ...]:
        """The pairs that every call contracts: of a frozen layer only those that the input passes through."""
        return tuple(step.pair for step in (self.batch_steps if self.mode == "frozen" else self.steps))

    @cached_property
    def done_anew(self) -> tuple[Pair, ...]:
        """The pairs that the backward pass contracts anew: all that the input passes through, but the last."""
        is_anew = self.is_training and self.memory == "recompute"
        return tuple(step.pair for step in self.batch_steps[:-1]) if is_anew else ()

    @property
    def flops(self) -> int:
        """Real floating-point operations."""
        n = self.batch_size
        forward = sum(pair.flops(n) for pair in (*self.done_in_a_call, *self.done_anew))
        backward = sum(pair.backward_flops(n, self.pullbacks(pair)) for pair in self.done_in_a_call)
        return (forward + backward) * flops_per_multiply(self.dtype)

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written by the steps, copies of rearranged operands included."""
        n = self.batch_size
        forward = sum(pair.entries_moved(n) for pair in (*self.done_in_a_call, *self.done_anew))
        backward = sum(pair.backward_entries_moved(n, self.pullbacks(pair)) for pair in self.done_in_a_call)
        return (forward + backward) * self.dtype.itemsize

    @property
    def seconds(self) -> float:
        """The time that the cost model predicts, on the core its rates were measured on."""
        n, size = n_chunks(self.batch_size, self.chunk_size), min(self.chunk_size, self.batch_size)
        pairs, share = [step.pair for step in self.steps], weight_share(self.mode)
        total = self.model.all_seconds(pairs, n, size, self.dtype, pullbacks=self.pullbacks, weight_share=share)
        total += self.model.all_seconds(self.done_anew, n, size, self.dtype)
        if self.is_training and self.memory == "store":
            total += self.model.storing_seconds(self.stored_entries * self.dtype.itemsize)
        if not self.lies_in_order:
            n_entries = self.network.size(self.network.output, self.batch_size)
            line = self.network.size(common_end(self.last_labels, self.network.output), self.batch_size)
            total += self.model.copy_seconds(n_entries, self.dtype, line) * (2 if self.is_training else 1)
        return total

    def _seconds_of(self, pair: Pair) -> float:
        """What a pair takes of a forward pass."""
        n, size = n_chunks(self.batch_size, self.chunk_size), min(self.chunk_size, self.batch_size)
        return self.model.all_seconds([pair], n, size, self.dtype, weight_share=weight_share(self.mode))

    @property
    def stored_entries(self) -> int:
        """The entries of the intermediates of the input, which a training plan keeps or computes anew."""
        return sum(self.network.size(step.pair.out, self.batch_size) for step in self.batch_steps[:-1])

    @property
    def footprint(self) -> Footprint:
        """What is alive at once, for either policy of a training plan."""
        steps = ((), self.batch_steps) if self.mode == "frozen" else (self.weight_steps, self.batch_steps)
        is_complex = self.dtype.kind == "c"
        sizes, is_frozen = (self.batch_size, self.chunk_size), self.mode == "frozen"
        return Footprint(self.network, *steps, *sizes, self.lies_in_order, is_complex, self.adjoint_of, is_frozen)

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive at once of what is computed: intermediates, rearranged copies, result, gradients."""
        return max((moment.entries for moment in self.moments()), default=0) * self.dtype.itemsize

    def moments(self) -> Iterator[Moment]:
        """What is done one after another, and the entries alive meanwhile; of several chunks the one that needs most.

        Examples
        --------
        >>> import tlinear
        >>> layer = tlinear.FactorizedLinear((8, 8), (8, 8), factorization="blocktt", rank=2, rng=0)
        >>> plan = layer.with_options(implementation="factorized").plan(batch_size=1)
        >>> for moment in plan.moments():
        ...     print(moment.doing, moment.step and moment.step.name, moment.entries)
        arrange what the input meets None ...
        contract t1 ...
        contract result ...
        """
        if self.is_training:
            return self.footprint.training_moments(store=self.memory == "store", has_dx=self.mode != "parameters")
        return self.footprint.forward_moments()

    @cached_property
    def reductions(self) -> dict[int, tuple[int, ...]]:
        """The axes that operands are summed over before anything else, by their numbers.

        Most labels that one operand alone carries are bonds of size 1: there is nothing to sum over these.
        """
        network = self.network
        return {
            number: tuple(labels.index(label) for label in lone)
            for number, (labels, lone) in enumerate(zip(network.inputs, network.lone_labels, strict=True))
            if lone and (BATCH in lone or network.size(lone) != 1)
        }

    @cached_property
    def operand_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each operand, -1 standing for the number of samples."""
        network = self.network
        return tuple(
            tuple(-1 if label == BATCH else network.size((label,)) for label in labels) for labels in network.inputs
        )

    @cached_property
    def all_operands(self) -> tuple[int, ...]:
        """The numbers of all operands."""
        return tuple(range(len(self.network.inputs)))

    @cached_property
    def weight_program(self) -> tuple[tuple[Kernel, int, int], ...]:
        """The weight steps, worked out, with the slots of their operands."""
        return tuple(
            (kernel_of(step.pair, 1, self.adjoint_of(step.pair, 1), self.space), step.a, step.b)
            for step in self.weight_steps
        )

    @cached_property
    def _sample_shape(self) -> tuple[int, ...]:
        return self.network.shape([label for label in self.network.output if label != BATCH])

    def output_shape(self, n_samples: int) -> tuple[int, ...]:
        """The shape of the result."""
        return (n_samples, *self._sample_shape) if BATCH in self.network.output else self._sample_shape

    @cached_property
    def _needs(self) -> dict[tuple[int, ...], Needs]:
        return {}

    def needs(self, wanted: tuple[int, ...]) -> Needs:
        """What of a backward pass the gradients of the operands of these numbers depend on."""
        found = self._needs.get(wanted)
        if found is None:
            if len(self._needs) >= _PROGRAMS_KEPT:
                self._needs.clear()
            n, kernels = len(self.network.inputs), self.batch_kernels(1)
            found = self._needs[wanted] = Needs.of(n, self.steps, kernels, wanted)
        return found

    @cached_property
    def _backwards(self) -> dict[tuple[int, tuple[int, ...]], Backward]:
        return {}

    def backward(self, n_samples: int, wanted: tuple[int, ...]) -> Backward:
        """The way of a cotangent of this many samples to the operands of these numbers, as far as it has a batch."""
        found = self._backwards.get((n_samples, wanted))
        if found is None:
            if len(self._backwards) >= _PROGRAMS_KEPT:
                self._backwards.clear()
            found = Backward.through(self.batch_kernels(n_samples), self.needs(wanted))
            self._backwards[n_samples, wanted] = found
        return found

    @cached_property
    def output_axes(self) -> tuple[int, ...]:
        """The axes of the last result, in the order that the network's output asks for."""
        return tuple(self.last_labels.index(label) for label in self.network.output)

    @cached_property
    def last_labels(self) -> Labels:
        """The labels of the last result as it lies."""
        return self.steps[-1].pair.out if self.steps else self.network.reduced_inputs[0]

    @cached_property
    def axes_of_last(self) -> tuple[int, ...]:
        """The axes of a result in order, in the order that the last result lies in."""
        return tuple(self.network.output.index(label) for label in self.last_labels)

    @cached_property
    def lies_in_order(self) -> bool:
        """Whether the last result lies as the network's output asks for; the axis of one sample may be anywhere."""
        lying, asked = self.last_labels, self.network.output
        if self.batch_size <= 1:
            lying, asked = (tuple(label for label in labels if label != BATCH) for labels in (lying, asked))
        return lying == asked

    def slot_name(self, slot: int) -> str:
        """The name of an operand or of a step's result."""
        n = len(self.network.names)
        return self.network.names[slot] if slot < n else self.steps[slot - n].name

    def equation(self, step: Step) -> str:
        """A step as it would be written: ``t1[b o1 r1] = x[b i1] * cores.0[..]``."""
        pair, describe = step.pair, self.network.describe
        left, right = self.slot_name(step.a) + describe(pair.a), self.slot_name(step.b) + describe(pair.b)
        return f"{step.name}{describe(pair.out)} = {left} * {right}"

    @property
    def dense_seconds(self) -> float:
        """The predicted time of the dense layer ``x @ W``, its weight being there; of a network without a batch, 0."""
        network = self.network
        if BATCH not in network.output:
            return 0.0
        n_in, n_out = (network.size(labels[1:]) for labels in (network.inputs[0], network.output))
        dense = Network(("x", "weight"), ((BATCH, 0), (0, 1)), (BATCH, 1), ((0, n_in), (1, n_out)), n_in=1, n_modes=2)
        x, weight, y = (BATCH, 0), (0, 1), (BATCH, 1)
        pair = Pair(dense, x, weight, y, lying=x, rows=(BATCH,), contracted=(0,), right=(1,))
        return self.model.seconds(pair, self.batch_size, self.dtype, pullbacks=self.pullbacks(pair))

    def to_dict(self) -> dict[str, Any]:
        """The plan and its figures as what JSON can hold: seconds, bytes and FLOPs for all samples together."""
        network, scale = self.network, flops_per_multiply(self.dtype)
        steps = [
            {
                "name": step.name,
                "equation": self.equation(step),
                "shape": list(network.shape(step.pair.out, self.batch_size)),
                "flops": step.pair.flops(self.batch_size) * scale,
                "bytes_moved": step.pair.entries_moved(self.batch_size) * self.dtype.itemsize,
                "seconds": self._seconds_of(step.pair),
            }
            for step in self.steps
        ]
        names = [*("implementation", "reason", "mode", "memory", "batch_size", "chunk_size")]
        names += ["flops", "bytes_moved", "peak_bytes"]
        figures = {name: getattr(self, name) for name in (*names, "seconds", "dense_seconds")}
        return {"network": str(network), "dtype": str(self.dtype), **figures, "steps": steps}

    def __str__(self) -> str:
        return printed(self.to_dict())


def n_chunks(batch_size: int, chunk_size: int) -> int:
    """Into how many chunks a batch is cut."""
    return -(-batch_size // chunk_size)


def weight_share(mode: Mode) -> float:
    """The part of the time that one call takes for what has no batch: a frozen layer does that once for many."""
    return 1 / _CALLS_WHEN_FROZEN if mode == "frozen" else 1.0


def n_pullbacks(network: Network, mode: Mode, a: Labels) -> int:
    """To how many of its operands a pair is pulled back whose first one has these labels: the input may need none."""
    if not is_training(mode):
        return 0
    return 1 if mode == "parameters" and set(a) == set(network.reduced_inputs[0]) else 2
