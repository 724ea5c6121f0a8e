"""Identities that hold whatever is computed, so that they need no reference.

They follow from the layer being affine in x, linear in each operand, and a sum of products.  All numbers
are integers that are certified, so that both sides must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from tlinear.arrays import Array
from tlinear.contraction.network import BATCH
from tlinear.testing.case import Case
from tlinear.testing.reference import Convention

__all__ = ["IDENTITIES", "Identity"]

Arrays: TypeAlias = Mapping[str, Array]
Broken: TypeAlias = tuple[str, str] | None


@dataclass(frozen=True)
class Identity:
    """A law about the results of a case and of others that are made from it.

    Attributes
    ----------
    name : str
    statement : str
    others : callable
        From a case and a generator to the other cases; None where the law says nothing.
    broken : callable
        From all cases, all their results and the convention to the result that is wrong and how, or None.
    """

    name: str
    statement: str
    others: Callable[[Case, np.random.Generator], Sequence[Case] | None]
    broken: Callable[[Sequence[Case], Sequence[Arrays], Convention], Broken]


def inner(a: Array, b: Array, convention: Convention) -> tuple[int, int]:
    """``sum(conj(a) b)``, or ``sum(a b)``, of integers: the real and the imaginary part, exactly."""
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    if convention == "adjoint":
        ai = -ai
    return int((ar * br - ai * bi).sum()), int((ar * bi + ai * br).sum())


def _parts(array: Array) -> tuple[Array, Array]:
    whole = np.frompyfunc(int, 1, 1)
    real = np.asarray(whole(array.real), object)
    return real, np.asarray(whole(array.imag), object) if array.dtype.kind == "c" else np.zeros(array.shape, object)


def _without_bias(case: Case, y: Array) -> Array:
    if case.bias is None:
        return y
    bias = case.bias if case.n_layers == 1 else case.bias.reshape(case.n_layers, *(1,) * len(case.batch_shape), -1)
    return np.asarray(y - bias)


# ------------------------------------------------------------------------------------------------------- products


def _none(case: Case, rng: np.random.Generator) -> Sequence[Case]:
    return ()


def _euler(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    case, found = cases[0], results[0]
    linear = _without_bias(case, found["y"])
    expected = inner(case.dy, linear, convention)
    for name, array in {"x": case.x, **case.operands}.items():
        gradient = found.get(f"d{name}")
        if gradient is not None and (product := inner(gradient, array, convention)) != expected:
            return f"d{name}", f"<d{name}, {name}> is {product}, but <dy, y - bias> {expected}"
    return None


def _other_x(case: Case, rng: np.random.Generator) -> Sequence[Case]:
    return (replace(case, x=_like(rng, case.x), bias=None),)


def _adjoint(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    if "dx" not in results[0]:
        return None
    left = inner(results[0]["dx"], cases[1].x, convention)
    right = inner(cases[0].dy, results[1]["y"], convention)
    return None if left == right else ("dx", f"<dx, x'> is {left}, but <dy, f(x')> {right}")


def _duality(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    case, found = cases[0], results[0]
    if case.tangents is None or "jvp" not in found or any(f"d{name}" not in found for name in case.tangents):
        return None
    left = inner(case.dy, found["jvp"], convention)
    moved = [inner(found[f"d{name}"], array, convention) for name, array in case.tangents.items()]
    right = tuple(map(sum, zip(*moved, strict=True)))
    return None if left == right else ("jvp", f"<dy, jvp> is {left}, but the sum of all <d_k, tangent_k> {right}")


# ------------------------------------------------------------------------------------------------------ linearity


def _x_summed(case: Case, rng: np.random.Generator) -> Sequence[Case]:
    other = _like(rng, case.x)
    return replace(case, x=other, bias=None), replace(case, x=case.x + other)


def _operand_summed(case: Case, rng: np.random.Generator) -> Sequence[Case]:
    name = str(rng.choice(list(case.operands)))
    other = _like(rng, case.operands[name])
    return (
        replace(case.with_arrays({name: other}), bias=None),
        case.with_arrays({name: case.operands[name] + other}),
    )


def _additive(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    y, other, both = (found["y"] for found in results)
    return None if np.array_equal(y + other, both) else ("y", "f(a) + f(b) is not f(a + b)")


# ---------------------------------------------------------------------------------------------------------- gauge


def _gauge(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    """Another basis for a bond of two operands; components in another order, and two signs, where more share it."""
    modes = {BATCH, *case.joint_labels, *case.in_labels, *case.out_labels}
    bonds = [label for label, size in case.sizes.items() if label not in modes and size > 1]
    if not bonds:
        return None
    bond = int(rng.choice(bonds))
    carriers = [name for name, labels in case.labels.items() if bond in labels]
    axes = {name: case.labels[name].index(bond) for name in carriers}
    size = case.sizes[bond]
    if len(carriers) == 2:
        first, second = carriers
        i, j = rng.choice(size, 2, replace=False)
        # column j of the first takes up column i, and row i of the second gives up row j
        a, b = case.operands[first].copy(), case.operands[second].copy()
        np.moveaxis(a, axes[first], 0)[j] += np.moveaxis(a, axes[first], 0)[i]
        np.moveaxis(b, axes[second], 0)[i] -= np.moveaxis(b, axes[second], 0)[j]
        return (case.with_arrays({first: a, second: b}),)
    order = rng.permutation(size)
    arrays = {name: np.take(case.operands[name], order, axes[name]) for name in carriers}
    for name in carriers[:2]:
        arrays[name] = -arrays[name]
    return (case.with_arrays(arrays),)


def _padded(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    """One more component of a rank, of zeros."""
    modes = {BATCH, *case.joint_labels, *case.in_labels, *case.out_labels}
    carried: dict[int, int] = {}
    for labels in case.labels.values():
        for label in labels:
            carried[label] = carried.get(label, 0) + 1
    bonds = [label for label in case.sizes if label not in modes and carried[label] > 1]
    if not bonds:
        return None
    bond = int(rng.choice(bonds))
    arrays = {
        name: np.pad(case.operands[name], [(0, int(label == bond)) for label in labels])
        for name, labels in case.labels.items()
        if bond in labels
    }
    return (case.with_arrays(arrays),)


def _same_outside(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    for name in ("y", "dx", "dbias"):
        if name in results[0] and name in results[1] and not np.array_equal(results[0][name], results[1][name]):
            return name, f"{name} changes, although the weight does not"
    return None


# ---------------------------------------------------------------------------------------------------------- batch


def _split(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    n = math.prod(case.batch_shape)
    if n < 2:
        return None
    cut = int(rng.integers(1, n))
    rows = () if case.n_layers == 1 else (case.n_layers,)
    x, dy = case.x.reshape(n, -1), case.dy.reshape(*rows, n, -1)
    return tuple(replace(case, x=x[part], dy=dy[..., part, :]) for part in (slice(0, cut), slice(cut, n)))


def _concatenated(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    whole, *parts = results
    for name in cases[0].results:
        if any(name not in found for found in results):
            continue
        if name in ("y", "dx"):
            joined = np.concatenate([part[name] for part in parts], axis=-2).reshape(whole[name].shape)
            if not np.array_equal(joined, whole[name]):
                return name, f"{name} of a batch is not that of its two parts, one after the other"
        elif not np.array_equal(parts[0][name] + parts[1][name], whole[name]):
            return name, f"{name} of a batch is not the sum of those of its two parts"
    return None


# ---------------------------------------------------------------------------------------------------------- modes


def _modes_permuted(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    """The input modes in another order: in x, and in what carries them."""
    n = len(case.in_shape)
    if case.format not in ("cp", "tucker", "dense") or n < 2:
        return None
    order = [int(k) for k in rng.permutation(n)]
    shape = tuple(case.in_shape[k] for k in order)
    lead = len(case.batch_shape)
    x = case.x.reshape(*case.batch_shape, *case.in_shape)
    x = x.transpose(*range(lead), *(lead + k for k in order)).reshape(case.x.shape)
    joint = len(case.joint_labels)
    moved = [*range(joint), *(joint + k for k in order)]
    operands = dict(case.operands)
    if case.format == "dense":
        tensor = case.operands["tensor"]
        operands["tensor"] = tensor.transpose(*moved, *range(len(moved), tensor.ndim))
    else:
        operands |= {f"factors.{new}": case.operands[f"factors.{old}"] for new, old in enumerate(moved)}
        if case.format == "tucker":
            core = case.operands["core"]
            operands["core"] = core.transpose(*moved, *range(len(moved), core.ndim))
    return (replace(case, in_shape=shape, operands=operands, x=x),)


def _same_output(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    if not np.array_equal(results[0]["y"], results[1]["y"]):
        return "y", "y changes, although x and the weight have their modes in the same other order"
    return None


# ---------------------------------------------------------------------------------------------------- joint layers


def _one_of_joint(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    if case.n_layers == 1:
        return None
    j = int(rng.integers(case.n_layers))
    operands = dict(case.operands)
    match case.format:
        case "cp":
            single = {"weights": operands["weights"] * operands["factors.0"][j]} | _shifted(operands, "factors.")
        case "tucker":
            core = np.tensordot(operands["factors.0"][j], operands["core"], 1)
            single = {"core": core} | _shifted(operands, "factors.")
        case "tt" | "blocktt":
            single = _shifted(operands, "cores.")
            single["cores.0"] = np.tensordot(operands["cores.0"][:, j], single["cores.0"], 1)
        case "dense":
            single = {"tensor": operands["tensor"][j]}
        case _:
            return None
    bias = None if case.bias is None else case.bias[j]
    return (replace(case, operands=single, dy=case.dy[j], bias=bias, n_layers=1),)


def _shifted(operands: Mapping[str, Array], prefix: str) -> dict[str, Any]:
    count = sum(name.startswith(prefix) for name in operands)
    return {f"{prefix}{k - 1}": operands[f"{prefix}{k}"] for k in range(1, count)}


def _is_slice(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    single = results[1]["y"]
    if any(np.array_equal(row, single) for row in results[0]["y"]):
        return None
    return "y", "the layer taken out of the joint ones computes what none of them does"


# ---------------------------------------------------------------------------------------------------------- helpers


def _like(rng: np.random.Generator, array: Array) -> Array:
    drawn = rng.integers(-1, 2, array.shape).astype(np.float64)
    if array.dtype.kind == "c":
        drawn = drawn + 1j * rng.integers(-1, 2, array.shape)
    return drawn.astype(array.dtype)


IDENTITIES = (
    Identity("euler", "<d_k, G_k> = <dy, y - bias> for x and every operand", _none, _euler),
    Identity("adjoint", "<dx, x'> = <dy, f(x')> without the bias", _other_x, _adjoint),
    Identity("duality", "<dy, jvp> = the sum of <d_k, tangent_k> over x, every operand and the bias", _none, _duality),
    Identity("affine", "f(x) + f(x') - bias = f(x + x')", _x_summed, _additive),
    Identity("multilinear", "f is linear in every operand", _operand_summed, _additive),
    Identity("gauge", "another basis of a bond changes nothing", _gauge, _same_outside),
    Identity("padding", "zeros in one more component of a rank change nothing", _padded, _same_outside),
    Identity("batch", "samples are independent, and gradients of parameters are sums over them", _split, _concatenated),
    Identity("modes", "the order of the input modes does not matter to CP and Tucker", _modes_permuted, _same_output),
    Identity("joint", "each of several joint layers is a single layer", _one_of_joint, _is_slice),
)
