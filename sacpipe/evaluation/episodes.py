"""Runs seeded episodes of an environment with any policy."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sacpipe.envs.base import Environment, Policy, require_time_limit
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


@dataclass(frozen=True)
class Episode:
    """One complete episode."""

    seed: int
    """Seed that the environment was reset with."""
    episode_return: float
    """Undiscounted sum of rewards, in task units."""
    length: int
    """Number of steps."""
    terminated: bool
    """The task itself ended the episode."""
    truncated: bool
    """A time limit ended the episode."""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Mean over the steps of each entry of `info` that `task.metrics` names."""
    last_metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Each of these entries in the last step."""
    rewards: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """Reward of every step, in task units; empty if the episode was read from a file."""


def evaluate(policy: Policy, environment: Environment, seeds: Sequence[int]) -> tuple[Episode, ...]:
    """Run one complete episode for each seed.

    For a policy with internal state, call this with one seed and a new policy each time.

    Args:
        policy: Maps an observation to an action in [-1, 1]; see `from_task_units` for a bundle.
        environment: Environment that nothing else uses meanwhile.
        seeds: Seeds to reset the environment with.

    Raises:
        ConfigError: the task has no time limit, so an episode may never end.
        SimulatorError: the task raised an error, or returned a value that its specification excludes.
        ContractError: an action of the policy has the wrong shape or is not finite.
    """
    require_time_limit(environment.spec)
    return tuple(_run_episode(policy, environment, seed) for seed in seeds)


def _run_episode(policy: Policy, environment: Environment, seed: int) -> Episode:
    """Run one episode to its end."""
    observation = environment.reset(seed)
    episode_return, rewards = 0.0, []
    sums: defaultdict[str, float] = defaultdict(float)
    while True:
        step = environment.step(policy(observation))
        observation = step.observation
        episode_return += step.reward
        rewards.append(step.reward)
        for name, value in step.metrics.items():
            sums[name] += value
        if step.terminated or step.truncated:
            return Episode(
                seed=seed,
                episode_return=episode_return,
                length=len(rewards),
                terminated=step.terminated,
                truncated=step.truncated,
                metrics={name: total / len(rewards) for name, total in sums.items()},
                last_metrics=dict(step.metrics),
                rewards=tuple(rewards),
            )


def from_task_units(policy: Policy, spec: EnvSpec) -> Policy:
    """Return a policy with actions in [-1, 1] from one with actions in task units, such as a bundle's.

    The environment scales the action back. If the bounds are -1 and 1, the action reaches the simulator bit
    for bit, else with a rounding error of float32. The environment clips actions outside the bounds.
    """
    rescale = to_unit_range(spec)

    def act(observation: Observation) -> FloatArray:
        return rescale(policy(observation))

    return act
