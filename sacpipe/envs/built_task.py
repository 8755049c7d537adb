"""The `task` section of the suites whose own code builds a task: all but those of Gymnasium's registry."""

from typing import NamedTuple

from sacpipe.envs.base import ComputeRewards, Environment, Simulator, TaskSection, try_step
from sacpipe.envs.info_metrics import metrics_reader
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec


class BuiltTask(NamedTuple):
    """A task without what every environment adds to it."""

    spec: EnvSpec
    simulator: Simulator
    compute_rewards: ComputeRewards | None = None


class BuiltTaskSection(TaskSection):
    """A suite adds `build`; whatever that raises becomes an error with the task's name, see `TaskSection`."""

    def build(self, render_size: tuple[int, int] | None) -> BuiltTask:
        """Build the task; arguments and errors are those of `TaskSection.make`."""
        raise NotImplementedError

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, so that a bad option is found here; see `TaskSection.make`."""
        spec, simulator, compute_rewards = self.build(render_size)
        try_step(simulator, spec, metrics_reader(self.metrics))
        return TaskEnvironment(spec, simulator, compute_rewards, metrics=self.metrics)
