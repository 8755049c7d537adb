"""Run episodes of a policy file, a bundle or a registered policy in its task."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import episode_seed
from sacpipe.envs.base import TaskSection
from sacpipe.evaluation.config import DEFAULT_EPISODES
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.episodes import evaluate as run_episodes
from sacpipe.evaluation.video import VideoConfig, record_episode
from sacpipe.params import DEFAULT_SEED
from sacpipe.simulation.load_policy import LoadedPolicy, load_policy
from sacpipe.simulation.policy_task import check_task, task_of

_VIDEO = VideoConfig(height=480, width=640, frames_per_s=30.0, max_s=60.0)


class EpisodeRecord(Config):
    """One episode."""

    episode_return: float
    length: int
    terminated: bool
    truncated: bool
    metrics: Mapping[str, float]
    """Mean over the steps of each entry of `task.metrics`."""
    last_metrics: Mapping[str, float]
    """Each of these entries in the last step."""


class Simulation(Config):
    """Result of `sacpipe simulate`."""

    task: str
    kind: str
    """As of `LoadedPolicy`."""
    sha256: str
    """SHA-256 of the bundle's manifest, or of the policy file."""
    episodes: tuple[EpisodeRecord, ...]
    video: str | None
    """Path of the video, or of the file with the reason why there is none."""


def simulate(
    policy: str | None, *, task: str | None, episodes: int, seed: int, stochastic: bool, video: Path | None
) -> Simulation:
    """Run episodes of a policy file, a bundle or an alias.

    Args:
        policy: Path or address, as for `load_policy`.
        task: `SUITE/[MODULE:]ID`; None for the task of params.yaml.
        episodes: Number of episodes.
        seed: Seed of the episodes and of sampled actions.
        stochastic: Whether actions are sampled.
        video: Folder for a video of the first episode, or None.

    Raises:
        ConfigError: the arguments do not fit each other, or `task_of` finds no task of the policy.
        BundleError: the load gate refuses the bundle.
        CheckpointError: the policy file is damaged or missing.
        StoreError: the registry has no such alias or does not answer.
    """
    if episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, found {episodes}.")
    if seed < 0:
        raise ConfigError(f"--seed: expected 0 or more, found {seed}.")
    loaded = load_policy(policy, stochastic=stochastic, seed=seed)
    section = task_of(loaded.spec, task)
    seeds = [episode_seed(seed, "simulate", index) for index in range(episodes)]
    video_path = (
        None if video is None else record_episode(loaded.unit_policy, section, seeds[0], _VIDEO, video)
    )
    environment = section.make()
    found = run_episodes(loaded.unit_policy, environment, seeds)
    environment.close()
    return Simulation(
        task=loaded.spec.task,
        kind=loaded.kind,
        sha256=loaded.sha256,
        episodes=tuple(
            EpisodeRecord(**{name: getattr(episode, name) for name in EpisodeRecord.model_fields})
            for episode in found
        ),
        video=None if video_path is None else str(video_path),
    )


def evaluate(
    policy: LoadedPolicy | Path | str,
    task: TaskSection | str | None = None,
    *,
    episodes: int = DEFAULT_EPISODES,
    seed: int = DEFAULT_SEED,
) -> tuple[Episode, ...]:
    """Run whole episodes and return what became of each.

    The same seed gives the episodes of the evaluate stage: a bundle gives the rows of its episodes.csv,
    unless it has the input `noise`, for which that stage has draws and `load_policy` zeros.

    Args:
        policy: As `load_policy` returns it, or a source that `load_policy` takes.
        task: A `task` section of params.yaml, or `SUITE/[MODULE:]ID`; None for the task in params.yaml of the
            project around the current folder.
        episodes: How many, at least 1.
        seed: The run's seed.

    Raises:
        ConfigError: an argument is out of range, or the task differs from the one of the policy.
        SimulatorError: the task raised an error, or returned a value that its specification excludes.
        ContractError: an action of the policy has the wrong shape or is not finite.
    """
    if episodes < 1:
        raise ConfigError(f"episodes: expected at least 1, found {episodes}.")
    if not isinstance(policy, LoadedPolicy):
        policy = load_policy(policy)
    seeds = [episode_seed(seed, "evaluate", index) for index in range(episodes)]
    section = task if isinstance(task, TaskSection) else task_of(policy.spec, task)
    environment = section.make()
    with contextlib.closing(environment):
        check_task(environment, policy.spec, section.options)
        return run_episodes(policy.unit_policy, environment, seeds)
