"""The pages that a reader has, and what they tell one to type."""

import re
import shlex
from pathlib import Path

import pytest

import tlinear

ROOT = Path(__file__).resolve().parents[1]
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


def is_there(path):
    """Whether a file of the repository is there, or one of the package where that is installed."""
    if path.exists():
        return True
    installed, path = Path(tlinear.__file__).parents[1], path.resolve()
    return path.is_relative_to(ROOT) and (installed / path.relative_to(ROOT)).exists()
