r"""
1  A matrix as a tensor
=======================

A linear layer with :math:`N` inputs and :math:`M` outputs is a matrix :math:`A` of :math:`M N` numbers,

.. math:: y_o = \sum_i A_{oi} \, x_i + c_o .

The bias c is :math:`M` numbers more, which stay as they are.  This course is about layers that behave like this one and hold far fewer numbers.  It begins with a step that
changes nothing: give every index of the matrix several digits.
"""

import numpy as np

import tlinear
from tlinear import plot

rng = np.random.default_rng(0)
A = rng.integers(-2, 3, (10, 16)).astype(float)

# %%
# Digits of an index
# ------------------
#
# A number below 100 is written with two digits, :math:`i = 10\, i_1 + i_2`.  With digits of other bases it is the same:
# an index below :math:`16 = 4 \cdot 4` is :math:`i = 4\, i_1 + i_2` with :math:`i_1, i_2 < 4`, and one below
# :math:`10 = 2 \cdot 5` is :math:`o = 5\, o_1 + o_2`.  NumPy calls this a reshape, and the order "the last digit runs fastest"
# row-major.  The weight *tensor* is the matrix with its two indices written this way, the input's digits first:
#
# .. math:: W[i_1, i_2, o_1, o_2] = A_{5 o_1 + o_2,\; 4 i_1 + i_2} .

W = A.T.reshape(4, 4, 2, 5)
i1, i2, o1, o2 = 2, 1, 1, 3
print(W[i1, i2, o1, o2], A[5 * o1 + o2, 4 * i1 + i2])

# %%
# The digits are called *modes*; W has four, of sizes 4, 4, 2, 5, and is a tensor of order 4.  The input is reshaped likewise,
# and the layer is the sum over the input's modes, for every sample b of a batch:
#
# .. math:: y[b, o_1, o_2] = \sum_{i_1, i_2} x[b, i_1, i_2] \, W[i_1, i_2, o_1, o_2] .

x = rng.integers(-2, 3, (3, 16)).astype(float)
y = np.einsum("bij,ijop->bop", x.reshape(3, 4, 4), W).reshape(3, 10)
print(np.array_equal(y, x @ A.T))

# %%
# A picture helps more than letters once there are many.  A box is an array, a line is one of its indices, a line between
# two boxes is summed over, and a line that ends in the open is an index of the result.

layer = tlinear.FactorizedLinear.from_weight(tlinear.DenseTensor(W, n_in=2))
figure = plot.draw_network(layer)

# %%
# Nothing is gained yet: :math:`4 \cdot 4 \cdot 2 \cdot 5 = 160` numbers, as before.
#
# What the digits make visible
# ----------------------------
#
# A matrix has one way of being simple, a low *rank*: it is a product of two thin matrices, :math:`A = Q P^T` with R columns each, and
# :math:`R \,(M + N)` numbers.  One fact of linear algebra carries all that follows.  Every matrix is :math:`A = U \Sigma V^T` with orthonormal columns
# in U and V and the *singular values* :math:`\sigma_1 \ge \sigma_2 \ge \cdots \ge 0` on the diagonal of :math:`\Sigma`.  Its rank is the number of those that are not
# zero.  And the matrix of rank R that is nearest to A keeps the R largest: what it loses, in the norm :math:`\|A\|` that is the root of the sum of
# all squared entries, is the root of the sum of the squares of the others (Eckart and Young, 1936).

U, sigma, Vt = np.linalg.svd(A, full_matrices=False)
R = 3
nearest = U[:, :R] * sigma[:R] @ Vt[:R]
print(np.linalg.norm(A - nearest), np.linalg.norm(sigma[R:]))

# %%
# A tensor has many ways, since its modes can be split into two groups in many ways.
# Each is another matrix with the same entries, an *unfolding*, and each has a rank of its own.
# Take the Kronecker product of two small matrices: every entry of the one times all of the other,

B, C = rng.standard_normal((2, 4)), rng.standard_normal((5, 4))
K = np.kron(B, C)  # K[5 o1 + o2, 4 i1 + i2] = B[o1, i1] C[o2, i2]
print(K.shape, "of rank", np.linalg.matrix_rank(K))

# %%
# As a matrix it is not simple: its rank is 8 of at most 10, and a product of two thin matrices would need :math:`8 \cdot (10 + 16) = 208`
# numbers, more than the 160 that it has.  As a tensor it is :math:`B[o_1, i_1] \, C[o_2, i_2]`.  So unfold it with :math:`(i_1, o_1)`
# for rows and :math:`(i_2, o_2)` for columns.  Every row is a multiple of C:

T = K.T.reshape(4, 4, 2, 5)
pairs = T.transpose(0, 2, 1, 3).reshape(4 * 2, 4 * 5)
print("rank of the unfolding:", np.linalg.matrix_rank(pairs))

# %%
# Rank one: :math:`8 + 20 = 28` numbers are enough, and they are found by one singular value decomposition.  This is a *factorization*
# of the tensor, here BlockTT of rank 1, to which chapter 4 comes.

block = tlinear.decompose(T, "blocktt", 1, n_in=2)
print(block)

# %%
# The price: which unfoldings are simple depends on the digits chosen.  The same numbers with their outputs in another order
# are the same layer for all that training cares, and not simple any more:

shuffled = K[rng.permutation(10)].T.reshape(4, 4, 2, 5)
print(
    f"{tlinear.decompose(shuffled, 'blocktt', 1, n_in=2).relative_error:.2f} of the norm is lost at rank 1"
)

# %%
# So three questions make up the rest of this course.  *Which* network of small arrays (chapters 2 to 4)?  How is it applied to an
# input, and differentiated, *without* ever forming the matrix (5 and 6)?  And which digits and ranks does a real, trained layer want (7 and 8)?
#
# .. admonition:: Try it
#
#    Reshape ``K.T`` to ``(4, 4, 5, 2)`` instead: the output's first digit then has base 5 and its second base 2.  What is the rank of the unfolding now, and why?
