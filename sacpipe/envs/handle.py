"""Environments whose simulator may run elsewhere: a call begins work, another waits for its result."""

from typing import Protocol

from sacpipe.envs.base import Environment
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Step


class EnvironmentHandle(Protocol):
    """An environment in this process or in another. Each call that begins is followed by that for its result.

    Every method may raise what the method of `Environment` raises, and a SimulatorError where the process of
    the simulator died.
    """

    def begin_episode(self, seed: int) -> None:
        """Begin to reset the simulator."""
        ...

    def first_observation(self) -> Observation:
        """Wait for the reset and return the episode's first observation."""
        ...

    def begin_step(self, action: FloatArray) -> None:
        """Begin a step with an action in [-1, 1]."""
        ...

    def finish_step(self) -> Step:
        """Wait for the step and return its result."""
        ...

    def close(self) -> None:
        """Free the simulator. A second call does nothing."""
        ...


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
