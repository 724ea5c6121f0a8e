"""Let the checks of all tests share the cases that they draw alike."""

import sys

import pytest
from testing.drawn import drawn_once

from tlinear.testing import check

CHECK = sys.modules[check.__module__]


@pytest.fixture(autouse=True)
def _draw_once(monkeypatch):
    monkeypatch.setattr(CHECK, "drawn", drawn_once)


@pytest.fixture
def draw_again(monkeypatch, _draw_once):
    """Draw anew in each check, as it does elsewhere."""
    from testing.drawn import drawn

    monkeypatch.setattr(CHECK, "drawn", drawn)
