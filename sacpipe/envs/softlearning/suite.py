"""The section of the task suite `softlearning`, and the table of its tasks.

The ids are Softlearning's. A task's file is imported when the task is made, so that a run loads, and depends
on, its own task only.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Self

from sacpipe.envs.base import (
    ComputeRewards,
    Environment,
    Options,
    Simulator,
    TaskSection,
    try_step,
    unknown_task,
)
from sacpipe.envs.foreign_code import task_errors
from sacpipe.envs.info_metrics import metrics_reader
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec


class BuiltTask(NamedTuple):
    """What the file of a task returns."""

    spec: EnvSpec
    simulator: Simulator
    compute_rewards: ComputeRewards | None = None


BuildTask = Callable[[str, Options, tuple[int, int] | None], BuiltTask]
"""Builds a task from its name (suite and id), its options, and the size of rendered images or None."""

_FOLDER = "sacpipe.envs.softlearning"
_TASKS = {
    "MultiGoal-Default-v0": "multi_goal:build",
}
"""Module and function of type `BuildTask`, by id."""


class SoftlearningTask(TaskSection):
    """`task` section of the task suite softlearning."""

    suite_name: ClassVar[str] = "softlearning"

    id: str
    """Domain, task and version as in Softlearning, e.g. `MultiGoal-Default-v0`."""
    options: Options
    """Keyword arguments of the task, e.g. `goal_reward`, and `max_episode_steps`."""

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, so that a bad option is found here.

        Raises:
            UnknownTaskError: no such task.
            ConfigError: see `TaskSection.make`.
            RendererError: a render size is given and no renderer works here.
        """
        if self.id not in _TASKS:
            raise unknown_task(self.suite_name, self.id, self.tasks())
        module, _, function = _TASKS[self.id].partition(":")
        with task_errors(self.name, self.options):
            build: BuildTask = getattr(importlib.import_module(f"{_FOLDER}.{module}"), function)
            built = build(self.name, self.options, render_size)
            try_step(built.simulator, built.spec, metrics_reader(self.metrics))
        return TaskEnvironment(built.spec, built.simulator, built.compute_rewards, metrics=self.metrics)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids, sorted."""
        return tuple(sorted(_TASKS))

    @classmethod
    def example(cls) -> Self:
        """Return the point with four goals, and a metric."""
        return cls(suite="softlearning", id="MultiGoal-Default-v0", options={}, metrics=("is_success",))
