"""The judge finds nothing wrong with what is right.  The thorough profile looks at many cases."""

import pytest
from hypothesis import settings
from testing.drawn import by_layer, by_micro

from tlinear.testing import check

OPTIONS = [
    {"implementation": "factorized"},
    {"implementation": "reconstructed"},
    {"memory": "recompute"},
    {"optimize": "greedy"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options.values()))
def test_of_the_layer_however_it_computes(options):
    n = settings().max_examples // 2
    report = check(lambda case: by_layer(case, **options), max_examples=n, max_modes=3, seed=n)
    assert report.passed, str(report)


def test_of_the_first_page():
    report = check(by_micro, max_examples=2 * settings().max_examples, seed=1)
    assert report.passed, str(report)
