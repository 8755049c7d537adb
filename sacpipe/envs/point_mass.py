"""The task suite `point_mass`: a small task in NumPy, solved in seconds, that needs no simulator.

Two forces push a disc of 1 kg with viscous drag to the origin. An episode terminates at the goal and is
truncated at the time limit, so tests can distinguish the two.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.base import Options, unknown_task
from sacpipe.envs.built_task import BuiltTask, BuiltTaskSection
from sacpipe.envs.rendering.plane import DrawnSimulator
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import BOTH, ActionTerm, Term, vector_term

_IDS = ("point-mass-v0",)
_PERIOD_S = 0.1
_MASS_KG = 1.0
_DRAG_N_S_PER_M = 1.0
_STEP_COST = 0.1
_START_RADIUS_M = (0.6, 1.0)
_ARENA_M = 1.5
"""Half the width of the rendered area."""
_MAX_IMAGE_SIZE = 256


class PointMassTask(BuiltTaskSection):
    """`task` section of the task suite point_mass."""

    suite_name: ClassVar[str] = "point_mass"

    id: str
    """`point-mass-v0`, the only task."""
    options: Options
    """Keyword arguments of the task, the fields of `PointMassOptions`, e.g. `goal_radius_m`."""

    def build(self, render_size: tuple[int, int] | None) -> BuiltTask:
        """Build the task; an option that is unknown or out of its range is refused."""
        if self.id not in _IDS:
            raise unknown_task(self.suite_name, self.id, _IDS)
        options = PointMassOptions(**self.options)  # type: ignore[arg-type]
        options.check()
        spec = _make_spec(self.name, options)
        simulator = PointMass(spec.layout, options, render_size)
        return BuiltTask(spec, simulator, simulator.compute_rewards)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids, sorted."""
        return _IDS

    @classmethod
    def example(cls) -> Self:
        """Return the point mass with an image beside its vectors, and a metric."""
        return cls(suite="point_mass", id=_IDS[0], options={"image_size": 8}, metrics=("is_success",))


class PointMassOptions(NamedTuple):
    """Options of the task."""

    goal_radius_m: float = 0.15
    force_limit_n: float = 2.0
    actuator_angle_deg: float = 0.0
    max_episode_steps: int = 50
    image_size: int = 0
    """Height and width of the observed image in pixels; 0 for none."""

    def check(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: an option is out of its range.
        """
        if not 0.0 < self.goal_radius_m < _START_RADIUS_M[0]:
            raise ValueError(
                f"goal_radius_m must be in (0, {_START_RADIUS_M[0]}), found {self.goal_radius_m}"
            )
        if not 0.0 < self.force_limit_n <= 100.0:
            raise ValueError(f"force_limit_n must be in (0, 100], found {self.force_limit_n}")
        if not -180.0 <= self.actuator_angle_deg <= 180.0:
            raise ValueError(f"actuator_angle_deg must be in [-180, 180], found {self.actuator_angle_deg}")
        if type(self.image_size) is not int or not 0 <= self.image_size <= _MAX_IMAGE_SIZE:
            raise ValueError(
                f"image_size must be an integer in [0, {_MAX_IMAGE_SIZE}], found {self.image_size}"
            )


def _make_spec(task: str, options: PointMassOptions) -> EnvSpec:
    limits = np.full(1, options.force_limit_n, dtype=np.float64)
    low, high = action_bounds(task, -limits, limits)
    terms = [
        vector_term("position", 2, unit="m", source="x and y of the mass, from the goal"),
        vector_term("velocity", 2, unit="m/s", source="x and y velocity of the mass"),
    ]
    if options.image_size:
        shape = (options.image_size, options.image_size, 3)
        source = "goal and mass, seen from above"
        terms.append(Term(name="image", shape=shape, dtype="uint8", unit="1", source=source, groups=BOTH))
    return EnvSpec(
        task=task,
        observation=tuple(terms),
        action=tuple(
            ActionTerm(name=f"force_{axis}", unit="N", low=float(low[0]), high=float(high[0]))
            for axis in "xy"
        ),
        control_period_s=_PERIOD_S,
        max_episode_steps=options.max_episode_steps,
    )


class PointMass(DrawnSimulator):
    """The simulator: semi-implicit Euler steps of m v' = f - c v, with the forces rotated by an angle."""

    def __init__(
        self, layout: ObservationLayout, options: PointMassOptions, render_size: tuple[int, int] | None
    ) -> None:
        self._layout, self._image_size, self._render_size = layout, options.image_size, render_size
        self._goal_radius_m = options.goal_radius_m
        angle_rad = math.radians(options.actuator_angle_deg)
        self._cos, self._sin = math.cos(angle_rad), math.sin(angle_rad)
        self._x = self._y = self._vx = self._vy = 0.0

    def start(self, seed: int) -> Observation:
        """Place the mass at rest on a ring around the goal and return the observation."""
        random = np.random.default_rng(seed)
        radius, angle = random.uniform(*_START_RADIUS_M), random.uniform(-math.pi, math.pi)
        self._x, self._y = radius * math.cos(angle), radius * math.sin(angle)
        self._vx = self._vy = 0.0
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
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
        is_success = distance < self._goal_radius_m
        info = {"distance_m": distance, "is_success": is_success}
        return self._observe(), -distance - _STEP_COST, is_success, False, info

    def compute_rewards(
        self, _observations: Observation, _actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations from the next observations. Shapes (N,)."""
        x, y = next_observations["position"].astype(np.float64).T
        distances = np.hypot(x, y)
        rewards = (-distances - _STEP_COST).astype(np.float32)
        return rewards, (distances < self._goal_radius_m).astype(np.float32)

    def _draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        height, width = size
        metres = 2.0 * _ARENA_M / min(size)
        y, x = np.ogrid[0:height, 0:width]
        x, y = (x - (width - 1) / 2) * metres, ((height - 1) / 2 - y) * metres
        frame = np.full((height, width, 3), 245, dtype=np.uint8)
        frame[x**2 + y**2 < self._goal_radius_m**2] = (90, 170, 90)
        frame[(x - self._x) ** 2 + (y - self._y) ** 2 < 0.08**2] = (40, 80, 160)
        return frame

    def _observe(self) -> Observation:
        size = self._image_size
        images = {"image": self._draw((size, size))} if size else {}
        vector = np.array((self._x, self._y, self._vx, self._vy), dtype=np.float32)
        return Observation(self._layout, vector, images)
