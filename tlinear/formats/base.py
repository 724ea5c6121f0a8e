"""What every factorized tensor can do, derived once from the network that its format states.

A format is a frozen dataclass whose positional fields are its operands: an array, or a
tuple of arrays.  It states which labels each operand carries and which of them are ranks;
shapes, counts, realizable ranks, reconstruction, initialisation and the layer follow from that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from tlinear.arguments import check_features
from tlinear.arrays import Array, DType, Space, as_parameter, bring, common_space, find_space, parameter_dtype
from tlinear.contraction.network import Label, Labels, Network
from tlinear.errors import ShapeError
from tlinear.formats.fields import is_tuple, numbered, operand_fields, split_fields
from tlinear.formats.initialization import linear_std, random_operands
from tlinear.formats.narrowing import narrowed
from tlinear.formats.protocol import Format, Shape
from tlinear.formats.rank_rules import check_n_layers, rank_rules
from tlinear.formats.reconstruction import reconstruct
from tlinear.named_arrays import check_same_names, check_same_shapes
from tlinear.randomness import to_generator
from tlinear.ranks.resolve import resolve_bonds
from tlinear.ranks.rules import Bonds, Rank
from tlinear.shapes import as_shape, is_integer

__all__ = ["FactorizedTensor"]


@dataclass(frozen=True, eq=False, repr=False)
class FactorizedTensor(Format):
    """A tensor of shape ``(*in_shape, *out_shape)`` kept as the operands of an einsum network.

    C-contiguous arrays are held, others copied.  A subclass declares its operands as positional fields, annotated
    ``Array`` or ``tuple[Array, ...]``, and states what :class:`tlinear.formats.Format` declares; everything else is
    derived.
    """

    n_in: int | None = dataclasses.field(default=None, kw_only=True)

    # ------------------------------------------------------------ construction

    def __post_init__(self) -> None:
        for field in operand_fields(type(self)):
            value = getattr(self, field.name)
            if is_tuple(field):
                if not isinstance(value, (tuple, list)):
                    raise ShapeError(
                        f"{type(self).__name__}: {field.name} is of type {type(value).__name__}. "
                        "Pass a tuple of arrays, one for each mode."
                    )
                arrays = tuple(as_parameter(array, f"{field.name}.{k}") for k, array in enumerate(value))
                if not arrays:
                    raise ShapeError(f"{type(self).__name__}: {field.name} is empty. Pass one array for each mode.")
                object.__setattr__(self, field.name, arrays)
            else:
                object.__setattr__(self, field.name, as_parameter(value, field.name))
        _ = self.space
        _ = self.network

    @classmethod
    def from_operands(cls, operands: Mapping[str, Array], n_in: int | None, n_out: int | None = None) -> Self:
        """The tensor with these operands by name, as :attr:`operands` gives them."""
        names = {
            field.name: numbered(field.name, operands) if is_tuple(field) else [field.name]
            for field in operand_fields(cls)
        }
        check_same_names(operands, [name for group in names.values() for name in group], f"{cls.__name__}'s operands")
        values = [
            tuple(operands[name] for name in names[field.name]) if is_tuple(field) else operands[field.name]
            for field in operand_fields(cls)
        ]
        split = {field.name: n for field, n in zip(split_fields(cls), (n_in, n_out), strict=False)}
        tensor = cls(*values, **split)
        if n_out is not None and n_in is not None and n_in + n_out != tensor.n_modes:
            raise ShapeError(f"n_in={n_in} and n_out={n_out}, but these operands have {tensor.n_modes} modes in all.")
        return tensor

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the fields alone, from which the rest follows."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def with_operands(self, operands: Mapping[str, Array]) -> Self:
        """The same format and shape with other numbers; every operand must be there, in its shape."""
        name = type(self).__name__
        check_same_names(operands, self.operands, f"{name}'s operands")
        check_same_shapes(operands, self.operands, name, f"Build a new {name} for another shape or rank.")
        fields = {field.name: getattr(self, field.name) for field in split_fields(type(self))}
        return self.from_operands(operands, **fields)

    @classmethod
    def random(
        cls,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        rank: Any = None,
        *,
        std: float | None = None,
        dtype: DTypeLike = np.float64,
        rng: np.random.Generator | int | None = None,
    ) -> Self:
        """Independent Gaussian operands, such that every entry of the reconstruction has exactly this `std`.

        The proof is in :func:`tlinear.formats.initialization.operand_std`.

        Parameters
        ----------
        in_shape, out_shape : sequence of int
            The sizes of the input and output modes.
        rank : int, tuple of int, float in (0, 1], or 'same', optional
            See :func:`tlinear.resolve_rank`.
        std : float, optional
            Of every entry; by default that of ``torch.nn.Linear``, ``1 / sqrt(3 * in_features)``.
        dtype : dtype
            A complex number has half of its variance in each part.
        rng : None, int or numpy.random.Generator
            Passed to :func:`numpy.random.default_rng`.

        Examples
        --------
        >>> import tlinear
        >>> tlinear.CPTensor.random((4, 4), (2, 5), rank=3, rng=0)
        CPTensor(in=(4, 4), out=(2, 5), rank=3, parameters=48 of 160, float64)
        """
        in_shape, out_shape = as_shape(in_shape, "in_shape"), as_shape(out_shape, "out_shape")
        network = cls.network_for(in_shape, out_shape, resolve_bonds(rank_rules(cls, in_shape, out_shape), rank))
        target = linear_std(math.prod(in_shape)) if std is None else std
        generator = to_generator(rng)
        operands = random_operands(network, target, parameter_dtype(dtype), generator, cls.constant_operands)
        return cls.from_operands(operands, len(in_shape), len(out_shape))

    @classmethod
    def resolve_rank(
        cls,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        rank: Any,
        *,
        n_layers: int = 1,
        in_features: int | None = None,
        out_features: int | None = None,
        **limits: Any,
    ) -> Rank:
        """The rank that `rank` stands for, in the form of :attr:`rank`; see :func:`tlinear.resolve_rank`."""
        in_modes, out_modes = as_shape(in_shape, "in_shape"), as_shape(out_shape, "out_shape")
        features = check_features("in", in_features, in_modes), check_features("out", out_features, out_modes)
        dense = math.prod(features) * check_n_layers(n_layers)
        rules = rank_rules(cls, in_modes, out_modes, n_layers=n_layers, dense_parameters=dense, **limits)
        return cls.rank_of_bonds(resolve_bonds(rules, rank))

    @classmethod
    def network_for(cls, in_shape: Shape, out_shape: Shape, bonds: Bonds) -> Network:
        """The network of a tensor of this shape and these bonds."""
        n_in, n_out = len(in_shape), len(out_shape)
        sizes = dict(enumerate((*in_shape, *out_shape)))
        sizes |= dict(zip(cls.bond_labels(n_in, n_out), bonds, strict=True))
        sizes |= dict.fromkeys(cls.unit_labels(n_in, n_out), 1)
        return cls._network_of_sizes(n_in, n_out, sizes)

    @classmethod
    def _network_of_sizes(cls, n_in: int, n_out: int, sizes: Mapping[Label, int]) -> Network:
        labels = cls.labels(n_in, n_out)
        n_modes = n_in + n_out
        return Network(
            names=tuple(labels),
            inputs=tuple(labels.values()),
            output=tuple(range(n_modes)),
            label_sizes=tuple(sorted(sizes.items())),
            n_in=n_in,
            n_modes=n_modes,
        )

    # ------------------------------------------------------------ what follows from the arrays

    @cached_property
    def operands(self) -> Mapping[str, Array]:
        """Every array by its name: ``weights``, ``factors.0``, ``core``, ``cores.0``, ``tensor``."""
        operands: dict[str, Array] = {}
        for field in operand_fields(type(self)):
            value = getattr(self, field.name)
            if is_tuple(field):
                operands |= {f"{field.name}.{k}": array for k, array in enumerate(value)}
            else:
                operands[field.name] = value
        return MappingProxyType(operands)

    @cached_property
    def space(self) -> Space:
        """The array library and device that the operands live on."""
        return common_space(self.operands.items(), type(self).__name__)

    @cached_property
    def network(self) -> Network:
        """The operands' labels and sizes, read off the arrays."""
        if self.n_modes < 1:
            raise ShapeError(f"{type(self).__name__} needs at least one mode, and these operands have none.")
        n_in = self.n_modes if self.n_in is None else self.n_in
        if not is_integer(n_in) or not 0 < n_in <= self.n_modes:
            raise ShapeError(
                f"{type(self).__name__}: n_in={self.n_in} does not split {self.n_modes} modes. "
                f"Pass 1 <= n_in <= {self.n_modes}: the first n_in modes are the input's."
            )
        n_out = self.n_modes - n_in
        labels = self.labels(n_in, n_out)
        check_same_names(self.operands, labels, f"{type(self).__name__}'s operands")
        sizes: dict[Label, int] = dict.fromkeys(self.unit_labels(n_in, n_out), 1)
        owner = dict.fromkeys(sizes, "the format, which fixes it at 1")
        for name, axes in labels.items():
            array = self.operands[name]
            if array.ndim != len(axes):
                raise ShapeError(
                    f"{type(self).__name__}: {name} has shape {tuple(array.shape)}, but must have {len(axes)} axes. "
                    f"{self._expected(labels, n_in, n_out)}"
                )
            for axis, (label, size) in enumerate(zip(axes, array.shape, strict=True)):
                if sizes.setdefault(label, size) != size:
                    raise ShapeError(
                        f"{type(self).__name__}: axis {axis} of {name} has size {size}, but must equal {sizes[label]}, "
                        f"set by {owner[label]}. {self._expected(labels, n_in, n_out)}"
                    )
                if size < 1:
                    raise ShapeError(
                        f"{type(self).__name__}: {name} of shape {tuple(array.shape)} has an axis of size 0."
                    )
                owner.setdefault(label, f"axis {axis} of {name}")
        return self._network_of_sizes(n_in, n_out, sizes)

    def _expected(self, labels: Mapping[str, Labels], n_in: int, n_out: int) -> str:
        shapes = {name: tuple(array.shape) for name, array in self.operands.items()}
        sizes = dict.fromkeys((label for axes in labels.values() for label in axes), 1)
        return f"The operands are {self._network_of_sizes(n_in, n_out, sizes)}; given: {shapes}."

    @cached_property
    def layer_network(self) -> Network:
        """The network of ``y[b, o1..om] = sum x[b, i1..in] W[i1..in, o1..om]``, this tensor being W."""
        self._require_split("a layer")
        return self.network.with_input()

    def _require_split(self, purpose: str) -> int:
        if self.n_in is None or self.n_in == self.n_modes:
            raise ShapeError(
                f"{purpose} needs input and output modes, but this {type(self).__name__} of shape {self.shape} has "
                f"n_in={self.n_in}. Build it with 1 <= n_in < {self.n_modes}."
            )
        return self.n_in

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """``(*in_shape, *out_shape)``."""
        return self.network.shape(self.network.output)

    @cached_property
    def in_shape(self) -> tuple[int, ...]:
        """The sizes of the input modes; all modes when `n_in` is None."""
        return self.shape[: self.n_in]

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """The sizes of the output modes; none when `n_in` is None."""
        return () if self.n_in is None else self.shape[self.n_in :]

    @cached_property
    def in_features(self) -> int:
        """The product of the input modes."""
        return math.prod(self.in_shape)

    @cached_property
    def out_features(self) -> int:
        """The product of the output modes."""
        return math.prod(self.out_shape)

    @property
    def rank(self) -> Rank:
        """The rank in the format's own form, read off the arrays."""
        return self.rank_of_bonds(self.bonds)

    @property
    def bonds(self) -> Bonds:
        """The ranks that were free to choose."""
        network = self.network
        labels = self.bond_labels(network.n_in, network.n_modes - network.n_in)
        return tuple(network.sizes[label] for label in labels)

    @property
    def n_parameters(self) -> int:
        """The number of entries of all operands together."""
        return self.network.n_parameters

    @cached_property
    def dtype(self) -> DType:
        """The dtype of the reconstruction, as the library of the operands has it."""
        return self.space.inexact_dtype(*(array.dtype for array in self.operands.values()))

    def to_tensor(self) -> Array:
        """The dense tensor of shape ``(*in_shape, *out_shape)``, in an array of its own."""
        return reconstruct(self.network, list(self.operands.values()), self.dtype, self.space)

    def to_matrix(self) -> Array:
        """The dense weight of shape ``(out_features, in_features)``, as ``nn.Linear.weight`` has it."""
        self._require_split("a matrix")
        return reconstruct(self.network, list(self.operands.values()), self.dtype, self.space, as_matrix=True)

    def astype(self, dtype: DTypeLike) -> Self:
        """The same tensor with every operand in `dtype`; out of its range, they give powers of two to each other.

        Raises
        ------
        DTypeError, RangeError
            When `dtype` is not floating, or would drop imaginary parts; when no sharing fits the operands in its range.
        """
        wanted = self.space.parameter_dtype(dtype, self.dtype)
        return self.with_operands(narrowed(self.operands, self.network.inputs, wanted, self.space))

    def to(self, where: Any, device: Any = None) -> Self:
        """The same tensor with every operand copied to another array library or device.

        See :meth:`tlinear.Linear.to` for `where` and `device`.
        """
        space = find_space(where, device, self.space)
        return self.with_operands({name: bring(array, space) for name, array in self.operands.items()})

    def __repr__(self) -> str:
        modes = f"shape={self.shape}" if self.n_in is None else f"in={self.in_shape}, out={self.out_shape}"
        rank = "" if self.rank is None else f", rank={self.rank}"
        count = f"parameters={self.n_parameters:,} of {math.prod(self.shape):,}"
        return f"{type(self).__name__}({modes}{rank}, {count}, {self.dtype})"
