"""The judge accepts what is right, rejects what is wrong, and says what is wrong with it."""

from dataclasses import replace

import numpy as np
import pytest
from testing.drawn import by_layer, by_micro, some_cases, varied_cases

from tlinear.errors import FactorizationError, OptionError
from tlinear.testing import check
from tlinear.testing.identities import IDENTITIES
from tlinear.testing.implementation import Function
from tlinear.testing.judge import Rules
from tlinear.testing.mutants import MUTANTS, right
from tlinear.testing.session import Session

JOINT = {"n_layers": (1, 1, 2)}


def test_what_is_right_passes():
    for implementation in (by_layer, by_micro):
        report = check(implementation, max_examples=60, max_modes=3, large=False)
        assert report.passed, str(report)
    report = check(right, max_examples=60, n_layers=(1, 2, 3))
    assert report.passed, str(report)


def test_mutants_are_of_two_dozen_kinds():
    assert len({mutant.cause for mutant in MUTANTS}) == len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 24


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_rejected_for_what_is_wrong_with_it(mutant):
    session = Session(Function(mutant.compute), Rules(), 0)
    session.sweep(varied_cases(35, values=("whole",), **JOINT))
    session.sweep(varied_cases(8, values=("real",), **JOINT))
    if "jvp" in mutant.name:
        session.sweep(varied_cases(20, values=("whole",), tangents=True, **JOINT))
    assert session.worst, "it survived"
    kind = next(kind for kind, tier in session.worst if tier != "identity")
    assert session.cause(kind) == mutant.cause


def test_two_mistakes_at_once_are_each_named():
    def layer(case):
        results = right(case)
        samples = max(1, case.x.size // case.in_features)
        return results | {"dx": results["dx"] / samples, "y": right(replace(case, bias=None))["y"]}

    report = check(layer, formats=["tt"], dtypes=["float64"], max_examples=100)
    causes = {failure.result: failure.cause for failure in report.failures}
    assert causes["dx"] == "dx is divided by the size of the batch"
    assert causes["y"] == "the bias is not added"


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.name)
def test_every_identity_holds_of_what_is_right_and_not_of_everything(identity):
    rng, rules, broken, n = np.random.default_rng(0), Rules(), 0, 0
    shifted = lambda case: {name: array + 1 for name, array in right(case).items()}  # noqa: E731
    for case in some_cases(200, n_layers=(1, 2), values=("whole",), max_modes=2, tangents=identity.name == "duality"):
        others = identity.others(case, rng)
        if others is None:
            continue
        group = [case, *others]
        assert identity.broken(group, [right(one) for one in group], rules.convention) is None
        wrong = [*map(right, group[:-1]), shifted(group[-1])]
        broken += identity.broken(group, wrong, rules.convention) is not None
        n += 1
    assert n > 10
    assert broken > n // 4


def test_a_failure_is_shown_by_a_small_case():
    def layer(case):
        results = right(case)
        return results | {"y": results["y"] * (1 if sum(case.batch_shape) < 3 else 2)}

    report = check(layer, formats=["tt"], dtypes=["float64"], max_examples=100)
    assert not report.passed
    finding = next(failure for failure in report.failures if failure.result == "y")
    assert sum(finding.case.batch_shape) == 3
    assert finding.case.in_shape == finding.case.out_shape == (1,)
    for word in ("layer FAILED", "expected", "got", "tt (1,) -> (1,)"):
        assert word in str(report)


def test_what_raises_and_what_writes_to_its_arguments_is_wrong():
    def raises(case):
        raise RuntimeError("no kernel for this shape")

    def writes(case):
        results = right(case)
        next(iter(case.operands.values()))[...] = 7
        return results

    assert "it raised RuntimeError: no kernel for this shape" in str(check(raises, max_examples=5))
    assert "which it was given" in str(check(writes, max_examples=5))


def test_what_differs_between_two_runs_is_a_warning():
    rng = np.random.default_rng(0)

    def jumpy(case):
        results = right(case)
        fraction = results["y"] != np.rint(results["y"])
        other = np.where(fraction & (rng.random(fraction.shape) < 0.5), np.nextafter(results["y"], 0), results["y"])
        return results | {"y": other}

    report = check(jumpy, formats=["tt"], dtypes=["float64"], max_examples=200, terms=100, large=False)
    assert report.passed, str(report)
    assert any("y is not the same when computed again" in warning for warning in report.warnings)


@pytest.mark.usefixtures("draw_again")
def test_the_same_seed_gives_the_same_report():
    first, second, other = (check(right, max_examples=20, seed=seed) for seed in (1, 1, 2))
    assert str(first) == str(second) != str(other)


def test_forward_only_is_welcome_and_said_to_be():
    report = check(lambda case: {"y": right(case)["y"]}, max_examples=20)
    assert report.passed
    assert "not returned: " in str(report)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"formats": ["tensor ring"]}, FactorizationError),
        ({"formats": "tt"}, OptionError),
        ({"dtypes": []}, OptionError),
        ({"dtypes": ["int32"]}, OptionError),
        ({"n_layers": (0,)}, OptionError),
        ({"max_examples": 0}, OptionError),
        ({"convention": "jax"}, OptionError),
    ],
)
def test_what_cannot_be_checked_is_refused(options, error):
    with pytest.raises(error):
        check(right, **options)
