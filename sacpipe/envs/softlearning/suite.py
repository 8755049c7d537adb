"""The section of the task suite `softlearning`, and the table of its tasks.

The ids are Softlearning's. A task's file is imported when the task is made, so that a run loads, and depends
on, its own task only.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from sacpipe.core.config import Config
from sacpipe.envs.base import Options, unknown_task
from sacpipe.envs.built_task import BuiltTask, BuiltTaskSection


class TaskFile(NamedTuple):
    """What the file of a task has by id, in its mapping `TASKS`."""

    options: type[Config]
    """Model of the options."""
    build: Callable[[str, Any, tuple[int, int] | None], BuiltTask]
    """Builds the task from its name (suite and id), its options, and the size of rendered images or None."""


_FOLDER = "sacpipe.envs.softlearning"
_MODULES = {
    "Ant-CrossMaze-v0": "ant_maze",
    "Ant-SimpleMaze-v0": "ant_maze",
    "MultiGoal-Default-v0": "multi_goal",
    "Point2DEnv-Default-v0": "point_2d",
    "Point2DEnv-Wall-v0": "point_2d",
    "Pusher2d-BlindReach-v0": "pusher_2d",
    "Pusher2d-Default-v0": "pusher_2d",
    "Pusher2d-DefaultReach-v0": "pusher_2d",
}
"""File of each task, by id."""


class SoftlearningTask(BuiltTaskSection):
    """`task` section of the task suite softlearning."""

    suite_name: ClassVar[str] = "softlearning"

    id: str
    """Domain, task and version as in Softlearning, e.g. `MultiGoal-Default-v0`."""
    options: Options
    """Keyword arguments of the task, e.g. `goal_reward`, and `max_episode_steps`."""

    def build(self, render_size: tuple[int, int] | None) -> BuiltTask:
        """Build the task by its file; an option that is unknown or out of its range is refused."""
        if self.id not in _MODULES:
            raise unknown_task(self.suite_name, self.id, self.tasks())
        tasks: Mapping[str, TaskFile] = importlib.import_module(f"{_FOLDER}.{_MODULES[self.id]}").TASKS
        model, build = tasks[self.id]
        return build(self.name, model.parse(self.options, where="task.options"), render_size)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids, sorted."""
        return tuple(sorted(_MODULES))

    @classmethod
    def example(cls) -> Self:
        """Return the point with four goals, and a metric."""
        return cls(suite="softlearning", id="MultiGoal-Default-v0", options={}, metrics=("is_success",))
