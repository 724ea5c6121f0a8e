"""What is no dense array of numbers, but stands where one is expected, is told by its type, with the way to an array."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

import tlinear
from tlinear import Calibration, FactorizedLinear, Linear, TTTensor, decompose, suggest_shapes
from tlinear.arrays import as_numpy, to_numpy
from tlinear.decomposition import low_rank_baseline
from tlinear.errors import DTypeError, TLinearError

W = np.random.default_rng(0).standard_normal((6, 8))
TENSOR = TTTensor.random((2, 4), (2, 3), 2, rng=0)


class UninitializedParameter:
    """As that of torch's lazy layers."""

    dtype = np.float32

    @property
    def shape(self):
        raise RuntimeError("no shape yet")

    def detach(self):
        raise ValueError("no numbers yet")


class Foreign:
    """As a tensor of torch that is not a dense one."""

    dtype = "torch.float32"

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __array__(self, dtype=None, copy=None):
        raise NotImplementedError("no storage")


NOT_ARRAYS = {
    "factorized": (
        TENSOR,
        r"of type tlinear.formats.tt.TTTensor, which is factorized, .*Pass .* \.to_tensor\(\) returns",
    ),
    "class": (TTTensor, "the class TTTensor, not an array"),
    "method": (TENSOR.to_tensor, r"FactorizedTensor.to_tensor, a method, not an array. Call it"),
    "function": (np.ones, "ones, a function, not an array. Call it"),
    "layer": (Linear(8, 6, rng=0), "of type tlinear.linear.Linear, a layer, not an array. Pass its `weight`"),
    "sparse of SciPy": (
        sparse.csr_array(W),
        r"csr_array, a sparse array. Pass the dense one that its .toarray\(\) returns",
    ),
    "sparse of torch": (
        Foreign(layout="torch.sparse_coo"),
        r"layout torch.sparse_coo, a sparse array. .*\.to_dense\(\)",
    ),
    "sparse of others": (
        Foreign(todense=lambda: W),
        r"a sparse array. Pass the dense one that its .todense\(\) returns",
    ),
    "quantized": (
        Foreign(is_quantized=True),
        r"torch.float32: codes, not numbers. Pass what its .dequantize\(\) returns",
    ),
    "without numbers": (Foreign(device="meta"), "on the device meta, which holds no numbers. Load them"),
    "uninitialized": (
        UninitializedParameter(),
        r"UninitializedParameter: it has neither shape nor numbers yet. Call its",
    ),
    "nothing": (None, "has dtype object with entries of type NoneType, which is not numeric"),
    "several": ([TENSOR, TENSOR], "has dtype object with entries of type TTTensor, which is not numeric"),
}


@pytest.mark.parametrize(("array", "message"), NOT_ARRAYS.values(), ids=NOT_ARRAYS.keys())
def test_what_is_no_array_is_refused_by_its_type_with_the_way_to_one(array, message):
    with pytest.raises(DTypeError, match=f"^array (is )?.*{message}"):
        as_numpy(array)


ENTRIES = {
    "decompose": lambda array: decompose(array, "tt", 2),
    "decompose in pairs": lambda array: decompose(array, "blocktt", 2, n_in=2),
    "low-rank baseline": lambda array: low_rank_baseline(array, 20),
    "dense layer": Linear.from_arrays,
    "bias": lambda array: Linear.from_arrays(W, array),
    "module": lambda array: FactorizedLinear.from_linear(SimpleNamespace(weight=W, bias=array)),
    "operand": lambda array: tlinear.DenseTensor(array),
    "operand of several": lambda array: TTTensor((array, array)),
    "calibration": lambda array: Calibration(samples=array),
    "second moment": lambda array: Calibration(second_moment=array),
    "suggestion": lambda array: suggest_shapes(8, 6, factorization="tt", rank=2, weight=array),
    "input": lambda array: Linear(8, 6, rng=0)(array),
    "input of a factorized layer": lambda array: FactorizedLinear((2, 4), (2, 3), rank=2, rng=0)(array),
    "crossing": to_numpy,
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
@pytest.mark.parametrize("kind", ["factorized", "class", "sparse of SciPy", "method", "uninitialized"])
def test_every_entry_refuses_what_is_no_array(entry, kind):
    array, message = NOT_ARRAYS[kind]
    with pytest.raises(TLinearError, match=message):
        entry(array)


def test_arrays_of_other_libraries_are_read_as_before():
    class Other:
        def __array__(self, dtype=None, copy=None):
            return W

    for array in (Other(), W, W.tolist(), np.float32(1.0), memoryview(W), sparse.csr_array(W).toarray()):
        np.testing.assert_array_equal(as_numpy(array), np.asarray(array))
    assert as_numpy([]).shape == (0,)
    with pytest.raises(DTypeError, match="dtype object, which is not numeric"):
        as_numpy(np.array([], object))
