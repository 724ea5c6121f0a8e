"""Cases that several tests share, drawn once."""

import math
from functools import lru_cache

from tlinear import FactorizedLinear, micro
from tlinear.errors import MemoryLimitError, ShapeError
from tlinear.formats import find_format
from tlinear.testing.check import drawn
from tlinear.testing.strategies import cases

_drawn_before = {}


def drawn_once(strategy, n, seed):
    """The cases of a seed, drawn once for all tests: drawing them takes longer than judging them."""
    key = (repr(strategy), n, seed)  # the representation of a strategy says what it draws
    if key not in _drawn_before:
        _drawn_before[key] = drawn(strategy, n, seed)
    return list(_drawn_before[key])


@lru_cache
def some_cases(n=80, seed=0, **options):
    return tuple(drawn(cases(**options), n, seed))


@lru_cache
def varied_cases(n=50, **options):
    """As many cases of every format, none of them the simplest."""
    found = drawn(cases(max_modes=3, large=False, **options), 500, 0)
    telling = [case for case in found if case.dy.size > 4 and sum(a.size for a in case.operands.values()) > 6]
    names = sorted({case.format for case in telling})
    of_each = [[case for case in telling if case.format == name] for name in names]
    return tuple(case for some in of_each for case in some[:: max(1, len(some) * len(names) // n)])


def by_layer(case, **options):
    """What tlinear's own layer makes of a case."""
    return _results(case, _layer(case).with_options(**options))


def in_small_chunks(case):
    """The same within the least memory that can be had, and so a few samples at a time."""
    layer = _layer(case)
    limit = layer.plan(max(1, math.prod(case.batch_shape)), "training").peak_bytes
    for share in (4, 2, 1):
        try:
            return _results(case, layer.with_options(memory_limit=limit // share))
        except MemoryLimitError:
            continue
    return _results(case, layer)


def _layer(case):
    weight = find_format(case.format).from_operands(dict(case.operands), len(case.in_shape), len(case.out_shape))
    if (weight.in_shape, weight.out_shape, case.n_layers) != (case.in_shape, case.out_shape, 1):
        raise ShapeError("The operands are not those of one layer of these modes.")
    return FactorizedLinear.from_weight(weight, case.bias)


def _results(case, layer):
    y, pullback = layer.vjp(case.x)
    gradients = pullback(case.dy)
    named = {f"d{name.removeprefix('weight.')}": array for name, array in gradients.parameters.items()}
    if case.tangents is not None:
        moved = {name if name == "bias" else f"weight.{name}": array for name, array in case.tangents.items()}
        named["jvp"] = layer.jvp(case.x, moved.pop("weight.x"), moved)[1]
    return {"y": y, "dx": gradients.x, **named}


def by_micro(case):
    """What the page that is read first makes of it."""
    arrays = list(case.operands.values())
    match case.format:
        case "dense":
            network = micro.dense(arrays[0])
        case "cp":
            network = micro.cp(arrays[0], arrays[1:])
        case "tucker":
            network = micro.tucker(arrays[0], arrays[1:])
        case "tt":
            network = micro.tt(arrays)
        case "blocktt":
            network = micro.blocktt(arrays, len(case.in_shape), len(case.out_shape))
    n = case.x.size // case.in_features
    x, dy = case.x.reshape(n, case.in_features), case.dy.reshape(n, case.out_features)
    y = micro.forward(x, network, case.in_shape, case.out_shape, case.bias)
    dx, gradients, dbias = micro.backward(x, dy, network, case.in_shape, case.out_shape)
    named = {f"d{name}": array for name, array in zip(case.operands, gradients, strict=True)}
    bias = {} if case.bias is None else {"dbias": dbias}
    return {"y": y.reshape(case.dy.shape), "dx": dx.reshape(case.x.shape), **bias, **named}
