"""The contract test of an environment: run `check_env` on a task before you train on it.

Other parts depend on the contract: exact resume on the seeds, the loss on the two flags, the replay pool
on arrays that are not changed later.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sacpipe.core.errors import ContractError, SacpipeError
from sacpipe.envs.base import Environment, TaskSection, require_time_limit
from sacpipe.testing import MIN_SEEDS
from sacpipe.testing.environment_rules import (
    check_bounds,
    check_close,
    check_compute_rewards,
    check_groups,
    check_metrics,
    check_order,
)
from sacpipe.testing.environment_runs import SHORT, Trace, require, run_episode


@dataclass(frozen=True)
class RuleResult:
    """What became of one rule of the contract."""

    rule: str
    error: SacpipeError | None
    """What breaks the rule; None if nothing does, or if it was not checked."""
    is_checked: bool
    """False where a rule before it failed, without which this one says nothing."""
    reason: str
    """What depends on the rule, and how to keep it."""

    @property
    def fault(self) -> str | None:
        """Text of the error, without a full stop."""
        return None if self.error is None else str(self.error).removesuffix(".")


def check_env(task: TaskSection, episodes: int = MIN_SEEDS) -> None:
    """Run episodes of a task with random actions and test every rule of `Environment`.

    Args:
        task: Section to build environments from, e.g. a suite's `example()`; three are made and closed.
        episodes: Number of seeds to try, at least `MIN_SEEDS`.

    Raises:
        ContractError: a rule is broken. The message has the task, the rule and what was found.
        SimulatorError: the task raised an error, or returned a value that its specification excludes.
        ConfigError: the task cannot be made.
        ValueError: `episodes` is below `MIN_SEEDS`.
    """
    for result in env_results(task, episodes):
        if isinstance(result.error, ContractError):
            raise ContractError(f"task '{task.name}' breaks the contract of an environment: {result.fault}.")
        if result.error is not None:
            raise result.error


def env_results(task: TaskSection, episodes: int = MIN_SEEDS) -> Iterator[RuleResult]:
    """Test the rules of `Environment` one by one, and go on after a fault.

    Args:
        task: As for `check_env`.
        episodes: As for `check_env`.

    Raises:
        ValueError: `episodes` is below `MIN_SEEDS`.
    """
    if episodes < MIN_SEEDS:
        raise ValueError(
            f"expected at least {MIN_SEEDS} episodes, found {episodes}: a difference needs two seeds"
        )
    trial = _Trial(task, episodes)
    failed: set[str] = set()
    try:
        for rule, (check, needed, reason) in _RULES.items():
            is_checked = failed.isdisjoint(needed)
            error = None
            if is_checked:
                try:
                    check(trial)
                except SacpipeError as exc:
                    error = exc
            if error is not None or not is_checked:
                failed.add(rule)
            yield RuleResult(rule, error, is_checked, reason)
    finally:
        for env in trial.environments:
            env.close()


class _Trial:
    """Three instances of a task, and the episodes that the rules share."""

    def __init__(self, task: TaskSection, episodes: int) -> None:
        self.task, self.episodes = task, episodes
        self.environments: tuple[Environment, ...] = ()
        self.traces: list[Trace] = []

    def make(self) -> None:
        """Build the three instances."""
        self.environments = tuple(self.task.make() for _ in range(3))
        first, *others = (environment.spec for environment in self.environments)
        name = self.task.name
        require(first.task == name, f"spec.task is '{first.task}', not '{name}'")
        require(
            all(spec == first for spec in others), "two instances of the task have different specifications"
        )
        check_bounds(self.environments[0])

    def check_groups(self) -> None:
        """Check that policy, critics and goal samplers find their terms."""
        check_groups(self.environments[0].spec)

    def check_order(self) -> None:
        """Call the methods in the wrong order and with wrong actions."""
        check_order(self.environments[0])

    def run_episodes(self) -> None:
        """Run a whole episode of each seed."""
        require_time_limit(self.environments[0].spec)
        self.traces = [run_episode(self.environments[0], seed) for seed in range(self.episodes)]

    def check_difference(self) -> None:
        """Compare the episodes of two seeds."""
        different = len(set(self.traces)) == self.episodes
        require(different, "two different seeds gave the same episode")

    def check_repetition(self) -> None:
        """Run a seed again, in an instance that ran other seeds before."""
        env = self.environments[1]
        for other in (self.episodes, 1):
            run_episode(env, other, SHORT)
        fault = "seed 0 gave another episode in an instance that had run other seeds before"
        require(run_episode(env, 0) == self.traces[0], fault)

    def check_ownership(self) -> None:
        """Overwrite what the environment returned and received."""
        env = self.environments[2]
        is_independent = run_episode(env, 0, SHORT) == run_episode(env, 0, SHORT._replace(overwrite=True))
        require(is_independent, "writing into a returned observation or a used action changed the episode")

    def check_clipping(self) -> None:
        """Compare actions outside [-1, 1] with clipped ones."""
        env, wide = self.environments[2], SHORT._replace(scale=3.0)
        clipped = run_episode(env, 1, wide) == run_episode(env, 1, wide._replace(clip=True))
        require(clipped, "an action outside [-1, 1] differs from the clipped action")

    def check_metrics(self) -> None:
        """Compare the metrics of each step with those that the section names."""
        check_metrics(self.environments[2], self.task.metrics)

    def check_rewards(self) -> None:
        """Compare computed rewards with those of the steps."""
        check_compute_rewards(self.environments[2])

    def check_close(self) -> None:
        """Close every instance twice."""
        check_close(self.environments)


_RULES: dict[str, tuple[Callable[[_Trial], None], tuple[str, ...], str]] = {
    "built": (
        _Trial.make,
        (),
        "Training, evaluation and the robot's contract read the task's specification. Repair the task's "
        "constructor, its spaces or its options.",
    ),
    "groups": (
        _Trial.check_groups,
        ("built",),
        "The policy and the critics take their terms by group, and a goal sampler exchanges the desired goal "
        "for an achieved one. Declare the groups in `observation_groups`.",
    ),
    "call order": (
        _Trial.check_order,
        ("built",),
        "A step outside an episode would enter the replay pool. `TaskEnvironment` keeps this rule for its "
        "simulator.",
    ),
    "episodes": (
        _Trial.run_episodes,
        ("built",),
        "Every step must have a new observation (finite float32 terms, uint8 images of the declared shape), "
        "a finite reward and two flags, and the time limit must end the episode: the pool on disk and the "
        "critics' targets depend on it. Repair what `reset` and `step` return.",
    ),
    "seeds differ": (
        _Trial.check_difference,
        ("episodes",),
        "An evaluation over equal episodes measures one episode. Draw the start from `self.np_random`, "
        "which `super().reset(seed=seed)` seeds.",
    ),
    "seed repeats": (
        _Trial.check_repetition,
        ("episodes",),
        "An interrupted run continues by repeating its episode from the seed; without that, its bytes depend "
        "on where it was interrupted. Take every random number from `self.np_random`, and set all state in "
        "`reset`.",
    ),
    "own arrays": (
        _Trial.check_ownership,
        ("episodes", "seed repeats"),
        "The replay buffer keeps what it gets. Return a copy of the state, and do not keep the action.",
    ),
    "clipped actions": (
        _Trial.check_clipping,
        ("episodes", "seed repeats"),
        "A policy's action may exceed the bounds by a rounding. `TaskEnvironment` clips for its simulator.",
    ),
    "metrics": (
        _Trial.check_metrics,
        ("episodes",),
        "Evaluation averages the metrics of all steps. Give every entry that `task.metrics` names in the "
        "`info` of every step, as one finite number.",
    ),
    "computed rewards": (
        _Trial.check_rewards,
        ("episodes",),
        "Rewards of a robot's recordings are computed by this function. Repair it, or leave it out.",
    ),
    "closed": (
        _Trial.check_close,
        ("built",),
        "A closed simulator must not go on. `TaskEnvironment` keeps this rule for its simulator.",
    ),
}
"""Rules by name: the check, the rules without which it says nothing, and what depends on the rule."""
