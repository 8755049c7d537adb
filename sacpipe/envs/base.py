"""The contract of an environment, and what a task suite consists of.

A task suite is one file with two classes: one derived from `TaskSection`, the `task` section of params.yaml,
and a `Simulator`, which `make()` wraps into a `TaskEnvironment` (task_environment.py).
`sacpipe.testing.environments.check_env` tests the contract.
"""

import difflib
import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, JsonValue, model_validator

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, RendererError, UnknownTaskError
from sacpipe.core.files import canonical_json
from sacpipe.envs.foreign_code import task_errors
from sacpipe.envs.info_metrics import MetricNames, ReadMetrics, read_first_metrics
from sacpipe.envs.observation_reader import check_observation
from sacpipe.envs.step_values import read_flag, read_reward
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Step

Policy = Callable[[Observation], FloatArray]
"""Maps an observation to an action in [-1, 1], shape (action_dim,)."""


def _finite(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse infinity and NaN at any depth: JSON, and so a run's identity, cannot hold them."""
    canonical_json(options)
    return options


Options = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
"""Keyword arguments of a task: booleans, finite numbers, texts, null, and lists and mappings of these."""

ComputeRewards = Callable[[Observation, FloatArray, Observation], tuple[FloatArray, FloatArray]]
"""Maps observations, actions in task units and next observations, N rows each, to rewards and terminations,
float32 of shape (N,)."""


class Environment(Protocol):
    """One simulator instance. Training and evaluation use instances of their own."""

    spec: EnvSpec
    """Specification of the task."""
    metric_names: tuple[str, ...]
    """Names of each step's metrics: `task.metrics` of params.yaml."""

    def reset(self, seed: int) -> Observation:
        """Start an episode with this seed and return its first observation, in memory of its own.

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
            SimulatorError: the task raised an error; an observation has another shape or type than declared,
                or is not finite; the reward is not one finite number; a flag is not a bool; `info` lacks a
                metric.
            ContractError: the action has the wrong shape or is not finite, or no episode is running.
        """
        ...

    def compute_rewards(
        self, observations: Observation, actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray] | None:
        """Compute rewards and terminations of recorded steps; None if the task cannot.

        Recorded observations are rounded to float32, so the rewards equal the task's own up to rounding.

        Args:
            observations: N observations.
            actions: In [-1, 1]. Shape (N, action_dim).
            next_observations: N observations.

        Returns:
            Rewards in task units, and terminations: 1.0 where the task itself ended, else 0.0. Shape (N,).
        """
        ...

    def suggested_metrics(self) -> tuple[str, ...]:
        """Return the entries of `info` that are reward terms or success; the running episode ends.

        Raises:
            SimulatorError: the task raised an error.
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


_Make = Callable[..., Environment]


def _fenced(make: _Make) -> _Make:
    """Return a suite's `make`, whose errors that are not sacpipe's become errors with the task's name."""

    @functools.wraps(make)
    def fenced_make(section: "TaskSection", *args: Any, **kwargs: Any) -> Environment:
        with task_errors(section.name, section.options):
            return make(section, *args, **kwargs)

    return fenced_make


class TaskSection(Config):
    """The `task` section of params.yaml for one task suite; a member of `SUITES` derives from it.

    Attributes:
        suite_name: Registered name of the suite, part of `EnvSpec.task`.
    """

    suite_name: ClassVar[str]

    suite: str
    """Name of the task suite, or `module:Class` of one in a package of your own."""
    id: str
    """Name of the task within its suite."""
    options: Options
    """Keyword arguments of the task."""
    metrics: MetricNames
    """Names of entries of `info` that are kept as metrics, e.g. reward terms and success."""

    @model_validator(mode="after")
    def _own_suite(self) -> Self:
        if self.suite != self.suite_name and ":" not in self.suite:
            raise ValueError(f"suite: expected '{self.suite_name}', found '{self.suite}'")
        return self

    @property
    def name(self) -> str:
        """Name of the task in `EnvSpec.task`: suite and id without the module that registers it."""
        return f"{self.suite_name}/{self.id.rpartition(':')[2]}"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Fence `make` of every suite: what it raises, e.g. about an invalid `EnvSpec`, is a suite's own."""
        super().__init_subclass__(**kwargs)
        if "make" in vars(cls):
            setattr(cls, "make", _fenced(vars(cls)["make"]))  # noqa: B010 - a method of the class at hand

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build an environment of the task.

        Args:
            render_size: Size of rendered images, (height, width) in pixels; None for no rendering.

        Raises:
            UnknownTaskError: no such task; carries the nearest names.
            ConfigError: the task has no bounded Box action space or no observation of arrays, refuses its
                options, lacks a metric, or needs a package that is not installed.
            SimulatorError: the task raised an error after which a retry may succeed.
            RendererError: a render size is given and no renderer works here.
        """
        raise NotImplementedError

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids of this suite that can be trained on this machine, sorted."""
        raise NotImplementedError

    @classmethod
    def example(cls) -> Self:
        """Return the section of a small task of the suite, for contract tests."""
        raise NotImplementedError


class Simulator(Protocol):
    """The simulator of a task suite. Every array that it returns is new, and the caller owns it.

    An attribute `modules` may name the modules that define the task, where another's classes do.

    A method may raise anything: `TaskEnvironment` turns it into a SimulatorError. What a task returned is
    checked there too; `observation_reader` makes the packed observation of a task's arrays.
    """

    def start(self, seed: int) -> Observation:
        """Start an episode with this seed and return its first observation."""
        ...

    def advance(self, action: FloatArray) -> tuple[Observation, Any, Any, Any, Any]:
        """Apply an action in task units; return observation, reward, terminated, truncated and info.

        Reward, flags and info are the task's own values, unchanged; `NO_INFO` where the task has none.
        """
        ...

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3)."""
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


def try_step(simulator: Simulator, spec: EnvSpec, read_metrics: ReadMetrics) -> None:
    """Reset and step once, because some wrong options fail only then.

    Raises:
        UnexpectedValueError: an observation, the reward or a flag is not what the specification says.
        ConfigError: the task's `info` lacks a metric.
        Exception: what the task raised.
    """
    middle = spec.to_task_units(np.zeros(spec.action_dim, dtype=np.float32))
    check_observation(simulator.start(0), spec.layout)
    observation, reward, terminated, truncated, info = simulator.advance(middle)
    check_observation(observation, spec.layout)
    read_reward(reward)
    read_flag("terminated", terminated)
    read_flag("truncated", truncated)
    read_first_metrics(read_metrics, info)


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


def require_package(what: str, package: str, extra: str) -> None:
    """Check that an optional package of some tasks is installed, without importing it.

    Args:
        what: Task or task suite, for the message.
        package: Name that is imported.
        extra: Extra of sacpipe that installs it.

    Raises:
        ConfigError: the package is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{what} needs the package {package}, which is not installed. `pip install sacpipe[{extra}]` "
            "installs it."
        )


def no_render_size() -> RendererError:
    """Return the error of `render()` in an environment that was made without a render size."""
    return RendererError("this environment was made without a render size; make(render_size=...) sets it.")


def unknown_task(suite: str, task_id: str, ids: Sequence[str]) -> UnknownTaskError:
    """Return the error for an id that a task suite does not have, with the nearest ids."""
    offer = nearest(task_id, ids) or list(ids[:3])
    near = [f"{suite}/{name}" for name in offer]
    return UnknownTaskError(
        f"{suite}/{task_id}", near, may_be_own=suite == "gymnasium" and ":" not in task_id
    )


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return up to three names that are most similar to a name, whatever their case."""
    lowered = {candidate.lower(): candidate for candidate in names}
    return [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
