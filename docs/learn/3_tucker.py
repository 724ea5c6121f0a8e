r"""
3  Tucker: a small core
=======================

Principal component analysis finds, for the rows of a matrix, the few directions that matter.  Do it for every mode
of a tensor, and what is left is a small *core* between the directions (Tucker, 1966):

.. math:: W[s_1, \ldots, s_d] = \sum_{r_1, \ldots, r_d} G[r_1, \ldots, r_d] \; F_1[s_1, r_1] \cdots F_d[s_d, r_d] .

Each mode has a rank of its own, :math:`R_k \le s_k`, and its factor :math:`F_k` is :math:`s_k \times R_k`.
"""

import numpy as np

import tlinear
from tlinear import plot

rng = np.random.default_rng(0)
tucker = tlinear.TuckerTensor.random((4, 4), (2, 5), rank=(3, 3, 2, 2), rng=0)
G, F = tucker.core, tucker.factors
W = np.einsum("pqrs,ap,bq,cr,ds->abcd", G, *F)
print(np.allclose(tucker.to_tensor(), W))
print(tucker)

# %%

figure = plot.draw_network(tlinear.FactorizedLinear.from_weight(tucker))

# %%
# Reading the picture upwards is the layer: project the input's modes, pass the core, expand the output's modes.
#
# Finding it: the higher-order SVD
# --------------------------------
#
# The mode-k unfolding :math:`T_{(k)}` has the index :math:`s_k` for rows and all others for columns.  Its leading :math:`R_k` left singular
# vectors, columns of U, are the best directions for that mode *alone*.  Take them for every mode, and project; :math:`T \times_k M` multiplies every
# column of :math:`T_{(k)}` by the matrix M, and leaves the other modes where they are:
#
# .. math:: G = T \times_1 F_1^T \times_2 F_2^T \cdots \times_d F_d^T .


def unfold(T, k):
    return np.moveaxis(T, k, 0).reshape(T.shape[k], -1)


def hosvd(T, ranks):
    factors = [
        np.linalg.svd(unfold(T, k), full_matrices=False)[0][:, :R]
        for k, R in enumerate(ranks)
    ]
    core = T
    for k, factor in enumerate(factors):
        core = np.moveaxis(np.tensordot(factor.T, core, axes=(1, k)), 0, k)
    return core, factors


def expand(core, factors):
    T = core
    for k, factor in enumerate(factors):
        T = np.moveaxis(np.tensordot(factor, T, axes=(1, k)), 0, k)
    return T


T = W + 0.05 * np.linalg.norm(W) / np.sqrt(W.size) * rng.standard_normal(W.shape)
core, factors = hosvd(T, (3, 3, 2, 2))
error = np.linalg.norm(T - expand(core, factors)) / np.linalg.norm(T)
print(f"relative error {error:.4f}")

# %%
# How good is that?  Projecting mode k alone loses :math:`\epsilon_k^2 = \sum_{j > R_k} \sigma_j(T_{(k)})^2`.  The projections of different
# modes commute, so together they lose *at most the sum* :math:`\sum_k \epsilon_k^2`.  And *any* tensor of these ranks
# loses at least the largest of them, since its mode-k unfolding is a matrix of rank :math:`R_k`.  Hence, without
# knowing the best error :math:`\epsilon^*`,
#
# .. math:: \max_k \epsilon_k \;\le\; \epsilon^* \;\le\; \epsilon_{\mathrm{HOSVD}} \;\le\; \sqrt{\textstyle\sum_k \epsilon_k^2} \;\le\; \sqrt{d} \; \epsilon^* .

lost = [
    np.linalg.norm(np.linalg.svd(unfold(T, k), compute_uv=False)[R:])
    for k, R in enumerate((3, 3, 2, 2))
]
low, high = (value / np.linalg.norm(T) for value in (max(lost), np.linalg.norm(lost)))
print(f"{low:.4f} <= {error:.4f} <= {high:.4f}")

# %%
# The same singular values are drawn by :mod:`tlinear.plot`, with what each rank keeps in blue and what it loses in
# orange.  The cliff behind the rank is the structure that we put there:

result = tlinear.decompose(T, "tucker", (3, 3, 2, 2), n_in=2)
figure = plot.draw_spectra(plot.bond_spectra(T, result.tensor))

# %%
# The package truncates one mode after the other, each on what the former left (cheaper, same bound), and then improves the factors in turn, each
# given the others: HOOI.  Near the optimum already, there is little left to gain:

print(
    f"{result.relative_error:.6f} after {result.n_iterations} sweeps, {error:.6f} before"
)

# %%
# Its weakness
# ------------
#
# The core has :math:`\prod_k R_k` numbers.  With d modes of rank 2 that is :math:`2^d`; the format that was to beat the curse
# of dimension has it in its core.  Parameters of a 4096 x 4096 layer at rank 4 in every mode:

for n in (1, 2, 3, 4, 6):
    size = round(4096 ** (1 / n))
    shape = (size,) * n
    formats = map(tlinear.formats.find_format, ("cp", "tucker", "tt"))
    counts = {
        cls.factorization: cls.random(shape, shape, 4, rng=0).n_parameters
        for cls in formats
    }
    print(
        f"{2 * n:2d} modes of {size:4d}:",
        *(f"{name} {count:10,}" for name, count in counts.items()),
    )

# %%
# Few modes, large ranks: that is Tucker's place.
#
# .. admonition:: Try it
#
#    Project the modes in another order, each on what the former left.  Does the error change?  Does the bound?
