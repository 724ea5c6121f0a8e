"""``tlinear check``: judge an implementation from the command line."""

from __future__ import annotations

import argparse
import math
import shlex
from typing import Any

from tlinear.errors import OptionError
from tlinear.formats import FORMATS
from tlinear.parsing import integers, words
from tlinear.progress import progress_bar

__all__ = ["PURPOSE", "add_arguments"]

PURPOSE = (
    "Judge an implementation of the layer: exit code 0 if it is right, 1 if it is wrong, 2 if it cannot be judged."
)

_DRAWN = ("max_examples", "max_modes", "seed")
"""The options of random cases, with the defaults of :func:`tlinear.testing.check`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--exec", metavar="COMMAND", help="a program, called with a directory of cases and one for results"
    )
    what.add_argument("--function", metavar="MODULE:NAME", help="a Python function from a case to its results")
    parser.add_argument(
        "--namespace", metavar="MODULE", help="with --function: whose asarray makes its arrays, such as torch"
    )
    parser.add_argument("--formats", type=words, default=tuple(FORMATS), help="such as cp,tt; all unless given")
    parser.add_argument(
        "--dtypes",
        type=words,
        default=None,
        help="such as float32,float64, judged unless given with complex64,complex128; or float16,int64,object",
    )
    parser.add_argument("--layers", type=integers, default=(1,), help="numbers of joint layers, such as 1,3")
    parser.add_argument("--max-examples", type=int, metavar="N", help="how many cases; 1000 unless given")
    parser.add_argument("--max-modes", type=int, metavar="N", help="the most modes of one side; 4 unless given")
    parser.add_argument("--small", action="store_true", help="no mode of 8 and no batch of 65 or 1000 now and then")
    parser.add_argument("--jvp", action="store_true", help="give tangents, and judge the derivative of y along them")
    parser.add_argument(
        "--vectors",
        nargs="?",
        const="",
        metavar="PATH",
        help="judge by the test vectors, or those of a file or folder, instead of random cases",
    )
    parser.add_argument("--invalid", action="store_true", help="with --vectors: also that what is wrong is refused")
    parser.add_argument(
        "--save", metavar="FOLDER", help="write the cases that show what is wrong there, as test vectors"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="gives the same cases again; 0 unless given")
    parser.add_argument(
        "--convention", choices=("adjoint", "transpose"), default="adjoint", help="of complex gradients"
    )
    parser.add_argument("--unit-roundoff", type=float, metavar="U", help="of hardware with fewer bits, such as 4.9e-4")
    parser.add_argument("--terms", type=int, metavar="K", help="how many roundings an entry goes through there")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds that one call may take")
    parser.set_defaults(execute=_execute)


def _execute(options: argparse.Namespace) -> int:
    from tlinear.testing import Program, check  # which needs Hypothesis
    from tlinear.testing.implementation import find_function, find_module
    from tlinear.testing.strategies import DTYPES
    from tlinear.testing.vectors import CORPUS, check_vectors, read_vectors, vectors_of, write_vectors

    _refuse_what_would_be_ignored(options)
    if options.exec is not None:
        judged: Any = Program(_command(options.exec), options.timeout)
    else:
        judged = find_function(options.function)
    dtypes = DTYPES if options.dtypes is None else options.dtypes
    given: dict[str, Any] = {
        name: getattr(options, name) for name in ("convention", "unit_roundoff", "terms", "formats")
    }
    given |= {"dtypes": dtypes, "n_layers": options.layers, "jvp": options.jvp}
    given["namespace"] = None if options.namespace is None else find_module(options.namespace)
    with progress_bar() as progress:
        if options.vectors is not None:
            progress("reading the test vectors", 0.0)
            valid, invalid = read_vectors(options.vectors or CORPUS)
            refuse = invalid if options.invalid else ()
            report = check_vectors(judged, valid, refuse, progress=progress, **given)
        else:
            report = check(judged, large=not options.small, progress=progress, **_drawn_by(options), **given)
    print(report)
    if options.save is not None and report.failures:
        print("\nwritten:", *write_vectors(options.save, vectors_of(report)))
    return 0 if report.passed else 1 if report.failures else 2


def _refuse_what_would_be_ignored(options: argparse.Namespace) -> None:
    if not 0.0 < options.timeout < math.inf:
        raise OptionError(f"--timeout {options.timeout:g} must be a number of seconds above 0.")
    if options.invalid and options.vectors is None:
        raise OptionError("--invalid judges test vectors. Give --vectors too.")
    drawn = [*_drawn_by(options), *["small"] * options.small]
    if drawn and options.vectors is not None:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in drawn)
        raise OptionError(f"{names}: of random cases, which --vectors judges none of. Leave one or the other out.")
    if options.exec is not None and options.namespace is not None:
        raise OptionError("--namespace is of Python's arrays, which a program is not given. Leave it out.")


def _drawn_by(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of random cases that are given."""
    return {name: getattr(options, name) for name in _DRAWN if getattr(options, name) is not None}


def _command(given: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(given))
    except ValueError as error:
        raise OptionError(f"--exec {given!r} cannot be split into words: {error}. Close the quotes.") from None
