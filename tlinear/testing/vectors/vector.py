"""A test vector: a case, its name, why it is there, and what there is to know of its results."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import opt_einsum as oe

from tlinear.arrays import Array
from tlinear.contraction.network import Label
from tlinear.testing.bound import roundings
from tlinear.testing.case import Case
from tlinear.testing.certificate import bits_of
from tlinear.testing.exact import in_fractions
from tlinear.testing.reference import reference, sum_of, sums_of

__all__ = ["Vector"]


@dataclass(frozen=True, eq=False)
class Vector:
    """A case with its results.

    Attributes
    ----------
    id : str
        Such as ``tt-uneven_modes-2``.
    case : Case
    flags : tuple of str
        Why it is there; :data:`tlinear.testing.vectors.corpus.FLAGS` says what each catches.
    """

    id: str
    case: Case
    flags: tuple[str, ...] = ()

    @property
    def tier(self) -> str:
        """'certified' where all results are integers that no rounding touches, else 'bound'."""
        return "bound" if self.bits is None else "certified"

    @cached_property
    def bits(self) -> int | None:
        """How many bits an integer must be allowed in the arithmetic for the results to be exact in any order."""
        names = (*self.case.results, *self.case.stages)
        most = max(bits_of(self.case, name) for name in names)
        return int(most) if most <= np.finfo(np.float64).nmant + 1 else None

    @cached_property
    def results(self) -> Mapping[str, Array]:
        """Every result, rounded once to the dtype of the case."""
        return {name: self._rounded(name) for name in self.case.results}

    @cached_property
    def stages(self) -> Mapping[str, Array]:
        """What there is after x was contracted with one operand, with two, and so on."""
        return {name: self._rounded(name) for name in self.case.stages}

    @cached_property
    def magnitudes(self) -> Mapping[str, Array]:
        """Of every result, the same sum of absolute values."""
        found = {}
        for name in self.case.results:
            parts = [np.asarray(total.magnitudes().value()) for total in sums_of(self._exact, name)]
            found[name] = sum(parts[1:], parts[0]).astype(np.float64).reshape(self.case.shape_of(name))
        return found

    @cached_property
    def n_roundings(self) -> Mapping[str, int]:
        """Of every result, K of the bound ``gamma_K``, with one more for the rounding of what is stored."""
        found = {}
        for name in self.case.results:
            sums = sums_of(self.case, name)
            is_complex = self.case.dtype.kind == "c"
            found[name] = max(roundings(total, is_complex=is_complex) for total in sums) + len(sums)
        return found

    @cached_property
    def letters(self) -> Mapping[str, str]:
        """The axes of every array as letters of einsum; the batch is one letter, whatever its number of axes."""
        whole = sum_of(self.case, "y")
        named = {name: labels for name, (_, labels) in zip(("x", *self.case.labels), whole.arrays, strict=True)}
        named["y"] = whole.out
        labels = dict.fromkeys(itertools.chain.from_iterable(named.values()))
        symbols: dict[Label, str] = {label: oe.get_symbol(k) for k, label in enumerate(labels)}
        return {name: "".join(symbols[label] for label in axes) for name, axes in named.items()}

    @cached_property
    def _exact(self) -> Case:
        """In float64 where nothing rounds, else in fractions."""
        return self.case.map(in_fractions) if self.bits is None else self.case

    def _rounded(self, name: str) -> Array:
        # the sign of a zero depends on the order of the sum, and is left out
        return np.asarray(reference(self._exact, name) + 0).astype(self.case.dtype)
