"""The environments of a run: each has a simulator, a running episode and a stream of exploration noise."""

from typing import NoReturn

import numpy as np

from sacpipe.algorithms.base import Learner
from sacpipe.core.errors import ConfigError, SimulatorError
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs.base import Environment
from sacpipe.envs.environment_process import EnvironmentProcess
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Step, Transition
from sacpipe.training.config import TrainParams
from sacpipe.training.metrics import EpisodeTotals


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


EnvironmentHandle = LocalEnvironment | EnvironmentProcess
"""An environment whose simulator may run elsewhere."""


class TrainingEnvironment:
    """One environment of a run, and its running episode.

    Args:
        handle: Of the simulator.
        number: Of this environment in the run, from 0.
        seed: Of the run; with an episode's number it names the episode's start.
        name: Of this environment in messages, or None where the simulator's own messages say enough.
    """

    def __init__(self, handle: EnvironmentHandle, number: int, seed: int, name: str | None) -> None:
        self._handle, self._seed, self._name = handle, seed, name
        self.number = number
        self.exploration_stream = generator(seed, f"explore/{number}" if number else "explore")
        self.episode = number
        """Number of the running episode, counted over all environments by the order of their starts."""
        self.totals = EpisodeTotals()
        self.action: FloatArray
        """Action of the last step that has begun."""
        self._observation: Observation | None = None

    @property
    def observation(self) -> Observation:
        """Present observation of the running episode; waits for its reset."""
        return self._first_observation() if self._observation is None else self._observation

    def _first_observation(self) -> Observation:
        try:
            self._observation = self._handle.first_observation()
        except SimulatorError as exc:
            self._raise_located(exc)
        return self._observation

    def begin_episode(self) -> None:
        """Begin to reset the simulator to the start that the episode's number names."""
        self._observation = None
        self.totals = EpisodeTotals()
        try:
            self._handle.begin_episode(episode_seed(self._seed, "train", self.episode))
        except SimulatorError as exc:
            self._raise_located(exc)

    def begin_step(self, action: FloatArray) -> None:
        """Begin a step with an action in [-1, 1]; waits for the episode's reset."""
        self.action = action
        if self._observation is None:
            self._first_observation()
        try:
            self._handle.begin_step(action)
        except SimulatorError as exc:
            self._raise_located(exc)

    def finish_step(self) -> Step:
        """Wait for the step and return its result; `advance` makes it the present one."""
        try:
            return self._handle.finish_step()
        except SimulatorError as exc:
            self._raise_located(exc)

    def transition(self, step: Step) -> Transition:
        """Return the transition of a step that is finished; call it before `advance`."""
        return Transition(
            self.observation,
            self.action,
            step.reward,
            step.observation,
            step.terminated,
            step.truncated,
            self.episode,
        )

    def advance(self, step: Step) -> None:
        """Make a step's observation the present one and count the step."""
        self._observation = step.observation
        self.totals.add(step)

    def close(self) -> None:
        """Free the simulator."""
        self._handle.close()

    def _raise_located(self, exc: SimulatorError) -> NoReturn:
        if self._name is None:
            raise exc
        seed = episode_seed(self._seed, "train", self.episode)
        where = f"{self._name}, episode {self.episode} of the run (seed {seed})"
        raise SimulatorError(f"{where}: {exc}", retryable=exc.retryable) from exc


def open_environments(params: TrainParams, spec: EnvSpec) -> list[TrainingEnvironment]:
    """Return the environments of a run; no episode has begun.

    Args:
        params: `training.num_environments` and `training.environment_processes` count.
        spec: Of the task.

    Raises:
        ConfigError: see `TaskSection.make`.
        SimulatorError: likewise.
    """
    training, count = params.training, params.training.num_environments
    found: list[TrainingEnvironment] = []
    try:
        for number in range(count):
            handle: EnvironmentHandle
            if training.environment_processes:
                handle = EnvironmentProcess(params.task, spec, params.engine.num_threads)
            else:
                handle = LocalEnvironment(params.task.make())
            is_named = count > 1 or training.environment_processes
            name = f"environment {number} of {count}" if is_named else None
            found.append(TrainingEnvironment(handle, number, params.seed, name))
    except BaseException:
        for environment in found:
            environment.close()
        raise
    return found


def require_one_explored(params: TrainParams, learner: Learner) -> None:
    """Refuse several environments of a learner that remembers the running episode, as it remembers one.

    Raises:
        ConfigError: the message has the algorithm and the key.
    """
    count = params.training.num_environments
    if count > 1 and hasattr(learner, "explore"):
        raise ConfigError(
            f"params.yaml: training.num_environments: expected 1, found {count}, as the algorithm "
            f"'{params.algorithm.name}' explores by what it remembers of its one running episode. Use 1, or "
            "another algorithm."
        )


def require_same_exploration(params: TrainParams, built: Learner, attached: Learner) -> None:
    """Refuse an engine whose learner would not explore as the algorithm's own does.

    Raises:
        ConfigError: the message has the algorithm and the key.
    """
    if hasattr(built, "explore") and not hasattr(attached, "explore"):
        raise ConfigError(
            f"params.yaml: engine.name: the engine '{params.engine.name}' has no `explore`, by which the "
            f"algorithm '{params.algorithm.name}' chooses training actions. Use the engine 'autograd'."
        )


def random_action(environment: TrainingEnvironment, action_dim: int) -> FloatArray:
    """Return a uniformly random action in [-1, 1] from the environment's own stream."""
    return environment.exploration_stream.uniform(-1.0, 1.0, action_dim).astype(np.float32)
