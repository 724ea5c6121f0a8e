"""What the inputs of a layer are like: the metric in which the error of its weight is the error of its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from tlinear.algorithms.descent import Callback, check_callback, check_option
from tlinear.algorithms.lapack import eigh
from tlinear.algorithms.scaling import exponent_of, times_power_of_two
from tlinear.arrays import Array, check_finite, compute_dtype, limits_of, to_inexact
from tlinear.errors import CalibrationError, ShapeError

__all__ = ["Calibration"]

_BLOCK = 1 << 20
"""Entries of the samples that are widened to double precision at a time."""

_EPS = float(np.finfo(np.float64).eps)

_TINY = float(np.finfo(np.float64).tiny) / _EPS**2
"""A moment below this, of the largest, counts as zero: the feature is 1e-138 of another."""


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Calibration:
    r"""Inputs of a layer, by which the error of its weight is weighed.

    With X the samples, one a row, and M the dense weight as (in, out), the error of the outputs is

    .. math:: \| X (M - \hat M) \|_F^2 = \mathrm{tr} \, (M - \hat M)^H C (M - \hat M), \qquad C = X^H X

    so that all that counts of the samples is their second moment C.  Give one of the two, by name: a square
    matrix might be either.  What is minimised has a ridge, relative to each feature's own moment:

    .. math:: C + \Lambda, \qquad \Lambda_{jj} = (\mathrm{ridge} + \mathrm{rounding}) \, C_{jj}

    It decides what the samples do not tell, as where they are fewer than the features.  A feature in other units,
    its weights divided accordingly, changes nothing: a massive activation does not drown the others.

    Parameters
    ----------
    samples : array of shape (..., in_features), optional
        Real inputs of the layer, such as the activations of a network on text that it is used for.  Leading axes
        are those of a batch.  A few times as many samples as features: with fewer, what is gained on them is
        lost on others.
    second_moment : array of shape (in_features, in_features), optional
        ``C = X^H X``, or any positive multiple of it; of batches too large to be kept it is the sum of
        ``x.conj().T @ x``, best accumulated in float64.
    ridge : float
        Relative to the diagonal of C.  Larger ones overfit less to few samples.
    max_iterations : int
        Of L-BFGS, see :func:`~tlinear.algorithms.quasi_newton.quasi_newton`.
    stop_tolerance : float
        Stop when ten iterations lower the error by no more than this fraction of it each.
    callback : callable, optional
        Called with the number of iterations and the relative error of the outputs, the ridge included.  What it is
        true for is the last.

    Attributes
    ----------
    second_moment : array of shape (in_features, in_features)
        C in float64 or complex128, times a power of two that takes its entries near 1.

    Raises
    ------
    CalibrationError
        When not exactly one of samples and second moment is given; when there is no sample, or all are zero; when the
        second moment is not Hermitian, or has a negative eigenvalue.
    ShapeError, DTypeError, NonFiniteError, OptionError
        When an argument is none of the above; when an entry is NaN or infinite.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((100, 6)) * [9.0, 9.0, 9.0, 1.0, 1.0, 1.0]
    >>> Calibration(samples=x)
    Calibration(6 features, 100 samples, ridge=1e-06)
    >>> Calibration(second_moment=x.T @ x)
    Calibration(6 features, second moment, ridge=1e-06)
    """

    second_moment: Array
    n_samples: int | None
    ridge: float
    max_iterations: int
    stop_tolerance: float
    callback: Callback | None
    _relative: float = field(default=0.0)
    """The ridge, and what Cholesky and C itself are rounded by, as fractions of C's diagonal."""
    _floor: float = field(default=0.0)
    """What is added to the whole diagonal of a C that is rounded relative to its largest entries."""

    def __init__(
        self,
        *,
        samples: ArrayLike | None = None,
        second_moment: ArrayLike | None = None,
        ridge: float = 1e-6,
        max_iterations: int = 200,
        stop_tolerance: float = 1e-5,
        callback: Callback | None = None,
    ) -> None:
        if (samples is None) == (second_moment is None):
            given = "Neither samples nor second_moment is" if samples is None else "Both samples and second_moment are"
            raise CalibrationError(
                f"{given} given. Pass one: samples=X of shape (..., in_features), or second_moment=X.conj().T @ X."
            )
        check_option("ridge", ridge, 0.0)
        check_callback(callback)
        check_option("max_iterations", max_iterations, 0, integer=True)
        check_option("stop_tolerance", stop_tolerance, 0.0)
        n_samples = None
        if samples is not None:
            x = _samples(samples)
            n_samples, (moment, rounding) = len(x), _second_moment_of(x)
        else:
            moment, rounding = _second_moment(second_moment)
        n = len(moment)
        _drop_subnormal(moment)
        unknown = n * (n * _EPS + rounding)  # relative to the diagonal: what Cholesky and C itself are rounded by
        values = {
            "second_moment": moment,
            "n_samples": n_samples,
            "ridge": float(ridge),
            "max_iterations": int(max_iterations),
            "stop_tolerance": float(stop_tolerance),
            "callback": callback,
            "_relative": ridge + unknown,
            "_floor": 0.0 if samples is not None else _floor(moment, unknown),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, calibration: Any) -> Self:
        """A calibration as it is, or that of samples; an array that might as well be a second moment is refused.

        Examples
        --------
        >>> x = np.random.default_rng(0).standard_normal((3, 3))
        >>> Calibration.of(x).n_samples
        3
        >>> Calibration.of(x.T @ x)
        Traceback (most recent call last):
            ...
        tlinear.errors.CalibrationError: calibration of shape (3, 3) is symmetric and its diagonal is not negative, ...
        """
        if isinstance(calibration, cls):
            return calibration
        x = to_inexact(calibration, "calibration")
        if x.ndim == 2 and x.shape[0] == x.shape[1] > 1 and np.all(np.isfinite(x)):
            is_like_one = np.all(np.diagonal(x).real >= 0.0) and _asymmetry(x) <= _rounding_of(x)
            if is_like_one and not _is_multiple_of_identity(x):
                kind = "Hermitian" if x.dtype.kind == "c" else "symmetric"
                raise CalibrationError(
                    f"calibration of shape {x.shape} is {kind} and its diagonal is not negative, as that of a second "
                    "moment is. Say which it is: pass calibration=tlinear.Calibration(second_moment=C), or "
                    "tlinear.Calibration(samples=X)."
                )
        return cls(samples=x)

    @property
    def in_features(self) -> int:
        """How many features the inputs have."""
        return len(self.second_moment)

    def metric(self, weight: Array | None = None) -> Array:
        r"""``C + Lambda``, positive definite.

        A feature that is zero in all samples has no moment of its own, and takes the median of the others'.  Given a
        weight M (in, out), whose rows are fitted each for itself, it takes that by which its share in the outputs,
        :math:`C_{jj} \|M_j\|^2`, is the median of theirs: then the unit of no feature matters.
        """
        moments = np.maximum(np.diagonal(self.second_moment).real, 0.0)
        is_dead = moments == 0.0
        if np.any(is_dead):
            moments[is_dead] = _moments_of_dead(moments, weight)[is_dead]
        metric = self.second_moment.copy()
        metric[np.diag_indices(len(metric))] += self._relative * moments + self._floor
        return metric

    def padded(self, n_features: int) -> Self:
        """The inputs with zeros behind their last feature."""
        if n_features == self.in_features:
            return self
        wider = type(self).__new__(type(self))
        for name, value in vars(self).items():
            object.__setattr__(wider, name, value)
        moment = np.zeros((n_features, n_features), self.second_moment.dtype)
        moment[: self.in_features, : self.in_features] = self.second_moment
        object.__setattr__(wider, "second_moment", moment)
        return wider

    def relative_output_error(self, weight: Array, result: Array) -> float:
        """``|X (M - M')| / |X M|`` in the Frobenius norm, of matrices (in, out); ``|X M'|`` where X M is zero.

        It is the root of a trace with C.  What is of the size of C's rounding, below about 1e-8 of
        ``|X| |M - M'|``, it does not see.
        """
        error, whole = self._norm(weight - result), self._norm(weight)
        return error / whole if whole > 0.0 else error

    def _norm(self, matrix: Array) -> float:
        return math.sqrt(max(0.0, float(np.vdot(matrix, self.second_moment @ matrix).real)))

    def __repr__(self) -> str:
        what = "second moment" if self.n_samples is None else f"{self.n_samples} samples"
        return f"Calibration({self.in_features} features, {what}, ridge={self.ridge:g})"


def _samples(samples: ArrayLike) -> Array:
    """The samples as rows."""
    x = to_inexact(samples, "samples")
    if x.ndim == 0 or x.size == 0:
        raise CalibrationError(
            f"samples of shape {x.shape} hold no input. Pass an array of shape (..., in_features) of at least one."
        )
    check_finite(x, "samples")
    _check_not_zero(x, "samples")
    return x.reshape(-1, x.shape[-1])


def _second_moment_of(x: Array) -> tuple[Array, float]:
    """``X^H X / N`` of X times a power of two, summed in double precision block by block, and its relative rounding."""
    exponent, dtype = exponent_of(x), np.dtype(np.complex128 if x.dtype.kind == "c" else np.float64)
    moment = np.zeros((x.shape[1], x.shape[1]), dtype)
    n_rows = max(1, _BLOCK // x.shape[1])
    for start in range(0, len(x), n_rows):
        near_one = times_power_of_two(x[start : start + n_rows], -exponent, dtype)
        moment += near_one.conj().T @ near_one
    # each entry is a sum of so many products in turn, of so many blocks
    return moment / len(x), (min(n_rows, len(x)) + math.ceil(len(x) / n_rows)) * _EPS


def _second_moment(second_moment: Any) -> tuple[Array, float]:
    """A second moment that was given, times a power of two, and the relative rounding of its entries."""
    c = to_inexact(second_moment, "second_moment")
    if c.ndim != 2 or c.shape[0] != c.shape[1] or c.size == 0:
        raise ShapeError(
            f"second_moment has shape {c.shape}, but must be (in_features, in_features). Pass X.conj().T @ X, "
            "or the samples X themselves as samples=X."
        )
    check_finite(c, "second_moment")
    _check_not_zero(c, "second_moment")
    dtype = np.dtype(np.complex128 if c.dtype.kind == "c" else np.float64)
    rounding = max(_EPS, 2.0 ** -limits_of(c.dtype).nmant)
    allowed = _rounding_of(c)
    c = times_power_of_two(c, -exponent_of(c), dtype)
    if _asymmetry(c) > allowed:
        raise CalibrationError(
            f"second_moment of shape {c.shape} is not Hermitian: entries (i, j) and (j, i) differ by up to "
            f"{_asymmetry(c):.3g} of the largest. Pass X.conj().T @ X, or samples X, square as they are, as samples=X."
        )
    return (c + c.conj().T) / 2.0, rounding


def _check_not_zero(array: Array, name: str) -> None:
    if not np.any(array):
        raise CalibrationError(
            f"{name} of shape {array.shape}: all entries are zero, so that every weight makes the same outputs. "
            "Pass inputs that the layer is used for, or leave the calibration out."
        )


def _moments_of_dead(moments: Array, weight: Array | None) -> Array:
    """What stands for the moment of a feature that has none; see :meth:`Calibration.metric`."""
    found = np.full_like(moments, np.median(moments[moments > 0.0]) if np.any(moments) else 1.0)
    if weight is not None:
        squares = np.sum(np.abs(weight) ** 2, axis=1)
        shares = moments * squares
        if np.any(shares):
            with np.errstate(over="ignore"):
                np.divide(np.median(shares[shares > 0.0]), squares, where=squares > 0.0, out=found)
    return np.clip(found, _TINY, 1.0 / _TINY)


def _drop_subnormal(c: Array) -> None:
    """Zero what is known of a feature too small, or so nearly, for its square to have all digits."""
    moments = np.diagonal(c).real
    is_tiny = (moments > 0.0) & (moments < _TINY)
    c[is_tiny] = 0.0
    c[:, is_tiny] = 0.0


def _floor(c: Array, unknown: float) -> float:
    """What makes a second moment positive definite that is no product of samples: its rounding as a whole.

    0 where what is `unknown` of each feature does so, as of a product it does (Higham, theorem 10.7).
    """
    moments = np.diagonal(c).real
    is_dead = moments <= 0.0
    if not np.any(c[is_dead]):
        try:
            np.linalg.cholesky(c + np.diag(np.where(is_dead, 1.0, unknown * moments)))
            return 0.0
        except np.linalg.LinAlgError:
            pass
    floor = unknown * float(np.sum(moments)) / len(c)
    _check_semidefinite(c, floor)
    return floor


def _check_semidefinite(c: Array, rounding: float) -> None:
    """Raise unless what rounding may have taken from the eigenvalues makes all of them positive."""
    try:
        np.linalg.cholesky(c + rounding * np.eye(len(c)))
    except np.linalg.LinAlgError:
        values, _ = eigh(c)
        largest = float(np.max(np.abs(values)))
        raise CalibrationError(
            f"second_moment of shape {c.shape} is not positive semidefinite: its eigenvalues range from "
            f"{values[0] / largest:.3g} to {values[-1] / largest:.3g}, relative to the largest. Pass X.conj().T @ X of "
            "samples X, accumulated in float64."
        ) from None


def _asymmetry(x: Array) -> float:
    """The largest difference of a square matrix from its adjoint, relative to its largest entry."""
    x = x.astype(compute_dtype(x.dtype), copy=False)
    largest = float(np.max(np.abs(x)))
    return float(np.max(np.abs(x - x.conj().T))) / largest if largest > 0.0 else 0.0


def _rounding_of(x: Array) -> float:
    """What the asymmetry of a product ``X^H X`` may come to: two sums of n products, each in another order.

    Those of half precision are accumulated in single, and then rounded.
    """
    own, summed = (2.0 ** -limits_of(dtype).nmant for dtype in (x.dtype, compute_dtype(x.dtype)))
    return 4.0 * len(x) * summed + (own if own > summed else 0.0)


def _is_multiple_of_identity(x: Array) -> bool:
    """Of which both readings say the same: that all features count alike, and none is correlated."""
    return bool(np.array_equal(x, x[0, 0] * np.eye(len(x))))
