"""An environment in this process, with the calls of one whose simulator runs elsewhere.

A call begins work, another waits for its result; see environment_process.py.
"""

from sacpipe.envs.base import Environment
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Step


class LocalEnvironment:
    """An environment in this process: a step is taken when its result is asked for."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._observation: Observation
        self._action: FloatArray

    def begin_episode(self, seed: int) -> None:
        """Reset the simulator."""
        self._observation = self._environment.reset(seed)

    def first_observation(self) -> Observation:
        """Return the episode's first observation."""
        return self._observation

    def begin_step(self, action: FloatArray) -> None:
        """Keep the action for `finish_step`."""
        self._action = action

    def finish_step(self) -> Step:
        """Take the step."""
        return self._environment.step(self._action)

    def close(self) -> None:
        """Free the simulator."""
        self._environment.close()
