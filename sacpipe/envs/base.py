"""The contract of an environment, and what a task suite consists of.

A task suite is one file with two classes: a `TaskSection`, the `task` section of params.yaml, and a
`Simulator`, which `make()` wraps into a `TaskEnvironment` (task_environment.py).
`sacpipe.testing.environments.check_env` tests the contract.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, JsonValue

from sacpipe.core.errors import ConfigError, RendererError, UnknownTaskError
from sacpipe.core.files import canonical_json
from sacpipe.envs.step_values import check_vector, read_flag, read_reward
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray, Step

Policy = Callable[[FloatArray], FloatArray]
"""Maps an observation, shape (observation_dim,), to an action in [-1, 1], shape (action_dim,)."""


def _finite(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse infinity and NaN at any depth: JSON, and so a run's identity, cannot hold them."""
    canonical_json(options)
    return options


Options = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
"""Keyword arguments of a task: booleans, finite numbers, texts, null, and lists and mappings of these."""

ComputeRewards = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Maps observations, actions in task units and next observations, N rows each, to rewards and terminations,
float32 of shape (N,)."""


class Environment(Protocol):
    """One simulator instance. Training and evaluation use instances of their own."""

    spec: EnvSpec
    """Specification of the task."""

    def reset(self, seed: int) -> FloatArray:
        """Start an episode with this seed and return its first observation. Shape (observation_dim,).

        The same seed always gives the same episode, whatever this instance ran before.

        Raises:
            SimulatorError: as of `step`.
            ContractError: the environment is closed.
        """
        ...

    def step(self, action: FloatArray) -> Step:
        """Apply an action in [-1, 1] (clipped, then rescaled to the task's units) for one control period.

        If a task terminates in the same step as its time limit, only `terminated` is true.

        Raises:
            SimulatorError: the task raised an error; an observation has another shape than declared, or is
                not finite; the reward is not one finite number; a flag is not a bool.
            ContractError: the action has the wrong shape or is not finite, or no episode is running.
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
        """Free the simulator. A second call does nothing; an error of the task is a warning."""
        ...


class TaskSection(Protocol):
    """The `task` section of params.yaml for one task suite."""

    @property
    def suite(self) -> str:
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
            SimulatorError: the task raised an error after which a retry may succeed.
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

    A method may raise anything: `TaskEnvironment` turns it into a SimulatorError. What a task returned is
    checked there too; `step_values.observation_reader` makes the vector of a task's observation.
    """

    def start(self, seed: int) -> FloatArray:
        """Start an episode with this seed and return its first observation. Shape (observation_dim,)."""
        ...

    def advance(self, action: FloatArray) -> tuple[FloatArray, Any, Any, Any]:
        """Apply an action in task units; return observation, reward, terminated, truncated.

        Reward and flags are the task's own values, unchanged.
        """
        ...

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3)."""
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


def try_step(simulator: Simulator, spec: EnvSpec) -> None:
    """Reset and step once, because some wrong options fail only then.

    Raises:
        UnexpectedValueError: an observation, the reward or a flag is not what the specification says.
        Exception: what the task raised.
    """
    middle = spec.to_task_units(np.zeros(spec.action_dim, dtype=np.float32))
    check_vector(simulator.start(0), (spec.observation_dim,))
    observation, reward, terminated, truncated = simulator.advance(middle)
    check_vector(observation, (spec.observation_dim,))
    read_reward(reward)
    read_flag("terminated", terminated)
    read_flag("truncated", truncated)


def require_time_limit(spec: EnvSpec) -> None:
    """Check that an episode of a task ends.

    Raises:
        ConfigError: the task has no time limit.
    """
    if spec.max_episode_steps is None:
        raise ConfigError(
            f"task '{spec.task}': expected a time limit, found none; an episode may never end. Register the "
            "task with `max_episode_steps`, or set it in task.options (`time_limit` in dm_control)."
        )


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
