"""Layers around a Gymnasium environment: what a suite or an option changes of a task that others wrote.

Gymnasium's own `Wrapper` needs Gymnasium at import, and forwards no attribute of the task.
"""

from typing import Any


class Layer:
    """An environment with the attributes of another; a class that derives from it changes some."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)


class RepeatedAction(Layer):
    """Apply each action for several steps of the task, and add their rewards up.

    The observation and `info` are those of the last step; an episode that ends in between ends there.
    """

    compute_reward = None
    """None: the rewards of the steps in between depend on states that are not observed."""

    def __init__(self, env: Any, times: int) -> None:
        super().__init__(env)
        self._step, self._times = env.step, times

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Step until the last repetition or the end of the episode."""
        observation, total, terminated, truncated, info = self._step(action)
        for _ in range(self._times - 1):
            if terminated or truncated:
                break
            observation, reward, terminated, truncated, info = self._step(action)
            total = total + reward
        return observation, total, terminated, truncated, info


def task_attribute(env: Any, name: str) -> Any:
    """Return an attribute of the outermost layer or wrapper that has it, or of the task; None if none has."""
    while True:
        found = getattr(env, name, None)
        if found is not None or env is env.unwrapped:
            return found
        env = env.env
