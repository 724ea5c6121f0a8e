"""The reference has every public name, each with an example; and the check of links finds those that lead nowhere."""

import importlib
import importlib.util
import inspect
import re
import types
from pathlib import Path

import pytest
from pages import is_there

import tlinear

DOCS = Path(__file__).parents[2] / "docs"
ROOMS = ("formats", "decomposition", "optim", "errors", "testing", "plot")
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|data|exception|module):: (\S+)", re.MULTILINE)


def public_names():
    face = [name for name, value in vars(tlinear).items() if not isinstance(value, types.ModuleType)]
    yield from (("tlinear", name) for name in face if not name.startswith("_"))
    for room in ROOMS:
        yield from ((f"tlinear.{room}", name) for name in importlib.import_module(f"tlinear.{room}").__all__)


def found(path):
    """What a dotted name leads to."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def entries():
    """Every documented object with the examples that follow it on its page."""
    for page in sorted((DOCS / "reference").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for match in DIRECTIVE.finditer(text):
            yield found(match[1]), ">>>" in text[match.end() :]


PUBLIC = sorted(set(public_names()))
ENTRIES = list(entries())


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=map(".".join, PUBLIC))
def test_every_public_name_is_documented_with_an_example(room, name):
    thing = getattr(importlib.import_module(room), name)
    on_page = [has_examples for documented, has_examples in ENTRIES if documented is thing]
    assert on_page, f"{room}.{name} is on no page of docs/reference"
    members = vars(thing).values() if isinstance(thing, type) else ()
    docstrings = [inspect.getdoc(thing), *(inspect.getdoc(member) for member in members)]
    assert on_page[0] or any(">>>" in (text or "") for text in docstrings), f"{room}.{name} has no example"


def test_every_page_of_a_format_says_all_that_a_port_needs():
    for name in tlinear.formats.FORMATS:
        text = (DOCS / "specification" / f"{name}.md").read_text(encoding="utf-8")
        wanted = ["Equation", "Operands", "Ranks", "Forward", "Gradients", "Initialisation", "Edge cases"]
        wanted += ["From symbol to name", "Worked numbers", "Where it is"]
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == wanted
        assert "The equation on this page wins over the code." in text
        assert f"corpus/{name}.json" in text
        assert ">>>" in text


def test_every_local_link_of_a_page_is_there():
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        if "_build" in page.parts or "chapters" in page.relative_to(DOCS.parent).parts:
            continue
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            made = link.endswith(".svg") or "chapters/" in link  # when the site is built
            assert "://" in link or made or is_there(page.parent / link), f"{page} links to {link}"


def load_links():
    spec = importlib.util.spec_from_file_location("links", DOCS / "_ext" / "links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_check_of_links_finds_those_that_lead_nowhere(tmp_path):
    (tmp_path / "page.html").write_text('<p id="here"><a href="other.html#there">1</a> <a href="#here">2</a></p>')
    (tmp_path / "other.html").write_text(
        '<h1 id="there"><a href="page.html#gone">3</a> <img src="no.svg"> <a href="https://example.org/x">4</a></h1>'
    )
    assert sorted((str(page), link) for page, link in load_links().broken(tmp_path)) == [
        ("other.html", "no.svg"),
        ("other.html", "page.html#gone"),
    ]
