"""The judge finds nothing wrong with what is right: here on a few cases, on many by testing/false_alarms.py."""

from hypothesis import settings
from testing.drawn import by_micro
from testing.false_alarms import accused, ours

from tlinear.testing import check


def test_of_the_layer_however_it_computes_nor_of_the_first_page():
    sessions, n = accused(list(ours()), 3 * settings().max_examples, seed=1, max_modes=3)
    for name, session in sessions.items():
        assert not session.worst, (name, *map(str, session.worst.values()))
        assert session.n_cases >= n // 7 - 1, name


def test_of_complex_numbers_integers_and_fractions():
    report = check(by_micro, dtypes=["complex64", "int64", "object"], max_examples=settings().max_examples, seed=1)
    assert report.passed, str(report)
    assert {"exact", "certified", "bound"} <= set(report.coverage.tiers["y"])
