"""A tensor and the format it is to be fitted in: scaled, fitted, rounded to its dtype, and judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from tlinear.algorithms.report import CANCELS, product_error, relative_error
from tlinear.algorithms.scaling import exponent_above, norm_of, times_power_of_two
from tlinear.algorithms.unfolding import BLOCK
from tlinear.arrays import NUMPY, Array, DType, largest_part
from tlinear.decomposition.result import Decomposition
from tlinear.errors import FactorizationError
from tlinear.formats import FactorizedTensor, Fitted
from tlinear.formats.narrowing import rounded
from tlinear.ranks.rules import Bonds, RankRules

__all__ = ["Fitting"]

_NEAR = 64
"""Exponents of at most this size leave the entries and their sums far within the range of single precision, and their
squares within that of double precision."""

_ALIKE = 1e-6
"""By how much rounding may change an error that is not measured again, as a fraction of it."""


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
    kept: DType
    """That of the result."""
    fits: dict[Bonds, Fitted] = field(default_factory=dict)

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
        """Whether the algorithm is given :attr:`scaled`, and not the source itself, to widen what it reads of it."""
        is_near = self.source.dtype.char in "fFdD" and abs(self.exponent) <= _NEAR
        return not (is_near and self.cls.widens)

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

    def of(self, source: Array) -> Self:
        """The same for another tensor of this shape."""
        return replace(self, source=source, largest=largest_part(source), fits={})

    def fit(self, bonds: Bonds) -> Fitted:
        """The operands of these bonds; found once."""
        if bonds not in self.fits:
            self.fits[bonds] = self._near_one(
                self.cls.fit(self.given, self.n_first, bonds, rng=self.rng, **self.options)
            )
        return self.fits[bonds]

    def fit_within(self, tolerance: float, largest: Bonds) -> Fitted:
        """The operands of the smallest bonds that keep the tolerance."""
        options = {**self.options, **({"fixed": self.rules.fixed} if self.rules.fixed else {})}
        return self._near_one(
            self.cls.fit(self.given, self.n_first, largest, rng=self.rng, tolerance=tolerance, **options)
        )

    def _near_one(self, fit: Fitted) -> Fitted:
        """The same for :attr:`scaled`: the operand that carries the norm takes the exponent."""
        if not isinstance(fit, Fitted):
            raise FactorizationError(
                f"{self.cls.__name__}.fit returned an object of type {type(fit).__name__}. Return a "
                "tlinear.formats.Fitted: the operands by name, the name of the one that carries the norm, and a report."
            )
        if self.is_scaled:
            return fit
        carrier = times_power_of_two(fit.operands[fit.carrier], -self.exponent, self.dtype)
        return replace(fit, operands={**fit.operands, fit.carrier: carrier})

    def allocate(self, start: Bonds, limit: int) -> Bonds:
        """The bonds of the least error that the format finds within the limit; `start` where it does not search."""
        if len(start) < 2:
            return start

        def error(bonds: Bonds) -> float:
            return self.relative_error(self.fit(bonds))

        largest, fixed = self.rules.largest, self.rules.fixed
        return self.cls.allocate(self.scaled, self.n_first, start, limit, error, largest=largest, fixed=fixed)

    def relative_error(self, fit: Fitted, rounded: Mapping[str, Array] | None = None) -> float:
        """Of operands of the scaled tensor, to six digits at least, or of these after they were rounded.

        Where the algorithm knows the error, or the norms tell it, and rounding changes that by less, the tensor is not
        read again.
        """
        known = self._known_error(fit)
        if known is not None and _ALIKE * known >= self._drift(fit, rounded):
            return known
        return self.measured_error(fit.operands if rounded is None else rounded)

    def measured_error(self, operands: Mapping[str, Array]) -> float:
        """Of operands of the scaled tensor, from the difference itself; of a large one block by block."""
        tensor = self.cls.from_operands(operands, *self.split)
        halves = tensor.halves() if self.source.size > BLOCK else None
        if halves is None:
            return relative_error(self.scaled, tensor.to_tensor())
        rows, left, right = halves
        if not self.is_scaled:
            left = times_power_of_two(left, self.exponent, self.dtype)
        return product_error(self.given, rows, left, right)

    def _known_error(self, fit: Fitted) -> float | None:
        """What the algorithm says of its error, or the norms do of a projection; None where too many digits cancel."""
        if self.source.size <= BLOCK or self.norm == 0.0:
            return None
        if fit.report.is_projection:
            lost = 1.0 - self._kept(fit) ** 2
            return math.sqrt(lost) if lost > CANCELS else None
        return fit.report.error

    def _kept(self, fit: Fitted) -> float:
        """The norm of a projection, relative to the tensor's."""
        shift = 0 if self.is_scaled else self.exponent
        return math.ldexp(norm_of(fit.operands[fit.carrier]), shift) / self.norm

    def _drift(self, fit: Fitted, rounded: Mapping[str, Array] | None) -> float:
        r"""How far rounding has moved the result, relative to the tensor: at most

        .. math:: \|W\| \Big( \prod_k (1 + \delta_k) - 1 \Big) / \|T\|,

        where :math:`\delta_k` is the norm by which operand k has changed: of the one that carries the norm, relative to
        its own.  The others are isometries; where they need not be, nothing is said.
        """
        operands = fit.operands
        changes = {name: 0.0 if rounded is None else norm_of(rounded[name] - operands[name]) for name in operands}
        if not any(changes.values()):
            return 0.0
        if not fit.report.is_projection:
            return math.inf
        changes[fit.carrier] /= norm_of(operands[fit.carrier])
        return self._kept(fit) * math.expm1(sum(map(math.log1p, changes.values())))

    def reconstruct(self, operands: Mapping[str, Array]) -> Array:
        return self.cls.from_operands(operands, *self.split).to_tensor()

    def rounded(self, fit: Fitted) -> tuple[dict[str, Array], dict[str, Array]]:
        """The operands in the source's scale and the result's dtype, and these same numbers in that of :attr:`scaled`.

        The tensor is linear in each operand, so that the exponents of all operands together are the tensor's.
        """
        labels = self.cls.labels(self.n_first, self.source.ndim - self.n_first)
        operands, exponents = rounded(fit.operands, labels, self.kept, NUMPY, self.exponent, carrier=fit.carrier)
        again = {name: times_power_of_two(a, -exponents[name], self.dtype) for name, a in operands.items()}
        return operands, again

    def decomposition(self, fit: Fitted, *, measured: bool = False) -> Decomposition:
        """The result, its error from the difference itself if `measured`, as one that is to be guaranteed has to be."""
        operands, again = self.rounded(fit)
        result, report = self.cls.from_operands(operands, *self.split), fit.report
        error = self.measured_error(again) if measured else self.relative_error(fit, again)
        return Decomposition(result, error, report.converged, report.stop_reason, report.n_iterations, report.history)
