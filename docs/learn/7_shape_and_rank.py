r"""
7  Choosing shape and rank
==========================

A trained weight has no digits and no rank of its own.  Someone has to choose them, and this chapter is about how, on a real weight: the
hidden layer of a small network that reads handwritten digits.
"""

import numpy as np

import tlinear
from tlinear import plot
from tlinear.demo.data import load
from tlinear.demo.network import Perceptron, accuracy, train

data = load("digits", seed=0)
network = Perceptron.random((64, 128, 128, 10), dtype=np.float32, rng=0)
network = train(
    network,
    data.train_images,
    data.train_labels,
    epochs=15,
    batch_size=100,
    learning_rate=3e-3,
    rng=0,
)
weight = network.layers[1].weight
print(
    weight.shape,
    f"test accuracy {accuracy(network, data.test_images, data.test_labels):.3f}",
)

# %%
# What a rank can be
# ------------------
#
# ``rank=`` takes three kinds of things.  An *int* is that rank in every bond, silently capped where it helps no one.  A *tuple* is
# exactly these, and an error where one is larger than any tensor of the shape needs.  A *float* in (0, 1] is a
# budget: at most this fraction of the dense parameters.

for rank in (4, (1, 4, 8, 4, 1), 0.1):
    resolved = tlinear.resolve_rank("tt", (8, 16), (8, 16), rank)
    count = tlinear.TTTensor.random((8, 16), (8, 16), resolved, rng=0).n_parameters
    print(
        f"rank={rank!s:16} is {resolved!s:20} {count:6,} of {weight.size:,} parameters"
    )

# %%
# So ``rank=1`` is rank one, and ``rank=1.0`` the whole budget.
#
# Spectra
# -------
#
# With the weight at hand the ranks need not be guessed.  The unfolding at each bond of TT has singular values, and what a rank cuts off is lost.  The
# budget is shared so that little is; blue is kept, orange lost:

T = plot.as_tensor(weight, (8, 16), (8, 16))
result = tlinear.decompose(T, "tt", 0.1, n_in=2)
print(result)
figure = plot.draw_spectra(plot.bond_spectra(T, result.tensor))

# %%
# The middle one bends, and there is no cliff.  Trained weights are not of low rank with a little noise; their spectra fall slowly behind the
# bend, and every budget is a compromise.
# Sharing by the sizes of the modes alone, as without a weight one must, does worse:

proportional = tlinear.decompose(T, "tt", 0.1, n_in=2, allocation="proportional")
for name, one in (("by the spectrum", result), ("in proportion", proportional)):
    print(f"{name:15} {one.rank}: error {one.relative_error:.3f}")

# %%
# Or say how much may be lost of the norm, and the ranks come out:

for tolerance in (0.5, 0.3, 0.1):
    found = tlinear.decompose(T, "tt", tolerance=tolerance, n_in=2)
    error = found.relative_error
    print(
        f"within {tolerance}: {found.rank}, {found.n_parameters:,} parameters, {error:.3f}"
    )

# %%
# The promise is kept with room to spare: it holds for the worst case, in which every bond loses its whole share.  And it can be dear.  Where the spectra
# fall as slowly as here, the two smaller errors take *more* numbers than the dense weight has.
#
# Formats side by side, and the honest baseline
# ---------------------------------------------
#
# Beside every tensor format stands a plain low-rank matrix with as many parameters, which everyone has already:

chains = plot.error_curves(
    weight,
    factorizations=("tucker", "tt", "blocktt"),
    ranks=(0.02, 0.05, 0.1, 0.2, 0.4),
)
cp = plot.error_curves(
    weight,
    factorizations=["cp"],
    ranks=(4, 8, 16, 32),
    low_rank=False,
    max_iterations=30,
    n_starts=1,
)
curves = [*chains, *cp]
figure = plot.draw_error_curves(curves)

# %%
# On a trained weight, at moderate budgets, the error of the plain matrix (dashed) is usually the least: the singular value decomposition is optimal among all
# matrices of its rank, and no reshaping helps where there is no structure in the digits.  (CP's points are of the ranks 4 to 32.)  ``result.baseline`` says it for any result:

print(result.baseline)

# %%
# When then a tensor?
#
# - When the budget is *smaller than rank one or two of a matrix* allows: here :math:`128 + 128 = 256` parameters a rank.
# - When there is structure in the digits: convolutions, Kronecker products, embeddings over grids.
# - When the layer is *trained* in the format, so that the error of approximating something else plays no part.  A BlockTT layer of full rank can learn what a
#   thin matrix cannot.
#
# Shapes
# ------
#
# :func:`tlinear.suggest_shapes` decomposes the weight in many shapes and ranks them.  The last column of errors is that of the matrix of as many parameters:

print(
    *tlinear.suggest_shapes(
        128, 128, factorization="tt", rank=0.05, weight=weight, limit=8
    ),
    sep="\n",
)

# %%
# The error of the weight is not the error of the network.  The next chapter measures what matters.
#
# .. admonition:: Try it
#
#    Draw ``error_curves`` for one format and three shapes: ``factorizations=["blocktt"], shapes=[((8, 16), (8, 16)), ((16, 8), (8, 16)), ((2,) * 7, (2,) * 7)]``.
