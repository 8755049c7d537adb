"""The task suite `gymnasium`: any registered id with bounded Box actions, MuJoCo v5 first."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.envs.base import ComputeRewards, Environment, require_package
from sacpipe.envs.gymnasium_layers import Layer
from sacpipe.envs.gymnasium_registered import RegisteredTask, entry_module, newest_versions
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_PACKAGES_WITH_A_SUITE = ("gymnasium_robotics",)
"""Packages whose ids another suite lists."""
_BOX2D = "gymnasium.envs.box2d."
_BIPEDAL_WALKER = f"{_BOX2D}bipedal_walker"


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
    imports_modules: ClassVar[bool] = True
    compute_rewards: ClassVar[Mapping[str, ComputeRewards]] = {"Pendulum-v1": _pendulum_rewards}

    id: str
    """Registered id with its version, e.g. `HalfCheetah-v5`; `package:Id-v0` imports the package first."""

    @classmethod
    def has_module(cls, name: str) -> bool:
        """Return whether no other suite has the tasks of a module."""
        return not name.startswith(_PACKAGES_WITH_A_SUITE)

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, see `RegisteredTask.make`.

        Raises:
            ConfigError: the task needs Box2D, which is not installed.
        """
        registered = self.import_packages().registry.get(self.id)
        if registered is not None and entry_module(registered).startswith(_BOX2D):
            require_package(f"task '{self.name}'", "Box2D", "box2d")
        return super().make(render_size)

    def adapt(self, env: Any) -> Any:
        """Repair what keeps an episode from depending on its seed alone."""
        return NewWorld(env) if type(env.unwrapped).__module__ == _BIPEDAL_WALKER else env

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """Build the newest version of every registered id; list the ids that can be trained here."""
        try:
            gym = cls.import_packages()
        except ConfigError:
            return ()
        found = []
        for task_id in newest_versions(gym, cls.has_module):
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


class NewWorld(Layer):
    """BipedalWalker with a new Box2D world for each episode.

    Gymnasium destroys the bodies of an episode and goes on in the same world, whose contacts and broad phase
    keep an order of their own; so a seed gives another episode in an instance that ran others. LunarLander
    builds a new world since https://github.com/Farama-Foundation/Gymnasium/issues/728.
    """

    def reset(self, **arguments: Any) -> tuple[Any, Any]:
        """Leave the old world with all of its bodies, and start an episode."""
        import Box2D

        task = self.env.unwrapped
        task.world.contactListener = None
        task.world, task.terrain, task.hull = Box2D.b2World(), [], None
        started: tuple[Any, Any] = self.env.reset(**arguments)
        return started
