"""Run every prompt of the pages and of the public docstrings when the site is built, and refuse a wrong output."""

import doctest
import importlib
import pkgutil
from pathlib import Path

from hypothesis import settings
from sphinx.errors import ExtensionError
from sphinx.util import logging

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
logger = logging.getLogger(__name__)


def run(app):
    """Every page's examples, in a namespace for each page, and every docstring's of every module."""
    import tlinear

    if not app.config.executed_examples:
        return
    # as in the tests: the same cases each time, and no deadline for a machine that has other things to do
    settings.register_profile("site", derandomize=True, deadline=None, database=None)
    settings.load_profile("site")
    failed, attempted = [], 0
    for page in sorted(Path(app.srcdir).rglob("*.md")):
        if "_build" not in page.parts:
            result = doctest.testfile(str(page), module_relative=False, optionflags=FLAGS, encoding="utf-8")
            failed += [str(page)] * bool(result.failed)
            attempted += result.attempted
    for found in pkgutil.walk_packages(tlinear.__path__, "tlinear."):
        if not found.name.endswith("__main__"):
            result = doctest.testmod(importlib.import_module(found.name), optionflags=FLAGS)
            failed += [found.name] * bool(result.failed)
            attempted += result.attempted
    if failed:
        raise ExtensionError(f"The examples of {', '.join(failed)} do not give what they show.")
    logger.info("executed %d examples of pages and docstrings", attempted)


def setup(app):
    """Before anything is read; ``-D executed_examples=0`` leaves it out while one writes."""
    app.add_config_value("executed_examples", True, "")
    app.connect("builder-inited", run)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
