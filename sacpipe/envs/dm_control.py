"""The task suite `dm_control`: every task of the DeepMind Control Suite with bounded actions.

An id is `domain-task`, e.g. `cartpole-swingup`. A last step with discount zero is a termination; any other
last step is a time limit. dm_control is imported inside `make()` and `tasks()` only. Manipulation and
locomotion are domains too (`manipulation-reach_site_features`); dm_control_composer.py makes their tasks, and
is imported for them alone.

References:
    Tassa et al. 2018, arXiv:1801.00690, section 2 (episodes end by time limit; lqr apart).
"""

import copy
import importlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.base import (
    Environment,
    Options,
    Simulator,
    TaskSection,
    no_render_size,
    try_step,
    unknown_task,
)
from sacpipe.envs.foreign_code import task_errors
from sacpipe.envs.info_metrics import NO_INFO, metrics_reader, refuse_metrics
from sacpipe.envs.observation_reader import ObservationPart, array_term, observation_reader
from sacpipe.envs.rendering.camera import MujocoCamera
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_UNBOUNDED_DOMAINS = ("lqr",)
_COMPOSED = ("manipulation-", "locomotion-")
_NO_BOUND = 1e9
"""Magnitude above which a bound means no limit: MuJoCo writes 1e10 then."""


class DmControlTask(TaskSection):
    """`task` section of the task suite dm_control."""

    suite_name: ClassVar[str] = "dm_control"

    id: str
    """Domain and task, e.g. `cheetah-run`."""
    options: Options
    """Keyword arguments of the task, e.g. `time_limit` in seconds."""

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, so that a bad option is found here.

        Raises:
            UnknownTaskError: the suite has no such task.
            ConfigError: see `TaskSection.make`.
            RendererError: a render size is given and no renderer works here.
        """
        if "random" in self.options:
            raise ConfigError("task.options: random is set by sacpipe, episode by episode. Remove it.")
        build = _composer().build if self.id.startswith(_COMPOSED) else _build
        spec, simulator = build(self, render_size)
        with task_errors(self.name, self.options):
            try_step(simulator, spec, metrics_reader(()))
        return TaskEnvironment(spec, simulator)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the tasks whose actions have bounds and that observe no camera, sorted."""
        try:
            suite = _import_suite()
        except ConfigError:
            return ()
        pairs = [(domain, name) for domain, name in suite.ALL_TASKS if domain not in _UNBOUNDED_DOMAINS]
        return tuple(sorted([f"{domain}-{name}" for domain, name in pairs] + _composer().task_ids()))

    @classmethod
    def example(cls) -> Self:
        """Return a pole on a cart."""
        return cls(suite="dm_control", id="cartpole-swingup", options={}, metrics=())


def _build(task: DmControlTask, render_size: tuple[int, int] | None) -> tuple[EnvSpec, Simulator]:
    """Build a task of the Control Suite."""
    suite = _import_suite()
    if task.id not in {f"{domain}-{name}" for domain, name in suite.ALL_TASKS}:
        raise unknown_task(task.suite_name, task.id, task.tasks())
    refuse_metrics(task.suite_name, task.metrics)
    domain, _, name = task.id.partition("-")
    with task_errors(task.name, task.options):
        env = suite.load(domain, name, task_kwargs=copy.deepcopy(task.options))
        spec = _read_spec(task.name, env)
        return spec, DmControlSimulator(env, spec, render_size)


def _composer() -> Any:
    """Import the file of manipulation and locomotion, on which runs of other tasks do not depend."""
    return importlib.import_module("sacpipe.envs.dm_control_composer")


class DmControlSimulator:
    """One environment of the Control Suite."""

    def __init__(self, env: Any, spec: EnvSpec, render_size: tuple[int, int] | None) -> None:
        self._env = env
        self.modules = (type(env.task).__module__,)
        parts = zip(env.observation_spec(), spec.observation, strict=True)
        self._read = observation_reader(
            spec.layout, [ObservationPart((key,), term.shape, (term,)) for key, term in parts]
        )
        self._physics = env.physics
        _disable_opengl(self._physics)
        self._camera = None
        if render_size is not None:
            self._camera = MujocoCamera(
                mujoco_model(env), render_size, camera=0 if mujoco_model(env).ncam else -1
            )

    def start(self, seed: int) -> Observation:
        """Start the episode of a seed and return its first observation."""
        self._env.task.random.seed(seed)  # so that earlier episodes have no effect
        observation = self._read(self._env.reset().observation)
        if self._camera is not None:
            self._camera.reload()
        return observation

    def advance(self, action: FloatArray) -> tuple[Observation, Any, bool, bool, Any]:
        """Apply an action in task units; a physics that diverges raises dm_control's PhysicsError."""
        step = self._env.step(action)
        terminated, truncated = ending(step)
        return self._read(step.observation), step.reward, terminated, truncated, NO_INFO

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given.
        """
        if self._camera is None:
            raise no_render_size()
        return self._camera.render(self._physics.data.ptr)

    def close(self) -> None:
        """Free the simulator."""
        if self._camera is not None:
            self._camera.close()
        self._env.close()


def ending(step: Any) -> tuple[bool, bool]:
    """Return (terminated, truncated) of a dm_env TimeStep; a termination has discount zero."""
    last = step.last()
    terminated = last and step.discount == 0.0
    return terminated, last and not terminated


def _import_suite() -> Any:
    """Import the Control Suite without any OpenGL.

    Raises:
        ConfigError: dm_control is not installed.
    """
    try:
        with without_opengl():
            from dm_control import suite
    except ImportError as exc:
        raise ConfigError(
            f"task suite 'dm_control' needs the package dm_control: {exc}. Install the package."
        ) from exc
    mujoco_terms.route_warnings()
    return suite


def _disable_opengl(physics: Any) -> None:
    """Remove the physics' OpenGL contexts: quadruped-escape would open one at each reset to upload its hills.

    `MujocoCamera` renders instead, and its `reload` uploads the hills.
    """
    kind = type(physics)
    physics.__class__ = type(kind.__name__, (kind,), {"contexts": None})


def mujoco_model(env: Any) -> Any:
    """Return MuJoCo's MjModel of an environment."""
    return env.physics.model.ptr


def _read_spec(task: str, env: Any) -> EnvSpec:
    limit_steps = env._step_limit  # noqa: SLF001  dm_control has no public attribute for it
    return EnvSpec(
        task=task,
        observation=tuple(
            array_term(key, array.shape, array.dtype, source=f"observation '{key}' of {task}")
            for key, array in env.observation_spec().items()
        ),
        action=mujoco_terms.action_terms(mujoco_model(env), *read_bounds(task, env.action_spec())),
        control_period_s=float(env.control_timestep()),
        max_episode_steps=None if math.isinf(limit_steps) else math.ceil(limit_steps),
    )


def read_bounds(task: str, array: Any) -> tuple[FloatArray, FloatArray]:
    """Return the bounds of an array of actions that dm_control describes.

    Raises:
        ConfigError: the actions are no vector, or have no bounds.
    """
    if len(array.shape) != 1:
        raise ConfigError(
            f"task '{task}': expected a bounded, continuous vector of actions, found {array}."
            " Choose another task."
        )
    low, high = np.broadcast_to(array.minimum, array.shape), np.broadcast_to(array.maximum, array.shape)
    return action_bounds(task, low, high, no_bound=_NO_BOUND)
