"""Scales of the axes: from values to lengths, with round values as ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sacpipe.report import numbers

_ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOG_RATIO = 30.0
"""Ratio of highest to lowest value from which an axis is logarithmic, where that is allowed."""


@dataclass(frozen=True)
class Scale:
    """A map from values in [low, high] to lengths in [start, end]."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    is_log: bool = False

    @property
    def labelled(self) -> list[tuple[float, str]]:
        """The ticks with their labels, which share one unit unless the ticks are decades."""
        ticks = list(self.ticks)
        labels = [numbers.number(tick) for tick in ticks] if self.is_log else numbers.tick_labels(ticks)
        return list(zip(ticks, labels, strict=True))

    def __call__(self, value: float) -> float:
        """Return the length of a value; a value outside the range gets the length of the nearest end."""
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def fit(values: Iterable[float], start: float, end: float, *, num_ticks: int, may_log: bool = False) -> Scale:
    """Return a scale that shows all values with a small margin, and round ticks.

    Args:
        values: Finite numbers. No value gives the range 0 to 1; a single value gets a range around it.
        start: Length of the lowest value.
        end: Length of the highest value.
        num_ticks: Approximate number of ticks.
        may_log: Whether the axis may be logarithmic, which it is for a ratio of 30 or more.
    """
    finite = list(values)
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if may_log and low > 0 and high / low >= _LOG_RATIO:
        return _fit_log(low, high, start, end)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        room = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low - room, high + room
    low, high = _with_margin(low, high)
    step = _round_step((high - low) / max(num_ticks, 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, start, end, tuple(index * step for index in range(first, last + 1)))


def span(high: float, start: float, end: float, *, num_ticks: int) -> Scale:
    """Return a scale from exactly 0 to exactly `high`, with round ticks, for an axis of steps."""
    high = high if high > 0 else 1.0
    step = max(_round_step(high / max(num_ticks, 1)), 1.0)
    ticks = tuple(index * step for index in range(math.floor(high / step + 1e-9) + 1))
    return Scale(0.0, high, start, end, ticks)


def _with_margin(low: float, high: float) -> tuple[float, float]:
    """Return a range 4% wider at both ends. An end near zero becomes zero; no end crosses zero."""
    margin, near = 0.04 * (high - low), 0.15 * (high - low)
    return (0.0 if 0 <= low < near else low - margin), (0.0 if -near < high <= 0 else high + margin)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _ROUND_STEPS if step * power >= rough * (1 - 1e-9))


def _fit_log(low: float, high: float, start: float, end: float) -> Scale:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    stride = max(1, math.ceil((last - first) / 5))
    ticks = tuple(10.0**power for power in range(first, last + 1, stride))
    return Scale(10.0**first, max(10.0**last, ticks[-1]), start, end, ticks, is_log=True)
