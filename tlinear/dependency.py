"""The packages of the extras, which are imported on use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tlinear.errors import MissingDependencyError

__all__ = ["dependency"]


@contextmanager
def dependency(package: str, *, extra: str = "demo", what: str = "The demo") -> Iterator[None]:
    """Around the imports of a package of an extra: one that is not installed is named, with the remedy.

    Raises
    ------
    MissingDependencyError
        When a module imported inside is not installed.

    Examples
    --------
    >>> with dependency("a package that nobody has", extra="plot", what="A plot"):
    ...     import nobody_has_this
    Traceback (most recent call last):
        ...
    tlinear.errors.MissingDependencyError: A plot needs a package that nobody has, but nobody_has_this ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{what} needs {package}, but {error.name} is not installed. "
            f"In a clone of the repository: pip install '.[{extra}]'"
        ) from error
