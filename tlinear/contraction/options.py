"""What may be asked of a plan: the implementation, the order of contraction, and how much memory it may take."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypedDict, cast, get_args

from tlinear.errors import ImplementationError, OptionError
from tlinear.shapes import is_integer

__all__ = ["Implementation", "Memory", "Mode", "Optimize", "Options", "PlanOptions", "check_mode", "is_training"]

Implementation: TypeAlias = Literal["factorized", "reconstructed", "auto"]
Mode: TypeAlias = Literal["forward", "training", "parameters", "frozen"]
Memory: TypeAlias = Literal["store", "recompute", "auto"]
Path: TypeAlias = tuple[tuple[int, ...], ...]
Optimize: TypeAlias = str | Sequence[Sequence[int]] | Callable[..., Any] | None


class Options(TypedDict, total=False):
    """The fields of :class:`PlanOptions`, any of them."""

    implementation: Implementation
    optimize: Optimize
    memory: Memory
    memory_limit: int | None


@dataclass(frozen=True)
class PlanOptions:
    """The settings that a plan is searched under.

    Attributes
    ----------
    implementation : {'auto', 'factorized', 'reconstructed'}
        Contract the input with the operands in a planned order, rebuild the dense weight first, or
        whichever the cost model predicts to be faster.
    optimize : None, str, sequence of pairs, or callable
        Where the order of contraction comes from.  None compares several by the cost model.  Otherwise it is what
        opt_einsum takes: the name of an algorithm such as ``'greedy'`` (``'optimal'`` tries every order, of at most
        nine operands, and ``'dp'`` every connected one, which may take minutes for Tucker of 20 modes); a path over the
        operands of ``layer.plan(n).network``, the input being number 0; or an optimizer, opt_einsum's own or
        cotengra's.  It may find another order for more samples, also one of the other implementation: an error, where
        that is ruled out.
        How the intermediates lie and the size of the chunks are still chosen by the cost model.
    memory : {'auto', 'store', 'recompute'}
        In training, keep every intermediate for the backward pass, or only the input and the operands, and compute
        the intermediates of a chunk of the batch anew when its cotangent comes; or whichever is predicted to be
        faster among what `memory_limit` allows.
    memory_limit : int, optional
        The most bytes that a call, or a call and its pullback, may have alive at once beside its arguments:
        intermediates, copies, the result and the gradients.  Not counted are the copy of a cotangent that comes in
        another dtype than the result, and what a frozen layer holds; a pushforward takes up to three times as much.
        A limit that binds makes the first call of every batch size, not of every power of two, search its plan.

    Raises
    ------
    ImplementationError, OptionError
        When one is none of the above.

    Examples
    --------
    >>> PlanOptions(optimize=[(0, 1), (0, 1)]).optimize
    ((0, 1), (0, 1))
    """

    implementation: Implementation = "auto"
    optimize: Optimize = None
    memory: Memory = "auto"
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.implementation not in get_args(Implementation):
            raise ImplementationError(
                f"implementation={self.implementation!r} is not known. Choose one of {_names(Implementation)}."
            )
        if self.memory not in get_args(Memory):
            raise OptionError(f"memory={self.memory!r} is not known. Choose one of {_names(Memory)}.")
        limit = self.memory_limit
        if limit is not None and (not is_integer(limit) or limit < 0):
            raise OptionError(f"memory_limit={limit!r} is not a number of bytes. Pass an int such as 2**28, or None.")
        object.__setattr__(self, "optimize", _checked(self.optimize))

    @property
    def ordering(self) -> PlanOptions:
        """Those that a search for an order depends on."""
        return replace(self, implementation="auto", memory_limit=None)

    @cached_property
    def unlimited(self) -> PlanOptions:
        """The same without a limit of memory."""
        return replace(self, memory_limit=None)

    def changed(self, options: Mapping[str, Any]) -> PlanOptions:
        """The same but for some of them."""
        known = [field.name for field in fields(self)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise OptionError(f"{', '.join(unknown)} is no option of a plan. Choose from {', '.join(known)}.")
        return replace(self, **options)

    @cached_property
    def _hash(self) -> int:
        return hash((self.implementation, self.optimize, self.memory, self.memory_limit))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def path(self) -> Path | None:
        """The path asked for, if it is one."""
        return self.optimize if isinstance(self.optimize, tuple) else None

    @cached_property
    def search(self) -> str | Callable[..., Any] | None:
        """The algorithm or optimizer asked for, if it is one."""
        return self.optimize if isinstance(self.optimize, str) or callable(self.optimize) else None


def check_mode(mode: str) -> None:
    """Raise :class:`OptionError` unless `mode` is one of the known ones."""
    if mode not in get_args(Mode):
        raise OptionError(f"mode={mode!r} is not known. Choose one of {_names(Mode)}.")


def is_training(mode: Mode) -> bool:
    """Whether a backward pass follows."""
    return mode in ("training", "parameters")


def _names(alias: Any) -> str:
    return ", ".join(map(repr, get_args(alias)))


def _checked(optimize: Any) -> str | Path | Callable[..., Any] | None:
    """What opt_einsum takes, hashable."""
    if optimize is None:
        return None
    if isinstance(optimize, str):
        from opt_einsum.paths import get_path_fn

        try:
            get_path_fn(optimize)
        except KeyError as error:
            known = re.findall(r"'[^']+'", str(error.args[0]).partition("valid options are")[2])
            raise OptionError(
                f"optimize={optimize!r} is not an algorithm of opt_einsum. Choose one of {', '.join(sorted(known))}."
            ) from None
        return optimize
    if callable(optimize):
        if not _is_hashable(optimize):
            raise OptionError(
                f"optimize={optimize!r} cannot be hashed, so that no plan could be found again. Give its class a "
                "__hash__, or pass a function."
            )
        return cast(Callable[..., Any], optimize)
    if isinstance(optimize, Sequence):
        headed = (
            len(optimize) > 0 and isinstance(optimize[0], str) and optimize[0] == "einsum_path"
        )  # by np.einsum_path
        pairs = list(optimize[headed:])
        if all(isinstance(pair, Sequence) and len(pair) == 2 and all(map(is_integer, pair)) for pair in pairs):
            return tuple((int(a), int(b)) for a, b in pairs)
    raise OptionError(
        f"optimize={optimize!r} is none of: None, the name of an algorithm of opt_einsum such as 'dp', a path of "
        "pairs such as [(0, 1), (0, 1)], an optimizer of opt_einsum or cotengra."
    )


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
