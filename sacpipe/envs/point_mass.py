"""The task suite `point_mass`: a small task in NumPy, solved in seconds, that needs no simulator.

Two forces push a disc of 1 kg with viscous drag to the origin. An episode terminates at the goal and is
truncated at the time limit, so tests can distinguish the two.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.config import Config
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.base import Environment, Options, no_render_size, unknown_task
from sacpipe.envs.foreign_code import task_errors
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, ObservationTerm

_IDS = ("point-mass-v0",)
_PERIOD_S = 0.1
_MASS_KG = 1.0
_DRAG_N_S_PER_M = 1.0
_STEP_COST = 0.1
_START_RADIUS_M = (0.6, 1.0)
_ARENA_M = 1.5
"""Half the width of the rendered area."""


class PointMassTask(Config):
    """`task` section of the task suite point_mass."""

    suite: Literal["point_mass"]
    """Name of the task suite."""
    id: str
    """`point-mass-v0`, the only task."""
    options: Options
    """`goal_radius_m` (0.15), `force_limit_n` (2.0), `actuator_angle_deg` (0.0), `max_episode_steps` (50)."""

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task.

        Raises:
            UnknownTaskError: no such task.
            ConfigError: an option is unknown or out of its range.
        """
        if self.id not in _IDS:
            raise unknown_task(self.suite, self.id, _IDS)
        task = f"{self.suite}/{self.id}"
        with task_errors(task, self.options):
            return make_point_mass(task, render_size, **self.options)  # type: ignore[arg-type]

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids, sorted."""
        return _IDS


def make_point_mass(
    task: str,
    render_size: tuple[int, int] | None,
    *,
    goal_radius_m: float = 0.15,
    force_limit_n: float = 2.0,
    actuator_angle_deg: float = 0.0,
    max_episode_steps: int = 50,
) -> TaskEnvironment:
    """Build the environment; the keyword arguments are the options of the task.

    Raises:
        ValueError: an option is out of its range.
    """
    if not 0.0 < goal_radius_m < _START_RADIUS_M[0]:
        raise ValueError(f"goal_radius_m must be in (0, {_START_RADIUS_M[0]}), found {goal_radius_m}")
    if not 0.0 < force_limit_n <= 100.0:
        raise ValueError(f"force_limit_n must be in (0, 100], found {force_limit_n}")
    if not -180.0 <= actuator_angle_deg <= 180.0:
        raise ValueError(f"actuator_angle_deg must be in [-180, 180], found {actuator_angle_deg}")
    limits = np.full(1, force_limit_n, dtype=np.float64)
    low, high = action_bounds(task, -limits, limits)
    spec = EnvSpec(
        task=task,
        observation=(
            ObservationTerm(name="position", size=2, unit="m", source="x and y of the mass, from the goal"),
            ObservationTerm(name="velocity", size=2, unit="m/s", source="x and y velocity of the mass"),
        ),
        action=tuple(
            ActionTerm(name=f"force_{axis}", unit="N", low=float(low[0]), high=float(high[0]))
            for axis in "xy"
        ),
        control_period_s=_PERIOD_S,
        max_episode_steps=max_episode_steps,
    )
    simulator = PointMass(goal_radius_m, math.radians(actuator_angle_deg), render_size)
    return TaskEnvironment(spec, simulator, simulator.compute_rewards)


class PointMass:
    """The simulator: semi-implicit Euler steps of m v' = f - c v, with the forces rotated by an angle."""

    def __init__(
        self, goal_radius_m: float, actuator_angle_rad: float, render_size: tuple[int, int] | None
    ) -> None:
        self._goal_radius_m = goal_radius_m
        self._cos, self._sin = math.cos(actuator_angle_rad), math.sin(actuator_angle_rad)
        self._render_size = render_size
        self._x = self._y = self._vx = self._vy = 0.0

    def start(self, seed: int) -> FloatArray:
        """Place the mass at rest on a ring around the goal and return the observation. Shape (4,)."""
        random = np.random.default_rng(seed)
        radius, angle = random.uniform(*_START_RADIUS_M), random.uniform(-math.pi, math.pi)
        self._x, self._y = radius * math.cos(angle), radius * math.sin(angle)
        self._vx = self._vy = 0.0
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool]:
        """Apply the forces for one period; the reward is minus the distance in metres, minus a step cost."""
        command_x, command_y = action.tolist()
        force_x, force_y = (
            self._cos * command_x - self._sin * command_y,
            self._sin * command_x + self._cos * command_y,
        )
        self._vx += (force_x - _DRAG_N_S_PER_M * self._vx) / _MASS_KG * _PERIOD_S
        self._vy += (force_y - _DRAG_N_S_PER_M * self._vy) / _MASS_KG * _PERIOD_S
        self._x += self._vx * _PERIOD_S
        self._y += self._vy * _PERIOD_S
        distance = math.hypot(self._x, self._y)
        return self._observe(), -distance - _STEP_COST, distance < self._goal_radius_m, False

    def compute_rewards(
        self, _observations: FloatArray, _actions: FloatArray, next_observations: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations from the next observations. Shapes (N,)."""
        x, y = next_observations[:, :2].astype(np.float64).T
        distances = np.hypot(x, y)
        rewards = (-distances - _STEP_COST).astype(np.float32)
        return rewards, (distances < self._goal_radius_m).astype(np.float32)

    def render(self) -> NDArray[np.uint8]:
        """Return an image with the goal and the mass as discs. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given.
        """
        if self._render_size is None:
            raise no_render_size()
        height, width = self._render_size
        metres = 2.0 * _ARENA_M / min(height, width)
        y, x = np.ogrid[0:height, 0:width]
        x, y = (x - (width - 1) / 2) * metres, ((height - 1) / 2 - y) * metres
        frame = np.full((height, width, 3), 245, dtype=np.uint8)
        frame[x**2 + y**2 < self._goal_radius_m**2] = (90, 170, 90)
        frame[(x - self._x) ** 2 + (y - self._y) ** 2 < 0.08**2] = (40, 80, 160)
        return frame

    def close(self) -> None:
        """Do nothing: the simulator has no resources to free."""

    def _observe(self) -> FloatArray:
        return np.array((self._x, self._y, self._vx, self._vy), dtype=np.float32)
