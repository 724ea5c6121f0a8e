r"""
4  TT and BlockTT: a chain of cores
===================================

A tensor train (Oseledets, 2011) gives every mode a core of three axes and ties each to its neighbours alone:

.. math::
   W[s_1, \ldots, s_d] = \sum_{r_1, \ldots, r_{d-1}} G_1[1, s_1, r_1] \; G_2[r_1, s_2, r_2] \cdots G_d[r_{d-1}, s_d, 1] .

For fixed indices it is a product of d matrices, so that physicists call it a matrix product state.  A *bond* :math:`r_k` ties core k to
the next, and its size is the rank :math:`R_k`; with :math:`R_0 = R_d = 1` at the ends there are :math:`\sum_k R_{k-1} s_k R_k` parameters.  At ranks
that stay the same, this grows *linearly* with the number of modes.
"""

import numpy as np

import tlinear
from tlinear import plot

rng = np.random.default_rng(0)
tt = tlinear.TTTensor.random((4, 4), (2, 5), rank=3, rng=0)
G = tt.cores
W = np.einsum("xap,pbq,qcr,rdy->abcd", *G)
print(np.allclose(tt.to_tensor(), W), tt.rank)
print(
    np.allclose(
        W[1, 2, 0, 4], (G[0][:, 1] @ G[1][:, 2] @ G[2][:, 0] @ G[3][:, 4]).item()
    )
)

# %%

figure = plot.draw_network(tlinear.FactorizedLinear.from_weight(tt))

# %%
# Finding it: one SVD after the other
# -----------------------------------
#
# Cut the chain at bond k.  What is to the left has the modes :math:`s_1 \ldots s_k`, what is to the right the others, and they are tied by
# an index of size :math:`R_k` alone.  So the unfolding at this cut has at most this rank, for every bond.  TT-SVD takes
# the bonds from left to right: reshape what is left to a matrix, truncate its SVD, keep U as a core, and go on with :math:`\Sigma V^T`.


def tt_svd(T, ranks):
    cores, rest, r = [], T, 1
    lost = []
    for size, R in zip(T.shape[:-1], ranks, strict=True):
        U, sigma, V = np.linalg.svd(rest.reshape(r * size, -1), full_matrices=False)
        cores.append(U[:, :R].reshape(r, size, R))
        lost.append(np.linalg.norm(sigma[R:]))
        rest, r = sigma[:R, None] * V[:R], R
    return [*cores, rest.reshape(r, T.shape[-1], 1)], lost


T = W + 0.02 * np.linalg.norm(W) / np.sqrt(W.size) * rng.standard_normal(W.shape)
cores, lost = tt_svd(T, (3, 3, 3))
error = np.linalg.norm(T - tlinear.TTTensor(tuple(cores), n_in=2).to_tensor())
print(
    f"error {error:.6f}, root of the sum of squares of what was cut off {np.linalg.norm(lost):.6f}"
)

# %%
# They are equal, not merely close (to rounding).  All that is cut off later lies in the span of the orthonormal columns that were kept before, so the
# errors are orthogonal, and by Pythagoras :math:`\|T - W\|^2 = \sum_k \delta_k^2`, where :math:`\delta_k` is what bond k cuts off.  Each is at most the best
# error :math:`\epsilon^*`, and there are :math:`d - 1`, so that TT-SVD is within :math:`\sqrt{d - 1}` of the best.
#
# To keep an error of :math:`\epsilon \|T\|` one cuts off at most :math:`\epsilon \|T\| / \sqrt{d - 1}` at each bond, and the ranks come out:

print(tlinear.decompose(T, "tt", tolerance=0.05, n_in=2))

# %%
# BlockTT: two modes a core
# -------------------------
#
# For a layer there is another natural chain: the k-th core carries the k-th input *and* the k-th output mode, so that n of each make n cores,
#
# .. math:: W[i_1, \ldots, i_n, o_1, \ldots, o_n] = \sum_r G_1[1, i_1, o_1, r_1] \; G_2[r_1, i_2, o_2, r_2] \cdots G_n[r_{n-1}, i_n, o_n, 1] .
#
# It is the TT-matrix of Oseledets (2010), the matrix product operator of physics, and the "TT layer" of Novikov et al. (2015).

block = tlinear.BlockTTTensor.random((4, 4, 4), (4, 4, 4), rank=2, rng=0)
figure = plot.draw_network(tlinear.FactorizedLinear.from_weight(block))

# %%
# Which of the two?  Look at where they cut.  The middle bond of TT has all input modes on its left and all output modes on its right: its
# rank is the *rank of the matrix*.  The bonds of BlockTT separate leading digits from trailing ones, and say nothing about
# the rank of the matrix.  Two layers show it, the identity and a matrix of rank one:

identity = np.eye(64).reshape(4, 4, 4, 4, 4, 4)
outer = np.outer(rng.standard_normal(64), rng.standard_normal(64)).reshape(
    4, 4, 4, 4, 4, 4
)
for name, tensor in (("identity", identity), ("rank one", outer)):
    for factorization in ("tt", "blocktt"):
        found = tlinear.decompose(tensor, factorization, tolerance=1e-10, n_in=3)
        print(
            f"{name}: {factorization:7} rank {found.rank}, {found.n_parameters:,} parameters"
        )

# %%
# The identity is BlockTT of rank 1, :math:`I_4 \otimes I_4 \otimes I_4`, 48 numbers, and needs all of 64 in TT.  A matrix of rank one goes through the
# middle bond of TT at rank 1, and needs rank 16 in BlockTT.  A BlockTT layer can have full rank with few
# parameters; a TT layer is a low-rank matrix whose two thin factors are trains themselves.
#
# .. admonition:: Names
#
#    TensorLy-Torch's ``BlockTT`` is the chain above.  "BTT" in *Compute Better Spent* (Qiu et al., 2024), block tensor train, is another structure, which
#    generalises the Monarch matrices.  The :doc:`/glossary` has the whole list.
#
# Ranks that help no one
# ----------------------
#
# A bond never needs more than the product of the modes on its smaller side, nor more than the neighbouring mode times the next bond.
# Asking for more is capped:

print(tlinear.resolve_rank("tt", (4, 4), (2, 5), 1000))
print(tlinear.resolve_rank("blocktt", (4, 4), (2, 5), 1000))

# %%
# .. admonition:: Try it
#
#    The matrix :math:`A_{oi} = o + i` has rank 2.  Which ranks has it in TT and in BlockTT with digits (4, 4, 4)?  Predict, then decompose.
