"""Decompose a dense tensor, and say how good the result is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.algorithms.fallbacks import noting_fallbacks
from tlinear.arrays import NUMPY, Array, DType, Space, as_source, check_finite, space_of
from tlinear.capacity import naming_memory
from tlinear.decomposition.baseline import LowRank, low_rank_baseline
from tlinear.decomposition.calibrated import fit_calibrated
from tlinear.decomposition.calibration import Calibration
from tlinear.decomposition.elsewhere import check_elsewhere, check_range, decompose_elsewhere
from tlinear.decomposition.fitting import Fitting
from tlinear.decomposition.result import Decomposition, Origin
from tlinear.decomposition.tolerance import fit_within
from tlinear.errors import OptionError, ShapeError
from tlinear.formats import FactorizedTensor, find_format
from tlinear.formats.rank_rules import rank_rules
from tlinear.randomness import to_generator
from tlinear.ranks.budget import parameter_limit
from tlinear.ranks.resolve import as_budget, resolve_bonds
from tlinear.shapes import is_integer

__all__ = ["Allocation", "Calibration", "Decomposition", "LowRank", "decompose", "low_rank_baseline"]

Allocation: TypeAlias = Literal["spectrum", "proportional"]


def decompose(
    tensor: ArrayLike,
    factorization: str | type[FactorizedTensor],
    rank: Any = None,
    *,
    tolerance: float | None = None,
    allocation: Allocation = "spectrum",
    calibration: ArrayLike | Calibration | None = None,
    n_in: int | None = None,
    max_rank: Any = None,
    fixed_modes: Sequence[int] = (),
    dense_parameters: int | None = None,
    dtype: DTypeLike | None = None,
    rng: np.random.Generator | int | None = 0,
    **options: Any,
) -> Decomposition:
    r"""Factorize a dense tensor: find operands whose reconstruction W is close to T.

    .. math:: \mathrm{relative\ error} = \|T - W\|_F / \|T\|_F

    ============  =======================================  ========================================
    format        algorithm                                error, compared with the best of this rank
    ============  =======================================  ========================================
    CP            least squares, alternating and damped    no bound; a matrix: the best
    Tucker        sequentially truncated HOSVD, then HOOI  at most ``sqrt(d)`` times; a matrix: the best
    TT            TT-SVD                                   at most ``sqrt(d - 1)`` times
    BlockTT       TT-SVD over the d pairs of modes         at most ``sqrt(d - 1)`` times
    ============  =======================================  ========================================

    Multiplying the tensor by a power of two multiplies the result by it and changes nothing else,
    not even a bit, unless numbers leave the range of the dtype.

    Parameters
    ----------
    tensor : array of shape (s_1, .., s_d)
        Real or complex, all entries finite.  It is not changed, and a reference to it is kept for
        :attr:`Decomposition.baseline`.
    factorization : {'cp', 'tucker', 'tt', 'blocktt', 'dense'} or a format class
    rank : int, tuple of int, float in (0, 1], or 'same', optional
        See :func:`tlinear.resolve_rank`.  Without a rank and a tolerance it is the default of a layer, a tenth of the
        dense parameters.  Where both are given, the rank is a limit to what the tolerance may take; where a budget is
        too little for the ranks of the guarantee, those that share it out are tried.
    tolerance : float in (0, 1), optional
        The largest relative error.  The ranks are those at which TT-SVD or the sequentially truncated
        HOSVD discards at most ``tolerance / sqrt(number of truncations)`` of the norm in each
        truncation, which guarantees the error; smaller ranks may do, above all where the tolerance is
        large.  For CP the rank is searched by trying, which takes as many fits as it has binary digits, twice.
    allocation : {'spectrum', 'proportional'}
        How a budget is shared among the ranks of Tucker, TT and BlockTT: so that the error is small,
        as the tensor's singular values tell, or in proportion to the sizes of the modes, as
        :func:`tlinear.resolve_rank` does without a tensor.  The former is never worse than the latter.
    calibration : array of shape (..., in_features) or Calibration, optional
        Inputs of the layer, so that the error of its outputs on them is made small, and not that of the weight:

        .. math:: \min \| X (M - W) \|_F, \qquad M \text{ the tensor as a matrix (in, out)}

        It is never larger than that of the plain result of the same ranks, and reported beside the other.  It
        needs `n_in` and a rank.  A second moment ``X^H X`` and the options of the descent go in by name, see
        :class:`Calibration`.
    n_in : int, optional
        How many of the modes are the input's.  BlockTT, a calibration and ``to_matrix`` need it.
    max_rank, fixed_modes : optional
        Limits of the ranks, see :func:`tlinear.resolve_rank`.
    dense_parameters : int, optional
        What a budget is a fraction of; the number of entries of the tensor unless given.
    dtype : dtype, optional
        That of the result, to which only its operands are rounded; that of the tensor unless given (float64 for
        integers).  ``"bfloat16"`` needs ml_dtypes.
    rng : int, Generator or None
        Passed to :func:`numpy.random.default_rng`.  The default gives the same result every time.
    **options
        The algorithm's own: for CP `max_iterations`, `stop_tolerance`, `ridge`, `n_starts` and
        `callback`, see :func:`tlinear.algorithms.cp.cp`; for Tucker `max_iterations`, `stop_tolerance`, `svd` and
        `callback`, see :func:`tlinear.algorithms.hooi.hooi`; for TT and BlockTT `direction`, `svd` and `refine`, see
        :func:`tlinear.algorithms.train.fit_train`.  Neither another `direction` nor ``svd="randomized"`` goes with a
        tolerance.  A `callback` sees every descent: one from each start at each rank that is tried, within a tolerance
        or a budget.

    Returns
    -------
    Decomposition
        Computed in float64 or complex128 and rounded to `dtype`; the errors are those of the rounded result.  CP reads
        a tensor in single precision while it is far from it, where that changes no entry.  The rank
        is the one that was asked for, with zeros or redundant components where the tensor needs less; it shares no
        memory with `tensor`.

    Raises
    ------
    DeviceError
        For an array of another library than NumPy, when that has no singular value decomposition; and when what is
        asked for is computed by NumPy alone: CP, a tolerance, a calibration, an allocation by the spectrum, options.
    ShapeError
        For a 0-d or empty tensor, or an `n_in` that does not split its modes.
    NonFiniteError
        When an entry is NaN or infinite; that is looked for before any work.
    DTypeError, RangeError
        When `dtype` is not floating, or would drop imaginary parts; when entries are larger than it can hold, or
        all of them so small that it has none but zero for them.
    CalibrationError
        When the calibration is a square array that might be a second moment; see :class:`Calibration`.
    RankError, FactorizationError, OptionError
        When the respective argument is none of the above, or a tolerance takes more than the rank allows.
    DecompositionError
        When LAPACK fails on a matrix, or the tolerance is not reached.
    MemoryLimitError
        When what is computed takes more memory than there is.

    Examples
    --------
    >>> tensor = np.add.outer(np.add.outer(np.arange(3.0), np.arange(4.0)), np.arange(5.0))
    >>> result = decompose(tensor, "tt", 2)
    >>> result.rank, result.relative_error < 1e-14
    ((1, 2, 2, 1), True)
    >>> decompose(tensor, "tt", tolerance=0.1).rank, decompose(tensor, "tt", tolerance=0.05).rank
    ((1, 1, 1, 1), (1, 2, 2, 1))

    Inputs whose first features are larger than others:

    >>> rng = np.random.default_rng(0)
    >>> weight, x = rng.standard_normal((4, 4, 2, 5)), rng.standard_normal((99, 16)) / np.arange(1, 17)
    >>> outputs = x @ weight.reshape(16, 10)
    >>> for calibration in (None, x):
    ...     result = decompose(weight, "tt", 3, n_in=2, calibration=calibration)
    ...     error = np.linalg.norm(outputs - x @ result.tensor.to_matrix().T) / np.linalg.norm(outputs)
    ...     print(f"error of the weight {result.relative_error:.2f}, of the outputs {error:.2f}")
    error of the weight 0.68, of the outputs 0.75
    error of the weight 0.72, of the outputs 0.35
    """
    cls = find_format(factorization)
    space, source = space_of(tensor), as_source(tensor, "tensor")
    if source.ndim == 0 or 0 in source.shape:
        raise ShapeError(
            f"A tensor of shape {tuple(source.shape)} has nothing to factorize. Pass one with modes and entries."
        )
    if space is NUMPY:
        largest = check_finite(source, "tensor")
    else:
        check_elsewhere(space, {"tolerance": tolerance, "calibration": calibration, **options})
    kept = source.dtype if dtype is None else space.parameter_dtype(dtype, source.dtype)
    source = _comparable(source, kept, space)
    _check_split(cls, source.shape, n_in)
    _check_options(cls, options, tolerance)
    if allocation not in ("spectrum", "proportional"):
        raise OptionError(f"allocation={allocation!r} is not known. Choose 'spectrum' or 'proportional'.")
    if dense_parameters is not None and not (is_integer(dense_parameters) and dense_parameters >= 1):
        raise OptionError(f"dense_parameters={dense_parameters!r} is not a number of parameters. Pass an int >= 1.")
    n_first = source.ndim if n_in is None else n_in
    rules = rank_rules(
        cls,
        source.shape[:n_first],
        source.shape[n_first:],
        dense_parameters=dense_parameters,
        max_rank=max_rank,
        fixed_modes=fixed_modes,
    )
    if space is not NUMPY:
        shared = allocation == "spectrum"
        return decompose_elsewhere(
            source, space, cls, rank, n_in=n_in, rules=rules, kept=kept, is_shared_by_spectrum=shared
        )
    check_range(largest, kept, space)
    work = Fitting(cls, source, n_in, rules, to_generator(rng), options, largest, kept)
    inputs = None if calibration is None else _inputs(calibration, source.shape, n_in, tolerance)
    what, n_bytes = f"The decomposition of a tensor of shape {tuple(source.shape)}", 8 * math.prod(source.shape)
    with (
        noting_fallbacks() as fallbacks,
        naming_memory(what, n_bytes, "Lower the rank, or decompose a smaller tensor."),
    ):
        result = _decomposed(work, rank, tolerance, allocation, inputs)
    return result.made_from(Origin(source, inputs), tuple(fallbacks))


def _comparable(source: Array, kept: DType, space: Space) -> Array:
    """The source, made complex where the result is."""
    if not space.is_complex(kept) or space.is_complex(source.dtype):
        return source
    return space.astype(source, space.inexact_dtype(source.dtype, kept))


def _decomposed(
    work: Fitting, rank: Any, tolerance: Any, allocation: Allocation, inputs: Calibration | None
) -> Decomposition:
    if tolerance is not None:
        return fit_within(work, _tolerance(tolerance), rank)
    rules = work.rules
    bonds, fraction = resolve_bonds(rules, rank), as_budget(rules, rank)
    limit = parameter_limit(rules, fraction) if fraction is not None and allocation == "spectrum" else None
    if inputs is not None:
        return fit_calibrated(work, inputs, bonds, limit)
    return work.decomposition(work.fit(bonds if limit is None else work.allocate(bonds, limit)))


def _inputs(calibration: Any, shape: Sequence[int], n_in: int | None, tolerance: Any) -> Calibration:
    if n_in is None:
        raise ShapeError(
            f"A calibration weighs the errors by the layer's inputs: pass n_in, the number of input modes among the "
            f"{len(shape)} modes of shape {tuple(shape)}."
        )
    if tolerance is not None:
        raise OptionError(
            f"tolerance={tolerance!r} bounds the error of the weight, and a calibration lowers that of the outputs "
            "instead. Pass a rank beside the calibration, or the tolerance alone."
        )
    inputs, features = Calibration.of(calibration), math.prod(shape[:n_in])
    if inputs.in_features != features:
        raise ShapeError(
            f"The calibration has {inputs.in_features} features, but the input modes {tuple(shape[:n_in])} hold "
            f"{features}. Pass samples of shape (..., {features}), or a second moment of ({features}, {features})."
        )
    return inputs


def _tolerance(tolerance: Any) -> float:
    is_number = isinstance(tolerance, (float, np.floating)) or is_integer(tolerance)
    if not is_number or not 0.0 < tolerance < 1.0:
        raise OptionError(
            f"tolerance={tolerance!r} must be a number between 0 and 1, both excluded: the largest relative error."
        )
    return float(tolerance)


def _check_split(cls: type[FactorizedTensor], shape: Sequence[int], n_in: int | None) -> None:
    if n_in is None and cls.needs_split:
        raise ShapeError(
            f"A {cls.factorization} tensor pairs input with output modes: pass n_in, the number of input modes among "
            f"the {len(shape)} modes of shape {tuple(shape)}."
        )
    if n_in is not None and not (is_integer(n_in) and 1 <= n_in < len(shape)):
        raise ShapeError(
            f"n_in={n_in!r} does not split the {len(shape)} modes of shape {tuple(shape)} into input and output. "
            f"Pass 1 <= n_in < {len(shape)}, or None where no split is needed."
        )


def _check_options(cls: type[FactorizedTensor], options: dict[str, Any], tolerance: Any) -> None:
    parameters = inspect.signature(cls.fit).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    keywords = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if tolerance is not None and "tolerance" not in keywords:
        raise OptionError(f"The decomposition {cls.factorization!r} takes no tolerance. Pass a rank.")
    known = [name for name in keywords if name not in ("rng", "tolerance", "fixed")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = f"Its options are {known}." if known else "It takes none."
        raise OptionError(f"The decomposition {cls.factorization!r} has no option {', '.join(unknown)}. {takes}")
