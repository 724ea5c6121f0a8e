"""What is timed is right first: outputs and gradients within the rounding bound of float64."""

from collections.abc import Iterable, Sequence

import numpy as np
import opt_einsum
from grid import IMPLEMENTATIONS, size
from peer import peer_layout, peer_of, torch

from tlinear import FactorizedLinear
from tlinear.contraction.network import BATCH, Labels, Network
from tlinear.contraction.plan import Plan

CHECKED_ROWS = 4

Steps = list[tuple[Labels, Labels, Labels]]


def steps_of_plan(plan: Plan) -> Steps:
    """The labels of both operands and of the result of every step."""
    return [(step.pair.a, step.pair.b, step.pair.out) for step in plan.steps]


def steps_along(inputs: Sequence[Labels], output: Labels, path: Iterable[Sequence[int]]) -> Steps:
    """The labels of both operands and of the result of every pair of opt_einsum's path."""
    open_labels, steps = [frozenset(labels) for labels in inputs], []
    for chosen in path:
        taken = [open_labels.pop(k) for k in sorted(chosen, reverse=True)]
        result = frozenset().union(*taken) & frozenset(output).union(*open_labels)
        open_labels.append(result)
        a, b = (taken * 2)[:2]
        steps.append((tuple(a), tuple(b), tuple(result)))
    return steps


def steps_of_peer(layer: FactorizedLinear, batch: int) -> Steps:
    """The steps of tltorch's factorized layer: opt_einsum's, whom torch.einsum asks for the order."""
    network = layer.weight.layer_network
    slot = {name: k for k, name in enumerate(network.names)}
    inputs = [network.inputs[slot[name]] for name in ("x", *(name for name, _ in peer_layout(layer)))]
    sizes = {**network.sizes, BATCH: batch}
    path = opt_einsum.paths.auto([frozenset(labels) for labels in inputs], frozenset(network.output), sizes)
    return steps_along(inputs, network.output, path)


def flops_of_steps(network: Network, steps: Steps, batch: int) -> int:
    return sum(size(network, {*a, *b}, batch) * (2 if {*a, *b} - {*out} else 1) for a, b, out in steps)


def entries_of_steps(network: Network, steps: Steps, batch: int) -> int:
    """The entries of all results together."""
    return sum(size(network, out, batch) for _, _, out in steps)


def roundings(network: Network, steps: Steps, batch: int, *, backward: bool = False) -> int:
    """K of the bound ``gamma_K |operands|``: the terms summed in every step, and in its two adjoints if asked for."""
    products = list(steps)
    if backward:
        products += [(out, b, a) for a, b, out in steps] + [(out, a, b) for a, b, out in steps]
    return sum(size(network, {*a, *b} - {*out}, batch) for a, b, out in products)


def exact(network: Network, arrays: dict[str, np.ndarray], wanted: str) -> tuple[np.ndarray, np.ndarray, int]:
    """The array of this name from all others in float64, the same of their absolute values, and its roundings.

    ``y``, or the gradient of x or of an operand by multilinearity: what y's cotangent and all others make.
    """
    labels = {**dict(zip(network.names, network.inputs, strict=True)), "y": network.output}
    shape = arrays[wanted].shape
    # the ones carry labels of size 1 that no other array has
    names, axes = [name for name in labels if name != wanted], labels[wanted]
    inputs = [*(labels[name] for name in names), axes]
    operands = [*(arrays[name].astype(np.float64) for name in names), np.ones(shape)]
    keys = {label: opt_einsum.get_symbol(k) for k, label in enumerate((BATCH, *network.sizes))}
    equation = ",".join("".join(keys[label] for label in group) for group in inputs)
    equation += "->" + "".join(keys[label] for label in axes)
    path, _ = opt_einsum.contract_path(equation, *operands)
    batch = arrays["x"].shape[0]
    values, magnitude = (
        opt_einsum.contract(equation, *group, optimize=path)
        for group in (operands, [np.abs(operand) for operand in operands])
    )
    return values, magnitude, roundings(network, steps_along(inputs, axes, path), batch)


def gamma(n_roundings: int, dtype: np.dtype) -> float:
    unit = float(np.finfo(dtype).eps) / 2
    if n_roundings * unit >= 0.5:
        raise SystemExit(f"{n_roundings} roundings of {dtype} are too many for a bound.")
    return n_roundings * unit / (1 - n_roundings * unit)


def check(name: str, found: np.ndarray, count: int, expected: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Raise SystemExit unless `found`, of so many roundings, lies within the bounds of both, entry by entry."""
    values, magnitude, own = expected
    factor = gamma(count, found.dtype) + gamma(own, values.dtype)
    excess = np.abs(found - values) / (factor * magnitude + np.finfo(found.dtype).tiny)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    if not excess[worst] <= 1:
        raise SystemExit(
            f"{name}, {found.dtype}: entry {tuple(map(int, worst))} is {found[worst]} instead of {values[worst]}, "
            f"{excess[worst]:.3g} times the bound of {count} roundings, {factor:.3g} * {magnitude[worst]:.3g}. "
            "Nothing of this cell was timed."
        )


def check_outputs(title: str, layers: Sequence[FactorizedLinear], x: np.ndarray) -> None:
    """Both sides' outputs as they are timed, on some of the rows."""
    layer, batch = layers[0], len(x)
    network, weight = layer.weight.layer_network, layer.weight
    rows = np.unique(np.linspace(0, batch - 1, CHECKED_ROWS).astype(int))
    y = {own: (own(x)[rows], steps_of_plan(own.plan(batch))) for own in layers}
    found = {f"tlinear {own.implementation}": result for own, result in y.items()}
    if weight.factorization != "tt":
        with torch.inference_mode():
            found["tltorch"] = (
                peer_of(layer, "factorized")(torch.from_numpy(x)).numpy()[rows],
                steps_of_peer(layer, batch),
            )
    arrays = {"x": x[rows].reshape(len(rows), *weight.in_shape), **weight.operands}
    arrays["y"] = np.empty((len(rows), *weight.out_shape))
    values, magnitude, count = exact(network, arrays, "y")
    shape = (len(rows), layer.out_features)
    expected = values.reshape(shape) + layer.bias, magnitude.reshape(shape) + np.abs(layer.bias), count + 1
    for side, (result, steps) in found.items():
        check(f"{title}, {side}", result, roundings(network, steps, batch) + 1, expected)


def check_gradients(title: str, layers: Sequence[FactorizedLinear], x: np.ndarray) -> None:
    """Both sides' gradients of x and of every operand, by the same code in float64, where the bound is sharp."""
    weight, batch = layers[0].weight.astype(np.float64), len(x)
    layer, network = FactorizedLinear.from_weight(weight, layers[0].bias.astype(np.float64)), weight.layer_network
    x, dy = x.astype(np.float64), np.random.default_rng(1).standard_normal((batch, layer.out_features))
    found: dict[str, tuple[dict[str, np.ndarray], Steps]] = {}
    for implementation in IMPLEMENTATIONS:
        own = FactorizedLinear.from_weight(weight, layer.bias, implementation=implementation)
        gradients = own.vjp(x)[1](dy)
        results = {name: gradients.parameters[f"weight.{name}"] for name in weight.operands} | {"x": gradients.x}
        found[f"tlinear {implementation}"] = results, steps_of_plan(own.plan(batch, mode="training"))
    if weight.factorization != "tt":
        peer, given = peer_of(layer, "factorized"), torch.from_numpy(x).requires_grad_()
        gradient_of_x, *gradients = torch.autograd.grad(peer(given), [given, *peer.operands], torch.from_numpy(dy))
        results = {"x": gradient_of_x.numpy()}
        for (name, axes), gradient in zip(peer_layout(layer), gradients, strict=True):
            results[name] = gradient.numpy().transpose(np.argsort(axes))
        found["tltorch"] = results, steps_of_peer(layer, batch)
    arrays = {"x": x.reshape(batch, *weight.in_shape), **weight.operands, "y": dy.reshape(batch, *weight.out_shape)}
    for wanted in network.names:
        expected = exact(network, arrays, wanted)
        for side, (results, steps) in found.items():
            count = roundings(network, steps, batch, backward=True)
            check(f"{title}, {side}, gradient of {wanted}", results[wanted].reshape(expected[0].shape), count, expected)
