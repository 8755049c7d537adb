"""Stops an update before a value that is not finite reaches a parameter."""

import math

import numpy as np

from sacpipe.core.errors import DivergenceError
from sacpipe.specs.records import FloatArray


def refuse_non_finite(term: str, values: FloatArray, gradient_step: int) -> None:
    """Raise an error if any value is not finite.

    Costs one dot product: a finite sum of squares means finite values. Values over 1e19 overflow the sum and
    are refused too.

    Args:
        term: Name of the values, for the message.
        values: Contiguous, a column for each transition of the batch. Shape (..., B).
        gradient_step: Number of the present step, for the message.

    Raises:
        DivergenceError: carries the first row of the batch that has such a value.
    """
    flat = values.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(np.dot(flat, flat)):
            return
        bad = ~np.isfinite(np.square(values))
    place = np.unravel_index(int(bad.argmax()), values.shape)
    raise DivergenceError(
        f"{term} is {values[place]:g} at gradient step {gradient_step}; a finite number of at most 1e19 was "
        "expected. Lower the learning rates, or look at the task's rewards and observations.",
        row=int(bad.reshape(-1, values.shape[-1]).any(axis=0).argmax()),
    )
