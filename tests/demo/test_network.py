"""The network: its equation, its manual gradients, and its training."""

import numpy as np
import pytest

from tlinear import FactorizedLinear, Linear
from tlinear.demo.network import Perceptron, accuracy, cross_entropy, train

FORMATS = ("dense", "cp", "tucker", "tt", "blocktt")
EPS = np.finfo(np.float64).eps


def _network(factorization, rng):
    """4 -> 6 -> 6 -> 3 with a factorized hidden layer."""
    hidden = FactorizedLinear((2, 3), (3, 2), factorization=factorization, rank="same", rng=rng)
    return Perceptron((Linear(4, 6, rng=rng), hidden, Linear(6, 3, rng=rng)))


def _integers(rng, shape):
    return rng.integers(-3, 4, shape).astype(float)


def test_equation():
    rng = np.random.default_rng(0)
    network = _network("tt", rng)
    x = rng.standard_normal((5, 4))
    first, hidden, last = network.layers
    expected = last(np.maximum(hidden(np.maximum(first(x), 0.0)), 0.0))
    np.testing.assert_array_equal(network(x), expected)
    np.testing.assert_array_equal(network.vjp(x)[0], expected)
    np.testing.assert_array_equal(network.input_of(1, x), np.maximum(first(x), 0.0))


def _pushed_forward(network, x, dx, tangents):
    """The derivative of the logits along dx and the tangents, through the layers' own jvp."""
    for k, layer in enumerate(network.layers):
        own = {name.removeprefix(f"{k}."): t for name, t in tangents.items() if name.startswith(f"{k}.")}
        y, dy = layer.jvp(x, dx, own)
        is_last = k == len(network.layers) - 1
        x, dx = (y, dy) if is_last else (np.maximum(y, 0.0), dy * (y > 0.0))
    return dx


@pytest.mark.parametrize("factorization", FORMATS)
def test_pullback_is_the_exact_adjoint_for_integers(factorization):
    """``<dy, J t> = <J^T dy, t>`` for the unit tangent t of every entry; no sum of such integers rounds."""
    rng = np.random.default_rng(1)
    network = _network(factorization, rng)
    network = network.with_parameters({name: _integers(rng, a.shape) for name, a in network.parameters().items()})
    x, dy = _integers(rng, (5, 4)), _integers(rng, (5, 3))
    _, pullback = network.vjp(x)
    gradients = pullback(dy)
    assert set(gradients.parameters) == set(network.parameters())
    for name, gradient in gradients.parameters.items():
        for index in np.ndindex(gradient.shape):
            tangent = np.zeros(gradient.shape)
            tangent[index] = 1.0
            assert np.vdot(dy, _pushed_forward(network, x, None, {name: tangent})) == gradient[index]
    for index in np.ndindex(x.shape):
        dx = np.zeros(x.shape)
        dx[index] = 1.0
        assert np.vdot(dy, _pushed_forward(network, x, dx, {})) == gradients.x[index]


def test_gradient_of_the_loss_by_logits_is_that_of_the_complex_step():
    """Every rounding on the way to an entry, of C additions and a few functions, is relative to ``(p + onehot) / n``."""
    rng = np.random.default_rng(2)
    n, n_classes, h = 6, 5, 1e-200
    logits, labels = 3.0 * rng.standard_normal((n, n_classes)), rng.integers(0, n_classes, n)
    _, dlogits = cross_entropy(logits, labels)
    onehot = np.eye(n_classes)[labels]
    bound = (n_classes + 10) * EPS * np.abs(dlogits + 2.0 * onehot / n)
    for index in np.ndindex(logits.shape):
        moved = logits.astype(complex)
        moved[index] += 1j * h
        loss, _ = cross_entropy(moved, labels)
        assert abs(loss.imag / h - dlogits[index]) <= bound[index]


@pytest.mark.parametrize("factorization", FORMATS)
def test_gradient_of_the_loss_by_every_parameter_is_that_of_the_complex_step(factorization):
    """A complex step has no truncation error, so what is left is rounding.

    An entry of the gradient is a sum of products.  The same sum over magnitudes, from the
    pullback of the network of magnitudes, times the number of roundings on the longest path,
    bounds its rounding; that of the logits reaches it through the softmax, which turns an
    absolute error e of the logits into a relative one of 2 e.
    """
    rng = np.random.default_rng(3)
    network, h = _network(factorization, rng), 1e-200
    x, labels = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    logits, pullback = network.vjp(x)
    _, dlogits = cross_entropy(logits, labels)
    gradients = pullback(dlogits).parameters

    parameters = network.parameters()
    magnitudes = network.with_parameters({name: np.abs(array) for name, array in parameters.items()})
    high_logits, high_pullback = magnitudes.vjp(np.abs(x))
    high_dlogits = np.abs(dlogits) + 2.0 * np.eye(3)[labels] / len(labels)
    high = high_pullback(high_dlogits).parameters
    # two passes over sums that are no longer than all parameters, samples and classes together
    n_roundings = 2 * (sum(array.size for array in parameters.values()) + len(labels) + 3)
    factor = n_roundings * EPS * (1.0 + 2.0 * np.max(high_logits))

    for name, gradient in gradients.items():
        for index in np.ndindex(gradient.shape):
            moved = parameters[name].astype(complex)
            moved[index] += 1j * h
            loss, _ = cross_entropy(network.with_parameters(parameters | {name: moved})(x), labels)
            assert abs(loss.imag / h - gradient[index]) <= factor * high[name][index]


@pytest.mark.parametrize("factorization", FORMATS)
def test_training_lowers_the_loss(factorization):
    rng = np.random.default_rng(4)
    network = _network(factorization, rng)
    x = rng.standard_normal((40, 4))
    labels = x[:, :3].argmax(axis=1)
    epochs = []
    trained = train(
        network, x, labels, epochs=8, batch_size=10, learning_rate=1e-2, rng=0, after_epoch=lambda: epochs.append(1)
    )
    assert cross_entropy(trained(x), labels)[0] < cross_entropy(network(x), labels)[0]
    assert len(epochs) == 8


def test_training_is_decided_by_its_seed_and_leaves_the_network_alone():
    rng = np.random.default_rng(5)
    network = _network("cp", rng)
    before = {name: array.copy() for name, array in network.parameters().items()}
    x, labels = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    first, again, other = (
        train(network, x, labels, epochs=2, batch_size=6, learning_rate=1e-2, rng=seed) for seed in (0, 0, 1)
    )
    for name, array in first.parameters().items():
        np.testing.assert_array_equal(array, again.parameters()[name])
        np.testing.assert_array_equal(network.parameters()[name], before[name])
    assert not np.array_equal(first.parameters()["0.weight"], other.parameters()["0.weight"])


def test_no_epochs_change_nothing():
    network = _network("tt", np.random.default_rng(6))
    x, labels = np.ones((4, 4)), np.zeros(4, dtype=int)
    assert train(network, x, labels, epochs=0, batch_size=2, learning_rate=1e-2, rng=0) is network


def test_accuracy_is_the_share_of_largest_logits():
    identity = Perceptron((Linear.from_arrays(np.eye(3)),))
    images = np.eye(3)[[0, 1, 2, 2]]
    assert accuracy(identity, images, np.array([0, 1, 2, 0])) == 0.75


def test_replace_puts_layers_in_place_or_leaves_one_out():
    network = _network("tt", np.random.default_rng(7))
    first, _, last = network.layers
    other = Linear(6, 6, rng=0)
    assert network.replace(1, other).layers == (first, other, last)
    assert network.replace(1).layers == (first, last)
