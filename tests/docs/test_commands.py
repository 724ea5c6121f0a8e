"""What the pages tell a reader to type is there: commands and their options, scripts, extras, files and names."""

import configparser
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from tlinear import cli

ROOT = Path(__file__).parents[2]
MADE = ("_build", "chapters")
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not set(MADE) & set(p.parts))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [
    block for text in TEXTS.values() for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
]
INLINE = [
    code
    for text in TEXTS.values()
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
]
LINES = [part.strip() for block in BLOCKS for line in block.splitlines() for part in line.split("&&")] + INLINE
WORDS = {line: shlex.split(line, comments=True) for line in LINES if re.match(r"(tlinear|python|pip|pytest) ", line)}


def commands(*start):
    return [pytest.param(words, id=line) for line, words in WORDS.items() if tuple(words[: len(start)]) == start]


def parsed(words):
    """Whether the command line takes these words."""
    try:
        cli._parser().parse_args(words)
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("words", commands("tlinear", "plot"))
def test_a_picture_that_a_page_asks_for_is_drawn(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("weight.npy", np.random.default_rng(0).standard_normal((12, 16)))
    if len(words) > 2:
        assert cli.main(words[1:]) == 0
        assert (tmp_path / words[3]).stat().st_size > 1000


@pytest.mark.parametrize("words", [*commands("tlinear", "demo"), *commands("tlinear", "check")])
def test_a_command_has_the_options_that_a_page_gives_it(words):
    known = parsed(words[1:])
    assert known or words == ["tlinear", "check"]  # which needs to be told what to judge
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
    assert not [name for name in files - elsewhere if not (ROOT / name).exists()]
