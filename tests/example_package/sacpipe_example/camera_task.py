"""A point mass seen by a camera: an image of 12 pixels, and the velocity as a vector."""

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
from sacpipe.specs.terms import BOTH, ActionTerm, Term, vector_term

_SIZE = 12
_PERIOD_S = 0.1


class CameraTask(TaskSection):
    """`task` section of the suite `camera`."""

    suite_name: ClassVar[str] = "camera"

    id: str
    """`reach-v0`, the only task."""
    options: Options
    """None."""

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task; it makes no pictures for people."""
        spec = EnvSpec(
            task=self.name,
            observation=(
                vector_term("velocity", 2, unit="m/s", source="x and y velocity of the mass"),
                Term(
                    name="camera", shape=(_SIZE, _SIZE, 1), dtype="uint8", unit="1",
                    source="camera above the arena, 2 m wide; the goal is its middle", groups=BOTH,
                ),
            ),
            action=tuple(ActionTerm(name=f"force_{axis}", unit="N", low=-2.0, high=2.0) for axis in "xy"),
            control_period_s=_PERIOD_S,
            max_episode_steps=30,
        )  # fmt: skip
        with task_errors(self.name, self.options):
            simulator = CameraMass(spec)
            try_step(simulator, spec, metrics_reader(self.metrics))
        return TaskEnvironment(spec, simulator, metrics=self.metrics)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids."""
        return ("reach-v0",)

    @classmethod
    def example(cls) -> Self:
        """Return the task with its metric."""
        return cls(suite="camera", id="reach-v0", options={}, metrics=("is_success",))


class CameraMass:
    """The simulator: a disc of 1 kg with viscous drag."""

    def __init__(self, spec: EnvSpec) -> None:
        self._layout = spec.layout
        self._place = self._velocity = np.zeros(2)

    def start(self, seed: int) -> Observation:
        """Place the mass at rest."""
        random = np.random.default_rng(seed)
        angle = random.uniform(-np.pi, np.pi)
        self._place = random.uniform(0.5, 0.8) * np.array([np.cos(angle), np.sin(angle)])
        self._velocity = np.zeros(2)
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
        """Apply the forces for one period."""
        self._velocity = self._velocity + (action - self._velocity) * _PERIOD_S
        self._place = self._place + self._velocity * _PERIOD_S
        distance = float(np.hypot(*self._place))
        return self._observe(), -distance, False, False, {"is_success": float(distance < 0.2)}

    def render(self) -> NDArray[np.uint8]:
        """Refuse: there are no pictures for people."""
        raise no_render_size()

    def close(self) -> None:
        """Do nothing."""

    def _observe(self) -> Observation:
        """Draw the mass as a bright spot whose intensity has sub-pixel precision."""
        centres = (np.arange(_SIZE) + 0.5) / _SIZE * 2.0 - 1.0
        x, y = (np.exp(-((centres - value) ** 2) / 0.05) for value in self._place)
        camera = np.round(255 * np.outer(y, x))[..., None].astype(np.uint8)
        return self._layout.pack({"velocity": self._velocity.astype(np.float32), "camera": camera})
