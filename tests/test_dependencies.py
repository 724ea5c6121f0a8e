"""The extra for the tests brings what the default suite imports, and nothing else."""

import ast
import configparser
import re
import sys
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import tlinear

ROOT, PACKAGE = Path(__file__).resolve().parents[1], Path(tlinear.__file__).parent
PLUGINS = {"pytest-xdist"}
"""Packages of the extra that are not imported, but asked for by an option of pytest."""


def plain(requirement):
    """The name of a distribution in the one form that all spellings of it share."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def declared(*extras):
    """The distributions that are installed with these extras."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return {plain(line) for text in texts for line in text.split("\n") if line.strip()}


def default_suite():
    """The files that pytest reads where it is told nothing."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    passed_over = config["tool:pytest"]["norecursedirs"].split()
    for path in map(ROOT.joinpath, config["tool:pytest"]["testpaths"].split()):
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            rooms = [room for room in file.relative_to(ROOT).parents if room.name]
            if file.suffix in (".py", ".md") and not any(
                fnmatch(str(room) if "/" in pattern else room.name, pattern)
                for room in rooms
                for pattern in passed_over
            ):
                yield file


def is_attempt(node):
    """Whether what is missing is done without."""
    names = [ast.unparse(handler.type) for handler in node.handlers if handler.type is not None]
    return bool({"ImportError", "ModuleNotFoundError"} & set(names))


def imported(tree, *, attempts=False):
    """The modules that are needed, wherever they are imported; with `attempts`, those that are done without too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Try) and is_attempt(node) and not attempts:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module] if node.level == 0 else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
            yield node.args[0].value
        yield from imported(node, attempts=attempts)


@cache
def needs():
    """The distributions that the default suite needs, each with the files that import it."""
    found, installed = {}, packages_distributions()
    local = {path.stem for path in (ROOT / "tests").iterdir()} | {path.stem for path in ROOT.glob("docs/replays/*.py")}
    for path in default_suite():
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"^ *>>> (?:import|from) ([\w.]+)", text, re.MULTILINE)
        if path.is_relative_to(ROOT / "tests"):
            names += imported(ast.parse(text))
        for name in {name.split(".")[0] for name in names} - {"tlinear"} - local - sys.stdlib_module_names:
            for distribution in installed.get(name, [name]):
                found.setdefault(plain(distribution), []).append(str(path.relative_to(ROOT)))
    return found


def test_what_the_default_suite_imports_is_declared():
    found = needs()
    missing = set(found) - declared("test")
    assert not missing, {name: found[name] for name in missing}


def test_nothing_is_installed_for_the_tests_that_no_test_imports():
    judge = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("testing/**/*.py")]
    used = {name.split(".")[0] for tree in judge for name in imported(tree, attempts=True)}
    assert declared("test") - declared() <= used | set(needs()) | PLUGINS
