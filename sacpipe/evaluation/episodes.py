"""Play seeded episodes with any policy, and say what the returns mean.

Format of episodes.csv (UTF-8, comma, one header line, Unix line ends), a row an episode:

    policy,episode,seed,return,length,terminated,truncated

`return` is written so that reading it gives the same float64; the flags are `true` or `false`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, ContractError
from sacpipe.core.files import write_text
from sacpipe.core.seeding import generator
from sacpipe.envs.base import Environment, Policy
from sacpipe.evaluation.video import VideoConfig
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.records import FloatArray

_COLUMNS = ("policy", "episode", "seed", "return", "length", "terminated", "truncated")
_RESAMPLES_AT_ONCE = 1000


class EvaluationConfig(Config):
    """`evaluation` section of params.yaml."""

    episodes: int = Field(ge=1)
    """Episodes of each policy; all policies get the same seeds."""
    bootstrap_resamples: int = Field(ge=1)
    """Resamples behind the interval of the mean return; 10,000 is plenty."""
    confidence: float = Field(gt=0.0, lt=1.0)
    """Coverage of that interval, e.g. 0.95."""
    video: VideoConfig | None
    """Film of one episode, or null for none."""


@dataclass(frozen=True)
class Episode:
    """One episode that was played to its end."""

    seed: int
    """What the environment was reset with."""
    episode_return: float
    """Sum of rewards, undiscounted, in task units."""
    length: int
    """Steps."""
    terminated: bool
    truncated: bool
    rewards: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """Of every step, in task units; empty where the episode was read from a file."""


class EvaluationSummary(Config):
    """What out/evaluate/metrics.json says of one policy; returns are undiscounted, in task units."""

    episodes: int
    return_mean: float
    return_median: float
    return_iqm: float
    """Interquartile mean: of the middle half, with fractional weights at its edges."""
    return_std: float
    """Over these episodes (divided by their number, not one less)."""
    return_min: float
    return_max: float
    return_ci_low: float
    """Lower end of the percentile bootstrap interval of the mean."""
    return_ci_high: float
    length_mean: float
    """Steps."""


def evaluate(policy: Policy, environment: Environment, seeds: Sequence[int]) -> tuple[Episode, ...]:
    """Play one whole episode for each seed.

    A policy that keeps something between steps must be handed in fresh, one seed a call.

    Args:
        policy: Maps an observation to an action in [-1, 1]; see `from_task_units` for a bundle.
        environment: Used by nobody else meanwhile.
        seeds: What the environment is reset with.

    Raises:
        ConfigError: the task has no time limit, so an episode may never end.
        ContractError: the policy gave an action of the wrong shape or one that is not finite, or the
            task broke its promise.
    """
    if environment.spec.max_episode_steps is None:
        raise ConfigError(
            f"task '{environment.spec.task}': expected a time limit, found none; an episode may never end."
            " Set task.options.max_episode_steps where the task knows it, or choose another task."
        )
    return tuple(_play(policy, environment, seed) for seed in seeds)


def _play(policy: Policy, environment: Environment, seed: int) -> Episode:
    observation = environment.reset(seed)
    episode_return, rewards = 0.0, []
    while True:
        observation, reward, terminated, truncated = environment.step(policy(observation))
        episode_return += reward
        rewards.append(reward)
        if terminated or truncated:
            return Episode(seed, episode_return, len(rewards), terminated, truncated, tuple(rewards))


def from_task_units(policy: Policy, spec: EnvSpec) -> Policy:
    """Return a policy in [-1, 1] from one that answers in the task's own units, as a bundle does.

    The environment scales it back; where the bounds are -1 and 1 the action arrives bit for bit, else
    within a rounding of float32. Actions outside the bounds are clipped there, as everywhere.
    """
    rescale = to_unit_range(spec)

    def act(observation: FloatArray) -> FloatArray:
        return rescale(policy(observation))

    return act


def summarise(
    returns: Sequence[float], lengths: Sequence[int], config: EvaluationConfig, seed: int
) -> EvaluationSummary:
    """Describe the returns of one policy.

    Args:
        returns: One an episode, at least one.
        lengths: Steps of the same episodes.
        config: Size and coverage of the interval.
        seed: The run's seed, behind the bootstrap.

    Raises:
        ValueError: there is no episode, or the two sequences differ in length.
    """
    if not returns or len(returns) != len(lengths):
        raise ValueError(f"expected one length a return, one or more; found {len(lengths)}, {len(returns)}")
    values = np.sort(np.asarray(returns, dtype=np.float64))
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
        length_mean=float(np.mean(lengths)),
    )


def interquartile_mean(sorted_values: NDArray[np.float64]) -> float:
    """Return the mean of the middle half; a value that a quartile cuts counts for its part inside."""
    number = len(sorted_values)
    edges = np.arange(number + 1)
    inside = np.clip(edges, number / 4, 3 * number / 4)
    return float(np.dot(np.diff(inside), sorted_values) / (number / 2))


def difference_interval(
    found: Sequence[float], expected: Sequence[float], config: EvaluationConfig, seed: int
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a difference of mean returns: found minus expected.

    Each side is resampled by itself, not in pairs of one seed: the question is whether two policies are
    about as good over such episodes, not whether they act alike in each.

    Args:
        found: Returns of the one, at least one.
        expected: Returns of the other, at least one.
        config: Size and coverage of the interval.
        seed: The run's seed, behind the bootstrap.
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
    means = np.empty(resamples)
    for start in range(0, len(means), _RESAMPLES_AT_ONCE):
        part = means[start : start + _RESAMPLES_AT_ONCE]
        part[:] = values[random.integers(len(values), size=(len(part), len(values)))].mean(axis=1)
    return means


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def write_episodes_csv(path: Path, episodes: Mapping[str, Sequence[Episode]]) -> None:
    """Write every episode of every policy; the same episodes give the same bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for policy, played in episodes.items():
        for number, one in enumerate(played):
            flags = [str(flag).lower() for flag in (one.terminated, one.truncated)]
            writer.writerow([policy, number, one.seed, repr(float(one.episode_return)), one.length, *flags])
    write_text(path, text.getvalue())


def read_episodes_csv(path: Path) -> dict[str, tuple[Episode, ...]]:
    """Read what `write_episodes_csv` wrote, by policy.

    Raises:
        ContractError: the file is missing or is not in this format.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _parse_episodes(list(csv.reader(file)))
    except (OSError, ValueError) as exc:
        raise ContractError(f"{path} does not hold episodes: {exc}. Run the evaluate stage again.") from exc


def _parse_episodes(rows: Sequence[Sequence[str]]) -> dict[str, tuple[Episode, ...]]:
    """Read the rows of a file.

    Raises:
        ValueError: the header or a row is not of this format.
    """
    header = tuple(rows[0]) if rows else ()
    if header != _COLUMNS:
        raise ValueError(f"expected the columns {','.join(_COLUMNS)}, found {','.join(header) or 'none'}")
    found: dict[str, list[Episode]] = {}
    for policy, _, seed, episode_return, length, terminated, truncated in rows[1:]:
        flags = (_read_flag(terminated), _read_flag(truncated))
        episode = Episode(int(seed), float(episode_return), int(length), *flags)
        found.setdefault(policy, []).append(episode)
    return {policy: tuple(played) for policy, played in found.items()}


def _read_flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"expected true or false, found {text!r}")
    return text == "true"
