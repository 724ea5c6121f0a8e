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
