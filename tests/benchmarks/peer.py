"""The same layer in tltorch."""

import numpy as np
from grid import Setting, Shape

from tlinear import FactorizedLinear
from tlinear.formats import find_format
from tlinear.formats.rank_rules import rank_rules

try:
    import tltorch
    import torch
    from tltorch.factorized_tensors import BlockTT, CPTensorized, TuckerTensorized
except ImportError as error:
    raise SystemExit(
        f"{error}. This benchmark measures tltorch beside tlinear; install the peers with pip install '.[parity,bench]'."
    ) from error


def resolved_rank(setting: Setting, factorization: str) -> int | float | Shape:
    """tltorch's rank of this layer in tlinear's form, no larger than some tensor of the shape needs."""
    if factorization == "tt":
        return setting.rank
    peer = tltorch.FactorizedLinear(
        setting.in_shape, setting.out_shape, factorization=factorization, rank=setting.rank, bias=False
    )
    rank = peer.weight.rank
    if factorization == "cp":
        bonds: Shape = (int(rank),)
    elif factorization == "tucker":
        n_out = len(setting.out_shape)
        bonds = (*rank[n_out:], *rank[:n_out])
    else:
        bonds = tuple(rank[1:-1])
    cls = find_format(factorization)
    rules = rank_rules(cls, setting.in_shape, setting.out_shape)
    realizable = rules.useful(tuple(min(bond, most) for bond, most in zip(bonds, rules.largest, strict=True)))
    return cls.rank_of_bonds(realizable)


def peer_layout(layer: FactorizedLinear) -> list[tuple[str, Shape]]:
    """tltorch's operands in its order: tlinear's name of each, and tlinear's axes in tltorch's order."""
    n_in, n_out = len(layer.in_tensorized_features), len(layer.out_tensorized_features)
    out_first = (*range(n_in, n_in + n_out), *range(n_in))
    factors = [(f"factors.{k}", (0, 1)) for k in out_first]
    if layer.weight.factorization == "cp":
        return [("weights", (0,)), *factors]
    if layer.weight.factorization == "tucker":
        return [("core", out_first), *factors]
    return [(f"cores.{k}", (0, 2, 1, 3)) for k in range(n_in)]


def peer_of(layer: FactorizedLinear, implementation: str) -> torch.nn.Module:
    """The tltorch layer of the same numbers."""
    shape = (layer.out_tensorized_features, layer.in_tensorized_features)
    operands = [
        torch.nn.Parameter(torch.tensor(np.ascontiguousarray(layer.weight.operands[name].transpose(axes))))
        for name, axes in peer_layout(layer)
    ]
    first, *others = operands
    if layer.weight.factorization == "cp":
        weight = CPTensorized(first, others, shape)
    elif layer.weight.factorization == "tucker":
        weight = TuckerTensorized(first, others, shape)
    else:
        weight = BlockTT(operands, shape, (*(core.shape[0] for core in operands), 1))
    module = tltorch.FactorizedLinear(
        layer.in_tensorized_features,
        layer.out_tensorized_features,
        factorization=weight,
        implementation=implementation,
        dtype=operands[0].dtype,
    )
    module.bias.data = torch.tensor(layer.bias)
    module.operands = torch.nn.ParameterList(operands)
    return module
