"""The same bits again: in one process with its caches emptied, and in another in which strings hash otherwise.

With one BLAS and one number of threads, that is: another kernel rounds otherwise.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np

import tlinear
from tlinear.contraction.options import Mode
from tlinear.formats import FORMATS

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((8, 8)) / np.sqrt(1.0 + np.arange(8))
SAMPLES = tlinear.Calibration(samples=RNG.standard_normal((20, 8)) / np.sqrt(1.0 + np.arange(8)), max_iterations=10)

ASKED = {
    "a rank": {"rank": 2},
    "a budget, padded, in single precision": {"rank": 0.5, "pad": 0.2, "dtype": np.float32},
    "a tolerance": {"tolerance": 0.5},
    "a calibrated budget": {"rank": 0.5, "calibration": SAMPLES},
}

ALSO = {
    "cp": {"starts": {"rank": 3, "decomposition_options": {"n_starts": 2, "max_iterations": 10}}},
    "tucker": {"randomized": {"rank": 3, "decomposition_options": {"svd": "randomized"}}},
    "tt": {
        "randomized": {"rank": 3, "decomposition_options": {"svd": "randomized"}},
        "proportional": {"rank": 0.5, "allocation": "proportional"},
        "searched": {"rank": 0.5, "tensorization": "search"},
        "tolerance within a budget": {"rank": 0.9, "tolerance": 0.8},
    },
    "blocktt": {"refined": {"rank": 3, "decomposition_options": {"refine": 3}}},
}

QUICK = {name: {} for name in FORMATS} | {"cp": {"decomposition_options": {"max_iterations": 10}}}

LAYERS = {
    "cp": ((4, 4), (8,), {}),
    "tucker": ((4, 4), (4, 2), {}),
    "tt": ((8, 4), (4, 8), {"memory_limit": 80_000}),
    "blocktt": ((4, 4), (2, 4), {"memory": "recompute"}),
}


def digest(*parts):
    """Of the bits of arrays, and of what all else is printed as."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str} {part.shape} ".encode() + part.tobytes())
        else:
            found.update(repr(part).encode())
    return found.hexdigest()[:16]


def of_decomposition(layer):
    result = layer.decomposition
    told = {field.name: getattr(result, field.name) for field in fields(result) if field.name[0] != "_"}
    del told["tensor"]
    return digest(told, *(part for name, array in layer.parameters().items() for part in (name, array)))


def of_plan(plan):
    return digest(str(plan), plan.implementation, plan.steps, plan.chunk_size, plan.memory, plan.reason)


def decompositions():
    plain, turned = (tlinear.Linear.from_arrays(matrix) for matrix in (MATRIX, MATRIX * np.exp(1j * np.arange(8))))
    yield "dense", of_decomposition(tlinear.FactorizedLinear.from_linear(plain, factorization="dense", rank="same"))
    for factorization, also in ALSO.items():
        for name, asked in {**ASKED, **also}.items():
            options = {**QUICK[factorization], **asked}
            layer = tlinear.FactorizedLinear.from_linear(plain, factorization=factorization, **options)
            yield f"{factorization}, {name}", of_decomposition(layer)
        layer = tlinear.FactorizedLinear.from_linear(
            turned, factorization=factorization, rank=0.5, **QUICK[factorization]
        )
        yield f"{factorization}, complex", of_decomposition(layer)
    suggested = tlinear.suggest_shapes(8, 8, factorization="tt", rank=0.5, pad=True, weight=MATRIX, limit=2)
    yield "shapes", digest(*map(str, suggested))


def plans():
    for factorization, (in_shape, out_shape, options) in LAYERS.items():
        layer = tlinear.FactorizedLinear(in_shape, out_shape, factorization=factorization, rank=3, rng=0)
        layer = layer.with_options(**options)
        for mode, batch_size in zip(get_args(Mode), (100, 100, 1, 1), strict=True):
            yield f"{factorization}, {mode}", of_plan(layer.plan(batch_size, mode))
        x = np.random.default_rng(0).standard_normal((100, layer.in_features))
        y, pull_back = layer.vjp(x)
        gradients = pull_back(np.cos(y))
        yield (
            f"{factorization}, results",
            digest(layer(x), layer.freeze()(x), gradients.x, *gradients.parameters.values()),
        )


def digests():
    return dict(decompositions()) | dict(plans())


def empty_caches():
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "tlinear":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def test_decompositions_and_plans_are_the_same_to_the_bit_in_every_process():
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    other = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(tlinear.__file__).parents[1])}
    with subprocess.Popen([sys.executable, __file__], env=other, stdout=subprocess.PIPE, text=True) as done:
        first = digests()
        assert {"dense", *ALSO} == {*FORMATS}
        empty_caches()
        assert digests() == first
        elsewhere, _ = done.communicate()
    assert done.returncode == 0
    assert json.loads(elsewhere) == first


if __name__ == "__main__":
    print(json.dumps(digests()))
