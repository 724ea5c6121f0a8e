"""The environment of a process that a test starts."""

import os
from pathlib import Path

import tlinear


def with_package():
    """In which this same package is imported, wherever the process runs."""
    paths = [str(Path(tlinear.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
