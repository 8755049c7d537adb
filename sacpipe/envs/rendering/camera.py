"""The MuJoCo camera: off-screen images of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import RendererError
from sacpipe.envs.base import no_render_size
from sacpipe.envs.rendering.opengl import VARIABLE, choose_renderer, without_opengl

_SHADOW_PIXELS = 1024
"""Size of the shadow map in pixels. Without a graphics card, MuJoCo's default (4096, four samples a pixel)
takes five times as long."""


def _make_context(height: int, width: int) -> Any:
    """Return a MuJoCo GLContext of the chosen renderer.

    Raises:
        RendererError: no renderer works, or this process has loaded another OpenGL before.
    """
    name = choose_renderer()
    try:
        with without_opengl():
            if name == "egl":
                from mujoco.egl import GLContext
            elif name == "osmesa":
                from mujoco.osmesa import GLContext
            elif name == "cgl":
                from mujoco.cgl import GLContext
            else:
                from mujoco.glfw import GLContext
        context = GLContext(width, height)
        context.make_current()
    except Exception as exc:
        raise RendererError(
            f"renderer '{name}' works in a fresh process, not in this one: {' '.join(str(exc).split())}."
            f" Set {VARIABLE}={name} before anything imports OpenGL."
        ) from exc
    return context


class MujocoCamera:
    """One camera on a MuJoCo model, with an OpenGL context of its own."""

    def __init__(
        self,
        model: Any,
        size: tuple[int, int],
        *,
        camera: int = -1,
        free: Mapping[str, Any] | None = None,
        hidden_groups: Sequence[int] = (),
    ) -> None:
        """Open a context.

        Args:
            model: The compiled MjModel.
            size: Size of the images, (height, width) in pixels.
            camera: Index of a camera of the model, or -1 for a free camera.
            free: Fields of the free camera that differ from MuJoCo's defaults (`distance`, `lookat`, ...).
            hidden_groups: Groups of geoms that are not drawn, e.g. those for collisions.

        Raises:
            RendererError: no off-screen renderer works here.
        """
        import mujoco

        self._mujoco, self._model, (self._height, self._width) = mujoco, model, size
        self._context = _make_context(*size)
        frame = model.vis.global_
        frame.offheight, frame.offwidth = max(frame.offheight, size[0]), max(frame.offwidth, size[1])
        quality = model.vis.quality
        quality.shadowsize, quality.offsamples = min(quality.shadowsize, _SHADOW_PIXELS), 0
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[list(hidden_groups)] = 0
        self._camera = mujoco.MjvCamera()
        self._aim(camera, free or {})
        self._renderer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._area = mujoco.MjrRect(0, 0, self._width, self._height)

    def _aim(self, camera: int, free: Mapping[str, Any]) -> None:
        kinds = self._mujoco.mjtCamera
        if camera >= 0:
            self._camera.type, self._camera.fixedcamid = kinds.mjCAMERA_FIXED, camera
            return
        self._mujoco.mjv_defaultFreeCamera(self._model, self._camera)
        for name, value in free.items():
            if isinstance(value, np.ndarray):
                getattr(self._camera, name)[:] = value
            else:
                setattr(self._camera, name, value)
        if free.get("trackbodyid", 0) > 0:  # body 0 is the world, which does not move
            self._camera.type = kinds.mjCAMERA_TRACKING

    def reload(self) -> None:
        """Upload the model's height fields to the renderer; the start of an episode may change them."""
        self._context.make_current()
        for index in range(self._model.nhfield):
            self._mujoco.mjr_uploadHField(self._model, self._renderer, index)

    def render(self, data: Any) -> NDArray[np.uint8]:
        """Return the camera's image of a state. Shape (height, width, 3)."""
        self._context.make_current()
        every = self._mujoco.mjtCatBit.mjCAT_ALL.value
        self._mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, every, self._scene)
        self._mujoco.mjr_render(self._area, self._scene, self._renderer)
        frame = np.empty((self._height, self._width, 3), dtype=np.uint8)
        self._mujoco.mjr_readPixels(frame, None, self._area, self._renderer)
        return np.ascontiguousarray(frame[::-1])  # OpenGL's first row is the bottom one

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.make_current()
        self._renderer.free()
        self._context.free()


class OptionalCamera:
    """A camera on the present model of a simulator, which may compile a new one for an episode.

    Args:
        size: Size of the images, (height, width) in pixels; None for no rendering.
    """

    def __init__(self, size: tuple[int, int] | None) -> None:
        self._size = size
        self._camera: MujocoCamera | None = None

    def open(self, model: Any, **arguments: Any) -> None:
        """Look at another model from now on, if there is a size; arguments are those of `MujocoCamera`.

        Raises:
            RendererError: no off-screen renderer works here.
        """
        if self._size is not None:
            self.close()
            self._camera = MujocoCamera(model, self._size, **arguments)

    def reload(self) -> None:
        """Upload the model's height fields, which the start of an episode may change."""
        if self._camera is not None:
            self._camera.reload()

    def render(self, data: Any) -> NDArray[np.uint8]:
        """Return the camera's image of a state of the model. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given.
        """
        if self._camera is None:
            raise no_render_size()
        return self._camera.render(data)

    def close(self) -> None:
        """Free the OpenGL context, if there is one."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
