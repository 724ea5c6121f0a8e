"""The settings refuse, before any work, what could not be done."""

import pytest

from tlinear.demo.settings import QUICK, Settings
from tlinear.errors import OptionError, RankError, ShapeError


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"seed": -1}, OptionError, "seed=-1"),
        ({"seed": 2**32}, OptionError, "seed=4294967296"),
        ({"epochs": 0}, OptionError, "epochs=0 must be at least 1"),
        ({"fine_tune_epochs": -1}, OptionError, "fine_tune_epochs=-1 must be at least 0"),
        ({"hidden": 97}, ShapeError, "97 features"),
        ({"hidden": 0}, ShapeError, "features=0"),
        ({"ranks": (0.1, 1.5)}, RankError, "rank=1.5"),
        ({"ranks": (0,)}, RankError, "rank=0"),
        ({"ranks": (float("nan"),)}, RankError, "rank=nan"),
    ],
)
def test_what_cannot_be_done_is_refused(wrong, error, says):
    with pytest.raises(error, match=says):
        Settings(**wrong)


def test_a_budget_that_no_format_meets_is_accepted():
    assert Settings(ranks=(1e-6,)).ranks == (1e-6,)


def test_quick_asks_for_less_of_everything():
    full = Settings()
    for name in ("hidden", "epochs", "fine_tune_epochs", "timed_rounds"):
        assert getattr(QUICK, name) < getattr(full, name)
    assert len(QUICK.ranks) < len(full.ranks)
