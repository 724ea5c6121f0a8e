"""This folder is only run on purpose, so that weights which are not there are a failure, and not a reason to skip."""

import pytest
from weights.minilm import MissingWeightsError, weights_file


def pytest_configure():
    try:
        weights_file()
    except MissingWeightsError as missing:
        raise pytest.UsageError(str(missing)) from missing
