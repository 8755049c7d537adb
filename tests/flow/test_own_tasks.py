"""Tasks from a user's own module: refused before training, or stopped with one message, and nothing lost."""

import re

import pytest
from ruamel.yaml import YAML
from small_project import sacpipe

from sacpipe.core.errors import ConfigError
from sacpipe.flow.steps import preflight
from sacpipe.project.workspace import Workspace

MODULE = """
import os

import gymnasium
import numpy as np

class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    taken = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.place.copy(), {}

    def step(self, action):
        self.taken += 1
        self.place = np.clip(self.place + 0.1 * action, -9, 9).astype(np.float32)
        return self.place.copy(), -float(abs(self.place[0])), False, False, {}

class Limited(Endless):
    pass

class RaisesLate(Endless):
    def step(self, action):
        if self.taken == 120:
            raise RuntimeError("lost connection to the simulator")
        return super().step(action)

class DropsOnce(Endless):
    def step(self, action):
        if self.taken == 120 and not os.path.exists("dropped"):
            open("dropped", "w").close()
            raise ConnectionResetError("the simulator's port closed")
        return super().step(action)

class ShortLate(Endless):
    def step(self, action):
        observation, *rest = super().step(action)
        return (observation if self.taken < 120 else np.zeros(())), *rest

for kind in (Limited, RaisesLate, DropsOnce, ShortLate):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind, max_episode_steps=10)
gymnasium.register("Endless-v0", entry_point=Endless)
"""


def set_task(project, name, **runtime):
    (project / "own_tasks.py").write_text(MODULE)
    path = project / "params.yaml"
    tree = YAML(typ="safe").load(path)
    tree["task"] = {"suite": "gymnasium", "id": f"own_tasks:{name}-v0", "options": {}, "metrics": []}
    tree["training"] |= {"evaluation_episodes": 1, "evaluation_interval_steps": 200}
    tree["training"] |= {"checkpoint_interval_steps": 50}
    tree["runtime"] |= runtime
    YAML(typ="safe").dump(tree, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "runtime", "message"),
    [
        ("Endless", {}, "task 'gymnasium/Endless-v0': expected a time limit, found none"),
        (
            "Limited",
            {"safe_action": [0.0, 0.0]},
            r"runtime\.safe_action: expected 1 numbers .*found \[0.0, 0.0\]",
        ),
        ("Limited", {"safe_action": [1.5]}, r"runtime\.safe_action: expected 1 numbers .*found \[1.5\]"),
    ],
)
def test_what_would_fail_later_is_refused_before_the_first_step(fresh, monkeypatch, name, runtime, message):
    monkeypatch.syspath_prepend(str(fresh))
    set_task(fresh, name, **runtime)
    with pytest.raises(ConfigError, match=message):
        preflight(Workspace(fresh))
    assert not (fresh / "work").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        (
            "RaisesLate",
            r"the task's step\(\) raised RuntimeError: lost connection to the simulator \(own_tasks.py, line \d+\)",
        ),
        ("ShortLate", r"expected an observation of numbers of shape \(1,\), found shape \(\) of float64"),
    ],
)
def test_a_task_that_fails_in_training_is_named_once_and_keeps_its_checkpoint(fresh, name, cause):
    set_task(fresh, name)
    seen = sacpipe(fresh, "run", "--engine", "local", env={"PYTHONPATH": str(fresh)})
    expected = rf"sacpipe: task 'gymnasium/{name}-v0', episode \d+ \(seed \d+\), step \d+: {cause}"
    assert seen.code == 3
    assert len(re.findall(expected, seen.err)) == 1, seen.err
    assert "trying again" not in seen.err
    assert max(path.name for path in fresh.glob("work/*/checkpoints/step-*")) == "step-000000000100"
    assert not any((fresh / "out").glob("*/*"))
    assert not (fresh / "dvc.lock").exists()


@pytest.mark.acceptance
def test_a_lost_connection_is_tried_again_from_the_last_checkpoint(fresh):
    set_task(fresh, "DropsOnce")
    seen = sacpipe(fresh, "run", "--engine", "local", env={"PYTHONPATH": str(fresh)})
    assert seen.code == 0, seen.err
    assert seen.err.count("raised ConnectionResetError: the simulator's port closed") == 1
    assert seen.err.count("train: trying again in 1 s") == 1
    assert seen.err.splitlines().count("train: ran") == 1
