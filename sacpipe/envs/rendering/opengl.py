"""Pictures without a screen: choose an OpenGL that works here, and look at a MuJoCo model through it.

MuJoCo, dm_control and PyOpenGL each fix their OpenGL while they are imported, and a wrong one breaks
the import, kills the process, or fails only at the first picture. So a candidate is tried in a process
of its own, the simulators are imported without any OpenGL (`without_opengl`), and pictures go through a
context made here: training needs no graphics library, and the order of imports does not matter.
"""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import RendererError

_VARIABLE = "MUJOCO_GL"
_PLATFORM_VARIABLE = "PYOPENGL_PLATFORM"
_OFF = ("disable", "disabled", "off", "false", "0")
_CANDIDATES: tuple[str, ...] = ("cgl",) if sys.platform == "darwin" else ("egl", "osmesa")
_PROBE_TIMEOUT_S = 60.0
_SHADOW_PIXELS = 1024
"""MuJoCo's 4096, with four samples a pixel, takes five times as long without a graphics card."""
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size=".1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""


def choose_renderer() -> str:
    """Find an off-screen OpenGL for MuJoCo, set MUJOCO_GL to it in this process, and return its name.

    A value of MUJOCO_GL that is already there is tried first; then `egl`, then `osmesa`. A candidate is
    good when a fresh process renders with it. The answer is remembered.

    Raises:
        RendererError: none works, or MUJOCO_GL switches rendering off.
    """
    wanted = os.environ.get(_VARIABLE, "").strip().lower()
    if wanted in _OFF:
        raise RendererError(
            f"rendering is switched off here by {_VARIABLE}={wanted};"
            " unset it, and an off-screen renderer is looked for."
        )
    candidates: tuple[str, ...] = tuple(dict.fromkeys((*([wanted] if wanted else []), *_CANDIDATES)))
    for candidate in candidates:
        if _works(candidate):
            os.environ.update(_variables(candidate))
            return candidate
    raise RendererError(
        f"no off-screen renderer works here (tried {', '.join(candidates)});"
        " install Debian's libosmesa6 or libegl1 and run again."
    )


def _variables(candidate: str) -> dict[str, str]:
    platform = {_PLATFORM_VARIABLE: candidate} if candidate in {"egl", "osmesa"} else {}
    return {_VARIABLE: candidate, **platform}


@functools.cache
def _works(candidate: str) -> bool:
    """Render 16 x 16 pixels in a process of its own: a bad driver may crash it."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=os.environ | _variables(candidate),
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


@contextlib.contextmanager
def without_opengl() -> Iterator[None]:
    """Import a simulator inside this: it then looks for no OpenGL, and a machine without one can train."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "disable"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def _make_context(height: int, width: int) -> Any:
    """Return a MuJoCo GLContext of the chosen renderer.

    Raises:
        RendererError: none works, or another OpenGL was loaded into this process before.
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
            f" Set {_VARIABLE}={name} before anything imports OpenGL."
        ) from exc
    return context


class MujocoCamera:
    """One camera on a MuJoCo model, with an OpenGL context of its own."""

    def __init__(
        self, model: Any, size: tuple[int, int], *, camera: int = -1, free: Mapping[str, Any] | None = None
    ) -> None:
        """Open a context.

        Args:
            model: The compiled MjModel.
            size: (height, width) in pixels.
            camera: Index of a camera of the model, or -1 for a free one.
            free: Fields of the free camera that differ from MuJoCo's own (`distance`, `lookat`, ...).

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
        """Tell the graphics about height fields that an episode's start has changed."""
        self._context.make_current()
        for index in range(self._model.nhfield):
            self._mujoco.mjr_uploadHField(self._model, self._renderer, index)

    def picture(self, data: Any) -> NDArray[np.uint8]:
        """Return what the camera sees of a state. Shape (height, width, 3)."""
        self._context.make_current()
        every = self._mujoco.mjtCatBit.mjCAT_ALL.value
        self._mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, every, self._scene)
        self._mujoco.mjr_render(self._area, self._scene, self._renderer)
        frame = np.empty((self._height, self._width, 3), dtype=np.uint8)
        self._mujoco.mjr_readPixels(frame, None, self._area, self._renderer)
        return np.ascontiguousarray(frame[::-1])  # OpenGL starts at the bottom

    def close(self) -> None:
        """Free the context."""
        self._context.make_current()
        self._renderer.free()
        self._context.free()
