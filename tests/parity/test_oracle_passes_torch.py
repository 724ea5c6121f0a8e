"""The judge accepts the port to torch in docs/ports, and tltorch's layers, but for what docs/oracle.md says of them."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import settings

from tlinear.testing import check, judge
from tlinear.testing.check import drawn
from tlinear.testing.strategies import cases

from .in_the_wild import FORMATS, by_tltorch, found, table

ROOT = Path(__file__).parents[2]


def test_of_the_port():
    spec = importlib.util.spec_from_file_location("with_torch", ROOT / "docs" / "ports" / "with_torch.py")
    port = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(port)
    report = check(port.layer, max_examples=5 * settings().max_examples, n_layers=(1, 2, 3))
    assert report.passed, str(report)


def is_known_to_fail(case, implementation):
    """Of the factorized layer: no samples, and Tucker or BlockTT whose sides have not as many modes."""
    uneven = len(case.in_shape) != len(case.out_shape) and case.format != "cp"
    return implementation == "factorized" and (uneven or 0 in case.batch_shape)


@pytest.mark.parametrize("implementation", ["factorized", "reconstructed"])
def test_of_tltorch(implementation):
    strategy = cases(formats=FORMATS, dtypes=("float32", "float64"), max_modes=3)
    judged = 0
    for case in drawn(strategy, 10 * settings().max_examples, 0):
        if is_known_to_fail(case, implementation):
            continue
        verdict = judge(case, by_tltorch(case, implementation))
        assert verdict.passed, str(verdict.findings[0])
        judged += 1
    assert judged > 3 * settings().max_examples


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_the_page_is_what_is_found():
    page = (ROOT / "docs" / "oracle.md").read_text().splitlines()
    rows = [line.split("|")[1:4] for line in table(found())[2:]]
    shown = [line.split("|")[1:4] for line in page if line.startswith("| `")]
    assert [row for row in shown if row[1].strip() in ("factorized", "reconstructed")] == rows


@pytest.mark.parametrize("factorization", FORMATS)
def test_a_check_shows_a_defect_by_a_small_case(factorization):
    report = check(lambda case: by_tltorch(case, "factorized"), formats=[factorization], max_modes=1, max_examples=100)
    assert any("it raised RuntimeError: cannot reshape" in failure.message for failure in report.failures)
    assert all(0 in failure.case.batch_shape for failure in report.failures)
