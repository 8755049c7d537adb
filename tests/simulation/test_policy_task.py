"""The task of a policy comes from params.yaml or from --task, and no module from the policy's own file."""

import json
import shutil
import sys
from pathlib import Path

import factories
import gymnasium
import numpy as np
import pytest
from bundle_factories import make_bundle, make_onnx, make_spec, term_tree
from repository import ROOT

import sacpipe
from sacpipe.core.errors import ConfigError
from sacpipe.envs import find_task
from sacpipe.simulation.policy_task import task_of
from sacpipe.specs.env_spec import EnvSpec

OWN = """
import gymnasium
import pathlib
import sys
import numpy as np
from typing import ClassVar
from gymnasium import spaces

pathlib.Path(__file__).with_name("imported").touch()

class Reach(gymnasium.Env):
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
    observation_space = spaces.Dict({"mass": spaces.Box(0, 9, ()), "x": spaces.Box(-9.0, 9.0, (1,))})
    observation_groups: ClassVar = {"mass": ["critic"]}
    control_period_s = 1.0

    def __init__(self, start=0.5):
        self.start = start

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.start
        return self.observe(), {}

    def observe(self):
        return {"mass": 1.0, "x": np.array([self.x])}

    def step(self, action):
        self.x += 0.1 * float(action[0])
        return self.observe(), -abs(self.x), False, False, {"is_success": abs(self.x) < 0.1}

gymnasium.register("OwnReach-v0", entry_point=Reach, max_episode_steps=10)
"""
SPEC = make_spec(
    task="gymnasium/OwnReach-v0",
    observation=[term_tree("x", 1, unit="unknown", source="observation 'x'")],
    action=[{"name": "action_0", "unit": "unknown", "low": -2.0, "high": 2.0}],
    control_period_s=1.0,
    max_episode_steps=10,
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder, no project, with a module of the user's own and the bundle of a policy of its task: u = -x."""
    (tmp_path / "own_reach.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = make_onnx([[-1.0]], low=[-2.0], high=[2.0], terms={"x": 1})
    make_bundle(tmp_path / "bundle", model, SPEC, [[0.5], [0.25], [0.0]], [[-0.5], [-0.25], [0.0]])
    yield tmp_path
    sys.modules.pop("own_reach", None)
    gymnasium.registry.pop("OwnReach-v0", None)


def make_project(folder, **task):
    """Make a folder a project of a task."""
    (folder / "dvc.yaml").write_text("stages: {}\n")
    shutil.copy(ROOT / "versions.lock", folder)
    section = {"suite": "gymnasium", "id": "own_reach:OwnReach-v0", "options": {}, "metrics": []} | task
    (folder / "params.yaml").write_text(json.dumps({"task": section}))


COMMANDS = [
    ("simulate", "--episodes", "1"),
    ("drive", "--rate", "100", "--seconds", "0.3", "--noise", "0.001"),
]
"""The contract's period is so long that a loaded machine is fast enough for the load gate; the rate is short."""


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_module_is_never_taken_from_the_bundle(place, call, command):
    """Outside of every project, and in a project of another task, the command says what to do."""
    seen = call(place, *command, "bundle")
    advice = "Name it: `--task gymnasium/OwnReach-v0`, or `--task gymnasium/MODULE:OwnReach-v0` for a task of your own."
    assert seen.code == 2
    assert (
        f"expected the task of the policy, 'gymnasium/OwnReach-v0', found no project here. {advice}"
        in seen.err
    )
    make_project(place, suite="point_mass", id="point-mass-v0")
    seen = call(place, *command, "bundle")
    assert seen.code == 2
    assert "params.yaml, found 'point_mass/point-mass-v0'. Name it: `--task" in seen.err
    seen = call(place, *command, "bundle", "--task", "gymnasium/OwnReach-v0")
    assert seen.code == 2
    assert "task 'gymnasium/OwnReach-v0' is not known" in seen.err
    assert not (place / "imported").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_task_is_the_one_that_the_option_names(place, call, command):
    make_project(place, suite="point_mass", id="point-mass-v0")
    seen = call(place, *command, "bundle", "--task", "gymnasium/own_reach:OwnReach-v0", "--json")
    assert seen.code == 0, seen.err
    assert json.loads(seen.out)["task"] == "gymnasium/OwnReach-v0"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_task_is_the_one_of_params_with_its_module_options_and_metrics(place, call, command):
    start = -1.0 if command[0] == "simulate" else -5.0
    make_project(place, options={"start": start}, metrics=["is_success"])
    seen = call(place, *command, "bundle", "--json")
    assert seen.code == 0, seen.err
    found = json.loads(seen.out)
    if command[0] == "simulate":
        (episode,) = found["episodes"]
        assert episode["episode_return"] == pytest.approx(-sum(0.9**step for step in range(1, 11)), abs=1e-5)
        assert episode["metrics"] == {"is_success": 0.0}
        assert episode["last_metrics"] == {"is_success": 0.0}
        assert "is_success: mean 0, last 0" in call(place, *command, "bundle").out
    else:
        assert found["loop"]["steps"] == sum(found["loop"]["verdicts"].values()) == 30
        assert len(found["episode_returns"]) == 3
        assert max(found["episode_returns"]) < -30.0  # 10 actions within 2 move it by 2 of its 5 at most


def test_an_option_that_changes_the_specification_is_refused(place, call):
    seen = call(
        place,
        "drive",
        "bundle",
        "--task",
        "gymnasium/own_reach:OwnReach-v0",
        "--option",
        "max_episode_steps=9",
    )
    assert seen.code == 2
    assert (
        "with options {'max_episode_steps': 9}: expected the observations, actions and time limit" in seen.err
    )


def test_another_task_by_option_is_refused(place, call):
    seen = call(place, "simulate", "bundle", "--task", "point_mass/point-mass-v0")
    assert seen.code == 2
    assert (
        "expected the task of the policy, 'gymnasium/OwnReach-v0', found 'point_mass/point-mass-v0'"
        in seen.err
    )


def test_a_broken_params_file_is_named(place):
    make_project(place, colour="red")
    with pytest.raises(ConfigError, match=r"params\.yaml: task\.colour: unknown key"):
        task_of(SPEC, None)


def test_critic_terms_are_no_part_of_the_comparison(place):
    task = task_of(SPEC, "gymnasium/own_reach:OwnReach-v0")
    spec = task.make().spec
    assert [term.name for term in spec.observation] == ["mass", "x"]
    assert spec.policy_spec == SPEC
    with pytest.raises(ConfigError, match="expected the observations"):
        task_of(spec, "gymnasium/own_reach:OwnReach-v0")


def test_a_notebook_names_the_task_too(place):
    policy = sacpipe.load_policy(place / "bundle")
    by_name = sacpipe.evaluate(policy, "gymnasium/own_reach:OwnReach-v0", episodes=2, seed=1)
    by_section = sacpipe.evaluate(policy, find_task("gymnasium/own_reach:OwnReach-v0"), episodes=2, seed=1)
    assert by_name == by_section
    assert by_name[0].episode_return == pytest.approx(
        -0.5 * sum(0.9**step for step in range(1, 11)), abs=1e-5
    )
    with pytest.raises(ConfigError, match="--task"):
        sacpipe.evaluate(policy, episodes=1)
    with pytest.raises(ConfigError, match="found 'point_mass/point-mass-v0'"):
        sacpipe.evaluate(policy, factories.make_point_mass(), episodes=1)


def test_a_policy_file_that_names_a_module_imports_nothing(place):
    """The file of an attacker: its specification has a task with a module."""
    with pytest.raises(ConfigError, match="task: .*expected suite and id without a module"):
        EnvSpec.parse(SPEC.as_tree() | {"task": "gymnasium/own_reach:OwnReach-v0"})
    spec = EnvSpec.parse(SPEC.as_tree() | {"task": "gymnasium/OwnReach-v0"})
    make_project(place, suite="point_mass", id="point-mass-v0")
    for name in (None, "point_mass/point-mass-v0"):
        with pytest.raises(ConfigError, match="Name it: `--task gymnasium/OwnReach-v0`"):
            task_of(spec, name)
    assert not Path(place / "imported").exists()
    assert np.all(spec.action_high == 2.0)
