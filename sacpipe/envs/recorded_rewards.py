"""A task's rewards as a function of recorded steps, for samplers that replace goals."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import SimulatorError
from sacpipe.envs.base import Environment
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, RecordedRewards


def recorded_rewards(environment: Environment) -> RecordedRewards | None:
    """Return `compute_rewards` of an environment with its results checked, or None if the task cannot.

    One made-up step is tried, for which the environment is reset.

    Returns:
        Maps N observations, actions in [-1, 1] and next observations to rewards and terminations; raises
        SimulatorError if the task's function fails, or returns other shapes or a value that is not finite.
    """
    task = environment.spec.task

    def checked(
        observations: Observation, actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        found = environment.compute_rewards(observations, actions, next_observations)
        if found is None:
            raise SimulatorError(f"task '{task}': expected rewards of compute_rewards(), found None.")
        rewards, terminations = found
        return (
            _finite(task, "rewards", rewards, len(actions)),
            _finite(task, "terminations", terminations, len(actions)),
        )

    first = environment.reset(0).rows(None)
    action = np.zeros((1, environment.spec.action_dim), dtype=np.float32)
    return None if environment.compute_rewards(first, action, first) is None else checked


def _finite(task: str, what: str, values: NDArray[np.generic], count: int) -> FloatArray:
    found = np.asarray(values)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise SimulatorError(
            f"task '{task}': compute_rewards(): expected {count} finite {what}, found shape {found.shape} of "
            f"{found.dtype}{'' if found.shape != (count,) else ' with others'}."
        )
    return found.astype(np.float32, copy=False)
