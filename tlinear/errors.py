"""Every error that tlinear raises on purpose.

All derive from :class:`TLinearError`, and also from the built-in that a caller
would catch by habit (``ValueError``, ``TypeError``, ``RuntimeError``).  A message
quotes both sides of the disagreement and ends with the remedy.
"""

__all__ = [
    "CalibrationError",
    "DTypeError",
    "DecompositionError",
    "DeviceError",
    "FactorizationError",
    "ImplementationError",
    "InfeasibleRankError",
    "MemoryLimitError",
    "MissingDependencyError",
    "NetworkError",
    "NonFiniteError",
    "OptionError",
    "ParameterError",
    "ProgramError",
    "RangeError",
    "RankError",
    "ShapeError",
    "StateError",
    "TLinearError",
    "VectorError",
]


class TLinearError(Exception):
    """The base of every error raised on purpose."""


class ShapeError(TLinearError, ValueError):
    """Two shapes, or a shape and a number of features, do not fit together."""


class RankError(TLinearError, ValueError):
    """A rank has the wrong form, or is larger than the largest useful one."""


class InfeasibleRankError(RankError):
    """Even rank 1 costs more parameters than the budget allows."""


class FactorizationError(TLinearError, ValueError):
    """The name or class of a factorization is not known."""


class ImplementationError(TLinearError, ValueError):
    """`implementation` is not one of the known ones, or not that of the order that was asked for."""


class NetworkError(TLinearError, ValueError):
    """The labels that a format states do not form a network."""


class DTypeError(TLinearError, TypeError):
    """An array is not numeric or does not fit its partner's dtype, or an object is no array, or no dense layer."""


class DeviceError(TLinearError, TypeError):
    """Arrays of two libraries or of two devices meet, or one of these cannot do what was asked."""


class NonFiniteError(TLinearError, ValueError):
    """An array to be decomposed holds NaN or infinity."""


class RangeError(TLinearError, OverflowError):
    """Numbers are larger than the dtype that they are to be kept in can hold."""


class CalibrationError(TLinearError, ValueError):
    """Data to calibrate by hold no input, or are no second moment, or might be either samples or a second moment."""


class OptionError(TLinearError, TypeError):
    """An option is unknown to the algorithm it was given to, or out of range."""


class MemoryLimitError(TLinearError, MemoryError):
    """An array takes more bytes than one can have or than there are, or no plan keeps to the memory limit."""


class ParameterError(TLinearError, ValueError):
    """The names in a dict of parameters or gradients are not the layer's."""


class StateError(TLinearError, RuntimeError):
    """A call came out of order, such as ``backward`` before ``forward``."""


class DecompositionError(TLinearError, RuntimeError):
    """LAPACK gave up on a matrix that holds only finite numbers."""


class MissingDependencyError(TLinearError, ImportError):
    """An optional package is needed for what was asked, and is not installed."""


class VectorError(TLinearError, ValueError):
    """A stored case, or stored results, cannot be read."""


class ProgramError(TLinearError, RuntimeError):
    """An external program that is to be judged gives nothing that could be.

    Attributes
    ----------
    exit_code : int
        With which it ended; 0 where it did not get so far, or was killed, and -1 where it could not be started.
    """

    def __init__(self, message: str, exit_code: int = 0) -> None:
        super().__init__(message)
        self.exit_code = exit_code
