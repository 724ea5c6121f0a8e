r"""
8  From a trained layer to a small one
======================================

Decompose, calibrate, fine-tune: each step on the same trained network, and after each the accuracy on images that it has not seen.
"""

import numpy as np

import tlinear
from tlinear import plot
from tlinear.demo.data import load
from tlinear.demo.network import Perceptron, accuracy, cross_entropy, train
from tlinear.optim import Adam

data = load("digits", seed=0)


def tested(network):
    return f"{100 * accuracy(network, data.test_images, data.test_labels):.1f} %"


# %%
# The trained network
# -------------------
#
# Three dense layers, 64 -> 128 -> 128 -> 10, and ReLU between them.  We compress the middle one, which holds most of the parameters.

dense = Perceptron.random((64, 128, 128, 10), dtype=np.float32, rng=0)
dense = train(
    dense,
    data.train_images,
    data.train_labels,
    epochs=15,
    batch_size=100,
    learning_rate=3e-3,
    rng=0,
)
hidden = dense.layers[1]
print(hidden, tested(dense))

# %%
# Decompose
# ---------
#
# A twentieth of the weight's parameters: BlockTT, TT, and the plain low-rank matrix, which is TT with one mode on each side.  Nothing is trained again yet:

BUDGET = 0.05
settings = {
    "rank": BUDGET,
    "in_tensorized_features": (8, 16),
    "out_tensorized_features": (8, 16),
}
matrix = {
    "rank": BUDGET,
    "in_tensorized_features": (128,),
    "out_tensorized_features": (128,),
}
plain = {
    "blocktt": tlinear.FactorizedLinear.from_linear(
        hidden, factorization="blocktt", **settings
    ),
    "tt": tlinear.FactorizedLinear.from_linear(hidden, factorization="tt", **settings),
    "matrix": tlinear.FactorizedLinear.from_linear(
        hidden, factorization="tt", **matrix
    ),
}
for name, layer in plain.items():
    error = layer.decomposition.relative_error
    seen = f"{layer.weight.n_parameters:,} parameters, weight error {error:.2f}"
    print(f"{name:8} {seen}, {tested(dense.replace(1, layer))}")

# %%
# Most of the weight is gone, by its norm, and half of the digits are still read.  The error of the weight is the least for the matrix, as is usual.  The norm of the weight weighs all
# directions alike; the layer's inputs do not.
#
# Calibrate
# ---------
#
# What the layer is given are the activations below it.  With samples X of them, one a row, and :math:`M = A^T` the weight as (inputs, outputs), the error of the
# outputs of a compressed :math:`M'`, :math:`\|X (M - M')\|`, is made small instead of that of the weight, :math:`\|M - M'\|`.

activations = dense.input_of(1, data.train_images)
calibrated = {
    "blocktt": tlinear.FactorizedLinear.from_linear(
        hidden, factorization="blocktt", calibration=activations, **settings
    ),
    "tt": tlinear.FactorizedLinear.from_linear(
        hidden, factorization="tt", calibration=activations, **settings
    ),
    "matrix": tlinear.FactorizedLinear.from_linear(
        hidden, factorization="tt", calibration=activations, **matrix
    ),
}
unseen = dense.input_of(1, data.test_images)
wanted = hidden(unseen) - hidden.bias
for name, layer in calibrated.items():
    outputs = [
        np.linalg.norm(hidden(unseen) - one(unseen)) / np.linalg.norm(wanted)
        for one in (plain[name], layer)
    ]
    errors = "output error on unseen images {:.2f}, calibrated {:.2f}".format(*outputs)
    print(f"{name:8} {errors}, {tested(dense.replace(1, layer))}")

# %%
# The same number of parameters, spent otherwise; the bias was kept as it was.  For BlockTT it makes the difference.  TT and the matrix give much better outputs, too,
# and yet the network reads no more digits with them: what counts is measured at the end of the network, not at the layer.
#
# Over three budgets, the error of the weight and that of
# the outputs on the calibration, each decomposition being made for the latter.  The weight that BlockTT ends up with is further from the trained
# one than zero is, and its outputs are the nearest: in directions that no input has, anything goes.

curves = plot.error_curves(
    hidden.weight,
    factorizations=["tt", "blocktt"],
    ranks=(0.025, 0.05, 0.1),
    shapes=[((8, 16), (8, 16))],
    calibration=activations,
)
figure = plot.draw_error_curves(curves)

# %%
#
# Fine-tune
# ---------
#
# Now train what is left, through the backward pass of chapter 6.  Parameters, gradients and the state of the optimiser are dicts with the same names,
# and a step is four lines:

network = dense.replace(1, calibrated["blocktt"])
parameters, adam = network.parameters(), Adam(1e-3)
state = adam.init(parameters)
logits, pullback = network.vjp(data.train_images[:100])
loss, dlogits = cross_entropy(logits, data.train_labels[:100])
parameters, state = adam.update(parameters, pullback(dlogits).parameters, state)
print([name for name in parameters if name.startswith("1.")], f"loss {loss:.3f}")

# %%
# Five epochs of it, for each:

for kind, layers in (("plain", plain), ("calibrated", calibrated)):
    for name, layer in layers.items():
        tuned = train(
            dense.replace(1, layer),
            data.train_images,
            data.train_labels,
            epochs=5,
            batch_size=100,
            learning_rate=3e-3,
            rng=0,
        )
        print(f"{kind:10} {name:8} fine-tuned: {tested(tuned)}")

# %%
# The format with the largest error of the weight ends up best.  The two others send everything through a middle bond of rank 3, and three numbers are
# few to tell ten digits apart, however they are trained (in this run they even end lower from the calibrated start than from the plain one); the matrix of a BlockTT layer may
# have full rank with as few parameters (chapter 4).  The error of a weight says what is lost, and not what can be learned.  And it is one run, in which one
# image is 0.2 %: differences of less than a percent say nothing.
#
# Before you believe such a table, also one of your own, ask for its floor: the same network with the layer left out altogether and fine-tuned as
# long.  A hidden layer that does not beat that is not worth its parameters:

without = train(
    dense.replace(1),
    data.train_images,
    data.train_labels,
    epochs=5,
    batch_size=100,
    learning_rate=3e-3,
    rng=0,
)
print(f"no hidden layer: {tested(without)}; the dense one: {tested(dense)}")

# %%
# This data set is easy, and its floor is high; :doc:`/demo` has the full table over formats and budgets, with times.
#
# Hand it on
# ----------
#
# For inference the layer is frozen: its operands are contracted among themselves once, as far as that is faster.

frozen = calibrated["tt"].freeze()
print(frozen, np.allclose(frozen(unseen), calibrated["tt"](unseen), atol=1e-5))

# %%
# That is the whole way: a matrix, its digits, a network, an order, its gradients, a choice, and a small layer.  From here, :doc:`/howto/index` has the tasks,
# :doc:`/specification/index` the last word on each format, and :mod:`tlinear.micro` all of it on a page.
