"""The task suite `gymnasium`: any registered id with bounded Box actions, MuJoCo v5 first.

Gymnasium's own wrappers for call order, checks and time limits are removed, because `TaskEnvironment` does
their work. Gymnasium and MuJoCo are imported inside `make()` and `tasks()` only.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError, RendererError, SacpipeError
from sacpipe.envs.base import (
    ComputeRewards,
    Environment,
    Options,
    TaskSection,
    no_render_size,
    try_step,
    unknown_task,
)
from sacpipe.envs.foreign_code import describe_error, retryable_errors, task_errors
from sacpipe.envs.gymnasium_options import Parameters, find_constructor
from sacpipe.envs.gymnasium_terms import observation_parts, read_spec
from sacpipe.envs.info_metrics import metrics_reader
from sacpipe.envs.mujoco_compat import repair_robotics
from sacpipe.envs.mujoco_terms import compiled_model, route_warnings
from sacpipe.envs.observation_reader import ReadObservation, observation_reader
from sacpipe.envs.rendering.camera import MujocoCamera
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_RESERVED = ("render_mode", "disable_env_checker", "width", "height", "camera_id", "camera_name")
"""Options that sacpipe sets itself."""
_VIEWS: dict[str, dict[str, Any]] = {
    "InvertedDoublePendulum-v5": {"lookat": np.array([0.0, 0.0, 0.5]), "distance": 3.0, "elevation": -15.0}
}
"""Camera settings of tasks whose default free camera does not show the robot."""


class GymnasiumTask(TaskSection):
    """`task` section of the task suite gymnasium."""

    suite_name: ClassVar[str] = "gymnasium"

    id: str
    """Registered id with its version, e.g. `HalfCheetah-v5`; `package:Id-v0` imports the package first."""
    options: Options
    """Keyword arguments of the task, e.g. `ctrl_cost_weight`, and `max_episode_steps`."""

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, so that a bad option is found here.

        Raises:
            UnknownTaskError: the id is not registered.
            ConfigError: see `TaskSection.make`.
            SimulatorError: see `TaskSection.make`.
            RendererError: a render size is given and no renderer works here.
        """
        gym = _import_gymnasium()
        task = self.name
        if self.id not in gym.registry and ":" not in self.id:
            raise unknown_task(self.suite_name, self.id, self.tasks())
        taken = sorted(set(_RESERVED) & set(self.options))
        if taken:
            raise ConfigError(f"task.options: {', '.join(taken)} is set by sacpipe. Remove it.")
        with task_errors(task, self.options), without_opengl():
            constructor, registered = find_constructor(gym, self.id)
            repair_robotics()
        parameters = Parameters(constructor)
        arguments = parameters.convert(self.options, registered)
        if render_size is not None and parameters.accepts("render_mode"):
            arguments["render_mode"] = "rgb_array"
        with task_errors(task, self.options, constructor):
            with without_opengl():
                env = gym.make(self.id, disable_env_checker=True, **arguments)
            limit = None if env.spec is None else env.spec.max_episode_steps
            env = _unwrap(env)
            parts = observation_parts(task, env)
            spec = read_spec(task, env, limit, parts)
            simulator = GymnasiumSimulator(env, observation_reader(spec.layout, parts), render_size)
            try_step(simulator, spec, metrics_reader(self.metrics))
            retryable = retryable_errors(task, env.unwrapped)
        simulator.open_camera(self.id)
        rewards = _COMPUTE_REWARDS.get(self.id)
        return TaskEnvironment(spec, simulator, rewards, retryable, self.metrics)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """Build the newest version of every registered id; list the ids that can be trained here."""
        try:
            gym = _import_gymnasium()
        except ConfigError:
            return ()
        found = []
        for task_id in _newest_versions(gym):
            try:
                with warnings.catch_warnings(action="ignore"):
                    cls(suite="gymnasium", id=task_id, options={}, metrics=()).make().close()
            except SacpipeError:
                continue
            found.append(task_id)
        return tuple(sorted(found))

    @classmethod
    def example(cls) -> Self:
        """Return a pole on a cart."""
        return cls(suite="gymnasium", id="InvertedDoublePendulum-v5", options={}, metrics=())


class GymnasiumSimulator:
    """One Gymnasium environment without its wrappers."""

    def __init__(self, env: Any, read: ReadObservation, render_size: tuple[int, int] | None) -> None:
        self._env = env
        self.modules = _modules(env)
        self._step = env.step
        self._read = read
        self._size = render_size
        self._camera: MujocoCamera | None = None
        dtype = env.action_space.dtype
        self._narrow_dtype = None if np.can_cast(np.float32, dtype) else dtype

    def open_camera(self, task_id: str) -> None:
        """Open MuJoCo's camera if there is a render size and the task uses MuJoCo.

        Raises:
            RendererError: no off-screen renderer works here.
        """
        if self._size is not None:
            self._camera = _open_camera(task_id, self._env.unwrapped, self._size)

    def start(self, seed: int) -> Observation:
        """Start the episode of a seed and return its first observation."""
        observation, _ = self._env.reset(seed=seed)
        if self._camera is not None:
            self._camera.reload()
        return self._read(observation)

    def advance(self, action: FloatArray) -> tuple[Observation, Any, Any, Any, Any]:
        """Apply an action in task units."""
        if self._narrow_dtype is not None:  # a float16 space does not contain a float32 action
            action = action.astype(self._narrow_dtype)
        observation, reward, terminated, truncated, info = self._step(action)
        return self._read(observation), reward, terminated, truncated, info

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given, or the task cannot render here.
        """
        if self._size is None:
            raise no_render_size()
        if self._camera is not None:
            return self._camera.render(self._env.unwrapped.data)
        try:
            frame = np.asarray(self._env.render())
        except NotImplementedError as exc:
            raise RendererError("the task has no render() that returns an RGB array") from exc
        except (Exception, SystemExit) as exc:
            raise RendererError(f"the task cannot render here: {describe_error(exc)}") from exc
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            raise RendererError(
                "expected an RGB image of uint8 from the task's render(), found an array of shape"
                f" {frame.shape} of {frame.dtype}."
            )
        return _resize(frame, *self._size)

    def close(self) -> None:
        """Free the simulator."""
        if self._camera is not None:
            self._camera.close()
        self._env.close()


def _pendulum_rewards(
    observations: Observation, actions: FloatArray, _next_observations: Observation
) -> tuple[FloatArray, FloatArray]:
    """Compute the pendulum's cost of angle, speed and torque; the task never terminates."""
    names = ("angle_cosine", "angle_sine", "angular_velocity")
    cosine, sine, speed = (observations[name][:, 0].astype(np.float64) for name in names)
    pairs = zip(sine.tolist(), cosine.tolist(), strict=True)
    angle = np.array([math.atan2(*pair) for pair in pairs])  # NumPy's has other bits with AVX-512
    costs = angle**2 + 0.1 * speed**2 + 0.001 * actions[:, 0].astype(np.float64) ** 2
    return (-costs).astype(np.float32), np.zeros(len(costs), dtype=np.float32)


_COMPUTE_REWARDS: dict[str, ComputeRewards] = {"Pendulum-v1": _pendulum_rewards}
"""Reward functions of the tasks whose rewards depend on recorded values only, whatever the options."""


def _import_gymnasium() -> Any:
    """Import Gymnasium, and route MuJoCo's warnings if MuJoCo is installed.

    Raises:
        ConfigError: Gymnasium is not installed.
    """
    with without_opengl():
        try:
            import gymnasium as gym
        except ImportError as exc:
            raise ConfigError(
                f"task suite 'gymnasium' needs the package gymnasium: {exc}. Install the package."
            ) from exc
        try:
            route_warnings()
        except ImportError:
            return gym  # classic control needs no MuJoCo; a MuJoCo task reports the missing package itself
    return gym


def _newest_versions(gym: Any) -> list[str]:
    newest: dict[str, tuple[int, str]] = {}
    for task_id, spec in gym.registry.items():
        family, version = f"{spec.namespace}/{spec.name}", spec.version or 0
        if family not in newest or version > newest[family][0]:
            newest[family] = (version, task_id)
    return [task_id for _, task_id in newest.values()]


def _modules(env: Any) -> tuple[str, ...]:
    layers = [env]
    while layers[-1] is not env.unwrapped:
        layers.append(layers[-1].env)
    return tuple(dict.fromkeys(type(layer).__module__ for layer in layers))


def _unwrap(env: Any) -> Any:
    from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

    while isinstance(env, (OrderEnforcing, PassiveEnvChecker, TimeLimit)):
        env = env.env
    return env


def _open_camera(task_id: str, simulation: Any, render_size: tuple[int, int]) -> MujocoCamera | None:
    """Open the model's camera `track`, or a free camera with Gymnasium's settings; None without MuJoCo."""
    view, model = getattr(simulation, "mujoco_renderer", None), compiled_model(simulation)
    if view is None or model is None:
        return None
    track = next((index for index in range(model.ncam) if model.camera(index).name == "track"), -1)
    free = _VIEWS.get(task_id, view.default_cam_config)
    return MujocoCamera(model, render_size, camera=track, free=free)


def _resize(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image by nearest pixels, because a task without MuJoCo renders in a size of its own."""
    rows = np.arange(height) * frame.shape[0] // height
    columns = np.arange(width) * frame.shape[1] // width
    return np.ascontiguousarray(frame[rows[:, None], columns], dtype=np.uint8)
