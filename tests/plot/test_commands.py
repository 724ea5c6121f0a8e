"""The pictures that a page asks for are drawn."""

import numpy as np
import pytest
from pages import commands

from tlinear import cli


@pytest.mark.parametrize("words", commands("tlinear", "plot"))
def test_a_picture_that_a_page_asks_for_is_drawn(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("weight.npy", np.random.default_rng(0).standard_normal((12, 16)))
    if len(words) > 2:
        assert cli.main(words[1:]) == 0
        assert (tmp_path / words[3]).stat().st_size > 1000


LAYER = ("--in", "4,4", "--out", "4,4")


@pytest.mark.parametrize(
    "words",
    [
        ("plan", *LAYER, "--batch", "0"),
        ("memory", *LAYER, "--batch", "0", "--mode", "training"),
        ("network", *LAYER, "--rank", "1,2,3,2,1"),
        ("plan", "--in", "1", "--out", "1", "--format", "dense"),
    ],
    ids=" ".join,
)
def test_an_unusual_layer_is_drawn_without_a_warning(words, tmp_path):
    picture, *rest = words
    assert cli.main(["plot", picture, str(tmp_path / "layer.svg"), *rest]) == 0
    assert (tmp_path / "layer.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plan", *LAYER, "--batch", "99999999999999999999"), "is more samples than an array can have entries"),
        (("curves", "--weight", "weight.npy", "--formats", ""), "leave nothing to draw"),
        (("curves", "--weight", "weight.npy", "--ranks", "0.0001"), "leave nothing to draw"),
    ],
)
def test_what_would_be_an_empty_picture_is_refused(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("weight.npy", np.random.default_rng(0).standard_normal((12, 16)))
    picture, *rest = words
    assert cli.main(["plot", picture, "out.svg", *rest]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out.svg").exists()
