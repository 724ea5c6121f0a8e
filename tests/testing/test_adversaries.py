"""What is wrong only somewhere is found there; what is right in an unusual way is not accused."""

import math
import sys

import numpy as np
import pytest

from tlinear.testing import check
from tlinear.testing.mutants import right
from tlinear.testing.reference import sum_of

FEW = {"formats": ["dense", "tt"], "dtypes": ["float32", "float64"], "max_modes": 3, "max_examples": 150}


def in_large_batches(case):
    results = right(case)
    if math.prod(case.batch_shape) > 64:
        results["y"] = results["y"] + (np.arange(results["y"].size) % 97 == 64).reshape(results["y"].shape)
    return results


def in_float32(case):
    results = right(case)
    return results | ({"dx": 2 * results["dx"]} if case.dtype == np.float32 else {})


def of_rank_one(case):
    results = right(case)
    return results | ({"y": -results["y"]} if set(case.rank or ()) == {1} else {})


def where_sides_differ(case):
    results = right(case)
    return results | ({"y": 2 * results["y"]} if len(case.in_shape) != len(case.out_shape) else {})


def of_the_third_core(case):
    results = right(case)
    return results | ({"dcores.2": results["dcores.2"] * 2} if "dcores.2" in results else {})


def of_no_samples(case):
    results = right(case)
    return results if case.x.size else {name: a + 1 if name.startswith("dcores") else a for name, a in results.items()}


def where_operands_are_strided(case):
    def read(array):
        return np.ravel(array, order="K").reshape(array.shape)

    return right(case.with_arrays({name: read(array) for name, array in case.operands.items()}))


def of_a_bias_in_float16(case):
    if case.bias is None:
        return right(case)
    return right(case.with_arrays({"bias": case.bias.astype(np.float16).astype(case.dtype)}))


def by_writing_to_dy(case):
    results = right(case)
    if case.dy.flags.writeable:
        case.dy[...] = 0
    return results


def by_leaving(case):
    sys.exit(0)


class Reusing:
    """Every y of a shape in the same memory."""

    def __init__(self):
        self.buffers = {}

    def __call__(self, case):
        results = right(case)
        y = results["y"]
        buffer = self.buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return results | {"y": buffer}


@pytest.mark.parametrize(
    ("wrong", "result", "words"),
    [
        (in_large_batches, "y", "batch (65,)"),
        (in_float32, "dx", ", float32"),
        (of_rank_one, "y", "rank (1, 1, 1)"),
        (where_sides_differ, "y", ""),
        (of_the_third_core, "dcores.2", "entry     dcores.2[0, 0, 0]"),
        (of_no_samples, "dcores.0", "batch (0,)"),
        (where_operands_are_strided, "y", ""),
        (of_a_bias_in_float16, "y", "a bias"),
        (by_writing_to_dy, "y", "it changed dy, which it was given"),
        (by_leaving, "y", "it raised SystemExit: 0"),
        (Reusing(), "y", "a later call changes y, which it returned before"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_somewhere_is_found_there(wrong, result, words):
    report = check(wrong, **FEW)
    assert not report.passed
    found = {failure.result: str(failure) for failure in report.failures if failure.tier != "identity"}
    assert result in found, str(report)
    assert words in found[result]


# --------------------------------------------------------------------------------------- right in an unusual way


def in_one_loop(case):
    """All products of an entry added up one after the other, none of them shared."""

    def loop(name):
        total = sum_of(case, name)
        labels = {label: k for k, label in enumerate(total.sizes)}
        arguments = [part for a, axes in total.arrays for part in (a, [labels[label] for label in axes])]
        found = np.einsum(*arguments, [labels[label] for label in total.out], optimize=False)
        found = found if total.bias is None else found + total.bias
        return found.reshape(case.shape_of(name))

    return {name: loop(name) for name in case.results}


def in_fortran_order(case):
    return {name: np.asfortranarray(array) for name, array in right(case).items()}


def in_float64_throughout(case):
    wide = right(case.map(lambda array: array.astype(np.float64)))
    return {name: array.astype(case.dtype) for name, array in wide.items()}


def as_lists(case):
    return right(case) if case.dtype != np.float64 or not case.x.size else {"y": right(case)["y"].tolist()}


def with_stages_and_nothing_else(case):
    name = case.stages[0]
    total = sum_of(case, name)
    return {"y": right(case)["y"], name: total.value().reshape(case.shape_of(name)), "dx": None}


@pytest.mark.parametrize(
    "unusual", [in_one_loop, in_fortran_order, in_float64_throughout, as_lists, with_stages_and_nothing_else]
)
def test_what_is_right_in_an_unusual_way_passes(unusual):
    report = check(unusual, **FEW | {"max_examples": 100}, large=unusual is not in_one_loop)
    assert report.passed, str(report)


def test_what_flushes_subnormal_numbers_passes_with_a_warning():
    def flushing(case):
        limits = np.finfo(case.dtype)
        return {name: np.where(abs(a) < limits.tiny, 0, a).astype(a.dtype) for name, a in right(case).items()}

    report = check(flushing, **FEW)
    assert report.passed, str(report)
    assert any("y takes subnormal numbers for zero" in warning for warning in report.warnings)


def test_what_returns_its_argument_passes_with_a_warning():
    def sharing(case):
        return right(case) | ({"dbias": case.dy} if case.bias is not None and not case.batch_shape else {})

    report = check(sharing, **FEW)
    assert report.passed, str(report)
    assert any("dbias shares memory with dy, and changes where that does" in warning for warning in report.warnings)


def test_arrays_of_other_libraries_come_and_go_through_their_own_namespace():
    class Held:
        """As an array on another device: NumPy cannot read it, but it has ``get``."""

        def __init__(self, array):
            self.array, self.shape = array, array.shape

        def __array__(self, *arguments, **options):
            raise TypeError("Implicit conversion to a NumPy array is not allowed.")

        def get(self):
            return self.array

    class Library:
        asarray = Held

    def layer(case):
        assert isinstance(case.x, Held)
        numbers = case.map(Held.get)
        return {name: Held(array) for name, array in right(numbers).items()}

    report = check(layer, **FEW | {"max_examples": 30}, namespace=Library)
    assert report.passed, str(report)
