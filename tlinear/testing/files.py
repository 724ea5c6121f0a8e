"""Cases and results as text: JSON for programs that can read it, and lines of words for those that cannot.

Numbers are decimal, and exact: whole ones have no point, the others enough digits that reading them as
float64 gives the number itself, whatever the dtype of the case.  Complex numbers are two numbers each.  Arrays
lie in C order, the last axis running fastest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import TLinearError, VectorError
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
    return {"shape": list(array.shape), "data": [_decimal(number) for number in _reals(array)]}


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
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise VectorError(f"{name} has the shape {shape!r}. Give a list of sizes.")
    if not isinstance(data, list):
        raise VectorError(f"{name} has entries of type {type(data).__name__}. Give a list of numbers.")
    try:
        numbers = np.array([float(number) for number in data], np.float64)
    except (TypeError, ValueError) as error:
        raise VectorError(f"{name} holds what is no number: {error}.") from None
    per_entry = 2 if dtype.kind == "c" else 1
    count = int(np.prod(shape, dtype=int)) * per_entry
    if len(numbers) != count:
        raise VectorError(f"{name} of shape {shape} has {len(numbers)} numbers instead of {count}.")
    with np.errstate(over="ignore"):
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
        dtype = np.dtype(stored["dtype"])
        arrays = {name: array_from_json(array, dtype, name) for name, array in stored["arrays"].items()}
        x, dy, bias = arrays.pop("x"), arrays.pop("dy"), arrays.pop("bias", None)
        in_shape, out_shape = tuple(stored["in_shape"]), tuple(stored["out_shape"])
        moved = [name for name in arrays if name.startswith("tangent.")]
        tangents = {name.removeprefix("tangent."): arrays.pop(name) for name in moved} or None
        return Case(str(stored["format"]), in_shape, out_shape, arrays, x, dy, bias, stored["n_layers"], tangents)
    except KeyError as error:
        raise VectorError(f"The case has no {error}. It needs all that `case_to_json` writes.") from None
    except VectorError:
        raise
    except (TLinearError, TypeError, ValueError, AttributeError) as error:
        raise VectorError(f"The case does not fit together: {error}") from None


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
            yield _words(name, array.ndim, *array.shape, *map(_decimal, _reals(array)))


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
            stored = {"shape": shape, "data": words[2 + n_axes :]}
            found[number][words[0]] = array_from_json(stored, cases[number].dtype, f"{words[0]} of case {number}")
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
    if not words or not words[0].isdigit():
        raise VectorError(f"Line {at} of the results, {line[:60]!r}, has no number where one is needed.")
    return int(words[0])


def _words(*words: Any) -> str:
    return " ".join(map(str, words))


def _reals(array: Array) -> Iterator[Any]:
    for number in np.ravel(array):
        yield from (number.real, number.imag) if array.dtype.kind == "c" else (number,)


def _decimal(number: Any) -> int | float:
    """The shortest decimal that reads back as the same number, in float64 as in its own dtype."""
    value = float(number)
    return int(value) if value.is_integer() and abs(value) < 2**53 and not (value == 0 and np.signbit(value)) else value
