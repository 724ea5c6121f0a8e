"""An update computes the same numbers wherever the arrays live, to the last bit."""

import numpy as np
import pytest
from arrays.twins import assert_same, assert_same_named
from hypothesis import given
from hypothesis import strategies as st
from spaces import on_every_place

from tlinear.arrays import space_of, to_numpy
from tlinear.optim import SGD, Adam

OPTIMISERS = (
    SGD(0.5),
    SGD(0.25, momentum=0.5, weight_decay=0.125),
    Adam(0.5),
    Adam(0.5, beta1=0.5, beta2=0.75, epsilon=2**-10, weight_decay=0.25),
)


def numbers(rng, dtype):
    """Small integers: the updates round, each operation once, and alike in every library."""
    parts = rng.integers(-8, 9, (2, 5)).astype(np.float32)
    return (parts[0] + 1j * parts[1] if np.dtype(dtype).kind == "c" else parts[0]).astype(dtype)


@on_every_place
@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=repr)
@given(st.integers(0, 2**32 - 1))
def test_updates_are_the_same_everywhere(place, optimiser, seed):
    rng = np.random.default_rng(seed)
    parameters, gradients = ({"a": numbers(rng, "float32"), "b": numbers(rng, "float32")} for _ in range(2))
    there, gradients_there = ({k: place.array(a) for k, a in d.items()} for d in (parameters, gradients))
    state, state_there = optimiser.init(parameters), optimiser.init(there)
    for _ in range(3):
        parameters, state = optimiser.update(parameters, gradients, state)
        there, state_there = optimiser.update(there, gradients_there, state_there)
        if place.xp is np or place.name.startswith("strict") or isinstance(optimiser, SGD):
            assert_same_named(there, parameters, place)
            continue
        # A library may multiply by the inverse of a number instead of dividing by it.  The moments of a gradient that
        # stays the same cancel nothing, so that the 24 operations of a step change it by as many parts in 1/eps, and
        # the 3 on the parameter that by 3, in each of the updates so far.
        eps, largest = np.finfo(np.float32).eps, max(np.abs(array).max() for array in parameters.values())
        bound = state.n_updates * eps * (24 * optimiser.learning_rate + 3 * (largest + optimiser.learning_rate))
        for name, array in parameters.items():
            assert np.all(np.abs(to_numpy(there[name]) - array) <= bound)


@on_every_place
@pytest.mark.parametrize("optimiser", OPTIMISERS[:2], ids=repr)
def test_complex_parameters_move_along_their_gradient_everywhere(place, optimiser):
    rng = np.random.default_rng(0)
    parameter, gradient = numbers(rng, "complex64"), numbers(rng, "complex64")
    expected, _ = optimiser.update({"w": parameter}, {"w": gradient}, optimiser.init({"w": parameter}))
    there = {"w": place.array(parameter)}
    found, _ = optimiser.update(there, {"w": place.array(gradient)}, optimiser.init(there))
    assert_same(found["w"], expected["w"], place)


@on_every_place
def test_the_first_step_of_adam_has_the_length_of_the_rate_in_complex_numbers_too(place):
    adam, w = Adam(0.5, epsilon=0.0), {"w": place.array(np.zeros(2, np.complex64))}
    updated, state = adam.update(w, {"w": place.array(np.array([3 + 4j, -8j], np.complex64))}, adam.init(w))
    assert to_numpy(state.square["w"]).dtype == to_numpy(adam.init(w).square["w"]).dtype == np.float32
    step = np.abs(to_numpy(updated["w"]).astype(np.complex128))
    # ten operations of single precision, each of which rounds once, on a number of this size
    assert np.all(np.abs(step - 0.5) <= 10 * np.finfo(np.float32).eps)


@on_every_place
@pytest.mark.parametrize("number", [np.float32, np.float64, np.float16])
def test_numpys_numbers_as_hyper_parameters_are_pythons_everywhere(place, number):
    """Else NumPy would read the arrays that it multiplies, and make double precision of its own."""
    parameters, gradients = {"w": place.array(np.ones(3, np.float32))}, {"w": place.array(np.ones(3, np.float32))}
    for optimiser, plain in (
        (SGD(number(0.5), momentum=number(0.25), weight_decay=number(0.5)), SGD(0.5, momentum=0.25, weight_decay=0.5)),
        (Adam(number(0.5), beta1=number(0.5), weight_decay=number(0.25)), Adam(0.5, beta1=0.5, weight_decay=0.25)),
    ):
        assert optimiser == plain
        updated, state = optimiser.update(parameters, gradients, optimiser.init(parameters))
        expected, plain_state = plain.update(parameters, gradients, plain.init(parameters))
        assert_same(updated["w"], to_numpy(expected["w"]), place)
        moment, plain_moment = (s.velocity if isinstance(optimiser, SGD) else s.mean for s in (state, plain_state))
        assert space_of(moment["w"]) is place.space
        assert to_numpy(moment["w"]).dtype == to_numpy(plain_moment["w"]).dtype == np.float32
