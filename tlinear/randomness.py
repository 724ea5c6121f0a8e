"""Where random numbers come from: whatever is passed as `rng` becomes a generator, or is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlinear.errors import OptionError

__all__ = ["to_generator"]


def to_generator(rng: Any) -> np.random.Generator:
    """What :func:`numpy.random.default_rng` makes of `rng`.

    Raises
    ------
    OptionError
        When it makes nothing of it.

    Examples
    --------
    >>> to_generator(0).integers(10) == np.random.default_rng(0).integers(10)
    np.True_
    >>> to_generator(-1)
    Traceback (most recent call last):
        ...
    tlinear.errors.OptionError: rng=-1 is no source of random numbers. Pass an int >= 0, None, or a Generator of NumPy.
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"rng={rng!r} is no source of random numbers. Pass an int >= 0, None, or a Generator of NumPy."
        ) from error
