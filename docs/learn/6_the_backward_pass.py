r"""
6  The backward pass by hand
============================

To train the layer we need the gradient of a number L, the loss, with respect to everything that the layer is made of.
Given is what the layers above send down, :math:`dy = \partial L / \partial y`, of the shape of y.  One observation does all
the work, and then we check the result in three ways, none of which needs a tolerance.
"""

import numpy as np

import tlinear
from tlinear import micro, plot

rng = np.random.default_rng(0)


def whole(*shape):
    """Small integers, held as floats: with them every sum below is exact."""
    return rng.integers(-3, 4, shape).astype(float)


# %%
# Linear in every operand
# -----------------------
#
# Take TT with one input mode i and two output modes o, p:
#
# .. math:: y[b,o,p] = \sum_{i, r, s} x[b,i] \; A[i,r] \; B[r,o,s] \; C[s,p] .
#
# Each operand occurs *once* in each term.  So y is linear in A alone, in B alone, in C alone, and in x: move B by V,
# and y moves by the same network with V in B's place, exactly.

n_b, n_i, n_o, n_p, n_r, n_s = 5, 4, 3, 2, 2, 3
x, A, B, C = whole(n_b, n_i), whole(n_i, n_r), whole(n_r, n_o, n_s), whole(n_s, n_p)


def forward(x, A, B, C):
    return np.einsum("bi,ir,ros,sp->bop", x, A, B, C)


weight = tlinear.TTTensor((A[None], B, C[..., None]), n_in=1)
figure = plot.draw_network(tlinear.FactorizedLinear.from_weight(weight))

# %%
# Every box once.  A tangent V in the place of B, as large as we like:

V = 100 * whole(n_r, n_o, n_s)
print(
    np.array_equal(forward(x, A, B + V, C) - forward(x, A, B, C), forward(x, A, V, C))
)

# %%
# Deriving one gradient
# ---------------------
#
# Let :math:`\delta y` be the change of y when B moves by V.  By the chain rule the loss changes, to first order, by
# :math:`\sum_{b,o,p} dy[b,o,p] \, \delta y[b,o,p]`.  Put in :math:`\delta y`, and collect what is multiplied with each entry of V:
#
# .. math::
#    \sum_{bop} dy[b,o,p] \sum_{irs} x[b,i] A[i,r] V[r,o,s] C[s,p]
#    = \sum_{ros} V[r,o,s] \underbrace{\Big( \sum_{b,i,p} x[b,i] \, A[i,r] \, C[s,p] \, dy[b,o,p] \Big)}_{dB[r,o,s]} .
#
# That is the gradient: *the network of the layer, with dy for y, and the operand itself cut out.*  The indices of the hole are those of the result.
# It holds for each of the others alike, and for x.


def backward(dy, x, A, B, C):
    return {
        "x": np.einsum("bop,ir,ros,sp->bi", dy, A, B, C),
        "A": np.einsum("bi,bop,ros,sp->ir", x, dy, B, C),
        "B": np.einsum("bi,ir,bop,sp->ros", x, A, dy, C),
        "C": np.einsum("bi,ir,ros,bop->sp", x, A, B, dy),
    }


dy = whole(n_b, n_o, n_p)
y, gradients = forward(x, A, B, C), backward(dy, x, A, B, C)
print({name: gradient.shape for name, gradient in gradients.items()})

# %%
# The bias is added to every sample, so that its gradient is :math:`dc[o,p] = \sum_b dy[b,o,p]`.  For complex numbers the operands on the
# right carry a conjugate: the pullback is the *adjoint* of the map :math:`V \mapsto \delta y` under :math:`\langle a, b \rangle = \sum \bar a\, b`.  (This is
# torch's convention; JAX's is the transpose, without conjugates.)
#
# The same for every format
# -------------------------
#
# Nothing here was about TT.  For CP, with :math:`y = \sum_r w_r (x F_1)_r F_2[o, r]`,
#
# .. math:: dw[r] = \sum_{b,i,o} x[b,i] F_1[i,r] F_2[o,r] \, dy[b,o], \qquad dF_2[o,r] = \sum_{b,i} x[b,i] F_1[i,r] w[r] \, dy[b,o],
#
# and so on.  :mod:`tlinear.micro` writes it once: a network is a list of arrays with their indices, and the gradient of operand k
# is that list without k, with dy.
#
# First check: a difference, exact
# --------------------------------
#
# Finite differences are a poor test in general: the step is too large for the curvature or too small for the digits.  Here is no curvature.  The difference at
# step *one* is the derivative, and with integers both sides of :math:`\langle dy, \delta y \rangle = \langle dG, V \rangle` are equal to the last bit,
# G being any operand, V its tangent, and :math:`\langle a, b \rangle` the sum of all products of entries:

operands = {"x": x, "A": A, "B": B, "C": C}
for name, operand in operands.items():
    V = whole(*operand.shape)
    difference = forward(**{**operands, name: operand + V}) - y
    print(name, np.sum(dy * difference), np.sum(gradients[name] * V))

# %%
# Second check: one number for all
# --------------------------------
#
# Take V to be the operand itself.  Then :math:`\delta y = y`, and *all* gradients must give the same number (Euler's theorem on homogeneous functions):
#
# .. math:: \langle dx, x \rangle = \langle dA, A \rangle = \langle dB, B \rangle = \langle dC, C \rangle = \langle dy, y \rangle .
#
# It is one line in any language, and most slips of an axis or a factor do not survive it:

print(
    np.sum(dy * y),
    *(np.sum(gradients[name] * operand) for name, operand in operands.items()),
)

# %%
# Third check: another implementation
# -----------------------------------
#
# The page of NumPy and the package, on the same integers; they group the sums in other ways, and that makes no difference, as no sum is rounded:

cores = (A[None], B, C[..., None])
layer = tlinear.FactorizedLinear.from_weight(tlinear.TTTensor(cores, n_in=1))
_, pullback = layer.vjp(x)
package = pullback(dy.reshape(n_b, n_o * n_p))
dx, dcores, _ = micro.backward(x, dy, micro.tt(cores), (n_i,), (n_o, n_p))
print(np.array_equal(package.x, gradients["x"]), np.array_equal(dx, gradients["x"]))
for k, name in enumerate("ABC"):
    mine = gradients[name].reshape(cores[k].shape)
    print(
        name,
        np.array_equal(package.parameters[f"weight.cores.{k}"], mine),
        np.array_equal(dcores[k], mine),
    )

# %%
# A wrong gradient looks right
# ----------------------------
#
# Give both bonds the same size, and swap them in the gradient of B, a typical slip.  The shape is right, and nothing fails.  Only the number tells:

A, B, C = whole(n_i, 3), whole(3, n_o, 3), whole(3, n_p)
y, right = forward(x, A, B, C), backward(dy, x, A, B, C)["B"]
wrong = np.einsum("bi,ir,bop,sp->sor", x, A, dy, C)
print("shapes agree:", wrong.shape == B.shape)
print("<dy, y>", np.sum(dy * y), "right", np.sum(right * B), "wrong", np.sum(wrong * B))

# %%
# Not one einsum for each gradient
# --------------------------------
#
# The equations above are the *definition*.  Computed one by one they repeat each other's work: d operands, d networks of d operands.  The package
# keeps the intermediates of the forward pass and walks its steps backwards, two products a step, so that all gradients
# together take about twice the time of the forward pass:

deep = tlinear.FactorizedLinear(
    (4,) * 6, (4,) * 6, factorization="tt", rank=8, implementation="factorized", rng=0
)
forward_only, training = deep.plan(256), deep.plan(256, "training")
print(
    f"forward {forward_only.flops:,} FLOPs; with all {len(deep.weight.operands) + 1} gradients {training.flops:,}"
)

# %%
# .. admonition:: Try it
#
#    Write ``backward`` for Tucker, and check it by the second test.  Then judge it by ``tlinear.testing.check``, as :doc:`/oracle` shows.
