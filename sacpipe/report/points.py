"""Points of a curve: bootstrap intervals, and fewer points that keep the lowest and highest values."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sacpipe.core.seeding import generator
from sacpipe.report.numbers import number

MAX_POINTS = 600
"""Maximum number of points of one curve on the page."""

_RESAMPLES = 2000
_Item = TypeVar("_Item")


class Point(NamedTuple):
    """A value over environment steps, with its range; without a range, low and high equal the value."""

    x: float
    y: float
    low: float
    high: float

    @property
    def shown(self) -> str:
        """The value as text, with digits for its range."""
        return number(self.y, (self.high - self.low) or None)


class Line(NamedTuple):
    """One line: its name, its colour by variable of the style sheet, and its points in order."""

    name: str
    colour: str
    points: Sequence[Point]


def mean_interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Return the percentile-bootstrap interval of the mean. The same values give the same interval.

    Args:
        values: At least one.
        confidence: Coverage, in (0, 1).

    References:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2 or np.all(array == array[0]):
        mean = float(array.mean())
        return mean, mean
    draws = generator(0, "report/bootstrap").integers(0, array.size, size=(_RESAMPLES, array.size))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(array[draws].mean(axis=1), (tail, 100.0 - tail))
    return float(low), float(high)


def evaluation_points(returns: Iterable[tuple[int, float]], confidence: float) -> list[Point]:
    """Return the mean and its interval at every evaluated step, in order of steps, thinned."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for env_steps, episode_return in returns:
        by_step[env_steps].append(episode_return)
    return [
        Point(env_steps, float(np.mean(values)), *mean_interval(values, confidence))
        for env_steps, values in thinned(sorted(by_step.items()))
    ]


def bucketed(rows: Sequence[tuple[float, float]]) -> list[Point]:
    """Return at most `MAX_POINTS` points: means of equal runs of rows, with each run's low and high.

    Args:
        rows: (steps, value), in order. Where there are at most `MAX_POINTS`, each row is one point.
    """
    if len(rows) <= MAX_POINTS:
        return [Point(x, y, y, y) for x, y in rows]
    array = np.asarray(rows, dtype=np.float64)
    points = []
    for bucket in np.array_split(array, MAX_POINTS):
        x, y = bucket.mean(axis=0).tolist()
        points.append(Point(x, y, float(bucket[:, 1].min()), float(bucket[:, 1].max())))
    return points


def thinned(items: Sequence[_Item], limit: int = MAX_POINTS) -> list[_Item]:
    """Return at most `limit` items, evenly spread, with the first and the last."""
    if len(items) <= limit:
        return list(items)
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]
