"""Every way to do a step computes the same, and the way chosen rearranges nothing that it need not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlinear.contraction.adjoint import Adjoint
from tlinear.contraction.compile import kernel_of
from tlinear.contraction.layout import ways
from tlinear.contraction.network import BATCH, Network

SIZES = {0: 3, 1: 5, 2: 2, 3: 4, 4: 1, 5: 2}
DTYPES = ("float64", "complex128")


def whole(rng, shape, dtype):
    drawn = rng.integers(-3, 4, shape).astype(dtype)
    return drawn + 1j * rng.integers(-3, 4, shape) if np.dtype(dtype).kind == "c" else drawn


@st.composite
def two_arrays(draw):
    """Labels of two arrays, A perhaps with a batch, and which labels their result keeps."""
    everything = list(SIZES)
    a = draw(st.lists(st.sampled_from(everything), min_size=1, max_size=4, unique=True))
    b = draw(st.lists(st.sampled_from(everything), min_size=1, max_size=4, unique=True))
    both = [label for label in a if label in b]
    kept = {label for label in both if draw(st.booleans())}
    if draw(st.booleans()):
        a.insert(draw(st.integers(0, len(a))), BATCH)
    keep = kept | {label for label in (*a, *b) if (label in a) != (label in b)}
    n_in, sizes = draw(st.integers(1, 5)), tuple(SIZES.items())
    network = Network(("A", "B"), (tuple(a), tuple(b)), tuple(keep), sizes, n_in=n_in, n_modes=6)
    return network, tuple(a), tuple(b), keep


@given(
    two_arrays(),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 5]),
    st.tuples(st.booleans(), st.booleans()),
    st.booleans(),
)
def test_every_way_is_the_einsum_and_its_pullbacks_are_the_adjoints(arrays, dtype, seed, batch_size, flattens, turns):
    network, a, b, keep = arrays
    rng = np.random.default_rng(seed)
    x, y = whole(rng, network.shape(a, batch_size), dtype), whole(rng, network.shape(b), dtype)
    found = list(ways(network, a, b, keep))
    assert found
    for pair in found:
        assert set(pair.out) == keep
        assert pair.work(batch_size).out == network.size(pair.out, batch_size)
        assert pair.work(batch_size).entries_summed == pair.entries_summed(batch_size)
        flattens = flattens if pair.work(batch_size).can_flatten else (False, False)
        kernel = kernel_of(pair, batch_size, Adjoint(turns, *flattens))
        letters = [[label + 1 for label in labels] for labels in (a, b, pair.out)]
        expected = np.einsum(x, letters[0], y, letters[1], letters[2])
        arranged = kernel.arrange(y)
        result = kernel.forward(x, arranged)
        np.testing.assert_array_equal(result.reshape(kernel.shape_out), expected)
        room = np.empty(kernel.shape_out, dtype)
        np.testing.assert_array_equal(kernel.forward_into(x, arranged, room).reshape(kernel.shape_out), expected)
        np.testing.assert_array_equal(room, expected)
        dc = whole(rng, kernel.shape_out, dtype)
        dx = np.einsum(dc, letters[2], y.conj(), letters[1], letters[0])
        dy = np.einsum(dc, letters[2], x.conj(), letters[0], letters[1])
        met = arranged.conj() if kernel.turn is None else kernel.turn(arranged.conj())
        np.testing.assert_array_equal(kernel.to_a(dc, met).reshape(x.shape), dx)
        room = np.empty(x.shape, dtype)
        kernel.to_a_into(dc, met, room)
        np.testing.assert_array_equal(room, dx)
        np.testing.assert_array_equal(kernel.restore(kernel.to_b(dc, x.conj())).reshape(dy.shape), dy)


@pytest.mark.parametrize(
    ("a", "b", "keep", "copies"),
    [
        ((0, 2), (2, 1), {0, 1}, (False, False)),  # A B
        ((2, 0), (2, 1), {0, 1}, (False, False)),  # A^T B: BLAS reads a transposed matrix as it lies
        ((0, 2), (1, 2), {0, 1, 2}, (False, False)),  # the Khatri-Rao product
        ((0, 2, 4), (2, 1), {0, 1, 4}, (False, False)),  # what is summed over stands in the middle of A
        ((0, 2, 4, 3), (2, 3, 1), {0, 1, 4}, (True, False)),  # and here on both sides of what is kept
        ((0, 2, 3), (2, 1, 3), {0, 1}, (False, True)),  # B, which is small, follows A
    ],
)
def test_an_operand_is_copied_only_when_it_cannot_be_read_as_it_lies(a, b, keep, copies):
    sizes = {0: 7, 1: 3, 2: 2, 3: 5, 4: 11}
    network = Network(("A", "B"), (a, b), tuple(sorted(keep)), tuple(sizes.items()), n_in=1, n_modes=2)
    found = list(ways(network, a, b, keep))
    assert copies in {(pair.copies_a, pair.copies_b) for pair in found}
    assert min(pair.entries_moved(1) for pair in found if pair.copies_a == copies[0]) == (
        network.size(a)
        + network.size(b)
        + network.size(found[0].out)
        + 2 * network.size(a) * copies[0]
        + 2 * network.size(b) * copies[1]
    )


def test_a_product_may_have_more_axes_than_the_alphabet_has_small_letters():
    labels = tuple(range(40))
    every_other = labels[::2]
    sizes = tuple((label, 2 if label in (0, 39) else 1) for label in labels)
    network = Network(("A", "B"), (labels, every_other), labels, sizes, n_in=1, n_modes=2)
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
    for pair in ways(network, labels, every_other, set(labels)):
        kernel = kernel_of(pair, 1)
        np.testing.assert_array_equal(kernel.forward(a, b).ravel(), [5.0, 10.0, 18.0, 24.0])
        np.testing.assert_array_equal(kernel.to_b(np.ones((2, 2)), a).ravel(), [3.0, 7.0])


def test_a_weight_can_be_written_with_its_sides_apart():
    """Two cores of a BlockTT, as (i1 o1 i2 o2 r), meet the third: what that gives is read as a matrix as it lies."""
    i1, i2, i3, o1, o2, o3, rank = range(7)
    two, third, sides = (i1, o1, i2, o2, rank), (rank, i3, o3), ({i1, i2, i3}, {o1, o2, o3})
    sizes = tuple((label, 2) for label in range(7))
    network = Network(("two", "third"), (two, third), (*sides[0], *sides[1]), sizes, n_in=3, n_modes=6)
    found = [pair for pair in ways(network, two, third, {*sides[0], *sides[1]}) if set(pair.out[:3]) in sides]
    assert {pair.copies_a for pair in found} == {True}, "A, which is small, is copied; C, which is large, is not"
