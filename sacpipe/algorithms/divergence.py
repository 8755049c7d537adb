"""Stops an update before what is not finite reaches a parameter."""

import math

import numpy as np

from sacpipe.core.errors import DivergenceError
from sacpipe.core.records import FloatArray


def refuse_non_finite(term: str, values: FloatArray, gradient_step: int) -> None:
    """Refuse values, a column a row of the batch, that are not all finite.

    Costs one dot product where they are. A finite sum of squares means finite values; values over 1e19
    overflow it and are refused too.

    Args:
        term: What the values are.
        values: Contiguous. Shape (..., B).
        gradient_step: The one that is being made, for the message.

    Raises:
        DivergenceError: with the first row that has such a value.
    """
    flat = values.reshape(-1)
    if math.isfinite(np.dot(flat, flat)):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(np.square(values))
    place = np.unravel_index(int(bad.argmax()), values.shape)
    rows = bad.reshape(-1, values.shape[-1]).any(axis=0)
    raise DivergenceError(
        f"{term} is {values[place]} at gradient step {gradient_step}; a finite number was expected. Lower the "
        "learning rates, or look at the task's rewards and observations.",
        row=int(rows.argmax()),
    )
