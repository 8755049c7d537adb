"""Evaluates a policy in its task, on the episodes of the evaluate stage."""

import contextlib
from pathlib import Path

from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import episode_seed
from sacpipe.envs.base import TaskSection
from sacpipe.evaluation.config import DEFAULT_EPISODES
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.episodes import evaluate as run_episodes
from sacpipe.params import DEFAULT_SEED
from sacpipe.simulation.load_policy import LoadedPolicy, load_policy
from sacpipe.simulation.policy_task import check_task, task_of


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
