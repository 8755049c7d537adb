"""The task suite `gymnasium`: any registered id with bounded Box actions, MuJoCo v5 first."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.envs.base import ComputeRewards, Environment, require_package
from sacpipe.envs.gymnasium_box2d import NewWorld, needs_new_world
from sacpipe.envs.gymnasium_registered import RegisteredTask, newest_versions
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_PACKAGES_WITH_A_SUITE = ("gymnasium_robotics",)
"""Packages whose ids another suite lists."""
_BOX2D = "gymnasium.envs.box2d."


def _pendulum_rewards(
    observations: Observation, actions: FloatArray, _next_observations: Observation
) -> tuple[FloatArray, FloatArray]:
    """Compute the pendulum's cost of angle, speed and torque; the task never terminates."""
    names = ("angle_cosine", "angle_sine", "angular_velocity")
    cosine, sine, speed = (observations[name][:, 0].astype(np.float64) for name in names)
    pairs = zip(sine.tolist(), cosine.tolist(), strict=True)
    angle = np.array([math.atan2(*pair) for pair in pairs])  # NumPy's has other bits with AVX-512
    costs = angle**2 + 0.1 * speed**2 + 0.001 * actions[:, 0].astype(np.float64) ** 2
    return (-costs).astype(np.float32), np.zeros(len(costs), dtype=np.float32)


class GymnasiumTask(RegisteredTask):
    """`task` section of the task suite gymnasium."""

    suite_name: ClassVar[str] = "gymnasium"
    compute_rewards: ClassVar[Mapping[str, ComputeRewards]] = {"Pendulum-v1": _pendulum_rewards}

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, see `RegisteredTask.make`.

        Raises:
            ConfigError: the task needs Box2D, which is not installed.
        """
        registered = self.import_packages().registry.get(self.id)
        if registered is not None and str(registered.entry_point).startswith(_BOX2D):
            require_package(f"task '{self.name}'", "Box2D", "box2d")
        return super().make(render_size)

    def adapt(self, env: Any) -> Any:
        """Repair what keeps an episode from depending on its seed alone."""
        return NewWorld(env) if needs_new_world(env) else env

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """Build the newest version of every registered id; list the ids that can be trained here."""
        try:
            gym = cls.import_packages()
        except ConfigError:
            return ()
        found = []
        for task_id in newest_versions(gym, lambda name: not name.startswith(_PACKAGES_WITH_A_SUITE)):
            try:
                with warnings.catch_warnings(action="ignore"):
                    cls(suite="gymnasium", id=task_id, options={}, metrics=()).make().close()
            except SacpipeError:
                continue
            found.append(task_id)
        return tuple(sorted(found))

    @classmethod
    def example(cls) -> Self:
        """Return a pole on a cart."""
        return cls(suite="gymnasium", id="InvertedDoublePendulum-v5", options={}, metrics=())
