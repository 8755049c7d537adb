"""A task with goals and sparse rewards: a point in a square moves to a goal; the reward is -1 until it is there.

The suite `goal_task:GoalTask` for params.yaml. Options: `is_fixed` always asks for the same goal;
`has_rewards: false` leaves `compute_rewards` out.
"""

from typing import ClassVar

import numpy as np

from sacpipe.envs.base import TaskSection
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.terms import BOTH, vector_term

RADIUS, REACH, MAX_STEPS = 0.05, 0.1, 40
SEEN = (*BOTH, "achieved_goal")
WANTED = (*BOTH, "desired_goal")


def make_spec(task):
    terms = [
        vector_term("at", 2, unit="m", source="point", groups=SEEN),
        vector_term("goal", 2, unit="m", source="task", groups=WANTED),
    ]
    return EnvSpec.parse(
        {
            "task": task,
            "observation": [term.as_tree() for term in terms],
            "action": [{"name": f"step_{axis}", "unit": "m", "low": -REACH, "high": REACH} for axis in "xy"],
            "control_period_s": None,
            "max_episode_steps": MAX_STEPS,
        }
    )


class GoalTask(TaskSection):
    """The point that has goals."""

    suite_name: ClassVar[str] = "goals"

    def make(self, render_size=None):
        spec = make_spec(self.name)
        point = Point(spec, is_fixed=self.options.get("is_fixed", False))
        rewards = point.compute_rewards if self.options.get("has_rewards", True) else None
        return TaskEnvironment(spec, point, rewards, metrics=self.metrics)

    @classmethod
    def tasks(cls):
        return ("point-v0",)

    @classmethod
    def example(cls):
        return cls(suite="goal_task:GoalTask", id="point-v0", options={}, metrics=("is_success",))


class Point:
    """The simulator: actions are steps in metres. Each reached goal counts from then on, without an end."""

    def __init__(self, spec, *, is_fixed):
        self._layout, self._is_fixed = spec.layout, is_fixed

    def start(self, seed):
        random = np.random.default_rng(seed)
        self._at, goal = random.uniform(-1, 1, (2, 2))
        self._goal = np.full(2, 0.7) if self._is_fixed else goal
        return self._observe()

    def advance(self, action):
        self._at = np.clip(self._at + action, -1.0, 1.0)
        is_there = bool(np.hypot(*(self._at - self._goal)) < RADIUS)
        return self._observe(), float(is_there) - 1.0, False, False, {"is_success": is_there}

    def compute_rewards(self, _observations, _actions, next_observations):
        offsets = next_observations["at"].astype(float) - next_observations["goal"]
        is_there = np.hypot(*offsets.T) < RADIUS
        return is_there.astype(np.float32) - 1.0, np.zeros(len(is_there), dtype=np.float32)

    def close(self):
        pass

    def _observe(self):
        return self._layout.pack({"at": self._at, "goal": self._goal})
