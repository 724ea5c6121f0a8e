"""Importing tlinear loads what it declares and nothing else, and changes nothing elsewhere."""

import subprocess
import sys
import types

import tlinear

LOADED = """
import sys
import numpy
before = set(sys.modules)
import tlinear, tlinear.micro, tlinear.optim, tlinear.cli
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_import_loads_no_other_library_than_numpy():
    result = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = set(eval(result.stdout))
    # what else it needs, opt_einsum, SciPy and array-api-compat, is imported on use
    allowed = {"tlinear", "numpy", *sys.stdlib_module_names}
    assert {name for name in loaded if not name.startswith("_")} <= allowed


def test_public_names_are_few_and_documented():
    names = [name for name in vars(tlinear) if not name.startswith("_")]
    public = [name for name in names if not isinstance(vars(tlinear)[name], types.ModuleType)]
    assert len(public) <= 20
    for name in public:
        assert vars(tlinear)[name].__doc__


def test_decompose_is_a_function_and_no_module_hides_it():
    import tlinear.algorithms.cp_als
    import tlinear.decomposition

    assert callable(tlinear.decompose)
    assert isinstance(tlinear.decomposition, types.ModuleType)
