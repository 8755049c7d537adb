"""`TaskEnvironment` implements the contract of an environment around the simulator of any task suite."""

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ContractError, SacpipeError, SimulatorError
from sacpipe.core.fence import first_error
from sacpipe.envs.base import ComputeRewards, Environment, Simulator
from sacpipe.envs.foreign_code import RetryableErrors, retryable_errors, simulator_error
from sacpipe.envs.info_metrics import metrics_reader, suggested_names
from sacpipe.envs.observation_reader import check_observation
from sacpipe.envs.step_values import first_bad, read_flag, read_reward
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, RecordedRewards, Step

_LOGGER = logging.getLogger(__name__)


class TaskEnvironment:
    """An `Environment` around a simulator: checks order and values, scales actions, ends at the limit.

    Args:
        spec: Specification of the task.
        simulator: Simulator of the task suite.
        compute_rewards: The task's rewards as a function of recorded steps, or None if the task cannot.
        retryable: Errors of the task after which a run is tried again; None for the usual ones.
        metrics: Names of entries of `info` that each step keeps.
    """

    def __init__(
        self,
        spec: EnvSpec,
        simulator: Simulator,
        compute_rewards: ComputeRewards | None = None,
        retryable: RetryableErrors | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.spec = spec
        self.metric_names = tuple(metrics)
        self.modules: tuple[str, ...] = getattr(simulator, "modules", (type(simulator).__module__,))
        """Modules that define the task: those that the simulator names, else that of the simulator."""
        self._simulator = simulator
        self._compute_rewards = compute_rewards
        self._retryable = retryable_errors(spec.task, None) if retryable is None else retryable
        self._limit = spec.max_episode_steps
        self._layout = spec.layout
        self._read_metrics = metrics_reader(self.metric_names)
        self._shape = (spec.action_dim,)
        self._ones = np.ones(self._shape, dtype=np.float32)
        self._low, self._high = spec.action_low, spec.action_high
        self._half_span = np.float32(0.5) * (self._high - self._low)
        highest = (self._ones + self._ones) * self._half_span + self._low
        self._may_overshoot = bool((highest > self._high).any())  # rounding may exceed the upper bound
        self._episodes = self._steps = self._seed = 0
        self._running = False
        self._closed = False

    def reset(self, seed: int) -> Observation:
        """Start an episode with this seed and return its first observation.

        Raises:
            SimulatorError: the task raised an error, or its observation has another shape or is not finite.
            ContractError: the environment is closed.
        """
        if self._closed:
            raise ContractError(f"task '{self.spec.task}': expected an open environment, found a closed one.")
        self._episodes, self._steps, self._seed, self._running = self._episodes + 1, 0, seed, False
        with self._fenced("reset()"):
            observation = self._simulator.start(seed)
            check_observation(observation, self._layout)
        self._running = True
        return observation

    def step(self, action: FloatArray) -> Step:
        """Apply an action in [-1, 1] for one control period.

        Raises:
            SimulatorError: see `Environment.step`.
            ContractError: see `Environment.step`.
        """
        if not self._running:
            raise ContractError(
                f"task '{self.spec.task}': expected reset() first, found step() outside an episode"
                f" (after {self._steps} steps)."
            )
        step = self._advance(self._to_task_units(action))
        if step.terminated or step.truncated:
            self._running = False
        return step

    def _advance(self, action: FloatArray) -> Step:
        """Advance the simulator and check what it returns."""
        self._steps += 1
        try:
            observation, reward, terminated, truncated, info = self._simulator.advance(action)
            check_observation(observation, self._layout)
            if type(reward) is not float or not math.isfinite(reward):
                reward = read_reward(reward)
            if type(terminated) is not bool:
                terminated = read_flag("terminated", terminated)
            if type(truncated) is not bool:
                truncated = read_flag("truncated", truncated)
            metrics = self._read_metrics(info)
        except SacpipeError:
            self._running = False
            raise
        except (Exception, SystemExit) as exc:
            self._running = False
            raise self._failure("step()", exc) from exc
        is_truncated = not terminated and (truncated or self._steps == self._limit)
        return Step(observation, reward, terminated, is_truncated, metrics)

    def compute_rewards(
        self, observations: Observation, actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray] | None:
        """Compute rewards and terminations of recorded steps, see `Environment.compute_rewards`."""
        if self._compute_rewards is None:
            return None
        with self._fenced("reward function"):
            return self._compute_rewards(observations, self.spec.to_task_units(actions), next_observations)

    def suggested_metrics(self) -> tuple[str, ...]:
        """Return the reward terms and successes in `info` of a first step; the running episode ends.

        Raises:
            SimulatorError: the task raised an error.
        """
        self._running = False
        with self._fenced("step()"):
            self._simulator.start(0)
            return suggested_names(self._simulator.advance(self._low + self._half_span)[4])

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3)."""
        with self._fenced("render()"):
            return self._simulator.render()

    def close(self) -> None:
        """Free the simulator. A second call does nothing.

        An error of the task is a warning, because everything the task had to give is there already: an error
        would lose a finished training, or hide the error that ended it.
        """
        if self._closed:
            return
        self._running, self._closed = False, True
        error = first_error(self._close)
        if error is not None:
            _LOGGER.warning("%s", error)

    def _close(self) -> None:
        try:
            self._simulator.close()
        except (Exception, SystemExit) as exc:
            raise self._failure("close()", exc) from exc

    def _to_task_units(self, action: FloatArray) -> FloatArray:
        """Return the bits of `EnvSpec.to_task_units`, a few times faster."""
        action = np.asarray(action, dtype=np.float32)
        if action.shape != self._shape:
            raise ContractError(
                f"{self._where(1)}: expected an action of shape {self._shape}, found {action.shape}."
                " Does the policy belong to this task?"
            )
        values = action.tolist()  # for few numbers, plain Python takes half the time of NumPy
        if not math.isfinite(sum(values)):
            raise ContractError(
                f"{self._where(1)}: expected a finite action in [-1, 1], found {first_bad(action)}."
                " The policy returned it; check the policy's parameters and its observation."
            )
        if max(values) > 1.0 or min(values) < -1.0:
            action = np.clip(action, -self._ones, self._ones)
        scaled = action + self._ones
        scaled *= self._half_span
        scaled += self._low
        return np.minimum(scaled, self._high) if self._may_overshoot else scaled

    @contextlib.contextmanager
    def _fenced(self, call: str) -> Iterator[None]:
        """Turn what the task raises into a SimulatorError; a step, which is taken often, does it itself."""
        try:
            yield
        except SacpipeError:
            raise
        except (Exception, SystemExit) as exc:
            raise self._failure(call, exc) from exc

    def _failure(self, call: str, exc: BaseException) -> SimulatorError:
        return simulator_error(self._where(), call, exc, self._retryable)

    def _where(self, ahead: int = 0) -> str:
        episode = f"episode {self._episodes} (seed {self._seed})"
        return f"task '{self.spec.task}', {episode}, step {self._steps + ahead}"


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
