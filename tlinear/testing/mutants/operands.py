"""How operands are read, and joint layers."""

from __future__ import annotations

import numpy as np

from tlinear.testing.case import Case
from tlinear.testing.mutants.misreadings import (
    column_major,
    column_major_back,
    sides_swapped,
    sides_swapped_back,
    swapped_back,
    transposed,
    transposed_back,
    without_last,
)
from tlinear.testing.mutants.registry import Arrays, bonds_of, mutant, read_otherwise, right

__all__: list[str] = []


@mutant("the rank axes of the cores are swapped")
def core_ranks_swapped(case: Case) -> Arrays:
    return read_otherwise(case, "cores.", lambda core: np.swapaxes(core, 0, -1).reshape(core.shape), swapped_back)


@mutant("the core of Tucker is read with its first axis running fastest")
def tucker_core_in_column_major_order(case: Case) -> Arrays:
    return read_otherwise(case, "core", column_major, column_major_back)


@mutant("the factors are read as (rank, mode) instead of (mode, rank)")
def factors_transposed(case: Case) -> Arrays:
    return read_otherwise(case, "factors.", transposed, transposed_back)


@mutant("the input and output axes of the cores of BlockTT are swapped")
def core_sides_swapped(case: Case) -> Arrays:
    if case.format != "blocktt":
        return right(case)
    return read_otherwise(case, "cores.", sides_swapped, sides_swapped_back)


@mutant("the last component of every rank is left out")
def last_rank_dropped(case: Case) -> Arrays:
    bonds = bonds_of(case)
    cut = {name: without_last(case.operands[name], labels, bonds) for name, labels in case.labels.items()}
    return right(case.with_arrays(cut))


@mutant("the weights of CP are left out")
def cp_weights_dropped(case: Case) -> Arrays:
    if "weights" not in case.operands:
        return right(case)
    return right(case.with_arrays({"weights": np.ones_like(case.operands["weights"])}))


@mutant("joint layers come in the reverse order")
def joint_layers_reversed(case: Case) -> Arrays:
    results = right(case)
    return results | ({"y": results["y"][::-1]} if case.n_layers > 1 else {})


@mutant("all joint layers add the first one's bias")
def joint_bias_shared(case: Case) -> Arrays:
    if case.bias is None or case.n_layers == 1:
        return right(case)
    return right(case.with_arrays({"bias": np.broadcast_to(case.bias[:1], case.bias.shape)}))
