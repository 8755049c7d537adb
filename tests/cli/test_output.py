"""stdout belongs to the command: prints of tasks and simulators, by Python or by C, go to stderr."""

import json
import subprocess
import sys

import pytest
from repository import ROOT
from ruamel.yaml import YAML
from small_project import environment

from sacpipe.cli.output import own_stdout, write_output

NOISY = '''
"""Prints whenever it can: at import, when built, reset, stepped and closed, by Python, by C, and at exit."""
import atexit
import ctypes
import os
import sys

import gymnasium
import numpy as np

libc = ctypes.CDLL(None)


def noise(where):
    print(f"noise: print {where}")
    sys.__stdout__.write(f"noise: kept stream {where}\\n")
    os.write(1, f"noise: descriptor {where}\\n".encode())
    libc.puts(f"noise: C {where}".encode())
    os.system(f"echo noise: child {where}")


atexit.register(noise, "exit")
noise("import")


class Noisy(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode=None):
        noise("built")

    def reset(self, *, seed=None, options=None):
        noise("reset")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        noise("step")
        return np.zeros(2, np.float32), 0.0, False, False, {}

    def close(self):
        noise("close")


gymnasium.register("Noisy-v0", entry_point=Noisy, max_episode_steps=5)
'''


def noisy(folder, *arguments, **options):
    (folder / "noisy.py").write_text(NOISY)
    return subprocess.run(
        [sys.executable, "-m", "sacpipe.cli.main", *arguments],
        cwd=folder,
        env=environment() | {"PYTHONPATH": f"{folder}:{environment().get('PYTHONPATH', '')}"},
        check=False,
        text=True,
        **({"capture_output": True} | options),
    )


@pytest.mark.slow
def test_params_of_a_task_that_prints_are_yaml(tmp_path):
    seen = noisy(tmp_path, "params", "gymnasium/noisy:Noisy-v0")
    assert seen.returncode == 0, seen.stderr
    assert YAML(typ="safe").load(seen.stdout)["task"]["id"] == "noisy:Noisy-v0"
    assert "noise:" not in seen.stdout
    for kind in ("print", "kept stream", "descriptor", "C", "child"):
        for where in ("import", "exit"):
            assert f"noise: {kind} {where}\n" in seen.stderr


def test_a_result_is_apart_from_every_print_and_stdout_comes_back(capfd):
    with own_stdout(until_exit=False):
        print("foreign")  # noqa: T201
        subprocess.run(["echo", "child"], check=True)
        write_output(json.dumps({"a": 1}))
    print("afterwards", flush=True)  # noqa: T201
    subprocess.run(["echo", "later"], check=True)
    seen = capfd.readouterr()
    assert seen.out == '{"a": 1}afterwards\nlater\n'
    assert set(seen.err.split()) == {"foreign", "child"}


def shell(folder, command):
    python = f"{sys.executable} -m sacpipe.cli.main"
    return subprocess.run(
        ["bash", "-c", command.replace("sacpipe", python)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(tmp_path):
    seen = shell(tmp_path, "(sacpipe tasks; echo code $? >&2) | true")
    assert seen.stderr == "code 0\n"


@pytest.mark.slow
def test_a_full_disk_behind_stdout_is_named(tmp_path):
    seen = shell(tmp_path, "sacpipe tasks point > /dev/full")
    assert (seen.returncode, seen.stdout) == (2, "")
    assert "sacpipe: cannot write /dev/stdout: the disk is full" in seen.stderr


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_traceback(tmp_path, closed):
    seen = shell(tmp_path, f"sacpipe tasks point {closed}")
    assert seen.returncode == 0
    assert "Traceback" not in seen.stderr
    assert ("point_mass/point-mass-v0\n" in seen.stdout) == closed.startswith("2")


def test_every_command_writes_its_result_by_write_output():
    """What a command writes to sys.stdout goes to stderr, like a foreign print."""
    for path in (ROOT / "sacpipe" / "cli").glob("*.py"):
        if path.name != "output.py":
            assert "sys.stdout" not in path.read_text(), path.name


@pytest.mark.slow
def test_an_error_of_a_command_without_stderr_has_its_exit_code(tmp_path):
    assert shell(tmp_path, "sacpipe tasks --suite isaac 2>&-").returncode == 2
