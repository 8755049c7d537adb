"""Point2DEnv-Default-v0 and Point2DEnv-Wall-v0: a ball in the plane goes to a goal of each episode's own.

The observation has the terms of a goal environment, so a sampler of goals (hindsight) can exchange the
desired goal and compute the rewards again.

References:
    vitchyr/multiworld, multiworld/envs/pygame/point2d.py and walls.py (dynamics, rewards, shapes of walls),
    which Softlearning registered under these ids until January 2020 (at 13cf187 its variants.py still names
    them: 50 steps an episode).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sacpipe.core.config import Config
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.built_task import BuiltTask
from sacpipe.envs.rendering.plane import (
    BODY_COLOUR,
    GOAL_COLOUR,
    WALL_COLOUR,
    Disc,
    DrawnSimulator,
    Rectangle,
    draw_plane,
)
from sacpipe.envs.softlearning.suite import TaskFile
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, vector_term

PERIOD_S = 1.0
"""An action is a velocity for this time, so its entries are also displacements in metres."""
_MAX_DRAWS = 1000
"""Draws of a free position after which the walls are refused as too large."""
_LINE_M = 0.05
"""Added around a wall in an image, because some have no thickness."""
_MAX_HITS = 3
"""Walls at which one step may turn: more are in no shape's corner."""

Point = tuple[float, float]


class PointOptions(Config):
    """Options of Point2DEnv-Default-v0; names and values are multiworld's."""

    reward_type: Literal["dense", "sparse"] = "dense"
    """`dense`: minus the distance to the goal in metres; `sparse`: -1 outside the goal's radius, else 0."""
    action_scale: float = Field(default=1.0, gt=0, le=1)
    """Largest speed along an axis, in m/s."""
    target_radius: float = Field(default=0.6, gt=0, le=10)
    """The goal is reached within this distance, in metres."""
    boundary_dist: float = Field(default=4.0, gt=0, le=100)
    """Half the side of the square that the ball's centre cannot leave, in metres."""
    ball_radius: float = Field(default=0.5, ge=0, le=10)
    """Radius of the ball, in metres: its centre keeps this distance from walls."""
    fixed_goal: Point | None = None
    """Goal of every episode, in metres; null for a random one."""
    randomize_position_on_reset: bool = True
    """Whether an episode starts anywhere in the square; false for the origin."""
    max_episode_steps: int = Field(default=50, ge=1, le=MAX_EPISODE_STEPS)

    @model_validator(mode="after")
    def _goal_inside(self) -> Self:
        if self.fixed_goal is not None and max(map(abs, self.fixed_goal)) > self.boundary_dist:
            raise ValueError(
                f"fixed_goal: expected coordinates of at most boundary_dist={self.boundary_dist}, found "
                f"{self.fixed_goal}"
            )
        return self


class WallOptions(PointOptions):
    """Options of Point2DEnv-Wall-v0."""

    wall_shape: Literal["u", "h", "--", "big-u", "easy-u", "big-h", "box", "none"] = "u"
    """Walls in the middle. (multiworld's default has no walls.)"""
    wall_thickness: float = Field(default=1.0, ge=0, le=10)
    """Distance from the middle of a wall of `big-u`, `easy-u` and `box` to its faces, in metres."""
    inner_wall_max_dist: float = Field(default=1.0, gt=0, le=100)
    """Size of the shape: half the width of `u` and `h`, in metres."""


class Wall(NamedTuple):
    """A rectangle with sides along the axes, in metres."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float

    def extended(self, by: float) -> "Wall":
        """Return the rectangle with each side moved outwards."""
        return Wall(self.x_min - by, self.x_max + by, self.y_min - by, self.y_max + by)

    def contains(self, point: Point) -> bool:
        """Return whether a point is inside; the sides are outside."""
        return self.x_min < point[0] < self.x_max and self.y_min < point[1] < self.y_max


def walls_of(options: WallOptions) -> list[Wall]:
    """Return the walls of a shape, without the ball's radius."""
    size = options.inner_wall_max_dist
    thick, double = options.wall_thickness, 2.0 * size
    shapes = {
        "none": [],
        "u": [_upright(size, -size, size), _upright(-size, -size, size), _level(size, size)],
        "h": [_level(size, size)],
        "--": [_level(0.0, size)],
        "big-h": [_level(size, double)],
        "big-u": [
            _upright(double, -double, size, thick),
            _upright(-double, -double, size, thick),
            _level(size, double, thick),
        ],
        "easy-u": [
            _upright(double, -0.5 * size, size, thick),
            _upright(-double, -0.5 * size, size, thick),
            _level(size, double, thick),
        ],
        "box": [_upright(0.0, 0.0, 0.0, thick)],
    }
    return shapes[options.wall_shape]


def _upright(x: float, y_min: float, y_max: float, thickness: float = 0.0) -> Wall:
    return Wall(x, x, y_min, y_max).extended(thickness)


def _level(y: float, half_width: float, thickness: float = 0.0) -> Wall:
    return Wall(-half_width, half_width, y, y).extended(thickness)


def _build(task: str, options: PointOptions, render_size: tuple[int, int] | None) -> BuiltTask:
    """Build the task; walls that leave no room for the ball or for the fixed goal are a ValueError."""
    walls = walls_of(options) if isinstance(options, WallOptions) else []
    limit = np.full(1, options.action_scale, dtype=np.float64)
    low, high = (float(bound[0]) for bound in action_bounds(task, -limit, limit))
    source = "x and y of the ball's centre"
    spec = EnvSpec(
        task=task,
        observation=(
            vector_term("observation", 2, unit="m", source=source),
            vector_term("achieved_goal", 2, unit="m", source=source, groups=("achieved_goal",)),
            vector_term(
                "desired_goal",
                2,
                unit="m",
                source="x and y of the goal",
                groups=("policy", "critic", "desired_goal"),
            ),
        ),
        action=tuple(ActionTerm(name=f"velocity_{axis}", unit="m/s", low=low, high=high) for axis in "xy"),
        control_period_s=PERIOD_S,
        max_episode_steps=options.max_episode_steps,
    )
    simulator = Point2D(spec.layout, options, walls, render_size)
    return BuiltTask(spec, simulator, simulator.compute_rewards)


TASKS = {
    "Point2DEnv-Default-v0": TaskFile(PointOptions, _build),
    "Point2DEnv-Wall-v0": TaskFile(WallOptions, _build),
}


class Point2D(DrawnSimulator):
    """The simulator: a step adds the action to the position; walls stop it, and it slides along them."""

    def __init__(
        self,
        layout: ObservationLayout,
        options: PointOptions,
        walls: Sequence[Wall],
        render_size: tuple[int, int] | None,
    ) -> None:
        self._layout, self._options, self._render_size = layout, options, render_size
        self._order = [layout.columns(term.name).start for term in layout.terms]
        self._walls = tuple(walls)
        self._obstacles = tuple(wall.extended(options.ball_radius) for wall in walls)
        fixed = [("fixed_goal", options.fixed_goal)]
        fixed += [] if options.randomize_position_on_reset else [("the origin", (0.0, 0.0))]
        for name, point in fixed:
            if point is not None and self._is_blocked(point):
                raise ValueError(f"{name} is inside a wall")
        self._position = self._goal = (0.0, 0.0)

    def start(self, seed: int) -> Observation:
        """Draw a goal, and a position outside the walls."""
        random = np.random.default_rng(seed)
        fixed = self._options.fixed_goal
        self._goal = self._draw_point(random) if fixed is None else fixed
        is_random = self._options.randomize_position_on_reset
        self._position = self._draw_point(random) if is_random else (0.0, 0.0)
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
        """Move for one period. No episode terminates."""
        velocity_x, velocity_y = action.tolist()
        (x, y), limit = self._position, self._options.boundary_dist
        target_x = min(max(x + velocity_x * PERIOD_S, -limit), limit)
        target_y = min(max(y + velocity_y * PERIOD_S, -limit), limit)
        self._position = self._slide(self._position, (target_x - x, target_y - y))
        distance = math.dist(self._position, self._goal)
        is_success = distance < self._options.target_radius
        info = {
            "distance_to_target": distance,
            "is_success": is_success,
            "speed": math.hypot(velocity_x, velocity_y),
        }
        reward = -distance if self._options.reward_type == "dense" else float(is_success) - 1.0
        return self._observe(), reward, False, False, info

    def compute_rewards(
        self, _observations: Observation, _actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations from the goals of the next observations. Shapes (N,)."""
        achieved, desired = (
            next_observations[name].astype(np.float64) for name in ("achieved_goal", "desired_goal")
        )
        offset = achieved - desired
        distances = np.hypot(offset[:, 0], offset[:, 1])
        is_dense = self._options.reward_type == "dense"
        rewards = -distances if is_dense else (distances < self._options.target_radius) - 1.0
        return rewards.astype(np.float32), np.zeros(len(rewards), dtype=np.float32)

    def _draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        options = self._options
        walls = [Rectangle(*wall.extended(_LINE_M), WALL_COLOUR) for wall in self._walls]
        goal = Disc(*self._goal, options.target_radius, GOAL_COLOUR)
        ball = Disc(*self._position, options.ball_radius, BODY_COLOUR)
        return draw_plane(size, options.boundary_dist + options.ball_radius, [*walls, goal, ball])

    def _observe(self) -> Observation:
        vector = np.empty(6, dtype=np.float32)
        for start, point in zip(self._order, (self._position, self._position, self._goal), strict=True):
            vector[start], vector[start + 1] = point
        return Observation(self._layout, vector, {})

    def _is_blocked(self, point: Point) -> bool:
        return any(wall.contains(point) for wall in self._obstacles)

    def _draw_point(self, random: np.random.Generator) -> Point:
        limit = self._options.boundary_dist
        for _ in range(_MAX_DRAWS):
            x, y = random.uniform(-limit, limit, 2).tolist()
            if not self._is_blocked((x, y)):
                return x, y
        raise ValueError("the walls leave no room for the ball")

    def _slide(self, start: Point, displacement: Point) -> Point:
        """Return where a path ends that stops at each wall and follows its side from there."""
        position, rest = start, displacement
        for _ in range(_MAX_HITS):
            hits = [hit for wall in self._obstacles if (hit := _first_hit(position, rest, wall))]
            if not hits:
                end = position[0] + rest[0], position[1] + rest[1]
                return position if self._is_blocked(end) else end  # a corner, met by a rounding
            share, axis, side = min(hits)
            reached = [position[0] + share * rest[0], position[1] + share * rest[1]]
            reached[axis] = side
            if self._is_blocked((reached[0], reached[1])):
                return position
            position = reached[0], reached[1]
            left = (1.0 - share) * rest[1 - axis]
            rest = (0.0, left) if axis == 0 else (left, 0.0)
        return position


def _first_hit(start: Point, displacement: Point, wall: Wall) -> tuple[float, int, float] | None:
    """Return share of the path, axis and coordinate of the side at which a path enters a wall, if it does."""
    enter, leave, axis_hit, side_hit = -math.inf, math.inf, 0, 0.0
    for axis, (low, high) in enumerate(((wall.x_min, wall.x_max), (wall.y_min, wall.y_max))):
        place, length = start[axis], displacement[axis]
        if length == 0.0:
            if not low < place < high:
                return None
            continue
        near, far = (low, high) if length > 0.0 else (high, low)
        if (near - place) / length > enter:
            enter, axis_hit, side_hit = (near - place) / length, axis, near
        leave = min(leave, (far - place) / length)
    return (enter, axis_hit, side_hit) if 0.0 <= enter <= 1.0 and enter < leave else None
