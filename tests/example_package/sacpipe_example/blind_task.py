"""An asymmetric task: the policy knows the position only, the critics know the velocity too."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.envs.base import Environment, Options, TaskSection, no_render_size, try_step
from sacpipe.envs.foreign_code import task_errors
from sacpipe.envs.info_metrics import metrics_reader
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, vector_term


class BlindTask(TaskSection):
    """`task` section of the suite `blind`."""

    suite_name: ClassVar[str] = "blind"

    id: str
    """`line-v0`, the only task."""
    options: Options
    """None."""

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task; it makes no pictures for people."""
        spec = EnvSpec(
            task=self.name,
            observation=(
                vector_term("position", 1, unit="m", source="position sensor"),
                vector_term("velocity", 1, unit="m/s", source="simulator only", groups=("critic",)),
            ),
            action=(ActionTerm(name="force", unit="N", low=-1.0, high=1.0),),
            control_period_s=0.1,
            max_episode_steps=30,
        )
        with task_errors(self.name, self.options):
            simulator = BlindMass(spec)
            try_step(simulator, spec, metrics_reader(self.metrics))
        return TaskEnvironment(spec, simulator, metrics=self.metrics)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids."""
        return ("line-v0",)

    @classmethod
    def example(cls) -> Self:
        """Return the task."""
        return cls(suite="blind", id="line-v0", options={}, metrics=())


class BlindMass:
    """The simulator: a mass on a line, with drag."""

    def __init__(self, spec: EnvSpec) -> None:
        self._layout = spec.layout
        self._x = self._v = 0.0

    def start(self, seed: int) -> Observation:
        """Place the mass with some velocity."""
        self._x, self._v = np.random.default_rng(seed).uniform(-1.0, 1.0, 2).tolist()
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
        """Apply the force for one period."""
        self._v += (float(action[0]) - self._v) * 0.1
        self._x += self._v * 0.1
        return self._observe(), -abs(self._x), False, False, {}

    def render(self) -> NDArray[np.uint8]:
        """Refuse: there are no pictures for people."""
        raise no_render_size()

    def close(self) -> None:
        """Do nothing."""

    def _observe(self) -> Observation:
        values = {"position": self._x, "velocity": self._v}
        return self._layout.pack({name: np.array([value], np.float32) for name, value in values.items()})
