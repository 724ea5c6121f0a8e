"""What an algorithm did instead of what it tried first, noted for whoever asks, wherever it happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["fallback", "noting_fallbacks"]

_NOTES: ContextVar[dict[str, None] | None] = ContextVar("fallbacks", default=None)
"""Those of the innermost ``with`` of this thread; None where nobody asks."""


def fallback(what: str) -> None:
    """Note what is done now, and why; the same words are noted once."""
    notes = _NOTES.get()
    if notes is not None:
        notes[what] = None


@contextmanager
def noting_fallbacks() -> Iterator[dict[str, None]]:
    """The fallbacks that are taken inside, as the keys of a dict, in their order.

    Examples
    --------
    >>> with noting_fallbacks() as notes:
    ...     fallback("a step by hand")
    >>> tuple(notes)
    ('a step by hand',)
    """
    notes: dict[str, None] = {}
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)
