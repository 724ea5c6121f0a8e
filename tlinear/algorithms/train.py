"""A tensor train by TT-SVD, refined by alternating least squares where that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlinear.algorithms.descent import check_option, descend
from tlinear.algorithms.report import CANCELS, Report, product_error
from tlinear.algorithms.scaling import norm_of
from tlinear.algorithms.train_order import Direction
from tlinear.algorithms.truncated_svd import Method, check_method
from tlinear.algorithms.tt_svd import Remainder, Site, train_halves, tt_svd, tt_svd_within
from tlinear.arrays import Array
from tlinear.errors import OptionError

__all__ = ["fit_train", "refine_train"]

_STOP = 1e-6
"""Sweeps end when one lowers the relative error by no more than this fraction of it."""


def fit_train(
    tensor: Array,
    bonds: Sequence[int],
    *,
    sites: Sequence[Site] | None = None,
    tolerance: float | None = None,
    direction: Direction = "left",
    svd: Method = "auto",
    refine: int = 0,
) -> tuple[list[Array], Report]:
    """The cores of a tensor train of these bonds, or of the smallest that keep a tolerance, and how they were found.

    Parameters
    ----------
    tensor, bonds, sites, direction, svd
        See :func:`tlinear.algorithms.tt_svd.tt_svd`.
    tolerance : float, optional
        Then the truncations are those of :func:`tlinear.algorithms.tt_svd.tt_svd_within`, from the left, and by all
        singular values: neither another `direction` nor ``svd="randomized"`` goes with it.
    refine : int
        At most so many sweeps of :func:`refine_train` follow.

    Raises
    ------
    OptionError
        When an option is out of its range.
    DecompositionError
        When LAPACK fails on a matrix.

    Examples
    --------
    >>> tensor = np.random.default_rng(0).standard_normal((4, 5, 4, 5))
    >>> cores, report = fit_train(tensor, (2, 3, 2), refine=3)
    >>> [core.shape for core in cores], report.n_iterations
    ([(1, 4, 2), (2, 5, 3), (3, 4, 2), (2, 5, 1)], 3)
    """
    check_method(svd, tolerance)
    check_option("refine", refine, 0, integer=True)
    if direction not in ("left", "right", "cheapest", "best"):
        raise OptionError(f"direction={direction!r} is not known. Choose 'left', 'right', 'cheapest' or 'best'.")
    if direction != "left" and tolerance is not None:
        raise OptionError(
            f"direction={direction!r} is where TT-SVD of given ranks starts, and within tolerance={tolerance:g} it "
            "starts from the left. Pass a rank instead of the tolerance, or leave the direction out."
        )
    if tolerance is None:
        cores = tt_svd(tensor, bonds, sites=sites, direction=direction, svd=svd)
    else:
        cores = tt_svd_within(tensor, tolerance, sites=sites, svd=svd)
    return (
        (cores, Report(is_projection=True))
        if refine == 0 or len(cores) == 1
        else refine_train(tensor, cores, refine, sites=sites)
    )


def refine_train(
    tensor: Array, cores: Sequence[Array], max_iterations: int, *, sites: Sequence[Site] | None = None
) -> tuple[list[Array], Report]:
    r"""One core at a time, from the left to the right, is made the best one for the others.

    With the cores on the left isometries from their right bond and those on the right from their left one, the
    train is linear in core k with orthonormal coefficients, and the best core is the projection

    .. math:: \mathrm{core}_k = (L_k^H \otimes I \otimes R_k^H) \, T ,

    so that no sweep raises the error.  The projections onto the cores of one half are shared by all of
    the other half, and so on within the halves: the tensor itself is read twice a sweep.

    Parameters
    ----------
    tensor : array
        As for :func:`tlinear.algorithms.tt_svd.tt_svd`.
    cores : sequence of array
        As from there: the last carries the norm.
    max_iterations : int
        Sweeps.
    sites : sequence of tuple of int, optional

    Returns
    -------
    cores : list of array
        All but the last are isometries from their right bond.
    report : Report

    References
    ----------
    S. Holtz, T. Rohwedder, R. Schneider, The alternating linear scheme for tensor optimization in the tensor
    train format, SIAM J. Sci. Comput. 34 (2012).

    Examples
    --------
    >>> tensor = np.random.default_rng(0).standard_normal((4, 5, 4, 5))
    >>> report = refine_train(tensor, tt_svd(tensor, (2, 3, 2)), 20)[1]
    >>> report.history[-1] < report.history[0]
    True
    """
    target = _Target(Remainder.of(tensor, sites), norm_of(tensor) ** 2)
    start = _Train(list(cores), target.error(cores))
    end, report = descend(start, target.sweep, max_iterations=max_iterations, stop_tolerance=_STOP)
    return end.cores, replace(report, is_projection=True)


@dataclass(frozen=True)
class _Train:
    cores: list[Array]
    error: float


@dataclass(frozen=True)
class _Target:
    """What is approximated, and its squared norm."""

    whole: Remainder
    square: float

    def error(self, cores: Sequence[Array]) -> float:
        """The relative error where the last core is the projection: from squares, unless too many digits cancel."""
        lost = self.square - norm_of(cores[-1]) ** 2
        if lost > CANCELS * self.square:
            return math.sqrt(lost / self.square)
        array = self.whole.array
        return product_error(array, *train_halves(cores, self.whole.sites, array.shape))

    def sweep(self, state: _Train) -> _Train:
        cores = list(state.cores)
        for k in reversed(range(1, len(cores))):
            q, r = np.linalg.qr(cores[k].reshape(len(cores[k]), -1).conj().T)
            cores[k] = q.conj().T.reshape(-1, *cores[k].shape[1:])
            cores[k - 1] = cores[k - 1] @ r.conj().T

        def update(rest: Remainder, first: int, last: int) -> None:
            """The cores from the first to before the last, which are what is left."""
            if last - first == 1:
                core = rest.core()
                if last < len(cores):
                    core = np.linalg.qr(core.reshape(-1, core.shape[2]))[0].reshape(*core.shape[:2], -1)
                cores[first] = core
                return
            middle, part = (first + last) // 2, rest
            for k in reversed(range(middle, last)):
                part = part.within("right", cores[k].reshape(len(cores[k]), -1).T)
            update(part, first, middle)
            for k in range(first, middle):
                rest = rest.within("left", cores[k].reshape(-1, cores[k].shape[2]))
            update(rest, middle, last)

        update(self.whole, 0, len(cores))
        return _Train(cores, self.error(cores))
