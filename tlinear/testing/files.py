"""Cases and results as text: JSON for programs that can read it, and lines of words for those that cannot.

Numbers are decimal, and exact: whole ones have no point, the others enough digits that reading them as
float64 gives the number itself, whatever the dtype of the case.  Complex numbers are two numbers each.  Arrays
lie in C order, the last axis running fastest.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import TLinearError, VectorError
from tlinear.shapes import is_integer
from tlinear.testing.arithmetic import judged_dtypes
from tlinear.testing.case import Case
from tlinear.testing.implementation import Failure, Outcome

__all__ = [
    "VERSION",
    "array_from_json",
    "array_to_json",
    "case_from_json",
    "case_to_json",
    "results_from_text",
    "text_of",
]

_MOST_AXES = 64
"""As many as NumPy has."""

VERSION = 1
"""Of the specification: of the names, shapes and meaning of everything in a case."""


def array_to_json(array: Array) -> dict[str, Any]:
    """An array as its shape and its entries.

    Examples
    --------
    >>> array_to_json(np.array([[1.0, 0.5]], np.float32))
    {'shape': [1, 2], 'data': [1, 0.5]}
    >>> array_to_json(np.array([2 - 1j]))
    {'shape': [1], 'data': [2, -1]}
    """
    return {"shape": list(array.shape), "data": _decimals(array)}


def array_from_json(stored: Any, dtype: np.dtype[Any], name: str) -> Array:
    """The array that :func:`array_to_json` stored.

    Raises
    ------
    VectorError
        When it is none, or has not as many entries as its shape says.
    """
    if not isinstance(stored, Mapping) or not {"shape", "data"} <= set(stored):
        raise VectorError(f"{name} is no array. Give it as {{'shape': [..], 'data': [..]}}.")
    shape, data = stored["shape"], stored["data"]
    if not isinstance(shape, list) or not all(is_integer(n) and n >= 0 for n in shape) or len(shape) > _MOST_AXES:
        raise VectorError(f"{name} has the shape {_quoted(shape)}. Give a list of at most {_MOST_AXES} sizes.")
    if not isinstance(data, list):
        raise VectorError(f"{name} has entries of type {type(data).__name__}. Give a list of numbers.")
    strange = next((entry for entry in data if type(entry) not in (int, float)), None)
    if strange is not None or None in data:
        raise VectorError(f"{name} holds what is no number: {_quoted(strange)}.")
    per_entry = 2 if dtype.kind == "c" else 1
    count = math.prod(shape) * per_entry
    if len(data) != count:
        raise VectorError(f"{name} of shape {_quoted(shape)} has {len(data)} numbers instead of {count}.")
    try:
        numbers = np.array([float(number) for number in data], np.float64)
    except OverflowError as error:
        raise VectorError(f"{name} holds a number that no float64 is: {error}.") from None
    with np.errstate(over="ignore", invalid="ignore"):
        return (numbers.view(np.complex128) if per_entry == 2 else numbers).astype(dtype).reshape(shape)


def case_to_json(case: Case) -> dict[str, Any]:
    """What a case is, without what is right."""
    rank = case.rank
    return {
        "format": case.format,
        "in_shape": list(case.in_shape),
        "out_shape": list(case.out_shape),
        "rank": list(rank) if isinstance(rank, tuple) else rank,
        "n_layers": case.n_layers,
        "dtype": str(case.dtype),
        "batch_shape": list(case.batch_shape),
        "arrays": {name: array_to_json(array) for name, array in case.arrays()},
    }


def case_from_json(stored: Mapping[str, Any]) -> Case:
    """The case that :func:`case_to_json` stored.

    Raises
    ------
    VectorError
        When something is missing, or does not fit.
    """
    try:
        (dtype,) = judged_dtypes([stored["dtype"]])
        arrays = {name: array_from_json(array, dtype, name) for name, array in stored["arrays"].items()}
        x, dy, bias = arrays.pop("x"), arrays.pop("dy"), arrays.pop("bias", None)
        in_shape, out_shape = _sizes(stored, "in_shape"), _sizes(stored, "out_shape")
        if not is_integer(stored["n_layers"]) or stored["n_layers"] < 1:
            raise VectorError(f"n_layers={_quoted(stored['n_layers'])} must be an integer of at least 1.")
        moved = [name for name in arrays if name.startswith("tangent.")]
        tangents = {name.removeprefix("tangent."): arrays.pop(name) for name in moved} or None
        return Case(str(stored["format"]), in_shape, out_shape, arrays, x, dy, bias, stored["n_layers"], tangents)
    except KeyError as error:
        raise VectorError(f"The case has no {error}. It needs all that `case_to_json` writes.") from None
    except VectorError:
        raise
    except (TLinearError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise VectorError(f"The case does not fit together: {error}") from None


def _sizes(stored: Mapping[str, Any], name: str) -> tuple[int, ...]:
    given = stored[name]
    if not isinstance(given, list) or not given or not all(is_integer(n) and n > 0 for n in given):
        raise VectorError(f"{name}={_quoted(given)} must be a list of the sizes of modes, each at least 1.")
    return tuple(given)


def text_of(cases: Sequence[Case]) -> str:
    """Cases as lines of words: each array is its name, its number of axes, their sizes, and its numbers.

    Examples
    --------
    >>> case = Case("dense", (2,), (1,), {"tensor": np.array([[1.0], [0.5]])}, x=np.ones((1, 2)), dy=np.ones((1, 1)))
    >>> print(text_of([case]))
    tlinear 1 cases 1
    case 0 dense float64
    in 1 2
    out 1 1
    batch 1 1
    layers 1
    arrays 3
    tensor 2 2 1 1 0.5
    x 2 1 2 1 1
    dy 2 1 1 1
    <BLANKLINE>
    """
    return "".join(f"{line}\n" for line in _lines(cases))


def _lines(cases: Sequence[Case]) -> Iterator[str]:
    yield f"tlinear {VERSION} cases {len(cases)}"
    for number, case in enumerate(cases):
        yield f"case {number} {case.format} {case.dtype}"
        for name, sizes in (("in", case.in_shape), ("out", case.out_shape), ("batch", case.batch_shape)):
            yield _words(name, len(sizes), *sizes)
        yield f"layers {case.n_layers}"
        arrays = list(case.arrays())
        yield f"arrays {len(arrays)}"
        for name, array in arrays:
            yield _words(name, array.ndim, *array.shape, *_decimals(array))


def results_from_text(text: str, cases: Sequence[Case]) -> list[Outcome]:
    """Results written as lines of words: ``case 0``, then a line for each array, as in :func:`text_of`.

    Or ``error`` and why, where the program refuses the case.

    Raises
    ------
    VectorError
        When a line is not of that form; it quotes the line.
    """
    found: list[dict[str, Array]] = [{} for _ in cases]
    refused: dict[int, Failure] = {}
    number: int | None = None
    for at, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if words[0] == "case":
            number = _whole(words[1:2], at, line)
            if not 0 <= number < len(cases):
                raise VectorError(f"Line {at} of the results, {line[:60]!r}, names a case that was not given.")
        elif number is None:
            raise VectorError(f"Line {at} of the results, {line[:60]!r}, comes before any 'case'.")
        elif words[0] == "error":
            refused[number] = Failure(f"it refused: {' '.join(words[1:])}")
        else:
            n_axes = _whole(words[1:2], at, line)
            shape = [_whole([word], at, line) for word in words[2 : 2 + n_axes]]
            name = f"{words[0]} of case {number}"
            stored = {"shape": shape, "data": [_decimal_of(word, name) for word in words[2 + n_axes :]]}
            if words[0] in found[number]:
                raise VectorError(f"{name} is there twice.")
            found[number][words[0]] = array_from_json(stored, cases[number].dtype, name)
    return [refused.get(number, arrays) for number, arrays in enumerate(found)]


def dumps(stored: Any) -> str:
    """JSON in the one form that it has here: one array a line, so that a change shows where it is."""
    return "".join(_json_lines(stored, 0)) + "\n"


def _json_lines(stored: Any, depth: int) -> Iterator[str]:
    """Objects over several lines, but for those that hold an array; lists of objects too; all else in one."""
    pad = "  " * (depth + 1)
    if isinstance(stored, Mapping) and stored and not {"shape", "data"} <= set(stored):
        entries: Iterable[tuple[str, Any]] = ((f"{json.dumps(key)}: ", value) for key, value in stored.items())
        brackets = "{}"
    elif isinstance(stored, list) and stored and isinstance(stored[0], Mapping):
        entries, brackets = (("", value) for value in stored), "[]"
    else:
        yield json.dumps(stored)
        return
    yield brackets[0] + "\n"
    for k, (key, value) in enumerate(entries):
        yield (",\n" if k else "") + pad + key
        yield from _json_lines(value, depth + 1)
    yield "\n" + "  " * depth + brackets[1]


def _whole(words: Sequence[str], at: int, line: str) -> int:
    if not words or not re.fullmatch("[0-9]{1,18}", words[0]):
        raise VectorError(f"Line {at} of the results, {line[:60]!r}, has no number where one is needed.")
    return int(words[0])


def _decimal_of(word: str, name: str) -> float:
    """The number that a word is, as C and its kin write it: without the underscores that Python allows."""
    try:
        if "_" in word:
            raise ValueError(f"could not convert string to float: {word!r}")
        return float(word)
    except ValueError:
        raise VectorError(f"{name} holds what is no number: {_quoted(word)}.") from None


def _quoted(value: Any) -> str:
    """What was found, in as many characters as a message can take."""
    return reprlib.repr(value)


def _words(*words: Any) -> str:
    return " ".join(map(str, words))


def _decimals(array: Array) -> list[int | float]:
    """The shortest decimals that read back as the same numbers, in float64 as in their own dtype."""
    flat = np.ravel(array)
    numbers = (flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat).astype(np.float64)
    whole = (np.floor(numbers) == numbers) & (np.abs(numbers) < 2**53) & ~((numbers == 0) & np.signbit(numbers))
    return [
        int(number) if is_whole else number for number, is_whole in zip(numbers.tolist(), whole.tolist(), strict=True)
    ]
