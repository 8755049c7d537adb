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
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.base import Options, unknown_task
from sacpipe.envs.built_task import BuiltTask, BuiltTaskSection
from sacpipe.envs.info_metrics import NO_INFO, refuse_metrics
from sacpipe.envs.observation_reader import ObservationPart, array_term, observation_reader
from sacpipe.envs.rendering.camera import OptionalCamera
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_UNBOUNDED_DOMAINS = ("lqr",)
_COMPOSED = ("manipulation-", "locomotion-")
_NO_BOUND = 1e9
"""Magnitude above which a bound means no limit: MuJoCo writes 1e10 then."""


class DmControlTask(BuiltTaskSection):
    """`task` section of the task suite dm_control."""

    suite_name: ClassVar[str] = "dm_control"

    id: str
    """Domain and task, e.g. `cheetah-run`."""
    options: Options
    """Keyword arguments of the task, e.g. `time_limit` in seconds."""

    def build(self, render_size: tuple[int, int] | None) -> BuiltTask:
        """Build the task; the option `random` is refused, and metrics are, because there is no `info`."""
        if "random" in self.options:
            raise ConfigError("task.options: random is set by sacpipe, episode by episode. Remove it.")
        if self.id.startswith(_COMPOSED):
            composed: BuiltTask = _composer().build(self, render_size)
            return composed
        suite = _import_suite()
        if self.id not in {f"{domain}-{name}" for domain, name in suite.ALL_TASKS}:
            raise unknown_task(self.suite_name, self.id, self.tasks())
        refuse_metrics(self.suite_name, self.metrics)
        domain, _, name = self.id.partition("-")
        env = suite.load(domain, name, task_kwargs=copy.deepcopy(self.options))
        spec = _read_spec(self.name, env)
        _disable_opengl(env.physics)
        return BuiltTask(spec, DmControlSimulator(env, spec, env.observation_spec(), render_size))

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


def _composer() -> Any:
    """Import the file of manipulation and locomotion, on which runs of other tasks do not depend."""
    return importlib.import_module("sacpipe.envs.dm_control_composer")


class DmControlSimulator:
    """One environment of dm_control.

    Args:
        env: The environment.
        spec: Of the task.
        keys: Names of the arrays of its observation, one for each term.
        render_size: Size of images, (height, width) in pixels; None for no rendering.
    """

    def __init__(
        self, env: Any, spec: EnvSpec, keys: Iterable[str], render_size: tuple[int, int] | None
    ) -> None:
        self._env = env
        self.modules: tuple[str, ...] = (type(env.task).__module__,)
        parts = [
            ObservationPart((key,), term.shape, (term,))
            for key, term in zip(keys, spec.observation, strict=True)
        ]
        self._read = observation_reader(spec.layout, parts)
        self._camera = OptionalCamera(render_size)
        self._open_camera()

    def start(self, seed: int) -> Observation:
        """Start the episode of a seed and return its first observation."""
        self._env.task.random.seed(seed)  # so that earlier episodes have no effect
        observation = self._read(self._env.reset().observation)
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
        return self._camera.render(self._env.physics.data.ptr)

    def close(self) -> None:
        """Free the simulator."""
        self._camera.close()
        self._env.close()

    def _open_camera(self) -> None:
        """Open a camera on the present model."""
        model = mujoco_model(self._env)
        self._camera.open(model, camera=0 if model.ncam else -1)


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
