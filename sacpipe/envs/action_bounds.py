"""The bounds of a task's actions as float32, for every task suite.

Policies, bundles and simulators compute actions in float32. A bound that float32 cannot hold is rounded
inwards, so that a saturated action lies inside the task's own action space.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import MAX_ACTION


def action_bounds(
    task: str, low: NDArray[Any], high: NDArray[Any], no_bound: float = math.inf
) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest action, rounded inwards where float32 cannot hold the task's own.

    Args:
        task: Task suite and id, for messages.
        low: Lowest action, of any floating type. Shape (action_dim,).
        high: Highest action. Shape (action_dim,).
        no_bound: Magnitude from which a bound means that there is none.

    Raises:
        ConfigError: an entry has no bound, equal bounds, too large ones, or no float32 range between them.
    """
    with np.errstate(over="ignore"):
        rounded_low, rounded_high = _round_inwards(low, 1.0), _round_inwards(high, -1.0)
    for index in range(len(low)):
        fault = _fault(float(low[index]), float(high[index]), no_bound)
        if fault is None and not rounded_low[index] < rounded_high[index]:
            fault = "float32 has no two numbers between them. Widen the range, or use another unit."
        if fault is not None:
            raise ConfigError(f"task '{task}': action entry {index}, {low[index]} to {high[index]}: {fault}")
    return rounded_low, rounded_high


def _fault(low: float, high: float, no_bound: float) -> str | None:
    if not (abs(low) < no_bound and abs(high) < no_bound):
        return "expected two finite bounds. Choose a task whose actions have limits."
    if low == high:
        return (
            "expected a range, found equal bounds: the entry is a constant. Remove it from the task's action "
            "space and set it inside the task."
        )
    if low > high:
        return "expected the lower bound first. Exchange the bounds in the task's action space."
    if max(-low, high) > MAX_ACTION or max(low, -high) > MAX_ACTION:
        return (
            f"expected bounds of at most {MAX_ACTION:g} in magnitude, because actions are shares of high - "
            "low in float32. Give the task's action space the limits of its actuators."
        )
    return None


def _round_inwards(bounds: NDArray[Any], direction: float) -> FloatArray:
    """Round to float32, up where `direction` is 1, down where it is -1."""
    nearest = bounds.astype(np.float32)
    is_outside = nearest < bounds if direction > 0 else nearest > bounds
    inner = np.nextafter(nearest, np.float32(direction * np.inf))
    return np.where(is_outside, inner, nearest).astype(np.float32)
