"""Run episodes of a policy file, a bundle or a registered policy in its task."""

import contextlib
from pathlib import Path

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import episode_seed
from sacpipe.envs import TaskConfig, find_task
from sacpipe.envs.base import Options
from sacpipe.evaluation.episodes import Episode, evaluate
from sacpipe.evaluation.video import VideoConfig, record_episode
from sacpipe.project.workspace import Workspace
from sacpipe.simulation.load_policy import POLICY_FILE_SUFFIX, load_policy
from sacpipe.specs.env_spec import EnvSpec

_VIDEO = VideoConfig(height=480, width=640, frames_per_s=30.0, max_s=60.0)


class _TaskParams(Config):
    """The section of params.yaml with which a policy's task is compared."""

    task: TaskConfig


class EpisodeRecord(Config):
    """One episode."""

    episode_return: float
    length: int
    terminated: bool
    truncated: bool


class Simulation(Config):
    """Result of `sacpipe simulate`."""

    task: str
    kind: str
    """`bundle`, `deterministic` or `stochastic`."""
    sha256: str
    """SHA-256 of the bundle's manifest, or of the policy file."""
    episodes: tuple[EpisodeRecord, ...]
    video: str | None
    """Path of the video, or of the file with the reason why there is none."""


def simulate(
    policy: str | None, *, episodes: int, seed: int, stochastic: bool, video: Path | None
) -> Simulation:
    """Run episodes of a policy file, a bundle or an alias.

    Raises:
        ConfigError: the arguments do not fit each other.
        BundleError: the load gate refuses the bundle.
        CheckpointError: the policy file is damaged or missing.
        StoreError: the registry has no such alias or does not answer.
    """
    if episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, found {episodes}.")
    if seed < 0:
        raise ConfigError(f"--seed: expected 0 or more, found {seed}.")
    if stochastic and (policy is None or not policy.endswith(POLICY_FILE_SUFFIX)):
        raise ConfigError(
            "--stochastic: a bundle holds the deterministic policy only; name a policy.safetensors."
        )
    loaded = load_policy(policy, stochastic=stochastic, seed=seed)
    task = task_of(loaded.spec)
    seeds = [episode_seed(seed, "simulate", index) for index in range(episodes)]
    video_path = None if video is None else record_episode(loaded.unit_policy, task, seeds[0], _VIDEO, video)
    environment = task.make()
    found = evaluate(loaded.unit_policy, environment, seeds)
    environment.close()
    return Simulation(
        task=loaded.spec.task,
        kind=loaded.kind,
        sha256=loaded.sha256,
        episodes=tuple(_record(episode) for episode in found),
        video=None if video_path is None else str(video_path),
    )


def task_of(spec: EnvSpec, changed: Options | None = None) -> TaskConfig:
    """Return the task of a policy, with this workspace's options where params.yaml names the same task.

    Args:
        spec: The policy's task, terms and limits.
        changed: Task options that differ here, as on a robot that differs from the simulated one.

    Raises:
        ConfigError: the task has other observations, actions or limits than the policy's.
    """
    task = find_task(spec.task)
    with contextlib.suppress(ConfigError):
        own = _TaskParams.load_sections(Workspace.find().params).task
        task = own if (own.suite, own.id) == (task.suite, task.id) else task
    task = task.replace(options=task.options | (changed or {}))
    environment = task.make()
    environment.close()
    if environment.spec != spec:
        raise ConfigError(
            f"task '{spec.task}' with options {task.options}: expected the observations, actions and "
            "time limit of the policy's training, found others. Run this in the project that trained the "
            "policy."
        )
    return task


def _record(episode: Episode) -> EpisodeRecord:
    return EpisodeRecord(
        episode_return=episode.episode_return,
        length=episode.length,
        terminated=episode.terminated,
        truncated=episode.truncated,
    )
