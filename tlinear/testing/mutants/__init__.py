"""Known mistakes: what they compute, so that the judge can be judged, and can name them.

Each is a wrong implementation of the layer.  The judge must reject every one of them; and where an
implementation that it rejects computes, in every case that was tried, just what one of these computes,
that is most likely the mistake.
"""

from tlinear.testing.mutants import modes, operands, conjugates, bias, gradients, tangents  # noqa: F401, I001  # in this order
from tlinear.testing.mutants.arithmetic import FEW_BITS
from tlinear.testing.mutants.registry import MUTANTS, Mutant, right

__all__ = ["FEW_BITS", "MUTANTS", "Mutant", "right"]
