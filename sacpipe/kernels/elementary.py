"""The kernels' own exp, log, log1p and tanh, which give the same numbers on every processor."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.interface import library

Floats = NDArray[np.float32]
_EXPONENTIAL, _LOGARITHM, _LOG_ONE_PLUS, _HYPERBOLIC_TANGENT = range(4)


def exponential(values: Floats) -> Floats:
    """Return e to the power of every number between -86 and 88; outside, that of the nearer bound."""
    return _apply(_EXPONENTIAL, values)


def logarithm(values: Floats) -> Floats:
    """Return the natural logarithm of every number, which must be positive and not denormal."""
    return _apply(_LOGARITHM, values)


def log_one_plus(values: Floats) -> Floats:
    """Return log(1 + x) of every number between 0 and 1."""
    return _apply(_LOG_ONE_PLUS, values)


def hyperbolic_tangent(values: Floats) -> Floats:
    """Return tanh of every number."""
    return _apply(_HYPERBOLIC_TANGENT, values)


def _apply(function: int, values: Floats) -> Floats:
    inputs = np.asarray(values, dtype=np.float32, order="C")
    outputs = np.empty_like(inputs)
    library().sacpipe_elementary(function, inputs.ctypes.data, outputs.ctypes.data, inputs.size)
    return outputs
