"""A multilayer perceptron of tlinear layers, its loss, and its training through the manual backward."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tlinear.arrays import Array
from tlinear.functional import Gradients
from tlinear.linear import Layer, Linear
from tlinear.optim import Adam

__all__ = ["Perceptron", "accuracy", "cross_entropy", "train"]


@dataclass(frozen=True, eq=False)
class Perceptron:
    """Layers with a ReLU between them: ``x_{k+1} = relu(layers[k](x_k))``, the last without.

    Examples
    --------
    >>> network = Perceptron.random((64, 16, 10), rng=0)
    >>> network(np.ones((3, 64))).shape, list(network.parameters())
    ((3, 10), ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    layers: tuple[Layer, ...]

    @classmethod
    def random(
        cls, sizes: Sequence[int], *, dtype: DTypeLike = np.float64, rng: np.random.Generator | int | None = None
    ) -> Self:
        """Dense layers from each of the sizes to the next."""
        generator = np.random.default_rng(rng)
        return cls(tuple(Linear(n, m, dtype=dtype, rng=generator) for n, m in pairwise(sizes)))

    def __call__(self, x: Array) -> Array:
        """The logits ``(n, classes)`` of inputs ``(n, features)``."""
        return self.layers[-1](self.input_of(len(self.layers) - 1, x))

    def input_of(self, k: int, x: Array) -> Array:
        """What layer k gets when the network gets x."""
        for layer in self.layers[:k]:
            y = layer(x)
            x = y * _is_active(y)
        return x

    def vjp(self, x: Array) -> tuple[Array, Callable[[Array], Gradients]]:
        """The logits, and the pullback: it maps their cotangent to the gradients of x and the parameters."""
        pullbacks: list[Callable[[ArrayLike], Gradients]] = []
        masks: list[Array] = []
        for layer in self.layers[:-1]:
            y, pullback = layer.vjp(x)
            mask = _is_active(y)
            pullbacks.append(pullback)
            masks.append(mask)
            x = y * mask
        logits, last = self.layers[-1].vjp(x)

        def pull_back(dy: Array) -> Gradients:
            gradients = last(dy)
            named = _prefixed(len(masks), gradients.parameters)
            for k in reversed(range(len(masks))):
                gradients = pullbacks[k](gradients.x * masks[k])
                named |= _prefixed(k, gradients.parameters)
            return Gradients(gradients.x, named)

        return logits, pull_back

    def parameters(self) -> dict[str, Array]:
        """The parameters of all layers, their names prefixed with the layer's number."""
        named: dict[str, Array] = {}
        for k, layer in enumerate(self.layers):
            named |= _prefixed(k, layer.parameters())
        return named

    def with_parameters(self, parameters: Mapping[str, Array]) -> Self:
        """The same network with other numbers."""
        layers = (
            layer.with_parameters({name: parameters[f"{k}.{name}"] for name in layer.parameters()})
            for k, layer in enumerate(self.layers)
        )
        return dataclasses.replace(self, layers=tuple(layers))

    def replace(self, k: int, *layers: Layer) -> Self:
        """The network with these layers, or none, in place of layer k."""
        return dataclasses.replace(self, layers=(*self.layers[:k], *layers, *self.layers[k + 1 :]))


def _is_active(y: Array) -> Array:
    """Where the ReLU lets its argument pass; the real part decides, so that a complex step can go through."""
    return y.real > 0


def _prefixed(k: int, named: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{k}.{name}": array for name, array in named.items()}


def cross_entropy(logits: Array, labels: Array) -> tuple[Any, Array]:
    """The mean of ``-log softmax(logits)[label]`` over the samples, and its gradient ``(softmax - onehot) / n``.

    Examples
    --------
    >>> loss, dlogits = cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> float(np.exp(-loss)), dlogits.tolist()
    (0.5, [[0.5, -0.5]])
    """
    n = len(labels)
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    chosen = np.arange(n), labels
    dlogits = exponentials / sums
    dlogits[chosen] -= 1.0
    return np.mean(np.log(sums[:, 0]) - shifted[chosen]), dlogits / n


def accuracy(network: Perceptron, images: Array, labels: Array) -> float:
    """The fraction of images whose largest logit is their label's."""
    return float(np.mean(network(images).argmax(axis=1) == labels))


def train(
    network: Perceptron,
    images: Array,
    labels: Array,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator | int | None,
    after_epoch: Callable[[], None] = lambda: None,
) -> Perceptron:
    """The network after Adam on all its parameters, over batches shuffled by `rng`.

    The learning rate falls linearly, epoch by epoch, so that the last steps settle.
    """
    generator = np.random.default_rng(rng)
    parameters = network.parameters()
    state = Adam().init(parameters)
    for epoch in range(epochs):
        adam = Adam(learning_rate * (1.0 - epoch / epochs))
        order = generator.permutation(len(labels))
        for start in range(0, len(labels), batch_size):
            batch = order[start : start + batch_size]
            logits, pullback = network.vjp(images[batch])
            _, dlogits = cross_entropy(logits, labels[batch])
            parameters, state = adam.update(parameters, pullback(dlogits).parameters, state)
            network = network.with_parameters(parameters)
        after_epoch()
    return network
