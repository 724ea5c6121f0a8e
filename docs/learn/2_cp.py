r"""
2  CP: a sum of outer products
==============================

The simplest tensor that is not zero is an outer product of vectors, one for each mode:
:math:`W[s_1, s_2, s_3] = a[s_1]\, b[s_2]\, c[s_3]`.  It has rank one, and :math:`s_1 + s_2 + s_3` numbers, if the letter of an index also
stands for its size, as it does from here on.  A sum of R such
terms is the CP factorization (canonical polyadic; Hitchcock, 1927).  With the vectors of a mode as the columns of a matrix, its *factor*,
and a weight for each term,

.. math:: W[s_1, \ldots, s_d] = \sum_{r=1}^{R} w[r] \, F_1[s_1, r] \, F_2[s_2, r] \cdots F_d[s_d, r] .
"""

import numpy as np

import tlinear
from tlinear import plot

rng = np.random.default_rng(0)
w = np.array([2.0, -1.0, 1.0])
F = [rng.integers(-2, 3, (n, 3)).astype(float) for n in (4, 4, 2, 5)]
W = np.einsum("r,ar,br,cr,dr->abcd", w, *F)

cp = tlinear.CPTensor(w, tuple(F), n_in=2)
print(np.array_equal(cp.to_tensor(), W))
print(cp)

# %%
# All operands meet in one index, r, which the picture draws as a bar:

figure = plot.draw_network(tlinear.FactorizedLinear.from_weight(cp))

# %%
# The count is :math:`R \, (1 + \sum_k s_k)`: linear in the sizes, where the dense tensor has their product.
#
# The layer, operand by operand
# -----------------------------
#
# Put the sum over r outside, and the layer falls apart into steps that never touch anything large:
#
# .. math::
#    y[b, o_1, o_2] = \sum_r w[r] \Big( \sum_{i_1, i_2} x[b, i_1, i_2] F_1[i_1, r] F_2[i_2, r] \Big) F_3[o_1, r] F_4[o_2, r] .

x = rng.integers(-2, 3, (6, 4, 4)).astype(float)
t = np.einsum("bij,ir->bjr", x, F[0])  # contract i1, keep r
t = np.einsum("bjr,jr->br", t, F[1])  # contract i2; r is in both, and stays
t = t * w
y = np.einsum("br,or,pr->bop", t, F[2], F[3])
print(np.array_equal(y, np.einsum("bij,ijop->bop", x, W)))

# %%
# The middle t holds R numbers a sample: a CP layer squeezes its input through R numbers, exactly as a matrix of rank R does.
# Indeed the Khatri-Rao products :math:`P[(i_1 i_2), r] = F_1[i_1, r] F_2[i_2, r]`
# and :math:`Q[(o_1 o_2), r] = F_3[o_1, r] F_4[o_2, r]` give :math:`A = Q \,\mathrm{diag}(w)\, P^T`.  *CP is a matrix of rank R whose thin
# factors are themselves structured.*

P = np.einsum("ar,br->abr", F[0], F[1]).reshape(16, 3)
Q = np.einsum("cr,dr->cdr", F[2], F[3]).reshape(10, 3)
print(np.array_equal(cp.to_matrix(), Q @ np.diag(w) @ P.T))

# %%
# Finding the factors
# -------------------
#
# Given a tensor T, we want the CP tensor nearest to it.  With all factors but one held fixed, the error is a
# linear least-squares problem in that one: unfolded along its mode,
# :math:`T_{(k)} \approx F_k Z^T` where Z is the Khatri-Rao product of the others.  Solve for each factor in turn, and repeat: this is
# *alternating least squares*, twenty lines.


def khatri_rao(matrices):
    product = matrices[0]
    for matrix in matrices[1:]:
        product = np.einsum("ar,br->abr", product, matrix).reshape(-1, matrix.shape[1])
    return product


def als(T, R, sweeps, rng):
    factors = [rng.standard_normal((n, R)) for n in T.shape]
    errors = []
    for _ in range(sweeps):
        for k in range(T.ndim):
            Z = khatri_rao([factor for j, factor in enumerate(factors) if j != k])
            unfolded = np.moveaxis(T, k, 0).reshape(T.shape[k], -1)
            # the normal equations are R x R: Z^T Z is the entrywise product of the F^T F
            gram = np.prod(
                [factor.T @ factor for j, factor in enumerate(factors) if j != k],
                axis=0,
            )
            factors[k] = unfolded @ Z @ np.linalg.pinv(gram)
        fit = khatri_rao(factors).sum(axis=1).reshape(T.shape)
        errors.append(np.linalg.norm(T - fit) / np.linalg.norm(T))
    return factors, errors


_, errors = als(W, 3, sweeps=60, rng=np.random.default_rng(1))
print(" ".join(f"{error:.0e}" for error in errors[::6]))

# %%
# Printed is every sixth of 60 sweeps.  The error never rises, since each step solves its problem exactly, and from this start it falls slowly at first.
# From a bad start it can stay on a plateau for hundreds of sweeps.  The package takes Gauss-Newton steps and several starts where they help, and says whether it
# converged:

print(tlinear.decompose(W, "cp", 3, n_in=2))

# %%
# Two facts to remember
# ---------------------
#
# **A best approximation need not exist.**  This tensor has rank 3, and tensors of rank 2 come as near to it as one
# likes, with ever larger terms that cancel (de Silva and Lim, 2008).  For :math:`t \to \infty`,
#
# .. math::
#    t\,(a + \tfrac1t b)^{\otimes 3} - t\, a^{\otimes 3} \;\longrightarrow\; a \otimes a \otimes b + a \otimes b \otimes a + b \otimes a \otimes a .

a, b = np.eye(2)
target = sum(
    np.einsum("i,j,k->ijk", *terms) for terms in ((a, a, b), (a, b, a), (b, a, a))
)
for t in (1.0, 10.0, 100.0, 1000.0):
    u = a + b / t
    plus, minus = (t * np.einsum("i,j,k->ijk", v, v, v) for v in (u, a))
    error = np.linalg.norm(plus - minus - target) / np.linalg.norm(target)
    norms = " and ".join(f"{np.linalg.norm(term):7.1f}" for term in (plus, minus))
    print(f"two terms of norm {norms}: error {error:.0e}")

# %%
# A matrix has no such trouble, and neither have Tucker and TT: their sets of bounded rank are closed.
#
# **The factors are unique.**  A matrix :math:`Q P^T` is also :math:`(Q M)(P M^{-T})^T` for any invertible M.  For three modes and
# more, unless R is too large for them, the terms of a CP tensor are determined up to their order and to factors of scale (Kruskal, 1977).  That is why CP
# is the choice where one wants to *read* the factors, and also why it is the hardest to compute.
#
# .. admonition:: Try it
#
#    Start ``als`` with ``rng=np.random.default_rng(k)`` for several k and R = 2.  Do all runs reach the same error?
