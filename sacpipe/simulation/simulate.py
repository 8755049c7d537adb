"""Run a policy in its task, whatever form the policy has."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs import AnyTask, TaskConfig, find_task
from sacpipe.envs.base import Options, Policy
from sacpipe.evaluation.episodes import Episode, evaluate, from_task_units
from sacpipe.evaluation.video import VideoConfig, record_episode
from sacpipe.project.workspace import Workspace
from sacpipe.simulation.open_policy import open_policy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

_VIDEO = VideoConfig(height=480, width=640, frames_per_s=30.0, max_s=60.0)


class _TaskParams(Config):
    """The section of params.yaml that a policy's task is compared with."""

    task: TaskConfig


class EpisodeRecord(Config):
    """One episode."""

    episode_return: float
    length: int
    terminated: bool
    truncated: bool


class Simulation(Config):
    """What `sacpipe simulate` saw."""

    task: str
    kind: str
    """`bundle`, `deterministic` or `stochastic`."""
    sha256: str
    """Of the bundle's manifest, or of the policy file."""
    episodes: tuple[EpisodeRecord, ...]
    video: str | None
    """The video, or the file that says why there is none."""


class _Loaded(NamedTuple):
    act: Policy
    spec: EnvSpec
    kind: str
    sha256: str


def simulate(
    policy: str | None, *, episodes: int, seed: int, stochastic: bool, video: Path | None
) -> Simulation:
    """Play episodes with a policy file, a bundle or an alias.

    Raises:
        ConfigError: the arguments do not fit each other.
        BundleError: the bundle is damaged or missing.
        CheckpointError: the policy file is.
        StoreError: the registry has no such alias or does not answer.
    """
    if episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, found {episodes}.")
    if seed < 0:
        raise ConfigError(f"--seed: expected 0 or more, found {seed}.")
    loaded = _load(policy, stochastic=stochastic, seed=seed)
    task = task_of(loaded.spec)
    seeds = [episode_seed(seed, "simulate", index) for index in range(episodes)]
    film = None if video is None else record_episode(loaded.act, task, seeds[0], _VIDEO, video)
    environment = task.make()
    played = evaluate(loaded.act, environment, seeds)
    environment.close()
    return Simulation(
        task=loaded.spec.task,
        kind=loaded.kind,
        sha256=loaded.sha256,
        episodes=tuple(_record(episode) for episode in played),
        video=None if film is None else str(film),
    )


def task_of(spec: EnvSpec, changed: Options | None = None) -> AnyTask:
    """Return the task a policy was trained for, with this workspace's options where it is the same task.

    Args:
        spec: Of the policy.
        changed: Options that are other ones here, as on a robot that is not quite the simulated one.

    Raises:
        ConfigError: the task here has other observations, actions or limits than the policy's.
    """
    task = find_task(spec.task)
    with contextlib.suppress(ConfigError):
        own = _TaskParams.load_sections(Workspace.find().params).task
        task = own if (own.universe, own.id) == (task.universe, task.id) else task
    task = task.replace(options=task.options | (changed or {}))
    environment = task.make()
    environment.close()
    if environment.spec != spec:
        raise ConfigError(
            f"task '{spec.task}' with options {task.options} is not the one this policy was trained for: its "
            "observations, actions or time limit differ. Run this where params.yaml holds the run's own."
        )
    return task


def _record(episode: Episode) -> EpisodeRecord:
    return EpisodeRecord(
        episode_return=episode.episode_return,
        length=episode.length,
        terminated=episode.terminated,
        truncated=episode.truncated,
    )


def _load(policy: str | None, *, stochastic: bool, seed: int) -> _Loaded:
    if policy is not None and policy.endswith(".safetensors"):
        return _load_file(Path(policy), stochastic=stochastic, seed=seed)
    if stochastic:
        raise ConfigError(
            "--stochastic: a bundle holds the deterministic policy only; name a policy.safetensors."
        )
    bundle = open_policy(policy)
    return _Loaded(
        from_task_units(bundle.act, bundle.contract.spec), bundle.contract.spec, "bundle", bundle.digest
    )


def _load_file(path: Path, *, stochastic: bool, seed: int) -> _Loaded:
    from sacpipe.networks.policy_file import read_policy

    actor, header = read_policy(path)
    noise, size = generator(seed, "simulate/noise"), header.spec.action_dim

    def act(observation: FloatArray) -> FloatArray:
        return actor.act(observation, noise.standard_normal(size, dtype=np.float32) if stochastic else None)

    return _Loaded(act, header.spec, "stochastic" if stochastic else "deterministic", sha256_file(path))
