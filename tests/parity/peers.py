"""Other libraries as implementations that the oracle can judge: each with the cases that it has a layer for."""

import warnings

import numpy as np
import tensorly
import torch
from tensorly.tt_matrix import tt_matrix_to_tensor

from tlinear.testing.layouts import TORCH_TT

from .in_the_wild import FORMATS, by_tltorch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of an extension in C++ that it does without
    from torchtt.nn import LinearLayerTT


def peers():
    """Name, function, and of which cases, but for those of which docs/oracle.md tells that tltorch has none."""
    for implementation in ("factorized", "reconstructed"):

        def layer(case, implementation=implementation):
            return by_tltorch(case, implementation)

        def takes(number, case, implementation=implementation):
            return has_tltorch(case, implementation)

        yield f"tltorch {implementation}", layer, takes
    yield "TensorLy", by_tensorly, lambda number, case: has_tensorly(case)
    yield "torchTT", by_torchtt, lambda number, case: TORCH_TT.says(case)


def has_tltorch(case, implementation):
    """Not of no samples, and not Tucker or BlockTT whose sides have not as many modes, where it is factorized."""
    uneven = len(case.in_shape) != len(case.out_shape) and case.format != "cp"
    lacking = implementation == "factorized" and (uneven or 0 in case.batch_shape)
    return case.format in FORMATS and not lacking


def has_tensorly(case):
    """Its matrices in train format pair the modes."""
    return case.format in ("cp", "tucker", "tt") or (
        case.format == "blocktt" and len(case.in_shape) == len(case.out_shape)
    )


def by_tensorly(case):
    """The tensor that TensorLy makes of the operands, on PyTorch's arrays, as a matrix; gradients by autograd."""
    leaves = {name: torch.tensor(np.array(array)).requires_grad_() for name, array in case.arrays() if name != "dy"}
    first, *others = (leaves[name] for name in case.operands)
    with tensorly.backend_context("pytorch"):
        match case.format:
            case "cp":
                tensor = tensorly.cp_to_tensor((first, others))
            case "tucker":
                tensor = tensorly.tucker_to_tensor((first, others))
            case "tt":
                tensor = tensorly.tt_to_tensor([first, *others])
            case "blocktt":
                tensor = tt_matrix_to_tensor([first, *others])
    y = leaves["x"] @ tensor.reshape(case.in_features, case.out_features)
    y = y if case.bias is None else y + leaves["bias"]
    gradients = torch.autograd.grad(y, list(leaves.values()), torch.tensor(np.array(case.dy)))
    return {"y": y} | {f"d{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}


def by_torchtt(case):
    """A torchtt.nn.LinearLayerTT of the same numbers: cores (R, out, in, R'), an axis for each mode of x and y."""
    operands = [torch.nn.Parameter(torch.tensor(operand)) for operand in TORCH_TT.operands(case)]
    dtype = operands[0].dtype
    layer = LinearLayerTT(list(case.in_shape), list(case.out_shape), list(case.rank), dtype=dtype)
    layer.cores = torch.nn.ParameterList(operands)
    if case.bias is not None:
        layer.bias.data = torch.tensor(np.array(case.bias)).reshape(case.out_shape)
    x = torch.tensor(np.array(TORCH_TT.x(case))).requires_grad_()
    y = layer(x)
    y.backward(torch.tensor(np.array(TORCH_TT.dy(case))))
    dbias = None if case.bias is None else layer.bias.grad.reshape(-1)
    gradients = [operand.grad for operand in operands]
    return TORCH_TT.results(case, y, dx=x.grad, dbias=dbias, gradients=gradients)
