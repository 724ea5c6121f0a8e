"""What lies otherwise in other libraries computes the same, and its gradients come back to their places."""

import numpy as np
import opt_einsum as oe
import pytest
from hypothesis import assume, given
from hypothesis import strategies as hs

from tlinear.errors import OptionError
from tlinear.testing import judge
from tlinear.testing import strategies as st
from tlinear.testing.layouts import OUT_FIRST, TORCH_TT
from tlinear.testing.mutants import right
from tlinear.testing.vectors import corpus


def out_first(fmt, operands, n_in, n_out):
    """The weight with the modes of the output first, from operands as tltorch has them, in its own words."""
    d = n_in + n_out
    match fmt:
        case "dense":
            return operands[0]
        case "cp":
            arguments = [operands[0], [d]]
            for k, factor in enumerate(operands[1:]):
                arguments += [factor, [k, d]]
        case "tucker":
            arguments = [operands[0], list(range(d, 2 * d))]
            for k, factor in enumerate(operands[1:]):
                arguments += [factor, [k, d + k]]
        case "blocktt":
            arguments, spare = [], 3 * d
            for k, core in enumerate(operands):
                sides = [k if k < n_out else spare + k, n_out + k if k < n_in else spare + k]
                arguments += [core, [d + k, *sides, d + k + 1]]
    return oe.contract(*arguments, list(range(d)))


@given(st.cases(values=("whole",), max_modes=2, large=False), hs.sampled_from((OUT_FIRST, TORCH_TT)))
def test_the_same_numbers_give_the_same_weight_with_the_output_first(case, layout):
    assume(layout.says(case) and case.x.size)
    weight = out_first(case.format, layout.operands(case), len(case.in_shape), len(case.out_shape))
    matrix = weight.reshape(case.out_features, case.in_features)
    y = layout.x(case).reshape(-1, case.in_features) @ matrix.T
    y = y if case.bias is None else y + case.bias
    dx = layout.dy(case).reshape(-1, case.out_features) @ matrix.conj()
    if layout.features_apart:
        y, dx = y.reshape(*case.batch_shape, *case.out_shape), dx.reshape(*case.batch_shape, *case.in_shape)
    else:
        y, dx = y.reshape(*case.batch_shape, -1), dx.reshape(case.x.shape)
    verdict = judge(case, layout.results(case, y, dx=dx))
    assert verdict.passed, verdict.findings[0]


@given(st.cases(max_modes=2, large=False))
def test_gradients_come_back_to_where_they_belong(case):
    assume(OUT_FIRST.says(case))
    results = right(case)
    theirs = OUT_FIRST.operands(case.with_arrays({name: results[f"d{name}"] for name in case.operands}))
    back = OUT_FIRST.results(case, results["y"], dx=results["dx"], dbias=results.get("dbias"), gradients=theirs)
    assert set(back) == set(results)
    for name, array in results.items():
        np.testing.assert_array_equal(back[name], array)


def test_what_has_no_such_layout_is_refused():
    by_id = {vector.id: vector.case for vector in corpus()}
    for layout, name in ((OUT_FIRST, "tt-equal_sizes-0"), (OUT_FIRST, "cp-joint-0"), (TORCH_TT, "cp-equal_sizes-0")):
        with pytest.raises(OptionError, match=f"{layout.name} has no layout for"):
            layout.operands(by_id[name])
    assert not TORCH_TT.says(by_id["blocktt-uneven_modes-0"])
    assert OUT_FIRST.says(by_id["tucker-uneven_modes-0"])
