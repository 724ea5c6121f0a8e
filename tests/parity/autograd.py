"""The layer in plain torch: one torch.einsum, and torch's own derivatives of it."""

import numpy as np
import torch

from .cases import Case


def as_torch(array) -> torch.Tensor:
    """A copy that can require gradients, whatever the strides of the source."""
    return torch.tensor(np.array(array, order="C"))


def primals(case: Case) -> dict[str, torch.Tensor]:
    """Input and parameters, by the names that tlinear's gradients have."""
    arrays = {"x": case.x} | {f"weight.{name}": array for name, array in case.operands.items()}
    return {name: as_torch(a) for name, a in (arrays | ({} if case.bias is None else {"bias": case.bias})).items()}


def einsum_layer(case: Case, arguments: dict[str, torch.Tensor]) -> torch.Tensor:
    """``y`` by one torch.einsum of everything, plus the bias."""
    structure = case.structure
    operands = [arguments[f"weight.{name}"] for name in structure.letters]
    left = ",".join(["..." + structure.in_letters, *structure.letters.values()])
    x = arguments["x"].reshape(*case.batch_shape, *structure.in_shape)
    y = torch.einsum(f"{left}->...{structure.out_letters}", x, *operands).reshape(case.dy.shape)
    return y + arguments["bias"] if "bias" in arguments else y


def einsum_results(case: Case) -> dict[str, np.ndarray]:
    """What `case.results()` gives, by torch.einsum and torch's autograd."""
    arguments = primals(case)
    for tensor in arguments.values():
        tensor.requires_grad_()
    y = einsum_layer(case, arguments)
    y.backward(as_torch(case.dy))
    return {"y": y.detach().numpy()} | {name: tensor.grad.numpy() for name, tensor in arguments.items()}
