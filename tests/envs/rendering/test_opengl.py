"""Images without a screen, and training without graphics; in a fresh interpreter where imports matter."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sacpipe.core.errors import RendererError
from sacpipe.envs import find_task
from sacpipe.envs.rendering.opengl import choose_renderer, without_opengl


def run_fresh(script, **variables):
    kept = {key: value for key, value in os.environ.items() if key not in {"MUJOCO_GL", "PYOPENGL_PLATFORM"}}
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("value", ["disabled", "off", "0"])
def test_switched_off_rendering_is_said_in_one_sentence(monkeypatch, value):
    monkeypatch.setenv("MUJOCO_GL", value)
    with pytest.raises(RendererError) as caught:
        choose_renderer()
    assert str(caught.value) == (
        f"rendering is switched off here by MUJOCO_GL={value};"
        " unset it, and an off-screen renderer is looked for."
    )
    assert os.environ["MUJOCO_GL"] == value


def test_no_image_is_made_of_a_mujoco_task_where_rendering_is_off(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    for name in ("gymnasium/InvertedPendulum-v5", "dm_control/pendulum-swingup"):
        with pytest.raises(RendererError, match="switched off"):
            find_task(name).make(render_size=(32, 32))


@pytest.mark.slow
def test_a_machine_without_a_renderer_gets_a_message_with_what_to_install():
    """The probes run an interpreter that always fails, as they do without graphics libraries."""
    script = """
import sys
from sacpipe.core.errors import RendererError
from sacpipe.envs.rendering.opengl import choose_renderer
sys.executable = "/bin/false"
try:
    choose_renderer()
except RendererError as exc:
    sys.stdout.write(str(exc))
"""
    result = run_fresh(script, MUJOCO_GL="glfw")
    assert result.stdout == (
        "no off-screen renderer works here (tried glfw, egl, osmesa);"
        " install Debian's libosmesa6 or libegl1 and run again."
    ), result.stderr


@pytest.mark.slow
def test_chosen_renderer_draws_both_task_suites_though_mujoco_came_first():
    """Where none works here, the sentence says what to install; anything else is a fault."""
    script = """
import sys
from sacpipe.core.errors import RendererError
from sacpipe.envs import find_task
for name in ("gymnasium/HalfCheetah-v5", "dm_control/cheetah-run"):
    task = find_task(name)  # imports the simulator without OpenGL
    try:
        environment = task.make(render_size=(48, 64))
    except RendererError as exc:
        assert "install Debian's" in str(exc), exc
        sys.stdout.write("excused ")
        continue
    environment.reset(0)
    before = environment.render()
    for _ in range(20):
        environment.step([1.0] * 6)
    after = environment.render()
    assert before.shape == after.shape == (48, 64, 3)
    assert before.std() > 5.0, "a blank image"
    assert (before != after).any(), "an image that does not change"
    if "Half" in name:
        assert before[24:].std() > 2 * before[:24].std(), "the chequered floor is not below the plain sky"
    environment.close()
    sys.stdout.write("drawn ")
"""
    result = run_fresh(script)
    assert result.returncode == 0, result.stderr
    assert result.stdout in {"drawn drawn ", "excused excused "}


@pytest.mark.slow
def test_training_loads_no_graphics_and_leaves_the_variable_alone():
    script = """
import os, sys
from sacpipe.envs import find_task
for name in ("gymnasium/HalfCheetah-v5", "dm_control/quadruped-escape"):
    environment = find_task(name).make()
    environment.reset(0)
assert os.environ["MUJOCO_GL"] == "egl"
sys.stdout.write(" ".join(sorted({"OpenGL", "mujoco.egl", "mujoco.glfw"} & set(sys.modules))))
"""
    result = run_fresh(script, MUJOCO_GL="egl")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_variable_that_was_not_there_is_not_there_afterwards(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with without_opengl():
        assert os.environ["MUJOCO_GL"] == "disable"
    assert "MUJOCO_GL" not in os.environ


@pytest.mark.slow
def test_simulators_write_no_log_file_in_the_current_folder(tmp_path):
    script = "from sacpipe.envs import find_task; find_task('gymnasium/HalfCheetah-v5').make()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_toy_needs_no_renderer(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    environment = find_task("point-mass-v0").make(render_size=(20, 20))
    environment.reset(0)
    assert environment.render().shape == (20, 20, 3)
    assert environment.render().dtype == np.uint8
