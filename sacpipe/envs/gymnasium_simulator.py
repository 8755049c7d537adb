"""The simulator of a registered Gymnasium task, and its camera."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import RendererError
from sacpipe.envs.base import no_render_size
from sacpipe.envs.foreign_code import describe_error
from sacpipe.envs.gymnasium_layers import task_attribute
from sacpipe.envs.mujoco_terms import compiled_model
from sacpipe.envs.observation_reader import ReadObservation
from sacpipe.envs.rendering.camera import MujocoCamera
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_VIEWS: dict[str, dict[str, Any]] = {
    "InvertedDoublePendulum-v5": {"lookat": np.array([0.0, 0.0, 0.5]), "distance": 3.0, "elevation": -15.0}
}
"""Camera settings of tasks whose default free camera does not show the robot."""


class GymnasiumSimulator:
    """One Gymnasium environment without its wrappers."""

    def __init__(self, env: Any, read: ReadObservation, render_size: tuple[int, int] | None) -> None:
        self._env = env
        self.modules = _modules(env)
        self._step = env.step
        self._read = read
        self._size = render_size
        self._camera: MujocoCamera | None = None
        self._draw_goal = task_attribute(env, "draw_goal")
        dtype = env.action_space.dtype
        self._narrow_dtype = None if np.can_cast(np.float32, dtype) else dtype

    def open_camera(self, task_id: str) -> None:
        """Open MuJoCo's camera if there is a render size and the task uses MuJoCo.

        Raises:
            RendererError: no off-screen renderer works here.
        """
        if self._size is not None:
            self._camera = _open_camera(task_id, self._env, self._size)

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
            if self._draw_goal is not None:
                self._draw_goal()
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


def _modules(env: Any) -> tuple[str, ...]:
    layers = [env]
    while layers[-1] is not env.unwrapped:
        layers.append(layers[-1].env)
    return tuple(dict.fromkeys(type(layer).__module__ for layer in layers))


def _open_camera(task_id: str, env: Any, render_size: tuple[int, int]) -> MujocoCamera | None:
    """Open the model's camera `track`, or a free camera with Gymnasium's settings; None without MuJoCo."""
    view, model = task_attribute(env, "mujoco_renderer"), compiled_model(env.unwrapped)
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
