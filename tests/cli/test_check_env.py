"""`sacpipe check-env` names each broken rule of a task, and says how to repair it."""

import json

import pytest

from sacpipe.cli.main import main

MODULE = """
import gymnasium as gym
import numpy as np

class Point(gym.Env):
    def __init__(self):
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x, 0.0]), {}

    def step(self, action):
        self.x += 0.1 * float(action[0])
        return np.array([self.x, 0.0]), -abs(self.x), False, False, {}

class OneStart(Point):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 0.5
        return np.array([self.x, 0.0]), {}

class Forgetful(Point):
    drift = 0.0

    def step(self, action):
        self.drift += 0.01
        self.x += self.drift
        return super().step(action)

class Broken(Point):
    def __init__(self):
        raise RuntimeError("no licence")

for kind in (Point, OneStart, Forgetful, Broken):
    gym.register(f"{kind.__name__}-v0", entry_point=kind, max_episode_steps=20)
"""


@pytest.fixture(autouse=True, scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    (folder / "checked_tasks.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        yield


def check(capsys, name):
    code = main(["check-env", f"gymnasium/checked_tasks:{name}-v0", "--json"])
    return code, {row["rule"]: row for row in json.loads(capsys.readouterr().out)}


def test_task_that_keeps_the_contract(capsys):
    code, rows = check(capsys, "Point")
    assert code == 0
    assert all(row["is_checked"] and row["fault"] is None for row in rows.values())


@pytest.mark.parametrize(
    ("name", "rule", "fault"),
    [
        ("OneStart", "seeds differ", "two different seeds gave the same episode"),
        ("Forgetful", "seed repeats", "seed 0 gave another episode"),
        ("Broken", "built", "no licence"),
    ],
)
def test_broken_rule_is_explained_and_the_others_are_checked_if_they_can(capsys, name, rule, fault):
    code, rows = check(capsys, name)
    assert code == 1
    assert fault in rows[rule]["fault"]
    assert next(row["rule"] for row in rows.values() if row["fault"]) == rule
    assert rows["call order"]["is_checked"] == (name != "Broken")


def test_text_has_the_fault_and_what_depends_on_the_rule(capsys):
    assert main(["check-env", "gymnasium/checked_tasks:OneStart-v0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FAIL  seeds differ     two different seeds gave the same episode" in lines
    assert any("`super().reset(seed=seed)`" in line for line in lines)
