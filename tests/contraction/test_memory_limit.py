"""A call keeps to the limit it was given, or says how many bytes it needs; what it computes stays the same."""

import gc
import math
import re
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from cases import FACTORIZATIONS, IMPLEMENTATIONS, integers, laid_out, weights
from hypothesis import given
from hypothesis import strategies as st

from tlinear import FactorizedLinear
from tlinear.arrays import inexact_dtype
from tlinear.contraction import order
from tlinear.errors import MemoryLimitError

DTYPES = ("float16", ml_dtypes.bfloat16, "float32", "float64", "complex64", "complex128")


def peak(call, allowed=math.inf):
    """The most bytes alive at once in a call whose plan is there, and what it returned.

    More than is allowed is measured three times: all threads are counted, and a worker gets its next tests in another.
    """
    call()
    for _ in range(3):
        most, returned = _peak(call)
        if most <= allowed:
            break
    return most, returned


def _peak(call):
    # CPython keeps the first 2000 tuples of each length that are freed, which would look like a call's own
    freed = [(k,) * length for length in range(1, 20) for k in range(2000)]
    del freed
    gc.disable()  # a collection gives them back
    try:
        tracemalloc.start()
        returned = call()
        return tracemalloc.get_traced_memory()[1], returned
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def small_buffers():
    """NumPy's ufuncs cast and broadcast through buffers of 8192 entries, which are larger than these layers."""
    before = np.setbufsize(16)
    yield
    np.setbufsize(before)


@pytest.fixture(scope="module")
def objects(small_buffers):
    """Bytes of Python objects in a call: its peak for arrays of one entry, of as many operands as any layer below.

    In one chunk, and in several.
    """
    layer = FactorizedLinear((1,) * 6, (1,) * 6, factorization="tucker", rank=1, implementation="factorized", rng=0)
    x = np.ones((3, 1))
    with pytest.raises(MemoryLimitError) as info:
        layer.with_options(memory_limit=0).vjp(x)
    least, left = figures(info.value)
    layers = [layer.with_options(memory_limit=limit) for limit in (2**30, least - left)]
    return max(peak(lambda layer=layer: run(layer, x, x, "training"))[0] for layer in layers)


@st.composite
def limited_calls(draw):
    """A layer, its input and a cotangent, of any formats, paddings, dtypes, strides and number of samples."""
    weight = draw(weights(dtypes=DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = {
        name: draw(st.integers(max(1, most // 2), most))
        for name, most in (("in_features", weight.in_features), ("out_features", weight.out_features))
    }
    bias_dtype = draw(st.sampled_from([None, weight.dtype, np.float32]))
    bias = None if bias_dtype is None else integers(rng, features["out_features"], bias_dtype)
    layer = FactorizedLinear.from_weight(
        weight, bias, implementation=draw(st.sampled_from(IMPLEMENTATIONS)), **features
    )
    x_dtype = draw(st.sampled_from([weight.dtype, *map(np.dtype, DTYPES)]))
    batch = draw(st.one_of(st.integers(1, 300), st.tuples(st.integers(1, 20), st.integers(1, 20))))
    shape = batch if isinstance(batch, tuple) else (batch,)
    x = laid_out(draw, integers(rng, (*shape, layer.in_features), x_dtype))
    dtype = inexact_dtype(x.dtype, weight.dtype, *([] if bias is None else [bias.dtype]))
    dy = laid_out(draw, integers(rng, (*shape, layer.out_features), dtype))
    return layer, x, dy


def run(layer, x, dy, mode):
    with np.errstate(over="ignore"):  # of float16, when a large sum is cast back
        if mode == "forward":
            return [layer(x)]
        y, pullback = layer.vjp(x)
        gradients = pullback(dy)
    return [y, gradients.x, *gradients.parameters.values()]


def figures(error):
    """The limit that the call needs, and the one that it had."""
    found = re.search(r"of memory_limit=([\d,]+) are left for them. Raise the limit to ([\d,]+), or", str(error))
    limit, needed = (int(number.replace(",", "")) for number in found.groups())
    return needed, limit


@given(call=limited_calls(), mode=st.sampled_from(["forward", "training"]), data=st.data())
def test_a_call_keeps_to_its_limit_or_says_what_it_needs(objects, call, mode, data):
    layer, x, dy = call
    expected = run(layer, x, dy, mode)
    free = layer.plan(x.size // layer.in_features, mode).peak_bytes
    limit = data.draw(st.integers(0, 3 * free))
    memory = data.draw(st.sampled_from(["auto", "store", "recompute"]))
    limited = layer.with_options(memory_limit=limit, memory=memory)
    try:
        run(limited, x, dy, mode)
    except MemoryLimitError as error:
        least, left = figures(error)
        assert least > left
        limit += least - left
        limited = limited.with_options(memory_limit=limit)
    most, found = peak(lambda: run(limited, x, dy, mode), limit + objects)
    assert most <= limit + objects
    for array, reference in zip(found, expected, strict=True):
        assert array.dtype == reference.dtype
        np.testing.assert_array_equal(array, reference)


LARGE = [
    ("blocktt", (4, 8, 8, 4), (4, 8, 8, 4), 8, 512),
    ("cp", (8, 8, 8, 8), (8, 8, 8, 8), 0.01, 64),
    ("tt", (4, 8, 8, 4), (4, 8, 8, 4), 16, 256),
    ("tucker", (8, 8, 8), (8, 8, 8), 4, 256),
    ("tt", (7, 8, 7, 8, 8), (8, 8, 8, 8), 4, 32),  # 25088 -> 4096, VGG's fc6
    ("dense", (512,), (512,), "same", 512),
]


@pytest.mark.parametrize(("factorization", "in_shape", "out_shape", "rank", "batch_size"), LARGE)
@pytest.mark.parametrize(("mode", "dtype"), [("forward", "complex64"), ("training", "float32")])
def test_large_layers_keep_to_the_least_that_they_can(
    objects, factorization, in_shape, out_shape, rank, batch_size, dtype, mode
):
    layer = FactorizedLinear(in_shape, out_shape, factorization=factorization, rank=rank, dtype=dtype, rng=0)
    x = np.ones((batch_size, layer.in_features), dtype)
    dy = np.ones((batch_size, layer.out_features), dtype)
    with pytest.raises(MemoryLimitError) as info:
        run(layer.with_options(memory_limit=0), x, dy, mode)
    least, left = figures(info.value)
    for limit in (least - left, 2 * (least - left)):
        limited = layer.with_options(memory_limit=limit)
        assert peak(lambda limited=limited: run(limited, x, dy, mode), limit + objects)[0] <= limit + objects


@pytest.mark.parametrize("mode", ["forward", "training"])
def test_a_plan_and_a_call_need_the_same(mode):
    """Of a layer whose inputs are of its dtype, in order, and need no padding."""
    layer = FactorizedLinear((8, 8), (8, 8), factorization="tt", rank=4, rng=0).with_options(memory_limit=1)
    x = np.ones((200, 64))
    with pytest.raises(MemoryLimitError) as planned:
        layer.plan(200, mode)
    with pytest.raises(MemoryLimitError) as called:
        run(layer, x, x, mode)
    needed, _ = figures(planned.value)
    assert needed == figures(called.value)[0]
    enough = layer.with_options(memory_limit=needed)
    assert enough.plan(200, mode).peak_bytes <= needed
    run(enough, x, x, mode)


@pytest.mark.parametrize("lie", [lambda dy: dy[:, ::2], lambda dy: dy[::-1, :64], lambda dy: dy.T[:, :64]])
def test_a_cotangent_may_lie_in_any_order(objects, lie):
    layer = FactorizedLinear((8, 8), (8, 8), factorization="dense", rank="same", rng=0)
    x, dy = np.ones((128, 64)), lie(np.ones((128, 128)))
    with pytest.raises(MemoryLimitError) as error:
        layer.with_options(memory_limit=0).vjp(x)
    needed, _ = figures(error.value)
    most, _ = peak(lambda: run(layer.with_options(memory_limit=needed), x, dy, "training"), needed + objects)
    assert most <= needed + objects


@pytest.mark.parametrize("mode", ["forward", "training"])
def test_a_bias_in_half_precision_takes_no_copy_of_the_result(objects, mode):
    layer = FactorizedLinear((8, 8), (16, 16), factorization="tt", rank=2, dtype="float16", rng=0)
    x, dy = np.ones((4000, 64), "float16"), np.ones((4000, 256), "float16")
    with pytest.raises(MemoryLimitError) as error:
        run(layer.with_options(memory_limit=0), x, dy, mode)
    needed, _ = figures(error.value)
    most, _ = peak(lambda: run(layer.with_options(memory_limit=needed), x, dy, mode), needed + objects)
    assert most <= needed + objects


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("mode", ["forward", "training"])
def test_no_samples_fit_a_limit_or_do_not(factorization, mode):
    rank = "same" if factorization == "dense" else 2
    layer = FactorizedLinear((8, 8), (8, 8), factorization=factorization, rank=rank, rng=0)
    for limit in (0, 1000, 2**20):
        limited = layer.with_options(memory_limit=limit)
        try:
            assert run(limited, np.ones((0, 64)), np.ones((0, 64)), mode)[0].shape == (0, 64)
        except MemoryLimitError as error:
            needed, _ = figures(error)
            run(layer.with_options(memory_limit=needed), np.ones((0, 64)), np.ones((0, 64)), mode)


def test_a_gigabyte_is_enough_to_train_a_layer_of_16_million_weights(objects):
    """4096 x 4096, CP of one percent, forward and backward; also where nobody sets a limit."""
    layer = FactorizedLinear((16, 16, 16), (16, 16, 16), factorization="cp", rank=0.01, dtype=np.float32, rng=0)
    x = np.ones((128, 4096), np.float32)
    for limit in (None, 10**9, 10**8):
        limited = layer.with_options(memory_limit=limit)
        most = peak(lambda limited=limited: run(limited, x, x, "training"))[0]
        assert most <= (limit or 10**9) + objects


def test_the_error_says_what_to_do():
    layer = FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, rng=0).with_options(memory_limit=1000)
    says = r"^100 samples take at least [\d,]+ bytes beside the arguments, but 1,000 of memory_limit=1,000 are left"
    with pytest.raises(MemoryLimitError, match=rf"{says} for them. Raise the limit to [\d,]+, or pass fewer samples.$"):
        layer(np.ones((100, 16)))
    assert issubclass(MemoryLimitError, MemoryError)


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
def test_no_limit_asks_opt_einsum_anew(factorization, monkeypatch):
    """Orders are searched once a bucket, whatever the limits and the numbers of samples in it."""
    rank = "same" if factorization == "dense" else 3
    layer = FactorizedLinear((4, 5), (3, 4), factorization=factorization, rank=rank, rng=0)
    for size in (64, 128):
        layer.plan(size)

    def searched(*arguments):
        raise AssertionError("opt_einsum was asked again")

    for name in ("factorized_orders", "reconstructed_order"):
        monkeypatch.setattr(order, name, searched)
    for size in range(33, 129, 19):
        for mode in ("forward", "training"):
            for limit in (0, 10**4, 10**6):
                try:
                    found = layer.with_options(memory_limit=limit).plan(size, mode)
                except MemoryLimitError as error:
                    least, left = figures(error)
                    assert least > left == limit
                else:
                    assert found.peak_bytes <= limit


def test_a_call_that_cannot_be_made_is_searched_for_once(monkeypatch):
    layer = FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, rng=0).with_options(memory_limit=7)
    x = np.ones((99, 16))
    with pytest.raises(MemoryLimitError):
        layer(x)
    monkeypatch.setattr("tlinear.contraction.search._candidates", None)
    with pytest.raises(MemoryLimitError):
        layer(x)


def test_one_copy_is_counted_where_one_is_made():
    layer = FactorizedLinear((8, 8), (8, 8), factorization="tt", rank=8, in_features=63, dtype=np.float32, rng=0)
    x = np.ones((777, 126), np.float16)[:, ::2]
    with pytest.raises(MemoryLimitError) as info:
        layer.with_options(memory_limit=0)(x)
    needed, _ = figures(info.value)
    assert needed < 1.1 * (layer.plan(777).peak_bytes + 777 * 64 * 4)
