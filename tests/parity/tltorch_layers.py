"""The same layer in tltorch."""

import numpy as np
import tltorch
import torch
from tltorch.factorized_tensors import BlockTT, CPTensorized, TuckerTensorized

from tlinear.testing.layouts import out_first

from .autograd import as_torch
from .cases import Case

TLTORCH_FORMATS = ("cp", "tucker", "blocktt")
TLTORCH_IMPLEMENTATIONS = ("factorized", "reconstructed")


class TltorchLayer:
    """A tltorch.FactorizedLinear of the same numbers, and its results by tlinear's names in tlinear's layout."""

    def __init__(self, case: Case, implementation: str) -> None:
        structure = case.structure
        self.layout = out_first(case.factorization, len(structure.in_shape), len(structure.out_shape))
        self.operands = [
            torch.nn.Parameter(as_torch(case.operands[name].transpose(axes))) for name, axes in self.layout
        ]
        shape = (structure.out_shape, structure.in_shape)
        first, *others = self.operands
        if case.factorization == "cp":
            weight = CPTensorized(first, others, shape)
        elif case.factorization == "tucker":
            weight = TuckerTensorized(first, others, shape)
        else:
            rank = (*(core.shape[0] for core in self.operands), 1)
            weight = BlockTT(self.operands, shape, rank)
        self.weight = weight
        self.module = tltorch.FactorizedLinear(
            structure.in_shape,
            structure.out_shape,
            bias=case.bias is not None,
            factorization=weight,
            implementation=implementation,
            dtype=torch.float64,
        )
        if case.bias is not None:
            self.module.bias.data = as_torch(case.bias)

    def results(self, case: Case) -> dict[str, np.ndarray]:
        """What `case.results()` gives, by autograd through tltorch."""
        x = as_torch(case.x).requires_grad_()
        y = self.module(x)
        y.backward(as_torch(case.dy))
        results = {"y": y.detach().numpy(), "x": x.grad.numpy()}
        for operand, (name, axes) in zip(self.operands, self.layout, strict=True):
            results[f"weight.{name}"] = operand.grad.numpy().transpose(np.argsort(axes))
        return results if case.bias is None else results | {"bias": self.module.bias.grad.numpy()}
