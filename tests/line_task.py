"""A small Gymnasium task; a class that derives from it changes one thing."""

from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

VECTOR = spaces.Box(-np.inf, np.inf, (2,), np.float64)


class Line(gymnasium.Env):
    """A point on a line; a class that derives from it changes one thing."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = VECTOR
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.steps = 0

    def observe(self):
        return np.array([self.x, self.steps])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.uniform(-1, 1), 0
        return self.observe(), {}

    def step(self, action):
        self.x += 0.1 * float(action[0])
        self.steps += 1
        return self.observe(), -abs(self.x), False, False, {}

    def render(self):
        return np.full((8, 8, 3), 7, np.uint8)


def made(section):
    """The task's own object inside an environment."""
    return section.make()._simulator._env.unwrapped
