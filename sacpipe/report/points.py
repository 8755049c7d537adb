"""Points of a curve: means with intervals, and fewer points that keep the lowest and highest values."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.statistics import summarise
from sacpipe.report.numbers import number

MAX_POINTS = 600
"""Maximum number of points of one curve on the page."""

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

    @property
    def is_ranged(self) -> bool:
        """Whether a point has a range."""
        return any(point.low < point.high for point in self.points)


def evaluation_points(returns: Iterable[tuple[int, float]], config: EvaluationConfig) -> list[Point]:
    """Return the mean and its bootstrap interval at every evaluated step, in order of steps, thinned.

    Args:
        returns: (env_steps, return of an episode), in any order.
        config: Number of resamples and coverage of the interval.
    """
    by_step: dict[int, list[Episode]] = defaultdict(list)
    for env_steps, value in returns:
        by_step[env_steps].append(Episode(0, value, 0, terminated=False, truncated=True))
    found = [(step, summarise(episodes, config, 0)) for step, episodes in thinned(sorted(by_step.items()))]
    return [Point(step, one.return_mean, one.return_ci_low, one.return_ci_high) for step, one in found]


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
