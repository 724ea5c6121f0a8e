"""The decomposition of a tensor where it lives: in the arrays of another library than NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlinear.algorithms.scaling import exponent_above
from tlinear.arrays import Array, DType, Space, computed_by_numpy_alone
from tlinear.decomposition.result import Decomposition
from tlinear.errors import RankError
from tlinear.formats import FactorizedTensor
from tlinear.formats.narrowing import rounded
from tlinear.ranks.resolve import as_budget, resolve_bonds
from tlinear.ranks.rules import RankRules

__all__ = ["check_elsewhere", "check_range", "decompose_elsewhere"]


def check_elsewhere(space: Space, asked: Mapping[str, Any]) -> None:
    """Raise :class:`DeviceError` when something is asked for that only NumPy's algorithms do."""
    given = sorted(name for name, value in asked.items() if value is not None)
    if given:
        raise computed_by_numpy_alone(space, f"{', '.join(given)} of a decomposition")


def check_range(largest: Any, kept: DType, space: Space) -> None:
    """Raise :class:`RangeError` when the `largest` entry of a tensor overflows in the result's dtype, or vanishes."""
    limits = space.limits(kept)
    limits.check("tensor", largest, kept)
    limits.check_not_lost("tensor", largest, kept)


def decompose_elsewhere(
    source: Array,
    space: Space,
    cls: type[FactorizedTensor],
    rank: Any,
    *,
    n_in: int | None,
    rules: RankRules,
    kept: DType,
    is_shared_by_spectrum: bool,
) -> Decomposition:
    """The operands of these ranks, computed in double precision where the device has it, and rounded to `kept`."""
    if rank is None and rules.form(()) is not None:
        raise RankError("No rank is given. Pass one, such as rank=8.")
    if is_shared_by_spectrum and as_budget(rules, rank) is not None and len(rules.largest) > 1:
        otherwise = "pass allocation='proportional', or "
        raise computed_by_numpy_alone(space, "the allocation 'spectrum' of a budget", otherwise)
    space.check_finite(source, "tensor")
    wide, largest = _widest(space, source.dtype), space.largest_part(source)
    check_range(largest, kept, space)
    exponent = exponent_above(largest)
    near_one = space.times_power_of_two(source, -exponent, wide)
    n_first = source.ndim if n_in is None else n_in
    fit = cls.fit_array_api(near_one, n_first, resolve_bonds(rules, rank), space=space)
    labels = cls.labels(n_first, source.ndim - n_first)
    operands, exponents = rounded(fit.operands, labels, kept, space, exponent, carrier=fit.carrier)
    split = n_in, None if n_in is None else source.ndim - n_in
    result = cls.from_operands({name: space.copy(array) for name, array in operands.items()}, *split)
    again = {name: space.times_power_of_two(array, -exponents[name], wide) for name, array in operands.items()}
    norm, lost = space.norm(near_one), space.norm(near_one - cls.from_operands(again, *split).to_tensor())
    error = lost / norm if norm > 0.0 else lost
    report = fit.report
    return Decomposition(result, error, report.converged, report.stop_reason, report.n_iterations, report.history)


def _widest(space: Space, dtype: DType) -> DType:
    """Double precision where the device has it."""
    there = space.xp.__array_namespace_info__().dtypes(device=space.device)
    is_complex = space.is_complex(dtype)
    found = there.get("complex128" if is_complex else "float64")
    return space.single_dtype(dtype) if found is None else found
