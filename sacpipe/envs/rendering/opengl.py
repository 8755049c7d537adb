"""Chooses an off-screen OpenGL that works on this machine.

MuJoCo, dm_control and PyOpenGL each choose their OpenGL when they are imported. A wrong one breaks the
import, kills the process, or fails only at the first image. Therefore each candidate is tried in a child
process, the simulators are imported without any OpenGL (`without_opengl`), and `MujocoCamera` opens a
context of its own. So training needs no graphics library, and the order of imports does not matter.
"""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator

from sacpipe.core.errors import RendererError

VARIABLE = "MUJOCO_GL"
_PLATFORM_VARIABLE = "PYOPENGL_PLATFORM"
_OFF = ("disable", "disabled", "off", "false", "0")
_CANDIDATES: tuple[str, ...] = ("cgl",) if sys.platform == "darwin" else ("egl", "osmesa")
_PROBE_TIMEOUT_S = 60.0
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

    The present value of MUJOCO_GL is tried first; then `egl`, then `osmesa`. A candidate works if a child
    process renders with it. The result is cached.

    Raises:
        RendererError: no candidate works, or MUJOCO_GL switches rendering off.
    """
    wanted = os.environ.get(VARIABLE, "").strip().lower()
    if wanted in _OFF:
        raise RendererError(
            f"rendering is switched off here by {VARIABLE}={wanted};"
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
    return {VARIABLE: candidate, **platform}


@functools.cache
def _works(candidate: str) -> bool:
    """Render 16 x 16 pixels in a child process, because a bad driver may crash it."""
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
    """Keep a simulator that is imported inside from loading OpenGL, so a machine without OpenGL can train."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "disable"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
