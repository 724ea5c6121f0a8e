"""The judge accepts the port to torch in docs/ports, and tltorch's layers, but for what docs/oracle.md says of them."""

import importlib.util
import itertools
from pathlib import Path

import pytest
from hypothesis import settings
from testing.false_alarms import accused

from tlinear.testing import check

from .in_the_wild import FORMATS, by_tltorch, comparisons, found, table, table_of_comparisons
from .peers import peers

ROOT = Path(__file__).parents[2]


def test_of_the_port():
    spec = importlib.util.spec_from_file_location("with_torch", ROOT / "docs" / "ports" / "with_torch.py")
    port = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(port)
    report = check(port.layer, max_examples=5 * settings().max_examples, n_layers=(1, 2, 3))
    assert report.passed, str(report)


@pytest.mark.filterwarnings("ignore")  # of what NumPy will do otherwise with what they call
def test_of_the_peers():
    """TensorLy-Torch, TensorLy and torchTT; on many cases tests/testing/false_alarms.py judges them."""
    sessions, _ = accused(list(peers()), 10 * settings().max_examples, seed=0, max_modes=3)
    for name, session in sessions.items():
        assert not session.worst, (name, *map(str, session.worst.values()))
        assert session.n_cases, name


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_the_page_is_what_is_found():
    page = (ROOT / "docs" / "oracle.md").read_text().splitlines()
    for computed in (table(found()), table_of_comparisons(comparisons())):
        start = page.index(computed[0])
        rows = itertools.takewhile(lambda line: line.startswith("|"), page[start:])
        # the words of an error are those of this version of the library; how many there are is what it does
        assert [line.split("|")[1:-2] for line in rows] == [line.split("|")[1:-2] for line in computed]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("factorization", FORMATS)
def test_a_check_shows_a_defect_by_a_small_case(factorization):
    report = check(lambda case: by_tltorch(case, "factorized"), formats=[factorization], max_modes=1, max_examples=100)
    assert any("it raised RuntimeError: cannot reshape" in failure.message for failure in report.failures)
    assert all(0 in failure.case.batch_shape for failure in report.failures)
