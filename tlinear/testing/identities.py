"""Identities that hold whatever is computed, so that they need no reference.

They follow from the layer being affine in x, linear in each operand, and a sum of products.  All numbers
are integers that are certified, or exact, so that both sides must be equal.
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


def inner(a: Array, b: Array, convention: Convention) -> tuple[Any, Any]:
    """``sum(conj(a) b)``, or ``sum(a b)``, of integers or fractions: the real and the imaginary part, exactly."""
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    if convention == "adjoint":
        ai = -ai
    return (ar * br - ai * bi).sum(), (ar * bi + ai * br).sum()


def _parts(array: Array) -> tuple[Array, Array]:
    """The real and the imaginary part, in Python's integers or fractions."""
    if array.dtype.kind == "O":
        return array, np.zeros(array.shape, object)
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


def _one_other(case: Case, rng: np.random.Generator) -> Sequence[Case]:
    """Another x, or another array in the place of one operand."""
    name = str(rng.choice(["x", *case.operands]))
    other = _like(rng, case.x if name == "x" else case.operands[name])
    return (replace(case.with_arrays({name: other}), bias=None),)


def _adjoint(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    case, other = cases
    moved = {"x": other.x, **other.operands}
    name = next((name for name, array in {"x": case.x, **case.operands}.items() if moved[name] is not array), "x")
    if f"d{name}" not in results[0]:
        return None
    left = inner(results[0][f"d{name}"], moved[name], convention)
    right = inner(case.dy, results[1]["y"], convention)
    return None if left == right else (f"d{name}", f"<d{name}, V> is {left}, but <dy, f(.., V, ..)> {right}")


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


def _bonds(case: Case) -> dict[int, list[str]]:
    """The labels of the ranks that several operands share, and which do."""
    modes = {BATCH, *case.joint_labels, *case.in_labels, *case.out_labels}
    carriers = {
        label: [name for name, labels in case.labels.items() if label in labels]
        for label in case.sizes
        if label not in modes
    }
    return {label: names for label, names in carriers.items() if len(names) > 1}


def _gauge(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    """Another basis, of determinant 1, of a bond that two operands share; another order of one that more do."""
    bonds = {label: names for label, names in _bonds(case).items() if case.sizes[label] > 1}
    if not bonds:
        return None
    bond = int(rng.choice(list(bonds)))
    carriers = bonds[bond]
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
    return (case.with_arrays({name: np.take(case.operands[name], order, axes[name]) for name in carriers}),)


def _scaled(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    """Powers of two, one for each component of a rank, that multiply one of its operands, or another."""
    bonds = _bonds(case)
    if not bonds:
        return None
    bond = int(rng.choice(list(bonds)))
    powers = 2 ** rng.integers(0, 3, case.sizes[bond]) * rng.choice([-1, 1], case.sizes[bond])

    def scaled(name: str) -> Case:
        array, axis = case.operands[name], case.labels[name].index(bond)
        shape = [-1 if k == axis else 1 for k in range(array.ndim)]
        return case.with_arrays({name: array * powers.astype(array.dtype).reshape(shape)})

    first, second = rng.choice(bonds[bond], 2, replace=False)
    return scaled(str(first)), scaled(str(second))


def _padded(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    """One more component of a rank, of zeros."""
    bonds = list(_bonds(case))
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
    """The last two, of which one may be the case itself, have the same weight."""
    one, other = results[-2:]
    for name in ("y", "dx", "dbias"):
        if name in one and name in other and not np.array_equal(one[name], other[name]):
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
    """The first mode of each side made the last: in x, dy and the bias, and in what carries the modes."""
    n, m, joint = len(case.in_shape), len(case.out_shape), len(case.joint_labels)
    if case.format not in ("cp", "tucker", "dense") or max(n, m) < 2:
        return None
    ins, outs = _first_last(n), _first_last(m)
    moved = [*range(joint), *(joint + k for k in ins), *(joint + n + k for k in outs)]
    operands = dict(case.operands)
    for name in {"tensor", "core"} & set(operands):
        operands[name] = operands[name].transpose(moved)
    for new, old in enumerate(moved):
        if f"factors.{old}" in operands:
            operands[f"factors.{new}"] = case.operands[f"factors.{old}"]
    bias = None if case.bias is None else _reordered(case.bias, case.out_shape, outs)
    return (
        replace(
            case,
            in_shape=tuple(case.in_shape[k] for k in ins),
            out_shape=tuple(case.out_shape[k] for k in outs),
            operands=operands,
            x=_reordered(case.x, case.in_shape, ins),
            dy=_reordered(case.dy, case.out_shape, outs),
            bias=bias,
        ),
    )


def _reordered(array: Array, shape: Sequence[int], order: Sequence[int]) -> Array:
    """The last axis, whose entries are those of modes, with the modes in another order."""
    lead = array.shape[:-1]
    axes = (*range(len(lead)), *(len(lead) + k for k in order))
    return array.reshape(*lead, *shape).transpose(axes).reshape(array.shape)


def _first_last(n: int) -> list[int]:
    return [*range(1, n), 0]


def _same_but_for_order(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    case = cases[0]
    for name, shape in (("y", case.out_shape), ("dx", case.in_shape)):
        if name in results[0] and name in results[1]:
            moved = _reordered(results[0][name], shape, _first_last(len(shape)))
            if not np.array_equal(moved, results[1][name]):
                return name, f"{name} changes, although everything has its modes in the same other order"
    return None


# ---------------------------------------------------------------------------------------------------- joint layers


def _each_of_joint(case: Case, rng: np.random.Generator) -> Sequence[Case] | None:
    return None if case.n_layers == 1 else [_one_of_joint(case, j) for j in range(case.n_layers)]


def _one_of_joint(case: Case, j: int) -> Case:
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
        case _:
            single = {"tensor": operands["tensor"][j]}
    bias = None if case.bias is None else case.bias[j]
    return replace(case, operands=single, dy=case.dy[j], bias=bias, n_layers=1)


def _shifted(operands: Mapping[str, Array], prefix: str) -> dict[str, Any]:
    count = sum(name.startswith(prefix) for name in operands)
    return {f"{prefix}{k - 1}": operands[f"{prefix}{k}"] for k in range(1, count)}


def _are_slices(cases: Sequence[Case], results: Sequence[Arrays], convention: Convention) -> Broken:
    joint, *singles = results
    for name in ("y", "dbias"):
        for j, single in enumerate(singles):
            if name in joint and name in single and not np.array_equal(joint[name][j], single[name]):
                return name, f"{name} of layer {j} is another when the layer is taken out of the joint ones"
    if all("dx" in found for found in results):
        total = sum(single["dx"] for single in singles)
        if not np.array_equal(joint["dx"], total):
            return "dx", "dx is not the sum of those of the layers, taken out of the joint ones"
    return None


# ---------------------------------------------------------------------------------------------------------- helpers


def _like(rng: np.random.Generator, array: Array) -> Array:
    drawn = rng.integers(-1, 2, array.shape)
    if array.dtype.kind == "O":
        return drawn.astype(object)
    return (drawn + 1j * rng.integers(-1, 2, array.shape) if array.dtype.kind == "c" else drawn).astype(array.dtype)


IDENTITIES = (
    Identity("euler", "<d_k, G_k> = <dy, y - bias> for x and every operand", _none, _euler),
    Identity(
        "adjoint",
        "<d_k, V> = <dy, f(.., V, ..)> without the bias, V in the place of x or any operand",
        _one_other,
        _adjoint,
    ),
    Identity("duality", "<dy, jvp> = the sum of <d_k, tangent_k> over x, every operand and the bias", _none, _duality),
    Identity("affine", "f(x) + f(x') - bias = f(x + x')", _x_summed, _additive),
    Identity("multilinear", "f is linear in every operand", _operand_summed, _additive),
    Identity(
        "gauge", "another basis of a rank, or another order of its components, changes nothing", _gauge, _same_outside
    ),
    Identity("scaling", "what multiplies one operand may multiply another along their rank", _scaled, _same_outside),
    Identity("padding", "zeros in one more component of a rank change nothing", _padded, _same_outside),
    Identity("batch", "samples are independent, and gradients of parameters are sums over them", _split, _concatenated),
    Identity(
        "modes",
        "the order of the modes of a side does not matter to CP and Tucker",
        _modes_permuted,
        _same_but_for_order,
    ),
    Identity("joint", "each of several joint layers is a single layer", _each_of_joint, _are_slices),
)
