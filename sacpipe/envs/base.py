"""The contract of an environment, and `TaskEnvironment`, which implements it for every task suite.

A task suite is one file with two classes: a `TaskSection`, the `task` section of params.yaml, and a
`Simulator`, which `make()` wraps into a `TaskEnvironment`. `sacpipe.testing.environments.check_env` tests
the contract.
"""

import contextlib
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sacpipe.core.errors import ConfigError, ContractError, RendererError, SacpipeError, UnknownTaskError
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray, Step

Policy = Callable[[FloatArray], FloatArray]
"""Maps an observation, shape (observation_dim,), to an action in [-1, 1], shape (action_dim,)."""

Options = dict[str, bool | int | float | str]
"""Keyword arguments of a task."""

ComputeRewards = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Maps observations, actions in task units and next observations, N rows each, to rewards and terminations,
float32 of shape (N,)."""

_MAX_PYTHON_SUM = 64
"""Largest number of values for which a sum in Python is faster than a call of NumPy."""


class Environment(Protocol):
    """One simulator instance. Training and evaluation use instances of their own."""

    spec: EnvSpec
    """Specification of the task."""

    def reset(self, seed: int) -> FloatArray:
        """Start an episode with this seed and return its first observation. Shape (observation_dim,).

        The same seed always gives the same episode, whatever this instance ran before.
        """
        ...

    def step(self, action: FloatArray) -> Step:
        """Apply an action in [-1, 1] (clipped, then rescaled to the task's units) for one control period.

        If a task terminates in the same step as its time limit, only `terminated` is true.

        Raises:
            ContractError: the action has the wrong shape or is not finite, an observation or reward of the
                task is not finite, or no episode is running.
        """
        ...

    def compute_rewards(
        self, observations: FloatArray, actions: FloatArray, next_observations: FloatArray
    ) -> tuple[FloatArray, FloatArray] | None:
        """Compute rewards and terminations of recorded steps; None if the task cannot.

        Recorded observations are rounded to float32, so the rewards equal the task's own up to rounding.

        Args:
            observations: Shape (N, observation_dim).
            actions: In [-1, 1]. Shape (N, action_dim).
            next_observations: Shape (N, observation_dim).

        Returns:
            Rewards in task units, and terminations: 1.0 where the task itself ended, else 0.0. Shape (N,).
        """
        ...

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3).

        Raises:
            RendererError: this instance was made without a render size, or no renderer works here.
        """
        ...

    def close(self) -> None:
        """Free the simulator. A second call does nothing."""
        ...


class TaskSection(Protocol):
    """The `task` section of params.yaml for one task suite."""

    @property
    def universe(self) -> str:
        """Name of the task suite."""
        ...

    @property
    def id(self) -> str:
        """Name of the task within its suite."""
        ...

    @property
    def options(self) -> Options:
        """Keyword arguments of the task."""
        ...

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build an environment of the task.

        Args:
            render_size: Size of rendered images, (height, width) in pixels; None for no rendering.

        Raises:
            UnknownTaskError: no such task; carries the nearest names.
            ConfigError: the task has no bounded Box action space or no vector observation, refuses its
                options, or needs a package that is not installed.
            RendererError: a render size is given and no renderer works here.
        """
        ...

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids of this suite that can be trained on this machine, sorted."""
        ...


class Simulator(Protocol):
    """The simulator of a task suite. Every array that it returns is new, and the caller owns it.

    An attribute `modules` may name the modules that define the task, where another's classes do.
    """

    def start(self, seed: int) -> FloatArray:
        """Start an episode with this seed and return its first observation. Shape (observation_dim,)."""
        ...

    def advance(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool]:
        """Apply an action in task units; return observation, reward, terminated, truncated.

        Raises:
            ArithmeticError: the physics diverged.
        """
        ...

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3)."""
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


class TaskEnvironment:
    """An `Environment` around a simulator: checks call order and values, scales actions, ends at the limit.

    Args:
        spec: Specification of the task.
        simulator: Simulator of the task suite.
        compute_rewards: The task's rewards as a function of recorded steps, or None if the task cannot.
    """

    def __init__(
        self, spec: EnvSpec, simulator: Simulator, compute_rewards: ComputeRewards | None = None
    ) -> None:
        self.spec = spec
        self.modules: tuple[str, ...] = getattr(simulator, "modules", (type(simulator).__module__,))
        """Modules that define the task: those that the simulator names, else that of the simulator."""
        self._simulator = simulator
        self._compute_rewards = compute_rewards
        self._limit = spec.max_episode_steps
        self._shape = (spec.action_dim,)
        self._ones = np.ones(self._shape, dtype=np.float32)
        self._low, self._high = spec.action_low, spec.action_high
        self._half_span = np.float32(0.5) * (self._high - self._low)
        highest = (self._ones + self._ones) * self._half_span + self._low
        self._may_overshoot = bool((highest > self._high).any())  # rounding may exceed the upper bound
        self._steps = 0
        self._running = False
        self._closed = False

    def reset(self, seed: int) -> FloatArray:
        """Start an episode with this seed and return its first observation. Shape (observation_dim,).

        Raises:
            ContractError: the first observation is not finite, or the environment is closed.
        """
        if self._closed:
            raise ContractError(f"task '{self.spec.task}': expected an open environment, found a closed one.")
        observation = self._simulator.start(seed)
        self._steps = 0
        self._running = True
        if not _is_finite(observation):
            raise self._not_finite(observation, 0.0)
        return observation

    def step(self, action: FloatArray) -> Step:
        """Apply an action in [-1, 1] for one control period.

        Raises:
            ContractError: see `Environment.step`.
        """
        if not self._running:
            raise ContractError(
                f"task '{self.spec.task}': expected reset() first, found step() outside an episode"
                f" (after {self._steps} steps)."
            )
        scaled = self._to_task_units(action)
        try:
            observation, reward, terminated, truncated = self._simulator.advance(scaled)
        except ArithmeticError as exc:
            self._running = False
            raise ContractError(f"{self._where(1)}: the simulation failed: {exc}") from exc
        self._steps += 1
        if not (math.isfinite(reward) and _is_finite(observation)):
            raise self._not_finite(observation, reward)
        if terminated:
            truncated = False
        elif self._steps == self._limit:
            truncated = True
        if terminated or truncated:
            self._running = False
        return Step(observation, reward, terminated, truncated)

    def compute_rewards(
        self, observations: FloatArray, actions: FloatArray, next_observations: FloatArray
    ) -> tuple[FloatArray, FloatArray] | None:
        """Compute rewards and terminations of recorded steps, see `Environment.compute_rewards`."""
        if self._compute_rewards is None:
            return None
        return self._compute_rewards(observations, self.spec.to_task_units(actions), next_observations)

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3)."""
        return self._simulator.render()

    def close(self) -> None:
        """Free the simulator. A second call does nothing."""
        if not self._closed:
            self._running, self._closed = False, True
            self._simulator.close()

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
                f"{self._where(1)}: expected a finite action in [-1, 1], found {_first_bad(action)}."
                " The policy returned it; check the policy's parameters and its observation."
            )
        if max(values) > 1.0 or min(values) < -1.0:
            action = np.clip(action, -self._ones, self._ones)
        scaled = action + self._ones
        scaled *= self._half_span
        scaled += self._low
        return np.minimum(scaled, self._high) if self._may_overshoot else scaled

    def _not_finite(self, observation: FloatArray, reward: float) -> ContractError:
        self._running = False
        if not math.isfinite(reward):
            return ContractError(f"{self._where()}: expected a finite reward, found {reward}.")
        return ContractError(
            f"{self._where()}: expected a finite observation, found {_first_bad(observation)}."
            " The simulation diverged, or an option of the task is out of its range."
        )

    def _where(self, ahead: int = 0) -> str:
        return f"task '{self.spec.task}', step {self._steps + ahead}"


def _is_finite(values: FloatArray) -> bool:
    if values.size <= _MAX_PYTHON_SUM:
        return math.isfinite(sum(values.tolist()))  # a float64 sum of float32 numbers cannot overflow
    return bool(np.isfinite(values).all())


def _first_bad(values: FloatArray) -> str:
    index = int(np.flatnonzero(~np.isfinite(values))[0])
    return f"{values[index]} at entry {index}"


def no_render_size() -> RendererError:
    """Return the error of `render()` in an environment that was made without a render size."""
    return RendererError("this environment was made without a render size; make(render_size=...) sets it.")


def unknown_task(suite: str, task_id: str, ids: Sequence[str]) -> UnknownTaskError:
    """Return the error for an id that a task suite does not have, with the nearest ids."""
    offer = nearest(task_id, ids) or list(ids[:3])
    return UnknownTaskError(f"{suite}/{task_id}", [f"{suite}/{near}" for near in offer])


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return up to three names that are most similar to a name, whatever their case."""
    lowered = {candidate.lower(): candidate for candidate in names}
    return [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]


def _message(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        faults = [f"{error['loc'][-1]}: {error['msg']}, found {error['input']!r}" for error in exc.errors()]
        return "; ".join(faults)
    return " ".join(str(exc).split()) or type(exc).__name__


@contextlib.contextmanager
def task_errors(task: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn every error of a task's constructor or first step into a ConfigError with the task's message.

    Raises:
        ConfigError: the task refuses its options, or cannot be made on this machine.
    """
    try:
        yield
    except SacpipeError:
        raise
    except Exception as exc:
        reason = _message(exc)
        if options:
            found = ", ".join(f"{key}={value!r}" for key, value in sorted(options.items()))
            message = f"task.options: task '{task}' refuses {found}: {reason}"
        else:
            message = f"task '{task}' cannot be made here: {reason}"
        raise ConfigError(message) from exc
