"""Tensorized linear layers: the framework-free reference.

A dense weight is reshaped into a higher-order tensor and kept as a low-rank factorization;
the layer's input is contracted with the factors directly.  Start with :mod:`tlinear.micro`,
which is the whole layer in one page.
"""

from tlinear.decomposition import Calibration as Calibration
from tlinear.decomposition import Decomposition as Decomposition
from tlinear.decomposition import decompose as decompose
from tlinear.errors import TLinearError as TLinearError
from tlinear.formats import BlockTTTensor as BlockTTTensor
from tlinear.formats import CPTensor as CPTensor
from tlinear.formats import DenseTensor as DenseTensor
from tlinear.formats import TTTensor as TTTensor
from tlinear.formats import TuckerTensor as TuckerTensor
from tlinear.formats import resolve_rank as resolve_rank
from tlinear.functional import Gradients as Gradients
from tlinear.functional import factorized_linear as factorized_linear
from tlinear.layer import FactorizedLinear as FactorizedLinear
from tlinear.linear import Linear as Linear
from tlinear.shapes import tensorize_shape as tensorize_shape
from tlinear.suggestion import suggest_shapes as suggest_shapes

__version__ = "0.1.0"
