"""What the pages tell a reader to type is there: commands and their options, scripts, extras, files and names."""

import configparser
import pkgutil
import re
import shutil

import pytest
from pages import INLINE, LINES, ROOT, WORDS, commands, is_there

from tlinear import cli


def parsed(words):
    """Whether the command line takes these words."""
    try:
        cli._parser().parse_args(words)
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("words", [word for name in ("check", "demo", "plot") for word in commands("tlinear", name)])
def test_a_command_has_the_options_that_a_page_gives_it(words):
    known = parsed(words[1:])
    assert known or words in (["tlinear", "check"], ["tlinear", "plot"])  # which need to be told what to judge, to draw
    assert not parsed([*words[1:], "--no-such-option"])


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_port_that_the_readme_judges_is_right(monkeypatch):
    monkeypatch.chdir(ROOT)
    (words,) = (words for line, words in WORDS.items() if "docs/ports/layer.js" in line)
    assert cli.main([*words[1:], "--max-examples", "20", "--small", "--max-modes", "2"]) == 0


def test_every_script_is_there_and_knows_its_options():
    scripts = [words for words in WORDS.values() if words[0] == "python" and words[1].endswith(".py")]
    assert scripts
    for words in scripts:
        path = ROOT / words[1]
        if path.name not in ("my_program.py", "<name>.py"):
            assert path.exists(), words
            room = "".join(other.read_text(encoding="utf-8") for other in path.parent.glob("*.py"))
            assert all(f'"{word}"' in room for word in words[2:] if word.startswith("--")), words


def test_every_extra_is_declared():
    declared = configparser.ConfigParser(interpolation=None)
    declared.read(ROOT / "setup.cfg")
    extras = [extra for line in LINES for found in re.findall(r"'\.\[(.*?)\]'", line) for extra in found.split(",")]
    assert set(extras) <= set(declared["options.extras_require"]) >= {"docs", "demo", "test"}


def test_every_name_and_file_of_the_package_that_a_page_mentions_is_there():
    names = {match[0] for code in INLINE if (match := re.match(r"tlinear(\.\w+)+(?=\W|$)", code))}
    assert names
    for name in names:
        pkgutil.resolve_name(name)
    files = {code for code in INLINE if re.fullmatch(r"(tlinear|tests|docs)/[\w/]+(\.\w+)?", code)}
    assert files
    elsewhere = {"docs/tutorials/tensor_nets.ipynb", "docs/_build/index.html"}  # in t3f's repository, and once built
    assert not [name for name in files - elsewhere if not is_there(ROOT / name)]
