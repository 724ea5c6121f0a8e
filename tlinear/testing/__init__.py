"""The oracle: judges any implementation of the layer, in any language.

:func:`check` draws cases, judges what an implementation makes of them by the strongest tier that applies, and
shows the smallest that it gets wrong; :func:`judge` judges one case; :mod:`tlinear.testing.strategies` draws
cases for tests of your own.
"""

import importlib.util

from tlinear.errors import MissingDependencyError

if importlib.util.find_spec("hypothesis") is None:
    raise MissingDependencyError("The oracle needs Hypothesis. Install it with pip install 'tlinear[oracle]'.")

from tlinear.testing import strategies
from tlinear.testing.case import Case
from tlinear.testing.check import check
from tlinear.testing.judge import Rules, judge
from tlinear.testing.program import Program
from tlinear.testing.report import Report

__all__ = ["Case", "Program", "Report", "Rules", "check", "judge", "strategies"]
