"""Statistics of episode returns: summary, interquartile mean, bootstrap intervals."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.config import Config
from sacpipe.core.seeding import generator
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes import Episode
from sacpipe.specs.metric import OWN_UNIT, Reward, Unit

_RESAMPLES_AT_ONCE = 1000
"""Resamples computed in one array, to bound the memory."""


class TaskMetric(Config):
    """Mean over the episodes of one entry of `task.metrics`."""

    mean: Annotated[float, OWN_UNIT]
    """Mean over episodes of its mean over their steps."""
    last: Annotated[float, OWN_UNIT]
    """Mean over episodes of its value in their last step."""


class EvaluationSummary(Config):
    """Statistics of one policy in out/evaluate/metrics.json; returns are undiscounted, in task units."""

    episodes: Annotated[int, Unit("episodes")]
    """Number of episodes."""
    return_mean: Reward
    """Mean return."""
    return_median: Reward
    """Median return."""
    return_iqm: Reward
    """Interquartile mean: the mean of the middle half, with fractional weights at its edges."""
    return_std: Reward
    """Standard deviation over these episodes (divided by their number, not by one less)."""
    return_min: Reward
    """Lowest return."""
    return_max: Reward
    """Highest return."""
    return_ci_low: Reward
    """Lower end of the percentile bootstrap interval of the mean."""
    return_ci_high: Reward
    """Upper end of this interval."""
    length_mean: Annotated[float, Unit("steps")]
    """Mean number of steps."""
    task_metrics: dict[str, TaskMetric]
    """Reward terms, success and other entries of `task.metrics`, by name."""


def summarise(episodes: Sequence[Episode], config: EvaluationConfig, seed: int) -> EvaluationSummary:
    """Compute the statistics of one policy.

    Args:
        episodes: Episodes of the policy, at least one, all of the same metrics.
        config: Number of resamples and coverage of the interval.
        seed: Seed of the run, for the bootstrap.

    Raises:
        ValueError: there is no episode.
    """
    if not episodes:
        raise ValueError("expected one or more episodes, found none")
    values = np.sort([episode.episode_return for episode in episodes])
    means = _resampled_means(values, config.bootstrap_resamples, generator(seed, "evaluation/bootstrap"))
    low, high = _percentiles(means, config.confidence)
    return EvaluationSummary(
        episodes=len(values),
        return_mean=float(values.mean()),
        return_median=float(np.median(values)),
        return_iqm=interquartile_mean(values),
        return_std=float(values.std()),
        return_min=float(values[0]),
        return_max=float(values[-1]),
        return_ci_low=low,
        return_ci_high=high,
        length_mean=float(np.mean([episode.length for episode in episodes])),
        task_metrics={name: _task_metric(episodes, name) for name in episodes[0].metrics},
    )


def _task_metric(episodes: Sequence[Episode], name: str) -> TaskMetric:
    return TaskMetric(
        mean=float(np.mean([episode.metrics[name] for episode in episodes])),
        last=float(np.mean([episode.last_metrics[name] for episode in episodes])),
    )


def interquartile_mean(sorted_values: NDArray[np.float64]) -> float:
    """Return the mean of the middle half; a value cut by a quartile has the weight of its part inside.

    The sum of the weighted values is exact and rounded once, so it has no order.
    """
    number = len(sorted_values)
    edges = np.arange(number + 1)
    inside = np.clip(edges, number / 4, 3 * number / 4)
    return math.fsum((np.diff(inside) * sorted_values).tolist()) / (number / 2)


def difference_interval(
    found: Sequence[float], expected: Sequence[float], config: EvaluationConfig, seed: int
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a difference of mean returns: found minus expected.

    The two sides are resampled independently, not in pairs of one seed, because the question is whether two
    policies are about equally good, not whether they act alike in each episode.

    Args:
        found: Returns of one policy, at least one.
        expected: Returns of the other policy, at least one.
        config: Number of resamples and coverage of the interval.
        seed: Seed of the run, for the bootstrap.
    """
    random = generator(seed, "evaluation/difference")
    ours, theirs = (
        _resampled_means(np.sort(np.asarray(side, dtype=np.float64)), config.bootstrap_resamples, random)
        for side in (found, expected)
    )
    return _percentiles(ours - theirs, config.confidence)


def _resampled_means(
    values: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return the mean of each bootstrap resample. Shape (resamples,)."""
    means = np.empty(resamples)
    for start in range(0, len(means), _RESAMPLES_AT_ONCE):
        part = means[start : start + _RESAMPLES_AT_ONCE]
        part[:] = values[random.integers(len(values), size=(len(part), len(values)))].mean(axis=1)
    return means


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the ends of the central interval that has the given share of the values."""
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


class EvaluateMetrics(Config):
    """The whole of out/evaluate/metrics.json: the statistics of each policy."""

    deterministic: EvaluationSummary
    stochastic: EvaluationSummary
    bundle: EvaluationSummary

    def compared(self) -> dict[str, dict[str, float]]:
        """Return the numbers by which people compare policies."""
        interval = ("return_mean", "return_ci_low", "return_ci_high")
        shown = {
            "deterministic": (*interval, "return_iqm", "length_mean"),
            "stochastic": ("return_mean",),
            "bundle": interval,
        }
        return {
            policy: {name: getattr(getattr(self, policy), name) for name in names}
            for policy, names in shown.items()
        }
