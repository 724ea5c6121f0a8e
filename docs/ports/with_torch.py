"""The tensorized linear layer in PyTorch: one einsum forward, and autograd backward.

``tlinear check --function with_torch:layer`` judges it, in the folder of this file.
"""

import numpy as np
import torch


def network(case):
    """The operands with the labels of their axes: "b" the batch, "j" joint layers, in and out modes, ranks."""
    joint = ["j"] if case.n_layers > 1 else []
    ins = [f"i{k}" for k in range(len(case.in_shape))]
    outs = [f"o{k}" for k in range(len(case.out_shape))]
    modes, found = [*joint, *ins, *outs], {}
    for name in case.operands:
        k = int(name.partition(".")[2] or 0)
        match case.format, name.partition(".")[0]:
            case "dense", _:
                found[name] = modes
            case "cp", "weights":
                found[name] = ["r"]
            case "cp", _:
                found[name] = [modes[k], "r"]
            case "tucker", "core":
                found[name] = [f"r{mode}" for mode in modes]
            case "tucker", _:
                found[name] = [modes[k], f"r{modes[k]}"]
            case "tt", _:
                found[name] = [f"r{k}", modes[k], f"r{k + 1}"]
            case "blocktt", _:
                at = k - len(joint)
                sides = [side[at] if at < len(side) else f"spare {side[0]}{at}" for side in (ins, outs)]
                found[name] = [f"r{k}", *(joint if at < 0 else sides), f"r{k + 1}"]
    return found, [*joint, "b", *outs], ["b", *ins]


def layer(case):
    """The output, and the gradients that ``dy`` pulls back, of a :class:`tlinear.testing.Case`."""
    labels, out, inputs = network(case)
    leaves = {name: torch.tensor(np.array(array, order="C")).requires_grad_() for name, array in case.arrays()}
    numbers = {}
    x = leaves["x"].reshape(case.x.size // case.in_features, *case.in_shape)
    arguments = [x, [numbers.setdefault(label, len(numbers)) for label in inputs]]
    for name, axes in labels.items():
        arguments += [leaves[name], [numbers.setdefault(label, len(numbers)) for label in axes]]
    y = torch.einsum(*arguments, [numbers[label] for label in out]).reshape(case.dy.shape)
    if case.bias is not None:
        y = y + leaves["bias"].reshape(*case.bias.shape[:-1], *[1] * len(case.batch_shape), -1)
    wanted = {"x": leaves["x"], **{name: leaves[name] for name in labels}}
    if case.bias is not None:
        wanted["bias"] = leaves["bias"]
    gradients = torch.autograd.grad(y, list(wanted.values()), torch.tensor(np.array(case.dy, order="C")))
    return {"y": y, **{f"d{name}": gradient for name, gradient in zip(wanted, gradients, strict=True)}}
