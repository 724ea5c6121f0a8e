"""The kernels for any array library are einsum, and so are their pullbacks, in whatever order the labels lie."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tlinear.arrays import NUMPY
from tlinear.contraction.network import BATCH, Network
from tlinear.contraction.pair import Pair
from tlinear.contraction.portable import portable_kernel

GROUPS = {
    "shared": (True, True, True),
    "left": (True, False, True),
    "inner": (True, True, False),
    "right": (False, True, True),
}


@st.composite
def pairs(draw):
    """A pair of any labels in any order, and how many samples there are."""
    kinds = draw(st.lists(st.sampled_from(sorted(GROUPS)), min_size=1, max_size=7))
    labels = list(range(len(kinds)))
    if draw(st.booleans()):
        labels[0] = BATCH
    sizes = tuple(sorted((label, draw(st.integers(1, 3))) for label in labels if label != BATCH))
    a, b, out = (
        tuple(draw(st.permutations([x for x, kind in zip(labels, kinds, strict=True) if GROUPS[kind][place]])))
        for place in range(3)
    )
    network = Network(("a", "b"), (a, b), out, sizes, n_in=len(kinds), n_modes=len(kinds))
    return Pair(network, a, b, out, lying=a), draw(st.integers(0, 4))


def einsum(pair, first, first_labels, second, second_labels, result):
    shifted = [[label + 1 for label in labels] for labels in (first_labels, second_labels, result)]
    return np.einsum(first, shifted[0], second, shifted[1], shifted[2])


@given(pairs(), st.integers(0, 2**32 - 1))
def test_kernel_and_pullbacks_are_einsum(drawn, seed):
    pair, n = drawn
    rng = np.random.default_rng(seed)
    kernel = portable_kernel(pair, n, NUMPY)
    x, y, z = (
        rng.integers(-3, 4, pair.network.shape(labels, n)).astype(float) for labels in (pair.a, pair.b, pair.out)
    )
    c = kernel.forward(x, kernel.arrange(y))
    assert kernel.shape_out == z.shape
    np.testing.assert_array_equal(c.reshape(z.shape), einsum(pair, x, pair.a, y, pair.b, pair.out))
    expected = einsum(pair, z, pair.out, y, pair.b, pair.a)
    np.testing.assert_array_equal(kernel.to_a(z, kernel.arrange(y)).reshape(x.shape), expected)
    into = np.empty_like(x)
    kernel.to_a_into(z, kernel.arrange(y), into)
    np.testing.assert_array_equal(into, expected)
    restored = kernel.restore(kernel.to_b(z, x)).reshape(y.shape)
    np.testing.assert_array_equal(restored, einsum(pair, z, pair.out, x, pair.a, pair.b))
    np.testing.assert_array_equal(kernel.forward_into(x, y, np.empty_like(z)), c.reshape(z.shape))
