"""A tensor and the format it is to be fitted in: scaled, fitted, rounded to its dtype, and judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from tlinear.algorithms.report import CANCELS, Report, product_error, relative_error
from tlinear.algorithms.scaling import exponent_above, norm_of, share_exponent, times_power_of_two
from tlinear.algorithms.unfolding import BLOCK
from tlinear.arrays import Array, DType
from tlinear.decomposition.result import Decomposition
from tlinear.formats import FactorizedTensor
from tlinear.ranks.rules import Bonds, RankRules

__all__ = ["Fit", "Fitting"]

_NEAR = 64
"""Exponents of at most this size leave the squares of entries far within the range of double precision."""

Fit: TypeAlias = tuple[dict[str, Array], Report]


@dataclass(frozen=True)
class Fitting:
    """A tensor to be decomposed, and how."""

    cls: type[FactorizedTensor]
    source: Array
    n_in: int | None
    rules: RankRules
    rng: np.random.Generator
    options: Mapping[str, Any]
    largest: Any
    """Of the absolute values of all real and imaginary parts."""
    fits: dict[Bonds, Fit] = field(default_factory=dict)

    @cached_property
    def dtype(self) -> DType:
        return np.dtype(np.complex128 if self.source.dtype.kind == "c" else np.float64)

    @cached_property
    def exponent(self) -> int:
        return exponent_above(self.largest)

    @cached_property
    def scaled(self) -> Array:
        """The tensor with its entries near 1: a power of two takes them there, so that no square overflows or vanishes,
        and is exact."""
        return np.ascontiguousarray(times_power_of_two(self.source, -self.exponent, self.dtype))

    @cached_property
    def is_scaled(self) -> bool:
        """Whether the algorithm is given :attr:`scaled`, and not the source itself, of which it widens what it reads.

        The squares of all single precision numbers are numbers of double precision.
        """
        if not getattr(self.cls, "widens", False):
            return True
        return not (self.source.dtype.char in "fF" or (self.source.dtype.char in "dD" and abs(self.exponent) <= _NEAR))

    @cached_property
    def given(self) -> Array:
        """What the algorithm gets."""
        return self.scaled if self.is_scaled else np.ascontiguousarray(self.source)

    @cached_property
    def norm(self) -> float:
        """Of :attr:`given`."""
        return norm_of(self.given)

    @property
    def n_first(self) -> int:
        """How many modes stand on the left of the split."""
        return self.source.ndim if self.n_in is None else self.n_in

    @property
    def split(self) -> tuple[int | None, int | None]:
        return self.n_in, None if self.n_in is None else self.source.ndim - self.n_in

    def fit(self, bonds: Bonds) -> Fit:
        """The operands of these bonds; found once."""
        if bonds not in self.fits:
            fit = self.cls.fit(self.given, self.n_first, bonds, rng=self.rng, **self.options)
            self.fits[bonds] = self._near_one(fit)
        return self.fits[bonds]

    def fit_within(self, tolerance: float, largest: Bonds) -> Fit:
        """The operands of the smallest bonds that keep the tolerance."""
        options = {**self.options, **({"fixed": self.rules.fixed} if self.rules.fixed else {})}
        return self._near_one(
            self.cls.fit(self.given, self.n_first, largest, rng=self.rng, tolerance=tolerance, **options)
        )

    def _near_one(self, fit: Fit) -> Fit:
        """The same for :attr:`scaled`: the operand that carries the norm, the first, takes the exponent."""
        operands, report = fit
        if not self.is_scaled:
            carrier = next(iter(operands))
            operands = {**operands, carrier: times_power_of_two(operands[carrier], -self.exponent, self.dtype)}
        return operands, report

    def allocate(self, start: Bonds, limit: int) -> Bonds:
        """The bonds of the least error that the format finds within the limit; `start` where it does not search."""
        if not hasattr(self.cls, "allocate") or len(start) < 2:
            return start

        def error(bonds: Bonds) -> float:
            operands, report = self.fit(bonds)
            return self.relative_error(operands, is_projection=report.is_projection)

        largest, fixed = self.rules.largest, self.rules.fixed
        return self.cls.allocate(self.scaled, self.n_first, start, limit, error, largest=largest, fixed=fixed)

    def relative_error(self, operands: Mapping[str, Array], *, is_projection: bool = False) -> float:
        """Of operands of the scaled tensor, from the difference itself; of a large one block by block.

        Of a projection that was not rounded, from the norms, unless too many digits cancel.
        """
        tensor = self.cls.from_operands(operands, *self.split)
        if self.source.size <= BLOCK or not hasattr(tensor, "halves"):
            return relative_error(self.scaled, tensor.to_tensor())
        if is_projection and self.source.dtype == self.dtype:
            shift = 0 if self.is_scaled else self.exponent
            kept = math.ldexp(norm_of(next(iter(operands.values()))), shift) / self.norm
            if 1.0 - kept**2 > CANCELS:
                return math.sqrt(1.0 - kept**2)
        rows, left, right = tensor.halves()
        if not self.is_scaled:
            left = times_power_of_two(left, self.exponent, self.dtype)
        return product_error(self.given, rows, left, right)

    def reconstruct(self, operands: Mapping[str, Array]) -> Array:
        return self.cls.from_operands(operands, *self.split).to_tensor()

    def rounded(self, fitted: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The operands in the source's scale and dtype, and these same numbers in the scale of :attr:`scaled`.

        The tensor is linear in each operand, so that the exponents of all operands together are the tensor's.
        """
        exponents = share_exponent(fitted, self.exponent, self.source.dtype)
        operands = {
            name: times_power_of_two(array, exponents[name], self.source.dtype) for name, array in fitted.items()
        }
        again = {name: times_power_of_two(a, -exponents[name], self.dtype) for name, a in operands.items()}
        return operands, again

    def decomposition(self, fit: Fit) -> Decomposition:
        fitted, report = fit
        operands, again = self.rounded(fitted)
        result = self.cls.from_operands(operands, *self.split)
        error = self.relative_error(again, is_projection=report.is_projection)
        return Decomposition(result, error, report.converged, report.stop_reason, report.n_iterations, report.history)
