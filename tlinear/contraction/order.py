"""In which order the operands of a network can be contracted: the candidates that a plan chooses from.

opt_einsum searches for the order of fewest FLOPs.  Fewest FLOPs is not least time, so that it is
asked inside groups of operands too: a sweep takes one operand after the other, contracting each
side of the weight first makes two large products, and rebuilding the weight makes one.
"""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from tlinear.contraction.network import BATCH, Label, Labels, Network
from tlinear.errors import OptionError

__all__ = [
    "Order",
    "candidate_orders",
    "factorized_orders",
    "label_triples",
    "order_along",
    "rebuilds_weight",
    "reconstructed_order",
    "takes_input_last",
]

# Pairs of slots: operands are slots 0 .. n-1, and every pair appends its result as the next slot.
Order: TypeAlias = tuple[tuple[int, int], ...]
# The name of an algorithm of opt_einsum, or an optimizer.
Search: TypeAlias = str | Callable[..., Any]
_Sizes: TypeAlias = tuple[tuple[Label, int], ...]

_MANY_SAMPLES = 1 << 20

# Of so many operands dynamic programming finds the fewest FLOPs in milliseconds.
_FEW_OPERANDS = 8

# The algorithms of opt_einsum whose orders are compared: of equally few FLOPs each finds another.  Those that
# enumerate orders are done with so many operands in milliseconds.
_ALWAYS, _OF_FEW, _ENUMERABLE = ("greedy", "auto"), ("optimal", "branch-all", "branch-2"), 6

# What enumerates orders is done with so many in seconds; with each more it takes many times as long.
_MOST_OPERANDS: dict[str | None, int] = {"optimal": 9, "branch-all": 11}

# So does dynamic programming with each more that one operand meets: with all sets of these, it makes as many sets that
# are connected.  With so many it is done in a quarter of a second, and in seconds.
_FEW_NEIGHBOURS, _MOST_NEIGHBOURS = 10, 12
_DYNAMIC = ("dp", "dynamic-programming", "auto-hq")


@lru_cache(maxsize=512)
def candidate_orders(
    network: Network,
    batch_sizes: tuple[int, ...],
    search: Search | None = None,
    path: tuple[tuple[int, ...], ...] | None = None,
) -> tuple[Order, ...]:
    """Return the orders that a plan chooses from, once for all modes, dtypes and limits, each tree once.

    Parameters
    ----------
    network : Network
    batch_sizes : tuple of int
        The numbers of samples to search for; of a `search`, the first.
    search : str or callable, optional
        Find all orders by this algorithm.
    path : sequence of tuple, optional
        Take no other order than that of this path of opt_einsum.
    """
    if path is not None:
        return (order_along(network, path),)
    sizes = batch_sizes if search is None else batch_sizes[:1]
    found = [order for size in sizes for order in factorized_orders(network, size, search)]
    if BATCH in network.output:
        names = (None, *searches_by_name(network.reduced_inputs[1:])) if search is None else (search,)
        found += [reconstructed_order(network, name) for name in names]
    # the same tree may be written in several ways, of which the first is taken
    return tuple({tree_of(network, order): order for order in reversed(found)}.values())[::-1]


def factorized_orders(network: Network, batch_size: int, search: Search | None = None) -> Iterator[Order]:
    """Candidates, each once; some may rebuild the weight.  With a `search`, the one that it finds.

    For few samples the best order starts at the input; the more there are, the more it pays to
    contract weight operands among themselves first.
    """
    n = len(network.inputs)
    if n == 1:
        yield ()
        return
    slots = list(range(n))
    if search is not None:
        yield _grouped(network, [slots], batch_size, search)
        return
    into, out_of = _sides(network)
    candidates = [
        *(_grouped(network, [slots], size) for size in (1, batch_size, _MANY_SAMPLES)),
        *(_grouped(network, [[0], *groups], batch_size) for groups in _sweeps(network)),
        _grouped(network, [[0], into, out_of], batch_size),
        _grouped(network, [[0], into, *([slot] for slot in out_of)], batch_size),
        *(_grouped(network, [slots], batch_size, name) for name in searches_by_name(network.reduced_inputs)),
    ]
    yield from dict.fromkeys(candidates)


def searches_by_name(inputs: Sequence[Labels]) -> tuple[str, ...]:
    """Return the algorithms of opt_einsum that are quick for operands with these labels."""
    if len(inputs) <= _ENUMERABLE:
        return _ALWAYS + _OF_FEW
    is_sought_anyhow = len(inputs) <= _FEW_OPERANDS
    return _ALWAYS if is_sought_anyhow or most_neighbours(inputs) > _FEW_NEIGHBOURS else (*_ALWAYS, "dp")


def most_neighbours(inputs: Sequence[Labels]) -> int:
    """Return the largest number of others that an operand shares labels with."""
    sets = [frozenset(labels) for labels in inputs]
    return max(sum(1 for other in sets if labels & other) - bool(labels) for labels in sets)


@lru_cache(maxsize=512)
def reconstructed_order(network: Network, search: Search | None = None) -> Order:
    """All operands but the first among themselves, and the first one last: the same for any number of samples."""
    return _grouped(network, [[0], list(range(1, len(network.inputs)))], 1, search)


def order_along(network: Network, path: Sequence[tuple[int, ...]]) -> Order:
    """The order of opt_einsum's `path`, in which what is contracted leaves the list and the result goes to its end."""
    return _in_slots(path, len(network.inputs), f"The path {list(path)}", str(network))


def rebuilds_weight(network: Network, order: Order) -> bool:
    """Whether some intermediate of the layer's network is the dense weight, which only ``'reconstructed'`` may form."""
    modes = set(range(network.n_modes))
    held = [set(labels) for labels in network.inputs]
    for a, b in order:
        held.append(held[a] | held[b])
    return BATCH in network.output and any(
        modes <= labels and BATCH not in labels for labels in held[len(network.inputs) :]
    )


def label_triples(network: Network, order: Order) -> list[tuple[Labels, Labels, Labels]]:
    """The labels of both operands and of the result of each step of an order."""
    open_labels = dict(enumerate(network.reduced_inputs))
    triples = []
    for number, (a, b) in enumerate(order):
        left, right = open_labels.pop(a), open_labels.pop(b)
        keep = network.kept(open_labels.values())
        out = tuple(label for label in dict.fromkeys(left + right) if label in keep)
        open_labels[len(network.inputs) + number] = out
        triples.append((left, right, out))
    return triples


def tree_of(network: Network, order: Order) -> frozenset[frozenset[int]]:
    """Return the sets of operands that an order contracts, which do not depend on how its steps are written."""
    held = [frozenset((slot,)) for slot in range(len(network.inputs))]
    for a, b in order:
        held.append(held[a] | held[b])
    return frozenset(held)


def takes_input_last(order: Order) -> bool:
    """Whether everything else is contracted before the input, operand 0, comes in."""
    return bool(order) and 0 in order[-1]


def _sides(network: Network) -> tuple[list[int], list[int]]:
    """The operands but the first that carry no output mode, and those that do."""
    outputs = set(range(network.n_in, network.n_modes))
    slots = range(1, len(network.inputs))
    into = [slot for slot in slots if not outputs & set(network.inputs[slot])]
    return into, [slot for slot in slots if slot not in into]


def _sweeps(network: Network) -> Iterator[list[list[int]]]:
    """What the input meets, one after the other: operands of its modes, those of none, those of the output's modes.

    What is contracted lies side by side if the modes of one side are taken from the first to the last,
    and those of the other from the last to the first.  Operands of a side may also meet in twos before the
    input meets them: that makes fewer products, of larger matrices.
    """
    inputs, outputs = set(range(network.n_in)), set(range(network.n_in, network.n_modes))
    slots = range(1, len(network.inputs))
    into = [slot for slot in slots if inputs & set(network.inputs[slot])]
    out_of = [slot for slot in slots if slot not in into and outputs & set(network.inputs[slot])]
    neither = [slot for slot in slots if slot not in into and slot not in out_of]
    for first, last in itertools.product((into, into[::-1]), (out_of, out_of[::-1])):
        yield [*_batched(first, 1), *_batched(neither, 1), *_batched(last, 1)]
    yield [*_batched(into, 2), *_batched(neither, 1), *_batched(out_of[::-1], 2)]


def _batched(slots: Sequence[int], many: int) -> list[list[int]]:
    return [list(slots[k : k + many]) for k in range(0, len(slots), many)]


def _grouped(network: Network, groups: Sequence[Sequence[int]], batch_size: int, search: Search | None = None) -> Order:
    """Each group of slots among itself, as a search finds; then the groups from the first to the last."""
    open_labels = dict(enumerate(network.reduced_inputs))
    order: list[tuple[int, int]] = []

    def join(a: int, b: int) -> int:
        both = dict.fromkeys(open_labels.pop(a) + open_labels.pop(b))
        keep = network.kept(open_labels.values())
        out = len(network.inputs) + len(order)
        open_labels[out] = tuple(label for label in both if label in keep)
        order.append((a, b))
        return out

    results = []
    for group in groups:
        if not group:
            continue
        outside = network.kept(labels for slot, labels in open_labels.items() if slot not in group)
        members = list(group)
        for a, b in _search([open_labels[slot] for slot in members], outside, network, batch_size, search):
            members.append(join(members[a], members[b]))
        results.append(members[-1])
    last = results[0]
    for result in results[1:]:
        last = join(last, result)
    return tuple(order)


def _search(
    inputs: Sequence[Labels], outside: set[Label], network: Network, batch_size: int, search: Search | None
) -> Order:
    """The order of contracting `inputs` into what is needed `outside`, in slots of its own."""
    if len(inputs) == 1:
        return ()
    labels = {label for group in inputs for label in group}
    sizes = tuple((label, batch_size if label == BATCH else network.sizes[label]) for label in sorted(labels))
    output = frozenset(labels & outside)
    if search is None or isinstance(search, str):
        return _found_by_name(tuple(inputs), output, sizes, search)
    return _found(_unused(search), inputs, output, sizes, search)


@lru_cache(maxsize=512)
def _found_by_name(inputs: tuple[Labels, ...], output: frozenset[Label], sizes: _Sizes, name: str | None) -> Order:
    """What an algorithm of opt_einsum finds, once for all batch sizes where no operand has a batch."""
    most = _MOST_OPERANDS.get(name)
    neighbours = most_neighbours(inputs)
    if most is not None and len(inputs) > most:
        dynamic = "" if neighbours > _MOST_NEIGHBOURS else "'dp', which finds the fewest FLOPs of all orders, or "
        raise OptionError(
            f"optimize={name!r} tries the orders of {len(inputs)} operands one by one, of more than {most} for minutes "
            f"to years. Pass {dynamic}'auto'."
        )
    if name in _DYNAMIC and neighbours > _MOST_NEIGHBOURS:
        raise OptionError(
            f"optimize={name!r} tries all connected sets of the {len(inputs)} operands, one of which shares labels "
            f"with {neighbours}; with more than {_MOST_NEIGHBOURS} that takes minutes to years. Pass 'auto'."
        )
    from opt_einsum.paths import get_path_fn  # on use: with it, importing tlinear would take twice as long as NumPy

    find = get_path_fn(name or ("dp" if len(inputs) <= _FEW_OPERANDS else "auto"))
    return _found(find, inputs, output, sizes, name)


def _found(
    find: Callable[..., Any], inputs: Sequence[Labels], output: frozenset[Label], sizes: _Sizes, search: Search | None
) -> Order:
    try:
        path = find([frozenset(labels) for labels in inputs], output, dict(sizes))
    except Exception as error:  # whatever somebody else's search may raise
        raise OptionError(
            f"optimize={search!r} found no path for {inputs}: {type(error).__name__}: {error}. Pass another "
            "algorithm or optimizer, or None."
        ) from error
    return _in_slots(path, len(inputs), f"optimize={search!r} found the path {path!r}, which", str(inputs))


def _in_slots(path: Any, n: int, subject: str, operands: str) -> Order:
    """The order of a path over `n` operands; `subject` says in the error what path it is."""
    from opt_einsum.paths import linear_to_ssa

    try:
        pairs = [tuple(map(operator.index, pair)) for pair in path]
    except TypeError:
        pairs = []
    fit = [len(pair) == len(set(pair)) == 2 and all(0 <= k < n - done for k in pair) for done, pair in enumerate(pairs)]
    if len(pairs) != n - 1 or not all(fit):
        raise OptionError(
            f"{subject} does not contract the {n} operands {operands}, two at a time. Pass {n - 1} pairs of places in "
            "the list of what is left, such as those of opt_einsum.contract_path, or an optimizer that finds them."
        )
    return tuple((a, b) for a, b in linear_to_ssa(tuple(pairs)))


def _unused(optimizer: Callable[..., Any]) -> Callable[..., Any]:
    """Those that remember the best path serve for one network and batch size only, and each search takes its own."""
    state = getattr(optimizer, "__dict__", {})
    if not any(name.startswith("best") for name in state):
        return optimizer
    own = copy.copy(optimizer)
    for name, value in state.items():
        if isinstance(value, (dict, list, set)):  # not deeply: an optimizer of cotengra holds a module
            setattr(own, name, copy.copy(value))
    return own
