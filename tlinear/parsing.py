"""Words of the command line: how each kind of argument is written, and what to write where one cannot be read."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TypeAlias, TypeVar

__all__ = ["CommandLineRank", "integers", "number_rank", "number_ranks", "rank", "words"]

CommandLineRank: TypeAlias = int | float | str | tuple[int, ...]

_Read = TypeVar("_Read")


def words(text: str) -> tuple[str, ...]:
    """Split a list at its commas.

    Examples
    --------
    >>> words("cp,tt")
    ('cp', 'tt')
    """
    return tuple(word.strip() for word in text.split(",") if word.strip())


def integers(text: str) -> tuple[int, ...]:
    """Read a list of integers, such as the sizes of modes.

    Raises
    ------
    argparse.ArgumentTypeError
        When a word is not an integer.

    Examples
    --------
    >>> integers("8,8,4")
    (8, 8, 4)
    """
    expected = "integers with commas between them, such as 2,3"
    return tuple(_read(int, word, text, expected) for word in _parts(text))


def rank(text: str) -> CommandLineRank:
    """Read a rank: a budget, a single rank, 'same', or one rank for each bond as :attr:`weight.rank` lists them.

    Raises
    ------
    argparse.ArgumentTypeError
        When it is none of these.

    Examples
    --------
    >>> rank("0.1"), rank("4"), rank("same"), rank("1,4,4,1"), rank("(1, 4, 1)")
    (0.1, 4, 'same', (1, 4, 4, 1), (1, 4, 1))
    """
    bare = text.strip()
    bare = bare[1:-1] if bare.startswith("(") and bare.endswith(")") else bare
    if bare == "same":
        return bare
    if "," in bare:
        expected = "one rank for each bond with commas between them, such as 1,4,4,1"
        return tuple(_read(int, word, text, expected) for word in _parts(bare))
    return number_rank(bare)


def number_rank(text: str) -> int | float:
    """Read a rank that every format can be given: an integer, or a fraction of the dense parameters.

    Raises
    ------
    argparse.ArgumentTypeError
        When it is not a number.

    Examples
    --------
    >>> number_rank("4"), number_rank("0.25")
    (4, 0.25)
    """
    try:
        return int(text)
    except ValueError:
        return _read(float, text, text, "a rank such as 4, or a fraction of the dense parameters such as 0.1")


def number_ranks(text: str) -> tuple[int | float, ...]:
    """Read a list of ranks, each as :func:`number_rank` does.

    Examples
    --------
    >>> number_ranks("0.05,0.1,8")
    (0.05, 0.1, 8)
    """
    return tuple(map(number_rank, _parts(text) or [text]))


def _parts(text: str) -> list[str]:
    """Split a list of numbers, in which nothing may stand between two commas."""
    return text.split(",") if text.strip() else []


def _read(kind: Callable[[str], _Read], word: str, text: str, expected: str) -> _Read:
    try:
        return kind(word)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} cannot be read. Write {expected}.") from None
