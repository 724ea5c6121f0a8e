"""The same layer as other libraries lay it out: their operands of ours, and our gradients of theirs.

=============  =========================================================================================
layout         what is different
=============  =========================================================================================
``OUT_FIRST``  tltorch: the modes of the output come before those of the input, in the order of the factors
               of CP and Tucker, in the axes of Tucker's core and of dense tensors, and in the cores
               ``(R_k, out_k, in_k, R_{k+1})`` of BlockTT
``TORCH_TT``   torchTT: cores ``(R_k, out_k, in_k, R_{k+1})`` too, and x and y keep their features apart, an
               axis for each mode
=============  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import OptionError
from tlinear.testing.case import Case
from tlinear.testing.verdict import as_arrays

__all__ = ["OUT_FIRST", "TORCH_TT", "Layout", "out_first"]

Axes: TypeAlias = list[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Layout:
    """The conventions of a library.

    Attributes
    ----------
    name : str
    formats : tuple of str
        Those that are the same but for the order of operands and axes.
    features_apart : bool
        Whether x and y have an axis for each mode.
    even : bool
        Whether both sides must have as many modes.
    """

    name: str
    formats: tuple[str, ...]
    features_apart: bool = False
    even: bool = False

    def says(self, case: Case) -> bool:
        """Whether a case can be laid out so."""
        even = len(case.in_shape) == len(case.out_shape) or not self.even
        return case.format in self.formats and case.n_layers == 1 and even

    def axes(self, case: Case) -> Axes:
        """Their operands in their order: the name of ours, and our axes in the order of theirs.

        Raises
        ------
        OptionError
            When the case cannot be laid out so.
        """
        if not self.says(case):
            raise OptionError(f"{self.name} has no layout for {case}. It has {', '.join(self.formats)}, single layers.")
        return out_first(case.format, len(case.in_shape), len(case.out_shape))

    def operands(self, case: Case) -> list[Array]:
        """The operands of a case, in their order and with their axes.

        Examples
        --------
        >>> cores = {"cores.0": np.ones((1, 2, 3, 4)), "cores.1": np.ones((4, 5, 6, 1))}
        >>> case = Case("blocktt", (2, 5), (3, 6), cores, x=np.ones((7, 10)), dy=np.ones((7, 18)))
        >>> [operand.shape for operand in OUT_FIRST.operands(case)]
        [(1, 3, 2, 4), (4, 6, 5, 1)]
        """
        return [np.array(case.operands[name].transpose(axes), order="C") for name, axes in self.axes(case)]

    def x(self, case: Case) -> Array:
        """The input."""
        return case.x.reshape(*case.batch_shape, *case.in_shape) if self.features_apart else case.x

    def dy(self, case: Case) -> Array:
        """The cotangent of the output."""
        return case.dy.reshape(*case.batch_shape, *case.out_shape) if self.features_apart else case.dy

    def results(
        self, case: Case, y: Any, *, dx: Any = None, dbias: Any = None, gradients: Sequence[Any] | None = None
    ) -> Mapping[str, Array]:
        """What they computed, as the judge wants it.

        Parameters
        ----------
        case : Case
        y, dx, dbias : arrays
            The last two may be None.
        gradients : sequence of arrays, optional
            Of their operands, in their order.
        """
        found = as_arrays({"y": y})
        if self.features_apart:
            found["y"] = found["y"].reshape(*case.batch_shape, case.out_features)
        if dx is not None:
            array = as_arrays({"dx": dx})["dx"]
            found["dx"] = array.reshape(*case.batch_shape, case.in_features) if self.features_apart else array
        if dbias is not None and case.bias is not None:
            found |= as_arrays({"dbias": dbias})
        for gradient, (name, axes) in zip(gradients or (), self.axes(case), strict=gradients is not None):
            found[f"d{name}"] = as_arrays({name: gradient})[name].transpose(np.argsort(axes))
        return found


def out_first(name: str, n_in: int, n_out: int) -> Axes:
    """tltorch's operands of a format in its order: the name of ours, and our axes in the order of theirs.

    Examples
    --------
    >>> out_first("tucker", 1, 2)
    [('core', (1, 2, 0)), ('factors.1', (0, 1)), ('factors.2', (0, 1)), ('factors.0', (0, 1))]
    """
    modes = (*range(n_in, n_in + n_out), *range(n_in))
    factors: Axes = [(f"factors.{k}", (0, 1)) for k in modes]
    match name:
        case "dense":
            return [("tensor", modes)]
        case "cp":
            return [("weights", (0,)), *factors]
        case "tucker":
            return [("core", modes), *factors]
        case _:
            return [(f"cores.{k}", (0, 2, 1, 3)) for k in range(max(n_in, n_out))]


OUT_FIRST = Layout("tltorch", ("dense", "cp", "tucker", "blocktt"))
"""tltorch: the modes of the output first."""

TORCH_TT = Layout("torchTT", ("blocktt",), features_apart=True, even=True)
"""torchTT: cores of matrices in train format, and features apart."""
