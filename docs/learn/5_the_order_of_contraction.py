r"""
5  The contraction and its order
================================

The network of a layer says what is summed, not in which order.  The order does not change the result; it changes the cost by orders
of magnitude.
"""

import time

import numpy as np

import tlinear
from tlinear import plot

# %%
# Three matrices
# --------------
#
# For :math:`x B C` with x of shape (1, n) and B, C of (n, n), :math:`(xB)C` takes :math:`4n^2` FLOPs, and :math:`x(BC)` takes :math:`2n^3 + 2n^2`: of a
# product :math:`(m, k) \times (k, n)` every entry is k multiplications and k additions.  A contraction of any two arrays is such a product,
# with the indices in three groups, and its FLOPs are twice the product of the sizes of *all* indices that occur.
#
# A layer is the same with more operands.  Take BlockTT with two cores, and a batch of one.

layer = tlinear.FactorizedLinear(
    (16, 16),
    (16, 16),
    factorization="blocktt",
    rank=4,
    implementation="factorized",
    rng=0,
)
print(layer.plan(batch_size=1))

# %%
# Two steps, each twice :math:`16 \cdot 16 \cdot 16 \cdot 4` FLOPs.  By hand, the first:

x = np.random.default_rng(0).standard_normal((1, 256))
G1, G2 = (core.squeeze() for core in layer.weight.cores)  # (i1, o1, r), (r, i2, o2)
t1 = np.einsum("bij,ior->borj", x.reshape(1, 16, 16), G1)
y = np.einsum("borj,rjp->bop", t1, G2).reshape(1, 256) + layer.bias
print(np.allclose(y, layer(x)), 2 * 16 * 16 * 16 * 4)

# %%
# The other order builds the matrix first, :math:`2 \cdot 16^4 \cdot 4` FLOPs, and then multiplies by it, :math:`2 \cdot 256^2`.  For one sample that is
# ten times the work:

by_matrix = layer.with_options(implementation="reconstructed").plan(batch_size=1)
print(f"{layer.plan(1).flops:,} against {by_matrix.flops:,} FLOPs")

# %%
# The batch decides
# -----------------
#
# Steps that have no batch are done once for all samples.  So the larger the batch, the more it pays to contract operands
# among themselves first.  At a higher rank, where each sample has more to do, ``implementation="auto"`` changes its mind:

wide = tlinear.FactorizedLinear(
    (16, 16), (16, 16), factorization="blocktt", rank=64, rng=0
)
for n in (1, 10, 100, 1000):
    factorized, reconstructed = (
        wide.with_options(implementation=kind).plan(n)
        for kind in ("factorized", "reconstructed")
    )
    chosen = wide.plan(n).implementation
    print(
        f"batch {n:5,}: {factorized.flops:13,} or {reconstructed.flops:11,} FLOPs; auto takes {chosen}"
    )

# %%
# Twelve modes
# ------------
#
# With n operands there are :math:`(2n - 3)!! = 1 \cdot 3 \cdot 5 \cdots (2n - 3)` orders of pairs: 3 for three operands, 7.9 trillion for the fourteen of
# a CP layer of twelve modes.  They are searched, not tried, and the plan shows what was found.  Blue has a batch, green has none:

modes = (4, 4, 4, 4, 4, 4)
large = tlinear.FactorizedLinear(
    modes, modes, factorization="tt", rank=8, implementation="factorized", rng=0
)
figure = plot.draw_plan(large.plan(batch_size=256))

# %%
# For a batch of one the same layer is contracted otherwise:

figure = plot.draw_plan(large.plan(batch_size=1))

# %%
# FLOPs are not time
# ------------------
#
# An order with the fewest FLOPs need not be the fastest.  First, moving costs, too: no FLOP happens in a transposition, and yet, of 4 million numbers,

a = np.random.default_rng(0).standard_normal((64, 64, 64, 16))
matrix = np.random.default_rng(1).standard_normal((64, 64))


def seconds(call, repeat=7):
    def once():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(once() for _ in range(repeat))


moving = seconds(lambda: np.ascontiguousarray(a.transpose(2, 1, 0, 3)))
multiplying = seconds(lambda: a.reshape(-1, 64) @ matrix)
share = 100 * moving / multiplying
print(f"rearranging took {share:.0f} % of the time of multiplying by the matrix")

# %%
# Second, a product that sums over few entries computes little for each entry of its result, and then the speed of memory is the limit and not
# that of arithmetic.  The same number of FLOPs, with 4096 or 4 to sum over, into arrays that are there already:


def product(m, k):
    left, right = rng.standard_normal((m, k)), rng.standard_normal((k, m))
    result = np.zeros((m, m))
    return 2 * m * k * m, seconds(lambda: np.matmul(left, right, out=result))


rng = np.random.default_rng(0)
(thick_flops, fast), (thin_flops, slow) = product(128, 4096), product(4096, 4)
print(f"equal FLOPs: {thick_flops == thin_flops}")
print(f"the thin product took {slow / fast:.1f} times as long")

# %%
# What a page says of time is of the machine that built it.  Low ranks make thin products.  This is why a layer with a hundredth of the FLOPs does not run a hundred times faster, and why the package
# chooses orders by a cost model of arithmetic, bytes moved and calls, not by FLOPs.  Its constants are measured, and
# :doc:`/engine` shows how far it is right.  A plan tells its prediction beside that of the dense layer:

for n in (1, 256):
    plan = large.plan(n)
    print(
        f"batch {n}: {plan.flops:,} FLOPs, {plan.bytes_moved:,} bytes moved,", end=" "
    )
    print(f"{plan.seconds * 1e6:.0f} us; dense {plan.dense_seconds * 1e6:.0f} us")

# %%
# Memory
# ------
#
# Intermediates may be larger than the input.  What is alive at each moment is known before anything runs:

figure = plot.draw_memory(large.plan(batch_size=256))

# %%
# For training, the intermediates are kept until the backward pass, or made anew then, chunk by chunk.  A limit makes the search keep to it:

kept = wide.with_options(implementation="factorized", memory="store")
stored = kept.plan(4096, "training")
frugal = wide.with_options(
    implementation="factorized", memory_limit=stored.peak_bytes // 10
).plan(4096, "training")
for plan in (stored, frugal):
    print(
        f"{plan.memory:9} {plan.peak_bytes:11,} bytes, in chunks of {plan.chunk_size}: {plan.flops:,} FLOPs"
    )

# %%
# .. admonition:: Try it
#
#    Ask for ``optimize="dp"``, which minimises FLOPs, for the layer of twelve modes, and compare ``plan.flops`` and ``plan.seconds`` with the default at batch 256.
