"""The tests of an implementation: ``pytest --pyargs tlinear.testing.conformance --tlinear-implementation m:f``.

One test for each vector and dtype, one for each vector that must be refused, and a check on random cases.
"""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tlinear.arrays import DType
from tlinear.errors import OptionError, TLinearError
from tlinear.formats import FORMATS
from tlinear.testing.arithmetic import judged_dtypes
from tlinear.testing.check import check, check_choices
from tlinear.testing.implementation import Function, Implementation, find_function, verdict_of
from tlinear.testing.judge import Rules
from tlinear.testing.program import Program
from tlinear.testing.strategies import DTYPES
from tlinear.testing.vectors.conformance import case_in, refused
from tlinear.testing.vectors.store import CORPUS, read_vectors

__all__: list[str] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each vector and dtype."""
    config = metafunc.config
    if "vector_case" not in metafunc.fixturenames and "invalid_vector" not in metafunc.fixturenames:
        return
    try:
        valid, invalid = read_vectors(config.getoption("--tlinear-vectors") or CORPUS)
        formats, dtypes, layers = _choices(config)
    except TLinearError as error:
        raise pytest.UsageError(str(error)) from None
    if "vector_case" in metafunc.fixturenames:
        found = {
            f"{vector.id}-{dtype}": case
            for vector in valid
            for dtype in dtypes
            if vector.case.format in formats
            and vector.case.n_layers in layers
            and (case := case_in(vector, dtype, jvp=config.getoption("--tlinear-jvp"))) is not None
        }
        metafunc.parametrize("vector_case", list(found.values()), ids=list(found))
    else:
        chosen = [v for v in invalid if v.format in formats] if config.getoption("--tlinear-invalid") else []
        metafunc.parametrize("invalid_vector", chosen, ids=[vector.id for vector in chosen])


@pytest.fixture(scope="session")
def implementation(pytestconfig: pytest.Config) -> Implementation:
    """What is judged."""
    name, command = (pytestconfig.getoption(f"--tlinear-{option}") for option in ("implementation", "exec"))
    if (name is None) == (command is None):
        pytest.exit("Name what is to be judged by one of --tlinear-implementation and --tlinear-exec.", returncode=4)
    try:
        return Program(tuple(shlex.split(command))) if name is None else Function(find_function(name))
    except (TLinearError, ValueError) as error:
        pytest.exit(f"What is to be judged is not there: {error}", returncode=4)


def test_vector(implementation: Implementation, vector_case: Any) -> None:
    """A vector in a dtype."""
    verdict = verdict_of(vector_case, implementation.run([vector_case])[0], Rules())
    if not verdict.passed:
        pytest.fail("\n\n".join(map(str, verdict.findings)), pytrace=False)


def test_refuses(implementation: Implementation, invalid_vector: Any) -> None:
    """A vector that must be refused."""
    finding = refused(implementation, invalid_vector)
    if finding is not None:
        pytest.fail(str(finding), pytrace=False)


def test_random_cases(implementation: Implementation, pytestconfig: pytest.Config) -> None:
    """The check that ``tlinear check`` does, on fewer cases."""
    n = pytestconfig.getoption("--tlinear-max-examples")
    if not n:
        pytest.skip("--tlinear-max-examples=0")
    formats, dtypes, layers = _choices(pytestconfig)
    jvp = pytestconfig.getoption("--tlinear-jvp")
    names = list(map(str, dtypes))
    report = check(implementation, formats=formats, dtypes=names, n_layers=layers, jvp=jvp, max_examples=n)
    if not report.passed:
        pytest.fail(str(report), pytrace=False)


def _choices(config: pytest.Config) -> tuple[tuple[str, ...], tuple[DType, ...], tuple[int, ...]]:
    """The formats, dtypes and numbers of joint layers that are asked for."""
    formats = _words(config, "--tlinear-formats", tuple(FORMATS))
    layers = _words(config, "--tlinear-layers", ("1",))
    try:
        numbers = tuple(map(int, layers))
    except ValueError:
        raise OptionError(f"--tlinear-layers {','.join(layers)} must be numbers, such as 1,2.") from None
    check_choices(formats, numbers)
    return formats, judged_dtypes(_words(config, "--tlinear-dtypes", DTYPES)), numbers


def _words(config: pytest.Config, option: str, default: tuple[str, ...]) -> tuple[str, ...]:
    given = config.getoption(option)
    return default if given is None else tuple(word for word in given.split(",") if word)
