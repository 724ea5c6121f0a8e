"""The judge accepts the port to torch in docs/ports, and tltorch's layers, but for what is known to be wrong there."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tltorch
import torch
from hypothesis import settings
from tltorch.factorized_tensors import BlockTT, CPTensorized, TuckerTensorized

from tlinear.testing import check, judge
from tlinear.testing.check import drawn
from tlinear.testing.strategies import cases

from .autograd import as_torch
from .tltorch_layers import TLTORCH_FORMATS, tltorch_layout

PORT = Path(__file__).parents[2] / "docs" / "ports" / "with_torch.py"


def test_of_the_port():
    spec = importlib.util.spec_from_file_location("with_torch", PORT)
    port = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(port)
    report = check(port.layer, max_examples=5 * settings().max_examples, n_layers=(1, 2, 3))
    assert report.passed, str(report)


def by_tltorch(case, implementation):
    """What a tltorch.FactorizedLinear makes of a case: the same operands, the output's modes first."""
    layout = tltorch_layout(case.format, len(case.in_shape), len(case.out_shape))
    operands = [torch.nn.Parameter(as_torch(case.operands[name].transpose(axes))) for name, axes in layout]
    shape, (first, *others) = (case.out_shape, case.in_shape), operands
    if case.format == "cp":
        weight = CPTensorized(first, others, shape)
    elif case.format == "tucker":
        weight = TuckerTensorized(first, others, shape)
    else:
        weight = BlockTT(operands, shape, (*(core.shape[0] for core in operands), 1))
    layer = tltorch.FactorizedLinear(
        case.in_shape,
        case.out_shape,
        bias=case.bias is not None,
        factorization=weight,
        implementation=implementation,
        dtype=operands[0].dtype,
    )
    x = as_torch(case.x).requires_grad_()
    if case.bias is not None:
        layer.bias.data = as_torch(case.bias)
    y = layer(x)
    y.backward(as_torch(case.dy))
    results = {"y": y.detach(), "dx": x.grad} | ({} if case.bias is None else {"dbias": layer.bias.grad})
    for operand, (name, axes) in zip(operands, layout, strict=True):
        results[f"d{name}"] = operand.grad.numpy().transpose(np.argsort(axes))
    return results


def is_known_to_fail(case, implementation):
    """Of the factorized layer: no samples, and Tucker or BlockTT whose sides have not as many modes."""
    uneven = len(case.in_shape) != len(case.out_shape)
    return (0 in case.batch_shape and implementation == "factorized") or (
        uneven and (case.format == "blocktt" or (case.format == "tucker" and implementation == "factorized"))
    )


@pytest.mark.parametrize("implementation", ["factorized", "reconstructed"])
def test_of_tltorch(implementation):
    strategy = cases(formats=TLTORCH_FORMATS, dtypes=("float32", "float64"), max_modes=3)
    judged = 0
    for case in drawn(strategy, 10 * settings().max_examples, 0):
        if is_known_to_fail(case, implementation):
            continue
        verdict = judge(case, by_tltorch(case, implementation))
        assert verdict.passed, str(verdict.findings[0])
        judged += 1
    assert judged > 3 * settings().max_examples


@pytest.mark.parametrize("factorization", TLTORCH_FORMATS)
def test_of_no_samples(factorization):
    """One of the layer's defects, which a check shows by a small case."""
    strategy = cases(formats=[factorization], dtypes=["float64"], max_modes=1)
    empty = next(case for case in drawn(strategy, 200, 0) if 0 in case.batch_shape)
    with pytest.raises(RuntimeError, match="reshape"):
        by_tltorch(empty, "factorized")
    report = check(lambda case: by_tltorch(case, "factorized"), formats=[factorization], max_modes=1, max_examples=100)
    assert any("it raised RuntimeError" in failure.message for failure in report.failures)
