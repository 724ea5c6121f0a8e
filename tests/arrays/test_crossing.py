"""Arrays cross from one library or device to another where the caller says so, and nowhere else."""

import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from spaces import ELSEWHERE, PLACES, on_every_other_place, on_every_place

import tlinear
from tlinear import FactorizedLinear, Linear, decompose
from tlinear.arrays import NUMPY, find_space, space_of, to_numpy
from tlinear.errors import DeviceError, DTypeError
from tlinear.optim import SGD


def layer_at(place, **options):
    return FactorizedLinear((4, 3), (2, 5), factorization="tt", rank=2, dtype="float32", rng=0, **options).to(
        place.xp, place.device
    )


def ones(*shape):
    return np.ones(shape, np.float32)


def pairs():
    return [(here, there) for here in PLACES for there in PLACES if here is not there]


every_pair = pytest.mark.parametrize(("here", "there"), pairs(), ids=repr)


@every_pair
def test_layer_goes_there_and_comes_back_unchanged(here, there):
    layer = layer_at(here)
    gone = layer.to(there.xp, there.device)
    back = gone.to(here.xp, here.device)
    assert gone.space is there.space
    assert back.space is here.space
    for name, parameter in layer.parameters().items():
        np.testing.assert_array_equal(to_numpy(back.parameters()[name]), to_numpy(parameter))
        np.testing.assert_array_equal(to_numpy(gone.parameters()[name]), to_numpy(parameter))
    assert repr(back) == repr(layer)
    assert gone.options == layer.options
    assert (gone.in_features, gone.out_features) == (layer.in_features, layer.out_features)


@every_pair
def test_arrays_of_two_places_do_not_mix_and_the_error_names_both(here, there):
    layer, x = layer_at(here), there.array(ones(2, 12))
    own, dy = here.array(ones(2, 12)), there.array(ones(2, 10))
    _, pullback = layer.vjp(own)
    dense = layer.to_linear()
    calls = [
        lambda: layer(x),
        lambda: layer.vjp(x),
        lambda: pullback(dy),
        lambda: layer.jvp(own, x),
        lambda: layer.jvp(own, None, {"bias": there.array(ones(10))}),
        lambda: layer.trace(x),
        lambda: layer.freeze()(x),
        lambda: layer.freeze().vjp(own)[1](dy),
        lambda: dense(x),
        lambda: dense.vjp(own)[1](dy),
        lambda: dense.jvp(own, x),
        lambda: tlinear.factorized_linear(x, layer.weight),
        lambda: tlinear.factorized_linear(own, layer.weight, there.array(ones(10))),
        lambda: layer.with_parameters({**layer.parameters(), "bias": there.array(ones(10))}),
        lambda: layer.with_parameters({name: there.array(to_numpy(a)) for name, a in layer.parameters().items()}),
        lambda: dense.with_parameters({**dense.parameters(), "bias": there.array(ones(10))}),
        lambda: FactorizedLinear.from_weight(layer.weight, there.array(ones(10))),
        lambda: Linear.from_arrays(here.array(ones(2, 3)), there.array(ones(2))),
        lambda: tlinear.TTTensor((here.array(ones(1, 2, 1)), there.array(ones(1, 2, 1)))),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(DeviceError) as raised:
            call()
        message = str(raised.value)
        assert str(here.space) in message, number
        assert str(there.space) in message, number


@every_pair
def test_optimisers_do_not_mix_places(here, there):
    sgd, parameters = SGD(0.1), {"w": here.array(ones(3))}
    state = sgd.init(parameters)
    with pytest.raises(DeviceError):
        sgd.update(parameters, {"w": there.array(ones(3))}, state)


@on_every_other_place
def test_lists_are_read_by_numpy_and_do_not_mix_with_other_arrays(place):
    with pytest.raises(DeviceError, match="x is a list, which is read by numpy on device cpu, but the layer's"):
        layer_at(place)([[1.0] * 12])


@on_every_place
def test_what_crosses_shares_no_memory(place):
    layer = layer_at(place)
    for name, moved in layer.to(place.xp, place.device).parameters().items():
        before = to_numpy(layer.parameters()[name]).copy()
        moved[...] = 0
        np.testing.assert_array_equal(to_numpy(layer.parameters()[name]), before)


@on_every_place
def test_a_device_alone_is_one_of_the_same_library(place):
    layer = layer_at(place)
    assert layer.to(layer.space.device).space is layer.space
    assert layer.weight.to(layer.space.device).space is layer.space


@on_every_place
def test_frozen_and_dense_layers_cross_too(place):
    here = FactorizedLinear((4, 3), (2, 5), factorization="tt", rank=2, dtype="float32", rng=0)
    for layer in (here.freeze(), here.to_linear()):
        moved = layer.to(place.xp, place.device)
        assert moved.space is place.space
        assert type(moved) is type(layer)
        assert space_of(moved(place.array(ones(2, 12)))) is place.space


def test_there_is_no_such_device_or_library():
    layer = FactorizedLinear((4, 3), (2, 5), rank=2, rng=0)
    with pytest.raises(DeviceError, match="'nowhere' is no device of numpy"):
        layer.to("nowhere")
    with pytest.raises(DeviceError, match="NumPy has no device 'gpu'"):
        layer.to(np, "gpu")
    with pytest.raises(DeviceError, match="'numpy' is no array library"):
        layer.to("numpy", "cpu")
    assert find_space(np, "cpu", NUMPY) is NUMPY


def test_a_library_whose_arrays_cannot_be_written_to_is_refused():
    def empty(shape):
        array = np.empty(shape)
        array.flags.writeable = False
        return array

    library = SimpleNamespace(__name__="stone", asarray=np.asarray, empty=empty)
    with pytest.raises(DeviceError, match="Arrays of stone cannot be written to"):
        FactorizedLinear((4, 3), (2, 5), rank=2, rng=0).to(library)


@on_every_other_place
def test_arrays_that_cannot_be_written_to_are_no_parameters(place, monkeypatch):
    """As JAX's cannot: else a small batch would pass, and a large one, which is cut into chunks, fail."""
    import array_api_compat

    library, weight, bias = place.space.library, layer_at(place).weight, place.array(ones(10))
    matrix, tensor = place.array(ones(10, 12)), place.array(ones(2, 3, 4))
    monkeypatch.setattr(array_api_compat, "is_writeable_array", lambda array: False)
    for make in (
        lambda: type(weight).from_operands(dict(weight.operands), n_in=2),
        lambda: Linear.from_arrays(matrix, bias),
        lambda: decompose(tensor, "tt", 2),
    ):
        with pytest.raises(DeviceError, match=f"Arrays of {library} cannot be written to"):
            make()
    np.testing.assert_array_equal(to_numpy(bias), ones(10))


def test_whatever_a_library_raises_for_a_device_that_it_has_not_is_an_error_of_this_package():
    """Such as the AssertionError of a torch that was built without CUDA."""

    def empty(shape, device=None):
        if device is not None:
            raise AssertionError("not compiled with CUDA enabled")
        return np.empty(shape)

    library = SimpleNamespace(__name__="torch", asarray=np.asarray, empty=empty)
    present = SimpleNamespace(library="torch", xp=library)
    with pytest.raises(DeviceError, match="'cuda' is no device of torch: not compiled with CUDA enabled. Pass"):
        find_space("cuda", None, present)


def test_a_module_that_is_no_array_library_is_named():
    with pytest.raises(DeviceError, match="math is no array library"):
        FactorizedLinear((4, 3), (2, 5), rank=2, rng=0).to(math)


@on_every_place
def test_plans_pullbacks_and_traces_are_pickled_and_copied_where_they_are(place):
    layer, x, dy = layer_at(place), place.array(ones(3, 12)), place.array(ones(3, 10))
    _, pullback = layer.vjp(x)
    expected, trace = pullback(dy), layer.trace(x)
    for again in (pickle.loads(pickle.dumps(pullback)), copy.deepcopy(pullback)):
        found = again(dy)
        assert space_of(found.x) is place.space
        np.testing.assert_array_equal(to_numpy(found.x), to_numpy(expected.x))
        for name, gradient in found.parameters.items():
            np.testing.assert_array_equal(to_numpy(gradient), to_numpy(expected.parameters[name]))
    assert pickle.loads(pickle.dumps(place.space)) is copy.deepcopy(place.space) is place.space
    assert pickle.loads(pickle.dumps(layer.plan(3))) == layer.plan(3)
    np.testing.assert_array_equal(to_numpy(pickle.loads(pickle.dumps(trace))["y"]), to_numpy(trace["y"]))


@pytest.mark.parametrize("place", [place for place in ELSEWHERE if not place.has_double], ids=repr)
def test_double_precision_does_not_cross_to_where_there_is_none(place):
    layer = FactorizedLinear((4, 3), (2, 5), rank=2, rng=0)
    with pytest.raises(DeviceError, match=r"dtype float64 on numpy .* cannot be brought to .*no_float64.* Cast it"):
        layer.to(place.xp, place.device)
    doubles = layer.to(place.xp)
    with pytest.raises(DeviceError, match="no float64"):
        doubles.to(place.device)


@on_every_other_place
def test_what_is_not_numeric_is_refused(place):
    weight = layer_at(place).weight
    assert weight.astype("complex64").dtype == place.xp.complex64
    assert weight.astype(place.xp.complex64).dtype == place.xp.complex64
    with pytest.raises(DTypeError):
        weight.astype("complex64").astype("float32")
    for name in ("int32", "no dtype at all"):
        with pytest.raises(DTypeError):
            weight.astype(name)


@on_every_other_place
def test_reading_a_source_of_another_library_is_numpys_affair(place):
    """What is no layer of this package is read by NumPy as far as that can; a layer stays where it is."""
    source = SimpleNamespace(weight=place.array(ones(6, 4)), bias=None)
    if place.space.hardware == "cpu":
        layer = FactorizedLinear.from_linear(source, factorization="dense")
        assert layer.space is NUMPY
    else:
        with pytest.raises(DTypeError, match="cannot be read as a NumPy array"):
            FactorizedLinear.from_linear(source, factorization="dense")
