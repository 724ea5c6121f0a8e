"""The layer for inference: its parameters fixed, and what has no batch contracted once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from tlinear.arguments import check_tangent
from tlinear.arrays import Array
from tlinear.call import Call, name_memory, named_parameters, planned, rebuilt, weight_and_bias
from tlinear.contraction.execute import arrange_weights, contract_weights, pass_through, reduce_operand
from tlinear.contraction.options import PlanOptions
from tlinear.contraction.plan import Plan
from tlinear.contraction.tape import Tape
from tlinear.formats import FactorizedTensor
from tlinear.functional import Pullback, Wrt, gradients_asked_for
from tlinear.linear import Layer
from tlinear.named_arrays import check_known_names

__all__ = ["FrozenLinear"]

_PLANS_HELD = 8


class FrozenLinear(Layer):
    """A :class:`FactorizedLinear` whose parameters never change again; :meth:`FactorizedLinear.freeze` makes one.

    It holds read-only copies of the parameters, and what the input meets of them: for each of the last few batch
    sizes, in powers of two, the operands that its plan contracts among themselves, contracted.  Its calls therefore
    do what the input takes part in, and no more; the table of the plan shows what is held too, but its totals leave
    that out.  The plan is searched under the options of the layer it was made of; with ``implementation='auto'`` it
    may hold the dense weight, if that is fastest: see :attr:`held_bytes`.

    Only the input has a gradient.

    Attributes
    ----------
    weight : FactorizedTensor
    bias : array of shape (out_features,), or None
    options : PlanOptions

    Examples
    --------
    >>> from tlinear import FactorizedLinear
    >>> layer = FactorizedLinear((8, 8), (8, 8), factorization="cp", rank=8, rng=0)
    >>> frozen = layer.freeze()
    >>> frozen
    FrozenLinear(64 -> 64, cp, parameters=328, holding 0 bytes beside them)
    >>> import numpy as np
    >>> frozen(np.ones((1024, 64))).shape
    (1024, 64)
    >>> frozen
    FrozenLinear(64 -> 64, cp, parameters=328, holding 8,192 bytes beside them)
    """

    def __init__(
        self, weight: FactorizedTensor, bias: Array | None, features: tuple[int, int], options: PlanOptions
    ) -> None:
        fixed = weight.space.frozen
        self.weight = weight.with_operands({name: fixed(array) for name, array in weight.operands.items()})
        self.bias = None if bias is None else fixed(bias)
        self.options = options
        self._features = features
        self._held: dict[int, tuple[Plan, list[Array]]] = {}
        self._lock = threading.Lock()

    @property
    def in_features(self) -> int:
        return self._features[0]

    @property
    def out_features(self) -> int:
        return self._features[1]

    @property
    def held_bytes(self) -> int:
        """The bytes of what is held beside the parameters."""
        own = list(self.parameters().values())
        with self._lock:
            arrays = {id(array): array for _, arranged in self._held.values() for array in arranged}
        space = self.space
        held = (array for array in arrays.values() if not any(space.share_memory(array, other) for other in own))
        return sum(map(space.n_bytes, held))

    def parameters(self) -> dict[str, Array]:
        """Read-only arrays."""
        return named_parameters(self.weight, self.bias)

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> FrozenLinear:
        """Frozen anew, with other numbers."""
        return FrozenLinear(*weight_and_bias(parameters, self.weight, self.bias), self._features, self.options)

    def _rebuilt(self, parameters: Mapping[str, Array]) -> FrozenLinear:
        return FrozenLinear(*rebuilt(parameters, self.weight), self._features, self.options)

    def __call__(self, x: ArrayLike) -> Array:
        return self._passed(x)[1]

    def vjp(self, x: ArrayLike, wrt: Wrt = None) -> tuple[Array, Pullback]:
        """``y`` and the pullback to the input, which alone has a gradient."""
        asked = {"x"} if wrt is None else gradients_asked_for(wrt, ())
        call, y = self._passed(x)
        wanted, flat = (0,) if asked else (), reduce_operand(call.plan, 0, call.flat)
        tape = Tape(call.plan, wanted, [flat], self._arranged(call), None)
        return y, Pullback(call, tape, wants_bias=False)

    def jvp(
        self, x: ArrayLike, dx: ArrayLike | None = None, tangents: Mapping[str, ArrayLike] | None = None
    ) -> tuple[Array, Array]:
        """``y``, and its derivative along `dx`."""
        check_known_names(tangents or {}, (), "The tangents of a frozen layer's parameters")
        call, y = self._passed(x)
        if dx is None:
            return y, self.space.zeros_like(y)
        moved = self._product(call, call.flatten(check_tangent(dx, call.x, "dx", self.space), self.weight.in_shape))
        return y, self.space.astype(call.merge(moved, call.out_features, call.weight.out_features), y.dtype)

    def plan(self, batch_size: int) -> Plan:
        """What a call computes for this many samples of the parameters' dtype; ``print`` it."""
        return planned(self.weight, self.bias, self.options, "frozen", batch_size)

    def _passed(self, x: ArrayLike) -> tuple[Call, Array]:
        """The checked arguments of a call, and ``y``."""
        weight, options = self.weight, self.options
        try:
            call = Call.prepare(x, weight, self.bias, options=options, mode="frozen", features=self._features)
            return call, call.output(self._product(call, call.flat))
        except (MemoryError, RuntimeError) as error:
            name_memory(error, x, weight, options=options, mode="frozen")
            raise

    def _product(self, call: Call, flat: Array) -> Array:
        """What the layer without its bias makes of an array ``[b, i1..in]``."""
        return pass_through(call.plan, reduce_operand(call.plan, 0, flat), self._arranged(call))

    def _arranged(self, call: Call) -> list[Array]:
        """What the input meets in each step of the plan of a call."""
        key = id(call.plan)
        with self._lock:
            found = self._held.pop(key, None)
            if found is not None:
                self._held[key] = found  # the last one used is the last one to go
                return found[1]
        arranged = arrange_weights(call.plan, contract_weights(call.plan, call.operands(), drop=True))
        with self._lock:
            while len(self._held) >= _PLANS_HELD:
                del self._held[next(iter(self._held))]
            # the plan is held too, so that its id stays its own
            self._held[key] = call.plan, [self._held_already(array) for array in arranged]
            return self._held[key][1]

    def _held_already(self, array: Array) -> Array:
        """The same array of another plan, if there is one: most plans rebuild the same weight."""
        for other in (other for _, arranged in self._held.values() for other in arranged):
            if self.space.alike(other, array):
                return other
        return array

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("weight", "bias", "options") and name in self.__dict__:
            raise AttributeError(
                f"{name!r} of a frozen layer cannot be set. Use with_parameters, or freeze a layer that has other ones."
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} of a frozen layer cannot be deleted. Freeze a layer that is without it.")

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_held": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
        # NumPy copies and unpickles arrays as ones that can be written
        weight, bias, fixed = self.weight, self.bias, self.space.frozen
        operands = {name: fixed(array) for name, array in weight.operands.items()}
        self.__dict__.update(weight=weight.with_operands(operands), bias=None if bias is None else fixed(bias))

    def __repr__(self) -> str:
        return (
            f"FrozenLinear({self.in_features} -> {self.out_features}, {self.weight.factorization}, "
            f"parameters={self.n_parameters:,}, holding {self.held_bytes:,} bytes beside them)"
        )
