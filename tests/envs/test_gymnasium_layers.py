"""Layers, and what a task declares of its observation."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from line_task import VECTOR, Line

from sacpipe.core.errors import ConfigError
from sacpipe.envs.base import require_package
from sacpipe.envs.gymnasium import GymnasiumTask
from sacpipe.testing.environments import check_env


def car(**options):
    return GymnasiumTask(suite="gymnasium", id="MountainCarContinuous-v0", options=options, metrics=())


def test_a_repeated_action_is_several_steps_with_their_rewards_added():
    raw = gymnasium.make("MountainCarContinuous-v0")
    environment = car(action_repeat=3).make()
    raw.reset(seed=4)
    environment.reset(4)
    action = np.array([0.5], np.float32)
    steps = [raw.step(action) for _ in range(3)]
    step = environment.step(action)
    np.testing.assert_array_equal(step.observation.vector, steps[-1][0].astype(np.float32))
    assert step.reward == sum(reward for _, reward, *_ in steps)
    assert environment.spec.max_episode_steps == 999 // 3


class Ends(Line):
    control_period_s = 0.05

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        return observation, 1.0, self.steps == 5, truncated, info


def test_an_episode_that_ends_between_repetitions_ends_there(task):
    section = task(Ends, action_repeat=4)
    environment = section.make()
    environment.reset(0)
    steps = [environment.step(np.zeros(1)) for _ in range(2)]
    assert [(step.reward, step.terminated) for step in steps] == [(4.0, False), (1.0, True)]
    assert environment.spec.control_period_s == pytest.approx(0.2)
    assert environment.spec.max_episode_steps == 5
    check_env(section)


@pytest.mark.parametrize("value", [0, 1001, 2.0, True, "3", None])
def test_a_number_of_repetitions_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match=r"action_repeat: expected a whole number in \[1, 1000\], found"):
        car(action_repeat=value).make()


def test_more_repetitions_than_an_episode_has_steps_are_refused():
    assert car(action_repeat=20, max_episode_steps=20).make().spec.max_episode_steps == 1
    with pytest.raises(ConfigError, match=r"expected at most the 19 steps of an episode, found 20"):
        car(action_repeat=20, max_episode_steps=19).make()


class RepeatsItself(Line):
    def __init__(self, action_repeat=1, render_mode=None):
        super().__init__(render_mode)
        self.action_repeat = action_repeat


def test_an_option_of_that_name_is_the_tasks_own(task):
    environment = task(RepeatsItself, action_repeat=7).make()
    assert environment._simulator._env.unwrapped.action_repeat == 7
    assert environment.spec.max_episode_steps == 20


class Declares(Line):
    """It names the entries of one of its arrays."""

    observation_space = spaces.Dict({"state": VECTOR, "z": spaces.Box(-9.0, 9.0, (1,))})
    observation_terms: ClassVar = {"state": [("x", 1, "m", "place"), ("count", 1, "1", "steps")]}
    observation_groups: ClassVar = {"state": ["critic"], "z": ["policy"]}

    def observe(self):
        return {"state": super().observe(), "z": np.array([self.x], np.float32)}


def test_entries_have_the_names_units_and_groups_that_the_task_declares(task):
    section = task(Declares)
    terms = {term.name: (term.unit, term.source, term.groups) for term in section.make().spec.observation}
    assert terms == {
        "x": ("m", "place", ("critic",)),
        "count": ("1", "steps", ("critic",)),
        "z": ("unknown", "observation 'z'", ("policy",)),
    }
    check_env(section)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"st": []}, r"expected entries of the observation \(state, z\), found 'st'"),
        ({"state": [("x", 1, "m", "place")]}, r"of 'state': expected \(2,\) numbers in all, found 1"),
        (
            {"state": [("x", 1)]},
            r"of 'state': expected a list of \(name, size, unit, source\), found \[\('x'",
        ),
        ({"state": 3}, "of 'state': expected a list of .*found 3"),
        ([], r"observation_terms: expected a mapping, found \[\]"),
    ],
)
def test_wrong_declarations_are_refused(task, declared, message):
    kind = type("Wrong", (Declares,), {"observation_terms": declared})
    with pytest.raises(ConfigError, match=message):
        task(kind).make()


def test_a_missing_package_is_named_with_the_extra_that_installs_it():
    require_package("task suite 'x'", "gymnasium", "train")
    expected = (
        "task suite 'x' needs the package no_such_package, which is not installed. `pip install sacpipe"
    )
    with pytest.raises(ConfigError, match=expected):
        require_package("task suite 'x'", "no_such_package", "robotics")


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
@pytest.mark.parametrize("task_id", ["BipedalWalker-v3", "LunarLanderContinuous-v3"])
def test_tasks_of_box2d_keep_the_contract(task_id):
    section = GymnasiumTask(suite="gymnasium", id=task_id, options={"max_episode_steps": 200}, metrics=())
    check_env(section)
    assert section.make().spec.control_period_s == 0.02
