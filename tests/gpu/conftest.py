"""CuPy, or with ``--mock`` what stands in for it: without a GPU every test here says that it did not run."""

import importlib

import pytest


def pytest_addoption(parser):
    parser.addoption("--mock", action="store_true", help="array-api-strict in place of CuPy, where there is no GPU")


@pytest.fixture(scope="session")
def cp(request):
    if request.config.getoption("--mock"):
        return importlib.import_module("mock_cupy")
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install '.[cupy]' where there is a GPU")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU; with --mock these tests run on array-api-strict instead")
    return cupy


@pytest.fixture
def transfers(cp, monkeypatch):
    """What is copied to the host, by the name of the method that does it."""
    seen = []

    def counting(name, method):
        def call(self, *arguments, **options):
            seen.append(name)
            return method(self, *arguments, **options)

        return call

    for name in getattr(cp, "DOORS", ("get",)):
        method = getattr(cp.ndarray, name, None)
        if method is not None:
            monkeypatch.setattr(cp.ndarray, name, counting(name, method))
    return seen
