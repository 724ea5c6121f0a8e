"""Judge an implementation by the test vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from tlinear.arrays import DType
from tlinear.errors import OptionError, ProgramError
from tlinear.formats import FORMATS
from tlinear.progress import Progress, silent
from tlinear.testing.arithmetic import arithmetic_of, judged_dtypes
from tlinear.testing.case import Case, Results
from tlinear.testing.check import check_choices
from tlinear.testing.exact import in_fractions, is_exact
from tlinear.testing.implementation import Failure, Function, Implementation
from tlinear.testing.judge import Rules
from tlinear.testing.reference import MOST_LABELS, Convention
from tlinear.testing.report import Report
from tlinear.testing.session import Session
from tlinear.testing.strategies import DTYPES
from tlinear.testing.vectors.corpus import FLAGS, corpus
from tlinear.testing.vectors.invalid import InvalidVector
from tlinear.testing.vectors.vector import Vector
from tlinear.testing.verdict import Finding

__all__ = ["case_in", "check_vectors", "refused"]

_OF_SHELLS = 126
"""From here on a shell says that it has not found a program, or that one was killed."""


def check_vectors(
    implementation: Callable[[Case], Results] | Implementation,
    vectors: Sequence[Vector] | None = None,
    invalid: Sequence[InvalidVector] = (),
    *,
    formats: Sequence[str] | None = None,
    dtypes: Sequence[str] = DTYPES,
    n_layers: Sequence[int] = (1,),
    jvp: bool = False,
    convention: Convention = "adjoint",
    unit_roundoff: float | None = None,
    terms: int | None = None,
    namespace: Any = None,
    progress: Progress = silent,
) -> Report:
    """Judge an implementation of the layer by test vectors, each in every dtype that it says something of.

    Parameters
    ----------
    implementation : callable
        As of :func:`tlinear.testing.check`.
    vectors : sequence of Vector, optional
        Those that come with the package, unless given.
    invalid : sequence of InvalidVector
        What must be refused, such as :func:`tlinear.testing.vectors.invalid_corpus`; nothing unless given.
    formats, dtypes : sequences of str
        The vectors and arithmetics to be judged.  One that is exact in fewer bits than a dtype has is, in it; real
        vectors are in real dtypes, complex ones in complex ones.
    n_layers, jvp
        Which joint layers are judged, and whether derivatives along tangents are.
    convention, unit_roundoff, terms, namespace, progress
        As of :func:`tlinear.testing.check`.

    Examples
    --------
    >>> from tlinear.testing.mutants import right
    >>> report = check_vectors(right, formats=["cp"], dtypes=["float64"])
    >>> report.passed, report.source
    (True, 'test vectors')
    """
    wanted = tuple(FORMATS) if formats is None else formats
    check_choices(wanted, n_layers)
    chosen = [
        vector
        for vector in (corpus() if vectors is None else vectors)
        if vector.case.format in wanted and vector.case.n_layers in n_layers
    ]
    rules = Rules(convention, unit_roundoff, terms)
    judged: Implementation = Function(implementation, namespace) if callable(implementation) else implementation
    names, cases = {}, []
    for dtype in judged_dtypes(dtypes):
        for vector in chosen:
            case = case_in(vector, dtype, jvp=jvp)
            if case is not None:
                names[case] = _named(vector)
                cases.append(case)
    refusals = [vector for vector in invalid if vector.format in wanted or vector.format not in FORMATS]
    if not cases and not refusals:
        asked = f"formats {', '.join(wanted)}, dtypes {', '.join(map(str, dtypes))}, layers {list(n_layers)}"
        raise OptionError(f"No vector is of {asked}. Ask for others, or for more of them.")
    session = Session(judged, rules, 0)
    session.sweep(cases, progress)
    failures = [
        replace(finding, cause=session.cause(kind[0]), vector=names.get(finding.case, ""))
        for kind, finding in session.worst.items()
    ]
    wrongly = [finding for vector in refusals if (finding := refused(judged, vector)) is not None]
    session.count_refusals(len(refusals) - len(wrongly))
    return session.report([*failures, *wrongly], "test vectors")


def case_in(vector: Vector, dtype: DType, *, jvp: bool = False) -> Case | None:
    """The case of a vector in a dtype, with tangents or without; None where the vector says nothing of the dtype."""
    if is_exact(dtype):
        return _in_exact(vector, dtype, jvp=jvp)
    case = vector.case if jvp else replace(vector.case, tangents=None)
    if case.dtype.kind != dtype.kind:
        return None
    if vector.bits is None and dtype.itemsize < np.dtype(np.float32).itemsize:
        return None  # its numbers are not exact there
    if vector.bits is not None and vector.bits > arithmetic_of(dtype).bits:
        return None
    return case if case.dtype == dtype else case.map(lambda array: array.astype(dtype))


def _in_exact(vector: Vector, dtype: DType, *, jvp: bool) -> Case | None:
    """In fractions, of which every real number of a vector is one, or in integers where it has no others."""
    case = vector.case if jvp else replace(vector.case, tangents=None)
    if case.dtype.kind != "f" or (dtype.kind == "i" and vector.bits is None):
        return None
    if dtype.kind == "O" and len(case.sizes) > MOST_LABELS:
        return None  # np.einsum squeezes intermediate results of objects to what are no arrays
    return case.map(in_fractions) if dtype.kind == "O" else case.map(lambda array: array.astype(dtype))


def refused(implementation: Implementation, vector: InvalidVector) -> Finding | None:
    """What there is to say where an implementation gives results of what it must refuse."""
    looks_like_a_case = cast(Case, vector)
    message = "it gives results of what must be refused."
    try:
        if isinstance(implementation.run([looks_like_a_case])[0], Failure):
            return None
    except ProgramError as error:
        if 0 < error.exit_code < _OF_SHELLS:
            return None
        message = f"it neither gives results nor refuses: {error}"
    return Finding(looks_like_a_case, "y", "form", message, vector=vector.id)


def _named(vector: Vector) -> str:
    reasons = [FLAGS[flag][0] for flag in vector.flags if flag in FLAGS]
    return f"{vector.id}: {'; '.join(reasons)}" if reasons else vector.id
