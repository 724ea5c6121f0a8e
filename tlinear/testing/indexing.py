"""Judge how a tensorized matrix, and joint layers, are indexed: as the dense matrix is, and as a tuple of layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlinear.arrays import Array
from tlinear.testing.case import Case
from tlinear.testing.reference import reference
from tlinear.testing.resolvers import Comparison
from tlinear.testing.vectors.corpus import corpus
from tlinear.testing.verdict import as_arrays

__all__ = ["KEYS", "check_indexing", "check_joint_indexing"]

KEYS: tuple[Any, ...] = (
    1,
    -1,
    slice(0, 2),
    slice(None, None, 2),
    [0, 2],
    ...,
    (slice(None), slice(None)),
    (slice(None), 2),
    (slice(None), -1),
    (2, 3),
    (slice(0, 1), slice(None)),
    (slice(1, 3), slice(None)),
    (slice(None), slice(None, None, 2)),
    ([0, 2], slice(None)),
    (..., 1),
    np.int64(1),
)
"""What a matrix is indexed by, and NumPy says what comes out."""

_FLAG = "distinct_sizes"


def dense_matrix(case: Case) -> Array:
    """The matrix ``(out_features, in_features)`` of a case."""
    eye = np.eye(case.in_features)
    zeros = np.zeros((case.in_features, case.out_features))
    single = Case(case.format, case.in_shape, case.out_shape, case.operands, eye, zeros)
    return reference(single, "y").T


def check_indexing(make: Callable[[Case], Any], *, formats: Sequence[str]) -> Comparison:
    """Judge a matrix of operands by what its entries, rows and columns are.

    Parameters
    ----------
    make : callable
        From a case to something that ``[key]`` gives arrays of: parts of the matrix ``(out_features, in_features)``.
    formats : sequence of str

    Examples
    --------
    >>> print(check_indexing(dense_matrix, formats=["tucker"]))
    dense_matrix: 32 cases, passed
    >>> check_indexing(lambda case: dense_matrix(case).T, formats=["cp"]).passed
    False
    """
    failures, n_asked = [], 0
    for vector in corpus():
        if _FLAG not in vector.flags or vector.case.format not in formats:
            continue
        dense, matrix = dense_matrix(vector.case), make(vector.case)
        for key in KEYS:
            n_asked += 1
            wrong = _differs(matrix, key, dense[key])
            if wrong:
                failures.append(f"{vector.id} [{_shown(key)}]: {wrong}")
    return Comparison(_name(make), n_asked, tuple(failures))


def check_joint_indexing(make: Callable[[Case], Any], *, formats: Sequence[str]) -> Comparison:
    """Judge how single layers are taken out of joint ones.

    Parameters
    ----------
    make : callable
        From a case of joint layers to something that ``[j]`` gives the layers of, each a callable from x to y.
    formats : sequence of str

    Examples
    --------
    >>> def layers(case):
    ...     return [lambda x, y=y: y for y in reference(case, "y")]
    >>> check_joint_indexing(layers, formats=["cp", "tt"]).passed
    True
    >>> print(check_joint_indexing(lambda case: layers(case)[:1], formats=["cp"]).failures[0])
    cp-joint-0 [1]: it raised IndexError: list index out of range
    """
    failures, n_asked = [], 0
    for vector in corpus():
        case = vector.case
        if case.n_layers == 1 or case.format not in formats or case.tangents is not None or case.dtype.kind == "c":
            continue
        expected = reference(case, "y")
        try:
            layers = make(case)
        except Exception as error:  # whatever it raises is its answer
            failures.append(f"{vector.id}: it raised {type(error).__name__}: {error}")
            n_asked += 1
            continue
        for key in (*range(case.n_layers), -1, np.int64(0)):
            n_asked += 1
            wrong = _differs(_Called(layers, case.x), key, expected[key])
            if wrong:
                failures.append(f"{vector.id} [{_shown(key)}]: {wrong}")
        n_asked += 1
        wrong = _iterates(layers, case.n_layers)
        if wrong:
            failures.append(f"{vector.id}, iterated over: {wrong}")
    return Comparison(_name(make), n_asked, tuple(failures))


class _Called:
    """What the layers at a key make of x."""

    def __init__(self, layers: Any, x: Array) -> None:
        self._layers, self._x = layers, x

    def __getitem__(self, key: Any) -> Any:
        return self._layers[key](self._x)


def _differs(indexed: Any, key: Any, expected: Array) -> str:
    try:
        found = as_arrays({"it": indexed[key]})["it"]
    except Exception as error:  # whatever it raises is its answer
        return f"it raised {type(error).__name__}: {error}"
    if found.shape != expected.shape:
        return f"it has shape {found.shape} instead of {expected.shape}"
    return "" if np.array_equal(found, expected) else "it has other entries"


def _iterates(layers: Any, n: int) -> str:
    """Whether a loop over joint layers ends after the last."""
    try:
        count = sum(1 for _ in itertools.islice(iter(layers), n + 1))
    except Exception as error:  # whatever it raises is its answer
        return f"it raised {type(error).__name__}: {error}"
    return "" if count == n else f"it gives {'more than ' if count > n else ''}{min(count, n)} layers instead of {n}"


def _shown(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(
        "..." if part is ... else _slice(part) if isinstance(part, slice) else repr(part) for part in parts
    )


def _slice(part: slice) -> str:
    start, stop, step = ("" if bound is None else str(bound) for bound in (part.start, part.stop, part.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
