"""Imports point downwards only, and no file holds more than can be read in one sitting."""

import ast
from pathlib import Path

import pytest

import tlinear

PACKAGE = Path(tlinear.__file__).parent
FLOORS = [
    ("errors", "micro"),
    ("dependency", "balanced", "parsing", "progress"),
    ("arrays", "randomness", "shapes"),
    ("ranks", "tensorization"),
    ("candidates", "capacity"),
    ("named_arrays", "arguments", "contraction", "algorithms"),
    ("formats", "optim"),
    ("call", "decomposition"),
    ("functional",),
    ("linear",),
    ("conversion", "frozen", "modules"),
    ("layer", "least_cost"),
    ("suggestion",),
    ("plot", "testing"),
    ("demo",),
    ("check_command", "plot_command"),
    ("cli",),
    ("__main__",),
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return ".".join(("tlinear", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported_by(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tlinear":
            for alias in node.names:
                inner = PACKAGE.joinpath(*node.module.split(".")[1:], alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "tlinear")


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_lower_floors_or_its_own_room(path):
    here = room(name_of(path))
    if here == "":  # the package's face imports what is public
        return
    if here == "micro":
        assert not list(imported_by(path)), "the page that is read first stands alone"
        return
    for module in imported_by(path):
        there = room(module)
        if there == "":  # `from tlinear import __version__`
            continue
        assert there == here or FLOOR[there] < FLOOR[here], f"{name_of(path)} imports {module}, which stands above it"


def test_no_two_modules_import_each_other():
    graph = {name_of(path): {module for module in imported_by(path) if module != "tlinear"} for path in MODULES}
    done = set()

    def visit(module, trail):
        assert module not in trail, f"a circle of imports: {' -> '.join((*trail, module))}"
        if module not in done:
            for target in graph.get(module, ()):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400
