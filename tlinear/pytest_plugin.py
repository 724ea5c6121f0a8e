"""A pytest plugin: judge an implementation as a part of its own tests.

``pytest --pyargs tlinear.testing.conformance --tlinear-implementation my_layer:run`` runs every test vector and a
check on random cases as tests of their own.  It is loaded wherever pytest and tlinear are installed, and so imports
nothing until it is asked to judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__: list[str] = []

_XFAIL = pytest.StashKey[dict[str, str]]()
_SEEN = pytest.StashKey[dict[str, str]]()
_MODULE = "tlinear.testing.conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options ``--tlinear-..``."""
    group = parser.getgroup("tlinear", "judge an implementation of tensorized linear layers")
    group.addoption(
        "--tlinear-implementation",
        metavar="MODULE:FUNCTION",
        help=f"what to judge, from a case to its results; run it with pytest --pyargs {_MODULE}",
    )
    group.addoption("--tlinear-exec", metavar="COMMAND", help="a program to judge instead")
    group.addoption("--tlinear-formats", metavar="NAMES", help="such as cp,tt; all unless given")
    group.addoption("--tlinear-dtypes", metavar="NAMES", help="such as float32,float64; all unless given")
    group.addoption(
        "--tlinear-layers", metavar="NUMBERS", help="numbers of joint layers, such as 1,2,3; 1 unless given"
    )
    group.addoption("--tlinear-jvp", action="store_true", help="also judge the derivative along tangents")
    group.addoption("--tlinear-vectors", metavar="PATH", help="a file or folder of vectors instead of the package's")
    group.addoption("--tlinear-invalid", action="store_true", help="also judge that what is wrong is refused")
    group.addoption("--tlinear-max-examples", type=int, default=200, metavar="N", help="random cases; 0 for none")
    group.addoption(
        "--tlinear-xfail",
        metavar="FILE",
        help="names of tests that are known to fail, one a line, with the reason after a #",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the file of known failures."""
    config.stash[_SEEN] = {}
    path = config.getoption("--tlinear-xfail")
    config.stash[_XFAIL] = {} if path is None else _known_failures(Path(path))


def _known_failures(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"--tlinear-xfail {path} cannot be read: {error}.") from None
    known = {}
    for line in lines:
        name, _, reason = line.partition("#")
        if name.strip():
            known[name.strip()] = reason.strip() or "listed as known to fail"
    return known


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark what is known to fail."""
    known = config.stash[_XFAIL]
    for item in items:
        name = _name(item)
        if name in known:
            item.add_marker(pytest.mark.xfail(reason=known[name], strict=False))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember how what is known to fail ended."""
    outcome = yield
    name = _name(item)
    if name is not None and call.when == "call":
        report = outcome.get_result()
        failed = report.outcome == "failed" or (report.outcome == "skipped" and hasattr(report, "wasxfail"))
        item.config.stash[_SEEN][name] = "failed" if failed else "passed"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Warn of entries of the file of known failures that fail no more, or are no tests."""
    seen, known = config.stash[_SEEN], config.stash[_XFAIL]
    if not seen:
        return
    passes = [name for name in known if seen.get(name) == "passed"]
    unknown = [name for name in known if name not in seen]
    if passes or unknown:
        terminalreporter.section("known failures of --tlinear-xfail", yellow=True)
        for name in passes:
            terminalreporter.line(f"{name} passes: take it out of the file")
        for name in unknown:
            terminalreporter.line(f"{name} was not run: it is misspelled, or not selected")


def _name(item: pytest.Item) -> str | None:
    """The name of one of our tests, without where it lies."""
    module = getattr(getattr(item, "module", None), "__name__", "")
    return item.name if module.endswith("conformance") and "tlinear" in str(item.path) else None
