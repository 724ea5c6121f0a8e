"""What cannot be held is refused at once by name, with the bytes it would take; what can be held works."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from cases import FACTORIZATIONS

from tlinear import BlockTTTensor, CPTensor, DenseTensor, FactorizedLinear, Linear, TTTensor, TuckerTensor, decompose
from tlinear.capacity import check_capacity, is_out_of_memory, naming_memory
from tlinear.contraction.compile import kernel_of
from tlinear.contraction.network import Network
from tlinear.contraction.pair import Pair
from tlinear.errors import DecompositionError, MemoryLimitError, ShapeError
from tlinear.formats import FORMATS
from tlinear.formats.initialization import operand_std


def ones(*shape):
    return np.ones(shape)


def rank_one(name, size, n_in, n_out=None):
    """A tensor of ones, n_in and n_out modes of this size."""
    n_out = n_in if n_out is None else n_out
    match name:
        case "cp":
            return CPTensor(ones(1), tuple(ones(size, 1) for _ in range(n_in + n_out)), n_in=n_in)
        case "tucker":
            return TuckerTensor(
                ones(*(1,) * (n_in + n_out)), tuple(ones(size, 1) for _ in range(n_in + n_out)), n_in=n_in
            )
        case "tt":
            return TTTensor(tuple(ones(1, size, 1) for _ in range(n_in + n_out)), n_in=n_in)
        case "blocktt":
            sizes = [(size if k < n_in else 1, size if k < n_out else 1) for k in range(max(n_in, n_out))]
            return BlockTTTensor(tuple(ones(1, *pair, 1) for pair in sizes), n_in=n_in, n_out=n_out)


LOW_RANK = tuple(name for name in FACTORIZATIONS if name != "dense")


# Beyond 2^48 bytes no processor has addresses, beyond 2^63 NumPy has none, and beyond 2^1024 no float can tell them.
@pytest.mark.parametrize(
    ("name", "n"), [(name, n) for name in LOW_RANK for n in (9, 10, 30)] + [("tt", 200), ("cp", 200)]
)
def test_a_dense_tensor_that_cannot_be_held_is_refused_with_its_bytes(name, n):
    weight = rank_one(name, 10, n)
    n_bytes = 8 * 10 ** (2 * n)
    told = f"takes (at least )?{n_bytes:,} bytes" if n_bytes < 10**24 else re.escape(f"takes 8.00E+{2 * n} bytes")
    layer = FactorizedLinear.from_weight(weight) if n < 64 else None
    for call in (weight.to_tensor, weight.to_matrix, layer and layer.to_linear):
        if call is not None:
            with pytest.raises(MemoryLimitError, match=f"The dense tensor {told}, .* Call the layer"):
                call()


@pytest.mark.parametrize("name", ["cp", "tt", "blocktt"])
def test_more_axes_than_an_array_can_have_are_refused(name):
    weight = rank_one(name, 1, 40)
    for call in (weight.to_tensor, weight.to_matrix):
        with pytest.raises(ShapeError, match="The dense tensor has 80 axes, but an array can have at most 64"):
            call()


def test_a_kernel_is_worked_out_whatever_its_pullbacks_would_take():
    """Those of 10^14 products of matrices, which nobody runs."""
    sizes = ((0, 10**14), (1, 2), (2, 3), (3, 4))
    network = Network(("A", "B"), ((0, 1, 2), (2, 3)), (0, 1, 3), sizes, n_in=1, n_modes=3)
    groups = {"loops": ((0,),), "rows": (1,), "contracted": (2,), "right": (3,)}
    pair = Pair(network, a=(0, 1, 2), b=(2, 3), out=(0, 1, 3), lying=(0, 1, 2), **groups)
    assert kernel_of(pair, batch_size=1).shape_out == (10**14, 2, 4)


# ------------------------------------------------------------ layers


WIDE = FactorizedLinear.from_weight(rank_one("tt", 10, 1, 18))
LARGE = FactorizedLinear.from_weight(rank_one("tt", 3200, 2))
CALLS = {
    "call": lambda layer, x: layer(x),
    "forward": lambda layer, x: layer.forward(x),
    "vjp": lambda layer, x: layer.vjp(x),
    "jvp": lambda layer, x: layer.jvp(x, x),
    "trace": lambda layer, x: layer.trace(x),
    "freeze": lambda layer, x: layer.freeze()(x),
    "vjp of a frozen layer": lambda layer, x: layer.freeze().vjp(x),
    "jvp of a frozen layer": lambda layer, x: layer.freeze().jvp(x, x),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_output_that_cannot_be_held_is_refused_with_its_bytes(call):
    with pytest.raises(
        MemoryLimitError, match=f"The output of 3 samples takes .*{24 * 10**18:,} bytes, .* fewer samples"
    ):
        CALLS[call](WIDE, ones(3, 10))


@pytest.mark.parametrize("call", CALLS)
def test_a_weight_that_cannot_be_held_is_not_rebuilt(call):
    x = np.broadcast_to(1.0, (1, 3200**2))
    with pytest.raises(MemoryLimitError, match=f"The dense weight takes .*{8 * 3200**4:,} bytes, .*'factorized'"):
        CALLS[call](LARGE.with_options(implementation="reconstructed"), x)


def test_what_an_array_cannot_have_is_not_planned_to_be_rebuilt():
    layer = FactorizedLinear.from_weight(rank_one("cp", 10**5, 2))
    assert layer.plan(10**6).implementation == "factorized"
    with pytest.raises(MemoryLimitError, match=f"The dense weight takes {8 * 10**20:,} bytes, but"):
        layer.with_options(implementation="reconstructed").plan(1)


def raising(error):
    def fails(*args, **kwargs):
        raise error

    return fails


def sample_layer():
    return FactorizedLinear((4, 4), (2, 5), factorization="tt", rank=2, implementation="factorized", rng=0)


@pytest.mark.parametrize(
    ("call", "function", "mode"),
    [
        ("call", "tlinear.functional.contract", "forward"),
        ("vjp", "tlinear.functional.contract_with_tape", "training"),
        ("jvp", "tlinear.functional.push_forward", "forward"),
        ("trace", "tlinear.functional.intermediates", "forward"),
    ],
)
@pytest.mark.parametrize("error", [MemoryError("Unable to allocate"), RuntimeError("CUDA out of memory. Tried ..")])
def test_a_call_that_runs_out_of_memory_names_the_bytes_of_its_plan(monkeypatch, call, function, mode, error):
    layer = sample_layer()
    monkeypatch.setattr(function, raising(error))
    with pytest.raises(
        MemoryLimitError, match=f"of 3 samples takes at least {layer.plan(3, mode).peak_bytes:,} bytes"
    ) as told:
        CALLS[call](layer, ones(3, 16))
    assert told.value.__cause__ is error


def test_a_pullback_and_a_frozen_call_that_run_out_of_memory_say_so(monkeypatch):
    layer = sample_layer()
    y, pullback = layer.vjp(ones(3, 16))
    monkeypatch.setattr("tlinear.contraction.tape.Tape.pull_back", raising(MemoryError()))
    with pytest.raises(
        MemoryLimitError, match=f"A call and its pullback .* {layer.plan(3, 'training').peak_bytes:,} bytes"
    ):
        pullback(y)
    monkeypatch.setattr("tlinear.frozen.pass_through", raising(MemoryError()))
    with pytest.raises(MemoryLimitError, match=f"{layer.freeze().plan(3).peak_bytes:,} bytes"):
        layer.freeze()(ones(3, 16))


def test_what_is_no_lack_of_memory_keeps_its_own_error():
    error = RuntimeError("no kernel image")
    assert not is_out_of_memory(error)
    assert not is_out_of_memory(DecompositionError("out of memory"))
    with pytest.raises(RuntimeError) as told, naming_memory("The tensor", 8, "Choose smaller modes."):
        raise error
    assert told.value is error


def test_small_arrays_are_not_asked_for_twice(monkeypatch):
    monkeypatch.setattr("tlinear.capacity.np", SimpleNamespace(empty=raising(AssertionError)))
    check_capacity("The tensor", (1000, 1000), 8, "Choose smaller modes.")


# ------------------------------------------------------------ construction


@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_operands_that_cannot_be_held_are_refused_before_they_are_drawn(name):
    rank, rng = ("same" if name == "dense" else 10**9), np.random.default_rng(0)
    with pytest.raises(MemoryLimitError, match=r"The operand [a-z0-9.]+ takes .* bytes, .* Lower the rank"):
        FORMATS[name].random((100,) * 6, (100,) * 6, rank, rng=rng)
    assert rng.random() == np.random.default_rng(0).random()


def test_the_core_of_more_modes_than_axes_is_refused():
    for cls, rank in ((TuckerTensor, 1), (DenseTensor, "same")):
        with pytest.raises(ShapeError, match="The operand (core|tensor) has 70 axes, but an array can have at most 64"):
            cls.random((1,) * 35, (1,) * 35, rank)


def test_a_long_train_of_large_rank_has_the_standard_deviation_asked_for():
    """Whose 60^198 assignments of its ranks are more than a float can count."""
    tensor = TTTensor.random((1,) * 100, (1,) * 100, 1, std=2.0, rng=0)
    network = TTTensor.network_for((60,) * 100, (60,) * 100, (60,) * 199)
    assert operand_std(network, 0.0) == 0.0
    assert operand_std(network, 2.0) == pytest.approx(2.0 ** (1 / 200) * 60.0 ** (-199 / 400), rel=1e-14)
    assert tensor.rank == (1,) * 201
    with pytest.raises(ShapeError, match=r"An input of 2\^1003 features or more has no default standard deviation"):
        TTTensor.random((2,) * 1003, (2,), 1)


@pytest.mark.parametrize("features", [10**8, 10**12])
def test_a_dense_layer_that_cannot_be_held_is_refused(features):
    with pytest.raises(MemoryLimitError, match="A parameter of the layer takes .* bytes, .* Choose fewer features"):
        Linear(features, features)


@pytest.mark.parametrize(
    ("modes", "error"),
    [((10**9, 10**9), MemoryLimitError), ((10**7, 10**7), MemoryLimitError), ((1,) * 70 + (16,), ShapeError)],
)
def test_a_weight_padded_beyond_what_can_be_held_is_refused(modes, error):
    with pytest.raises(error, match="The weight as a tensor (takes|has)"):
        FactorizedLinear.from_linear(Linear(16, 10, rng=0), in_tensorized_features=modes, pad=1e30, rank=1)


def test_a_decomposition_that_runs_out_of_memory_says_so(monkeypatch):
    monkeypatch.setattr("tlinear.decomposition.fitting.Fitting.fit", raising(MemoryError()))
    with pytest.raises(
        MemoryLimitError, match=r"of a tensor of shape \(4, 5\) takes at least 160 bytes, .* Lower the rank"
    ):
        decompose(np.ones((4, 5)), "cp", 2)
