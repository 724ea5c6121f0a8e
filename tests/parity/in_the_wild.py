"""What the oracle finds in tltorch 0.5.0: ``python tests/parity/in_the_wild.py`` prints the tables of docs/oracle.md.

A vector counts where tltorch can be given what it says: in its own layout, real, single or joint layers.  How it is
initialized, and indexed, is judged by :mod:`tlinear.testing.initialization` and :mod:`tlinear.testing.indexing`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import tltorch
import torch
from tltorch.factorized_tensors import BlockTT, CPTensorized, TuckerTensorized

from tlinear.testing.implementation import Function, verdict_of
from tlinear.testing.indexing import check_indexing, check_joint_indexing
from tlinear.testing.initialization import check_initialization
from tlinear.testing.judge import Rules
from tlinear.testing.layouts import OUT_FIRST, out_first
from tlinear.testing.vectors import corpus
from tlinear.testing.vectors.corpus import FLAGS

FORMATS = ("cp", "tucker", "blocktt")
INITIALIZED = ("cp", "tucker", "tt", "blocktt")
IMPLEMENTATIONS = ("factorized", "reconstructed")


def by_tltorch(case, implementation):
    """What a tltorch.FactorizedLinear makes of a case: the same operands, the output's modes first."""
    if case.n_layers > 1:
        return _joint(case, implementation)
    operands = [torch.nn.Parameter(torch.tensor(operand)) for operand in OUT_FIRST.operands(case)]
    layer = tltorch.FactorizedLinear(
        case.in_shape,
        case.out_shape,
        bias=case.bias is not None,
        factorization=_weight(case, operands),
        implementation=implementation,
        dtype=operands[0].dtype,
    )
    if case.bias is not None:
        layer.bias.data = torch.tensor(np.array(case.bias))
    x = torch.tensor(np.array(case.x)).requires_grad_()
    y = layer(x)
    y.backward(torch.tensor(np.array(case.dy)))
    dbias = None if case.bias is None else layer.bias.grad
    return OUT_FIRST.results(case, y, dx=x.grad, dbias=dbias, gradients=[operand.grad for operand in operands])


def _weight(case, operands):
    shape, (first, *others) = (case.out_shape, case.in_shape), operands
    match case.format:
        case "cp":
            return CPTensorized(first, others, shape)
        case "tucker":
            return TuckerTensorized(first, others, shape)
        case _:
            return BlockTT(operands, shape, (*(core.shape[0] for core in operands), 1))


def _joint(case, implementation):
    layer = _joint_layer(case, implementation)
    x = torch.tensor(np.array(case.x))
    return {"y": torch.stack([layer[k](x) for k in range(case.n_layers)])}


def _joint_layer(case, implementation):
    """Joint layers are made by name; the layer's own operands are then given the numbers."""
    rank = case.rank if isinstance(case.rank, int) else list(case.rank)
    layer = tltorch.FactorizedLinear(
        case.in_shape,
        case.out_shape,
        bias=case.bias is not None,
        factorization=case.format,
        implementation=implementation,
        n_layers=case.n_layers,
        rank=rank,
        dtype=torch.float64,
    )
    n_in, n_out = len(case.in_shape), len(case.out_shape)
    with torch.no_grad():
        order = [0, *range(1 + n_in, 1 + n_in + n_out), *range(1, 1 + n_in)]
        if case.format == "cp":
            layer.weight.weights.copy_(torch.tensor(case.operands["weights"]))
        else:
            layer.weight.core.copy_(torch.tensor(case.operands["core"]).permute(order))
        for factor, k in zip(layer.weight.factors, order, strict=True):
            factor.copy_(torch.tensor(case.operands[f"factors.{k}"]))
        if case.bias is not None:
            layer.bias.copy_(torch.tensor(case.bias))
    return layer


def found():
    """For each format, implementation and flag: how many vectors there are, which fail, and how the first does."""
    results = defaultdict(lambda: [0, [], ""])
    for vector in corpus():
        case = vector.case
        if case.format not in FORMATS or case.dtype.kind == "c" or case.tangents is not None:
            continue
        if case.n_layers > 1 and case.format == "blocktt":  # whose joint layers are another format there
            continue
        for implementation in IMPLEMENTATIONS:
            judged = Function(lambda case, implementation=implementation: by_tltorch(case, implementation))
            verdict = verdict_of(case, judged.run([case])[0], Rules())
            row = results[case.format, implementation, vector.flags[0]]
            row[0] += 1
            if not verdict.passed:
                row[1].append(vector.id)
                row[2] = row[2] or verdict.findings[0].message
    return dict(results)


def table(results):
    """The rows in which something fails, as Markdown."""
    lines = ["| vectors | implementation | fail | the first says |", "| --- | --- | --- | --- |"]
    for (name, implementation, flag), (n, failing, message) in results.items():
        if failing:
            shown = " ".join(message.split())
            shown = shown if len(shown) <= 110 else shown[:107] + "..."
            lines.append(f"| `{name}-{flag}` | {implementation} | {len(failing)} of {n} | {shown.replace('|', '/')} |")
    return lines


def drawn_by_tltorch(name, in_shape, out_shape, rank, std):
    """The operands of a weight after ``normal_(0, std)``, which promises the standard deviation of the weight."""
    kind = tltorch.FactorizedTensor if name == "tt" else tltorch.TensorizedTensor
    shape = (*in_shape, *out_shape) if name == "tt" else (out_shape, in_shape)
    n_ranks = {"cp": None, "tucker": len(in_shape) + len(out_shape), "tt": len(shape), "blocktt": len(in_shape)}[name]
    ranks = rank if n_ranks is None else (rank,) * n_ranks if name == "tucker" else (1, *(rank,) * (n_ranks - 1), 1)
    weight = kind.new(shape, rank=ranks, factorization=name).normal_(0, std)
    named = {"cp": [getattr(weight, "weights", None)], "tucker": [getattr(weight, "core", None)]}.get(name, [])
    theirs = [array.detach().numpy() for array in (*named, *weight.factors)]
    if name == "tt":
        return {f"cores.{k}": core for k, core in enumerate(theirs)}
    layout = out_first(name, len(in_shape), len(out_shape))
    return {key: array.transpose(np.argsort(axes)) for (key, axes), array in zip(layout, theirs, strict=True)}


class Indexed:
    """A weight of tltorch, of which parts are made dense."""

    def __init__(self, case):
        self.weight = _weight(case, [torch.tensor(operand) for operand in OUT_FIRST.operands(case)])

    def __getitem__(self, key):
        part = self.weight[key]
        return (
            part.to_matrix() if hasattr(part, "to_matrix") else part.to_tensor() if hasattr(part, "to_tensor") else part
        )


class Layers:
    """Joint layers of tltorch, each on NumPy's arrays."""

    def __init__(self, case):
        self.layer = _joint_layer(case, "reconstructed")

    def __getitem__(self, key):
        single = self.layer[key]
        return lambda x: single(torch.tensor(np.array(x)))


def comparisons():
    """What is wrong with how tltorch initializes and indexes: the judge, and what it says."""
    torch.manual_seed(0)
    found = [
        (f"initialization of `{name}`", check_initialization(drawn_by_tltorch, formats=[name], stds=(1.0,)))
        for name in INITIALIZED
    ]
    found += [(f"indexing of `{name}`", check_indexing(Indexed, formats=[name])) for name in FORMATS]
    return [*found, ("joint layers of `cp`", check_joint_indexing(Layers, formats=["cp"]))]


def table_of_comparisons(found):
    """A row for each judge that finds something: how often, and the first of each kind of thing that it says."""
    lines = ["| judged | fail | for instance |", "| --- | --- | --- |"]
    for what, comparison in found:
        kinds = {}
        for failure in comparison.failures:
            kinds.setdefault(failure.rpartition(": ")[2][:20], failure)
        shown = "; ".join(" ".join(failure.split())[:120].rstrip() for failure in list(kinds.values())[:3])
        if comparison.failures:
            lines.append(f"| {what} | {len(comparison.failures)} of {comparison.n_cases} | {shown.replace('|', '/')} |")
    return lines


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    results = found()
    n_vectors = sum(n for n, _, _ in results.values()) // len(IMPLEMENTATIONS)
    print(f"tltorch {tltorch.__version__}, torch {torch.__version__}; {n_vectors} vectors, {len(FLAGS)} flags")
    print()
    print("\n".join(table(results)))
    print()
    print("\n".join(table_of_comparisons(comparisons())))


if __name__ == "__main__":
    main()
