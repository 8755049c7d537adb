"""Run seeded episodes of an environment with any policy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sacpipe.core.errors import ConfigError
from sacpipe.envs.base import Environment, Policy
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.records import FloatArray


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
