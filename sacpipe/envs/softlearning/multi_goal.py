"""MultiGoal-Default-v0: a point in the plane, and four goals of which each is as good as the others.

A maximum-entropy policy reaches all four, a deterministic one a single one.

References:
    rail-berkeley/softlearning at 13cf187, softlearning/environments/gym/multi_goal.py (dynamics, rewards) and
    examples/multi_goal (30 steps an episode).
    Haarnoja et al. 2017, arXiv:1702.08165, section 5.1 (the task in soft Q-learning).
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.built_task import BuiltTask
from sacpipe.envs.rendering.plane import BODY_COLOUR, GOAL_COLOUR, Disc, DrawnSimulator, draw_plane
from sacpipe.envs.softlearning.suite import TaskFile
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, vector_term

GOALS_M = ((5.0, 0.0), (-5.0, 0.0), (0.0, 5.0), (0.0, -5.0))
"""x and y of each goal."""
GOAL_RADIUS_M = 1.0
"""An episode terminates nearer than this to a goal."""
HALF_WIDTH_M = 7.0
"""Half the side of the square that the point cannot leave."""
MAX_SPEED_M_PER_S = 1.0
PERIOD_S = 1.0
"""An action is a velocity for this time, so its entries are also displacements in metres."""
_BODY_RADIUS_M = 0.15


class MultiGoalOptions(Config):
    """Options of the task; names and values are Softlearning's."""

    goal_reward: float = Field(default=10.0, ge=0, le=1e6)
    """Reward of the step that reaches a goal."""
    actuation_cost_coeff: float = Field(default=30.0, ge=0, le=1e6)
    """Cost of an action, times the square of its norm."""
    distance_cost_coeff: float = Field(default=1.0, ge=0, le=1e6)
    """Cost of a step, times the square of the distance to the nearest goal."""
    init_sigma: float = Field(default=0.1, gt=0, le=HALF_WIDTH_M)
    """Standard deviation of the start's coordinates, in metres."""
    max_episode_steps: int = Field(default=30, ge=1, le=MAX_EPISODE_STEPS)


def _build(task: str, options: MultiGoalOptions, render_size: tuple[int, int] | None) -> BuiltTask:
    limit = np.full(1, MAX_SPEED_M_PER_S, dtype=np.float64)
    low, high = (float(bound[0]) for bound in action_bounds(task, -limit, limit))
    spec = EnvSpec(
        task=task,
        observation=(vector_term("position", 2, unit="m", source="x and y of the point"),),
        action=tuple(ActionTerm(name=f"velocity_{axis}", unit="m/s", low=low, high=high) for axis in "xy"),
        control_period_s=PERIOD_S,
        max_episode_steps=options.max_episode_steps,
    )
    simulator = MultiGoal(spec.layout, options, render_size)
    return BuiltTask(spec, simulator, simulator.compute_rewards)


TASKS = {"MultiGoal-Default-v0": TaskFile(MultiGoalOptions, _build)}


class MultiGoal(DrawnSimulator):
    """The simulator: a step adds the action to the position, without noise."""

    def __init__(
        self, layout: ObservationLayout, options: MultiGoalOptions, render_size: tuple[int, int] | None
    ) -> None:
        self._layout, self._options, self._render_size = layout, options, render_size
        self._x = self._y = 0.0

    def start(self, seed: int) -> Observation:
        """Draw the start from a normal distribution around the centre."""
        x, y = np.random.default_rng(seed).normal(0.0, self._options.init_sigma, 2).tolist()
        self._x, self._y = _inside(x), _inside(y)
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
        """Move; the reward has a term of the action, of the distance, and of a reached goal."""
        velocity_x, velocity_y = action.tolist()
        self._x, self._y = _inside(self._x + velocity_x * PERIOD_S), _inside(self._y + velocity_y * PERIOD_S)
        squares = [(self._x - x) ** 2 + (self._y - y) ** 2 for x, y in GOALS_M]
        square = min(squares)
        is_success = square < GOAL_RADIUS_M**2
        info = {
            "reward_action": -self._options.actuation_cost_coeff * (velocity_x**2 + velocity_y**2),
            "reward_distance": -self._options.distance_cost_coeff * square,
            "reward_goal": self._options.goal_reward if is_success else 0.0,
            "is_success": is_success,
            "distance_m": math.sqrt(square),
            "nearest_goal": squares.index(square),
        }
        reward = info["reward_action"] + info["reward_distance"] + info["reward_goal"]
        return self._observe(), float(reward), is_success, False, info

    def compute_rewards(
        self, _observations: Observation, actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations from actions and next observations. Shapes (N,)."""
        position, velocity = next_observations["position"].astype(np.float64), actions.astype(np.float64)
        squares = np.min([(position[:, 0] - x) ** 2 + (position[:, 1] - y) ** 2 for x, y in GOALS_M], axis=0)
        is_success = squares < GOAL_RADIUS_M**2
        action_cost = self._options.actuation_cost_coeff * (velocity[:, 0] ** 2 + velocity[:, 1] ** 2)
        goal_reward = self._options.goal_reward * is_success
        rewards = goal_reward - action_cost - self._options.distance_cost_coeff * squares
        return rewards.astype(np.float32), is_success.astype(np.float32)

    def _draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        goals = [Disc(x, y, GOAL_RADIUS_M, GOAL_COLOUR) for x, y in GOALS_M]
        body = Disc(self._x, self._y, _BODY_RADIUS_M, BODY_COLOUR)
        return draw_plane(size, HALF_WIDTH_M, [*goals, body])

    def _observe(self) -> Observation:
        return Observation(self._layout, np.array((self._x, self._y), dtype=np.float32), {})


def _inside(coordinate: float) -> float:
    return min(max(coordinate, -HALF_WIDTH_M), HALF_WIDTH_M)
