"""A command sees what a stage sees: the project's own modules and relative files, from the root and from below."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from small_project import make_project, sacpipe

from sacpipe.cli.main import COMMANDS, main
from sacpipe.cli.paths import path_argument, policy_argument
from sacpipe.project.workspace import Workspace

MODULE = '''
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pathlib import Path


class Point(gym.Env):
    """A point on a line whose gain is in a file, named relative to the project's folder."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None, gain_file="gain.txt"):
        self.gain = float(Path(gain_file).read_text())
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1), 0.0
        return np.array([self.x, self.v]), {}

    def step(self, action):
        self.v = 0.9 * self.v + 0.1 * self.gain * float(np.asarray(action)[0])
        self.x += 0.1 * self.v
        return np.array([self.x, self.v]), -abs(self.x), False, False, {}

    def render(self):
        return np.zeros((64, 64, 3), np.uint8)


gym.register("Point-v0", entry_point="my_tasks:Point", max_episode_steps=20)
'''
TASK = "gymnasium/my_tasks:Point-v0"


@pytest.fixture
def own(tmp_path):
    """A project with a task of its own, and a folder below it."""
    folder = make_project(tmp_path / "own")
    (folder / "my_tasks.py").write_text(MODULE)
    (folder / "gain.txt").write_text("1.0")
    (folder / "configs").mkdir()
    (folder / "configs" / "gain.txt").write_text("0.5")
    (folder / "notes" / "deep").mkdir(parents=True)
    return folder


def prepare(folder, text):
    changes = {
        "options: {} ": "options: {gain_file: configs/gain.txt} ",
        "[256, 256]": "[16, 16]",
        "  episodes: 20 ": "  episodes: 2 ",
        "golden_steps: 64 ": "golden_steps: 8 ",
        "    max_s: 20.0 ": "    max_s: 0.5 ",
        "evaluation_episodes: 5 ": "evaluation_episodes: 1 ",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text)


@pytest.mark.acceptance
def test_an_own_task_with_a_relative_file_works_from_every_folder_and_by_every_command(own, empty_ledger):
    below = own / "notes" / "deep"
    (own / ".sacpipe").mkdir()
    shutil.copy(empty_ledger, own / ".sacpipe" / "mlflow.db")
    texts = [sacpipe(folder, "params", TASK, "--steps", "80", check=0).out for folder in (own, below)]
    assert texts[0] == texts[1]
    prepare(own, texts[0])
    sacpipe(below, "run", "--engine", "local", check=0)
    assert not list(below.iterdir())
    for folder, bundle in ((own, "out/export/bundle"), (below, "../../out/export/bundle")):
        sacpipe(folder, "simulate", "--episodes", "1", check=0)
        sacpipe(folder, "simulate", bundle, "--episodes", "1", "--video", "film", check=0)
        sacpipe(folder, "drive", bundle, "--rate", "200", "--seconds", "0.1", "--record", "seen", check=0)
        assert {"film", "seen"} <= {path.name for path in folder.iterdir()}
    sacpipe(below, "run", "--engine", "local", check=0)


@pytest.mark.slow
@pytest.mark.parametrize("where", [".", "notes/deep"])
def test_params_of_an_own_task_are_written_into_the_users_folder(own, where):
    sacpipe(own / where, "params", TASK, "--output", "made.yaml", check=0)
    assert (own / where / "made.yaml").read_text().startswith("# All values")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with dvc.yaml, and one below it, which is the current one."""
    (tmp_path / "below").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "versions.lock").write_text("{}\n")
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setattr(sys, "path", ["/elsewhere", str(tmp_path.resolve()), "/last"])
    return tmp_path.resolve()


def test_entering_puts_the_projects_folder_first_once_and_makes_it_the_current_one(small):
    assert Workspace.enter() == Workspace.enter() == Workspace(small)
    assert sys.path == [str(small), "/elsewhere", "/last"]
    assert str(Path.cwd()) == str(small)


def test_a_library_call_leaves_its_callers_folder_and_import_path(small):
    before = list(sys.path)
    assert Workspace.with_tools().root == small
    assert (str(Path.cwd()), sys.path) == (str(small / "below"), before)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_that_may_load_a_task_enters_and_the_robots_do_not(small, monkeypatch, command):
    seen = []
    monkeypatch.setattr(COMMANDS[command], "run", lambda _: seen.append(str(Path.cwd())) or 0)
    needed = {"params": ["X"], "pool": ["check"], "ledger": ["rebuild"], "keys": ["k"], "check": ["b"]}
    needed |= {"promote": ["--reason", "r"], "rollback": ["--reason", "r"]}
    assert main([command, *needed.get(command, ["b", "--key", "k"] if command == "sign" else [])]) == 0
    stays = command in ("serve", "keys", "sign", "check")
    assert seen == [str(small / "below" if stays else small)]


def test_paths_stay_relative_to_the_users_folder(small):
    expected = small / "below" / "x"
    assert path_argument("x") == expected
    assert path_argument(str(small)) == small
    assert policy_argument("x") == str(expected)
    assert policy_argument("models:/a@champion") == "models:/a@champion"


def test_outside_a_project_nothing_is_entered(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["tasks", "point-mass", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["point_mass/point-mass-v0"]
    assert (str(Path.cwd()), sys.path) == (str(tmp_path), before)
