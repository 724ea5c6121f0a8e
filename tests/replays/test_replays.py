"""A replay's page says what its numbers say, its figure shows them, and its script runs."""

from importlib import import_module
from importlib.metadata import version

import pytest
import replay
from replay_commands import REPLAYS, quick

NAMES = sorted(path.stem for path in REPLAYS.glob("*.json"))
WITHOUT_WEIGHTS = ("novikov_fc6", "structured_layers", "t3f_mnist")
"""Those of the others are in ``tests/weights``."""


def replay_of(name):
    return import_module(name).REPLAY


def test_every_script_has_numbers_a_page_and_a_figure():
    scripts = {path.stem for path in REPLAYS.glob("*.py")} - {"replay"}
    assert scripts == set(NAMES) >= set(WITHOUT_WEIGHTS)
    for name in NAMES:
        assert replay_of(name).name == name
        assert f"]({name}.svg)" in replay_of(name).file(".md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_the_script_makes_of_the_numbers(name):
    own = replay_of(name)
    page = own.file(".md").read_text()
    for block, text in own.all_blocks(own.kept()).items():
        assert replay.parts(page, block)[1] == text


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_what_the_script_draws_from_the_numbers(name, tmp_path):
    own = replay_of(name)
    kept, path = own.kept(), tmp_path / "figure.svg"
    own.save_figure(kept, path)
    if version("matplotlib") != kept["machine"]["matplotlib"]:
        pytest.skip("another matplotlib draws the same in other bytes")
    assert path.read_bytes() == own.file(".svg").read_bytes()


def test_the_index_has_the_verdict_of_every_page():
    table = replay.parts((REPLAYS / "index.md").read_text(), "verdicts")[1]
    assert table == replay.verdicts()
    assert all(f"]({name}.md)" in table for name in NAMES)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_a_quick_run_prints_every_block_and_writes_nothing(name):
    output, before, after = quick(name)
    assert "\n**" in output
    assert "\n| " in output
    assert "Measured on: " in output
    assert before == after
