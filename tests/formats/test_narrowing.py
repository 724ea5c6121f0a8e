"""A factorized tensor in a narrower dtype is the same tensor, whichever operand carries its scale."""

import ml_dtypes
import numpy as np
import pytest
from algorithms.tensors import rounding
from hypothesis import given
from hypothesis import strategies as st
from own_formats import KroneckerTensor, TensorRing
from spaces import on_every_place

from tlinear import BlockTTTensor, CPTensor, DenseTensor, FactorizedLinear, TTTensor, decompose
from tlinear.arrays import limits_of, to_numpy
from tlinear.errors import RangeError
from tlinear.formats import FORMATS

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
LOW_RANK = tuple(name for name in FORMATS if name != "dense")
EVERY_FORMAT = (*FORMATS.values(), TensorRing, KroneckerTensor)
NARROWINGS = [
    ("float64", np.dtype(np.float16), 20),
    ("float32", np.dtype(np.float16), 20),
    ("float64", BFLOAT16, 160),
    ("float64", np.dtype(np.float32), 160),
    ("complex128", np.dtype(np.complex64), 160),
]
if limits_of(np.dtype(np.longdouble)).maxexp > 1024:
    NARROWINGS.append(("longdouble", np.dtype(np.float64), 1200))


def carriers_of_each_label(tensor):
    """The operands and the axes that share a label, where there are several and none carries it twice."""
    found = {}
    for name, labels in zip(tensor.network.names, tensor.network.inputs, strict=True):
        for axis, label in enumerate(labels):
            found.setdefault(label, []).append((name, axis))
    return [places for places in found.values() if len({name for name, _ in places}) == len(places) > 1]


@st.composite
def out_of_proportion(draw, source, most):
    """A tensor of units, and the same one after its operands gave powers of two to each other, some slice by slice."""
    cls = draw(st.sampled_from(EVERY_FORMAT))
    n = draw(st.integers(1, 2))
    shapes = [tuple(draw(st.integers(1, 3)) for _ in range(n)) for _ in ("in", "out")]
    ranks = tuple(draw(st.integers(1, 3)) for _ in cls.bond_labels(n, n))
    network, rng = cls.network_for(*shapes, ranks), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    units = [1, -1, 1j, -1j] if np.dtype(source).kind == "c" else [1, -1]
    plain = cls.from_operands(
        {
            name: rng.choice(units, network.shape(labels)).astype(source)
            for name, labels in zip(network.names, network.inputs, strict=True)
        },
        n,
        n,
    )
    operands, one = dict(plain.operands), np.ones((), source).real
    for places in ([(name, None) for name in operands], *carriers_of_each_label(plain)):
        size = 1 if places[0][1] is None else operands[places[0][0]].shape[places[0][1]]
        taken = rng.integers(-most, most, (len(places), size), endpoint=True)
        taken[-1] = -np.sum(taken[:-1], axis=0)
        for (name, axis), powers in zip(places, taken, strict=True):
            spread = np.ones(operands[name].ndim, int)
            if axis is not None:
                spread[axis] = size
            operands[name] = operands[name] * np.ldexp(one, powers.reshape(spread))
    return plain, cls.from_operands(operands, n, n)


@pytest.mark.parametrize(("source", "narrow", "most"), NARROWINGS, ids=str)
@given(data=st.data())
def test_powers_of_two_that_operands_give_each_other_change_nothing(source, narrow, most, data):
    """Units are exact in every dtype, and so is what they amount to."""
    plain, tensor = data.draw(out_of_proportion(source, most))
    found = tensor.astype(narrow)
    assert {array.dtype for array in found.operands.values()} == {narrow}
    np.testing.assert_array_equal(found.astype(source).to_tensor(), plain.to_tensor())


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("narrow", [np.dtype(np.float16), BFLOAT16], ids=str)
def test_a_norm_beyond_the_range_is_no_matter_where_the_entries_are_within(factorization, narrow):
    """Of rank one, each entry is a product of at most five numbers, each of them rounded once; then it is too."""
    dense, rank = np.full((16,) * 4, 1000.0), None if factorization == "dense" else 1
    tensor = decompose(dense, factorization, rank, n_in=2).tensor
    for found in (tensor.astype(narrow), decompose(dense, factorization, rank, n_in=2, dtype=narrow).tensor):
        u = 2.0 ** -(limits_of(narrow).nmant + 1)
        error = np.abs(found.to_tensor().astype(np.float64) / 1000.0 - 1.0).max()
        assert error <= 6 * u / (1.0 - 6 * u) + rounding(dense.shape)


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize(
    ("source", "narrow"),
    [
        (np.float64, np.float16),
        (np.float64, ml_dtypes.bfloat16),
        (np.complex128, np.complex64),
        (np.float64, np.float32),
    ],
)
@pytest.mark.parametrize("exponent", [-9, 0, 12])
def test_each_entry_is_rounded_once_in_each_operand(factorization, source, narrow, exponent):
    r"""From operands B to A with ``|A - B| <= u |A| + eta``, the tensor is off by at most that of the absolute values,

    .. math:: \prod_k (|B_k| + d_k) - \prod_k |B_k|, \qquad d_k = (u |B_k| + \eta) / (1 - u).
    """
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((5, 6, 7)) + (1j * rng.standard_normal((5, 6, 7)) if source is np.complex128 else 0)
    tensor = decompose(dense * 2.0**exponent, factorization, None if factorization == "dense" else 3, n_in=1).tensor
    found = tensor.astype(narrow)
    limits = limits_of(np.dtype(narrow))
    # a complex number is off by at most the root of two times what each of its parts is
    u, eta = (2**0.5 * 2.0**-power for power in (limits.nmant + 1, limits.nmant + 1 - limits.minexp))
    wide = {name: array.astype(source) for name, array in found.operands.items()}
    sizes = {name: np.abs(array) for name, array in wide.items()}
    changed = {name: size + (u * size + eta) / (1.0 - u) for name, size in sizes.items()}
    absolute = tensor.with_operands(sizes).to_tensor()
    bound = tensor.with_operands(changed).to_tensor() - absolute + 1e-12 * absolute
    assert np.all(np.abs(tensor.with_operands(wide).to_tensor() - tensor.to_tensor()) <= bound)
    assert np.all(np.isfinite(found.to_tensor()))


@pytest.mark.parametrize("factorization", FORMATS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.longdouble, np.clongdouble])
def test_an_equal_or_wider_dtype_keeps_every_bit_in_memory_of_its_own(factorization, dtype):
    rng = np.random.default_rng(0)
    rank = None if factorization == "dense" else 2
    tensor = decompose(rng.standard_normal((3, 4, 2, 5)), factorization, rank, n_in=2).tensor
    # out of all proportion, which is evened out by a narrower dtype alone
    powers = dict(zip(tensor.operands, (500, -500), strict=False))
    tensor = tensor.with_operands({k: np.ldexp(array, powers.get(k, 0)) for k, array in tensor.operands.items()})
    for name, array in tensor.astype(dtype).operands.items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, tensor.operands[name])
        assert not np.shares_memory(array, tensor.operands[name])


def test_a_tensor_beyond_or_below_the_range_is_refused_by_name():
    dense = DenseTensor(np.full((2, 3), 1e6), n_in=1)
    with pytest.raises(RangeError, match=r"tensor has entries of up to 1e\+06, but float16 holds no more than 65504"):
        dense.astype(np.float16)
    with pytest.raises(RangeError, match=r"but bfloat16 holds no more than 3\.38953e\+38\. Pass .*such as float64"):
        DenseTensor(np.full((2, 3), 3.4e38)).astype(BFLOAT16)
    assert float(DenseTensor(np.full((2, 3), 65519.0)).astype(np.float16).tensor[0, 0]) == 65504.0
    huge = TTTensor((np.full((1, 2, 1), 1e200), np.full((1, 3, 1), 1e100)))
    with pytest.raises(RangeError, match=r"its scale shared with the other operands, has entries of up to .* float32"):
        huge.astype(np.float32)
    tiny = TTTensor((np.full((1, 2, 1), 1e-200), np.full((1, 3, 1), 1e-100)))
    with pytest.raises(
        RangeError, match=r"operands, has no entry above .*e-15[01], and float32 rounds to zero what is"
    ):
        tiny.astype(np.float32)


@pytest.mark.parametrize("narrow", [np.float16, np.float32])
def test_a_dense_tensor_beyond_the_range_is_refused_though_its_operands_are_not(narrow):
    """The layer of it may still be used, as its products may be within."""
    largest = float(np.finfo(narrow).max)
    tensor = CPTensor([1.0], ([[largest], [1.0]], [[4.0], [1.0]]), n_in=1).astype(narrow)
    with pytest.raises(
        RangeError, match=r"The dense tensor has entries of up to .*Take .* astype first, such as float"
    ):
        tensor.to_tensor()
    assert tensor.astype(np.float64).to_tensor().max() == 4 * largest
    assert float(FactorizedLinear.from_weight(tensor)(np.array([0.0, 1.0], narrow))[0]) == 4.0


def test_what_is_not_finite_stays_so():
    """Nothing is evened out by numbers that have no size."""
    for value in (np.nan, np.inf):
        found = CPTensor([value, 1e-30], ([[1.0, 3.0]], [[1.0, 3.0]])).astype(np.float16)
        np.testing.assert_array_equal(found.weights, np.array([value, 0.0], np.float16))
        np.testing.assert_array_equal(found.factors[0], np.array([[1.0, 3.0]], np.float16))


@on_every_place
def test_operands_give_powers_of_two_to_each_other_wherever_they_live(place):
    if not place.has_double:
        pytest.skip("there is no wider dtype than the one to narrow to")
    blocks = np.array([1e-30, 2.0, 1e30]).reshape(1, 1, 1, 3), np.array([1e30, 1.0, 1e-30]).reshape(3, 1, 1, 1)
    for tensor in (
        CPTensor([1.0, 1e-60], ([[1.0, 1e30]], [[1.0, 1e30]]), n_in=1),
        CPTensor([1.0, 1e-60j], ([[1.0, 1e30j]], [[1.0, -1e30]]), n_in=1),
        TTTensor((np.full((1, 2, 1), 1e-50), np.full((1, 3, 1), 1e50)), n_in=1),
        BlockTTTensor(blocks),
    ):
        there = tensor.to(place.xp, place.device).astype("complex64" if tensor.dtype.kind == "c" else "float32")
        found, u = to_numpy(there.to_tensor()), 2.0**-24
        assert all(np.all(np.isfinite(to_numpy(array))) for array in there.operands.values())
        # four roundings of three operands and the result, of sums of at most three positive terms each, and their own
        np.testing.assert_allclose(found, tensor.to_tensor(), rtol=8 * 2**0.5 * u)
