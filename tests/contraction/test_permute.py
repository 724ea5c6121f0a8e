"""A copy in another order is the transpose, whatever its lines are copied as; and room is kept for what a plan needs."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear
from tlinear.contraction import search
from tlinear.contraction.permute import permuted
from tlinear.contraction.room import keep_room

DTYPES = (np.float16, np.float32, np.float64, np.complex64, np.complex128)


@st.composite
def arrays(draw):
    """An array of a few or of many entries, whose last axes may stay where they are, as it may lie."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 8]), min_size=1, max_size=5)))
    shape = (draw(st.sampled_from([1, 64])), *shape)
    stays = draw(st.integers(0, len(shape)))
    axes = (*draw(st.permutations(range(len(shape) - stays))), *range(len(shape) - stays, len(shape)))
    room = (np.arange(2 * math.prod(shape) + 1) % 2039).astype(draw(st.sampled_from(DTYPES)))
    start, step = draw(st.sampled_from([(0, 1), (1, 1), (0, 2)]))
    return room[start::step][: math.prod(shape)].reshape(shape), axes


@given(arrays())
def test_a_permuted_array_is_the_transpose(drawn):
    array, axes = drawn
    before, expected = array.copy(), array.transpose(axes)
    found = permuted(array.shape, axes)(array)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    assert found.dtype == array.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("bits", [0x7F800001, 0xFFC12345, 0x80000000])
def test_not_even_the_bits_of_a_nan_change(bits):
    array = np.full(4096, bits, np.uint32).view(np.float32).reshape(64, 16, 4)
    assert np.all(permuted((64, 16, 4), (1, 0, 2))(array).view(np.uint32) == bits)


def test_room_is_kept_for_what_a_plan_has_alive(monkeypatch):
    kept = []
    monkeypatch.setattr(search, "keep_room", kept.append)
    layer = FactorizedLinear((3, 7), (5, 2), factorization="tucker", rank=2, rng=0)
    layer(np.ones((13, 21)))
    assert kept == [layer.plan(16).peak_bytes]
    layer(np.ones((14, 21)))
    assert len(kept) == 1  # once a plan


def test_room_takes_no_memory_beyond_what_the_c_library_learns_from():
    tracemalloc.start()
    keep_room(1 << 60)
    alive, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most <= 1 << 25
    assert alive < 1 << 12
