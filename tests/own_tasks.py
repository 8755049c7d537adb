"""Small tasks as people write them, one circumstance each. The docstring's first word says what becomes of each.

`accepted`: params, train, export, evaluate and serve work, and the identity covers the files. `refused`: exit
code 2 before the first step. `stopped`: exit code 3, the last checkpoint is kept, nothing is published.
"""

import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces

HERE = Path(__file__).parent


class Point(gym.Env):
    """accepted. A point on a line."""

    def __init__(self):
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def observe(self):
        return np.array([self.x, self.v])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1), 0.0
        return self.observe(), {}

    def reward(self):
        return -abs(self.x)

    def step(self, action):
        self.v = 0.9 * self.v + 0.1 * float(np.ravel(action)[0])
        self.x += 0.1 * self.v
        return self.observe(), self.reward(), False, False, {}


class NumpyFlags(Point):
    """accepted. Terminated is a NumPy bool, the reward a NumPy scalar, the observation float32."""

    def step(self, action):
        super().step(action)
        return self.observe().astype(np.float32), np.float32(-abs(self.x)), np.abs(self.x) > 5, np.False_, {}


class ReadsJson(Point):
    """accepted. Reads a file of the project when it is built."""

    def __init__(self):
        super().__init__()
        self.scale = json.loads((HERE / "own_tasks.json").read_text())["scale"]

    def reward(self):
        return -self.scale * abs(self.x)


class Wrapped(gym.Wrapper):
    """accepted. A wrapper of the user's own around a task."""

    def __init__(self):
        super().__init__(Point())

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward - 0.1, terminated, truncated, info


class PrintsInSteps(Point):
    """accepted. Prints in every reset."""

    def reset(self, **arguments):
        sys.stdout.write('{"not": "ours"}')
        return super().reset(**arguments)


class Bits(Point):
    """accepted. An observation of a number and of two bits."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict(
            {"x": spaces.Box(-np.inf, np.inf, ()), "side": spaces.MultiBinary(2)}
        )

    def observe(self):
        return {"x": np.float32(self.x), "side": np.array([self.x > 0, self.v > 0], np.int8)}


class Huge(Point):
    """refused. One of two action bounds is beyond what float32 can rescale."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(np.array([-1.0, -3e38]), np.array([1.0, 3e38]), dtype=np.float64)


class Locked(Point):
    """refused. The action's second entry has equal bounds."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(np.array([-1.0, 0.5]), np.array([1.0, 0.5]), dtype=np.float64)


class Category(Point):
    """refused. The observation is a category."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Discrete(8)


class TextReward(Point):
    """stopped. The reward becomes a text in the middle of a run."""

    steps = 0

    def reward(self):
        self.steps += 1
        return "-1" if self.steps > 300 else -1.0


class Grows(Point):
    """stopped. The observation grows by one entry in the middle of a run."""

    steps = 0

    def observe(self):
        self.steps += 1
        return np.zeros(3 if self.steps > 300 else 2)


class Disconnects(Point):
    """stopped. The connection to the simulator is lost in the same evaluation, whenever the run is tried."""

    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps > 300:
            raise ConnectionError("simulator closed the connection")
        return super().step(action)


for _name, _task in list(globals().items()):
    if isinstance(_task, type) and issubclass(_task, gym.Env) and _task.__module__ == __name__:
        gym.register(f"{_name}-v0", entry_point=f"own_tasks:{_name}", max_episode_steps=50)
