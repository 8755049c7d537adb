"""A goal task's rewards are computed again for other goals, where they are a function of goals."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformReward
from line_task import VECTOR, Line

from sacpipe.core.errors import SimulatorError
from sacpipe.specs.observation import stacked
from sacpipe.testing.environments import check_env

PLACE = spaces.Box(-9.0, 9.0, (2,), np.float64)


class Reach(Line):
    """Its place (x, 0) is to come within 0.5 of a goal."""

    observation_space = spaces.Dict({"observation": VECTOR, "achieved_goal": PLACE, "desired_goal": PLACE})

    def observe(self):
        place = np.array([self.x, 0.0])
        return {
            "observation": super().observe(),
            "achieved_goal": place,
            "desired_goal": np.array([0.25, 0.0]),
        }

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        goals = observation["achieved_goal"], observation["desired_goal"]
        reward = float(self.compute_reward(*goals, info))
        return observation, reward, bool(self.compute_terminated(*goals, info)), truncated, info

    def compute_reward(self, achieved_goal, desired_goal, info):
        return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return bool(np.linalg.norm(achieved_goal - desired_goal) <= 0.5)


class OneRow(Reach):
    """Its reward takes one row; of several, a norm without an axis returns one number."""

    def compute_reward(self, achieved_goal, desired_goal, info):
        return -float(np.linalg.norm(achieved_goal - desired_goal))


def three_rows(environment):
    places = np.array([[0.0, 0.0], [3.0, 0.0], [0.25, 0.25]])
    goals = np.array([[0.0, 1.0], [3.0, 0.0], [0.25, 0.0]])
    arrays = {"observation": np.zeros((3, 2)), "achieved_goal": places, "desired_goal": goals}
    return environment.spec.layout.pack(arrays), np.zeros((3, 1), np.float32)


@pytest.mark.parametrize("kind", [Reach, OneRow])
def test_rewards_and_terminations_of_other_goals_by_hand(task, kind):
    """Distances 1, 0 and 0.25: one row at a time where the function takes no rows, or means their norm."""
    section = task(kind)
    environment = section.make()
    rows, actions = three_rows(environment)
    rewards, terminations = environment.compute_rewards(rows, actions, rows)
    assert (rewards.dtype, terminations.dtype) == (np.float32, np.float32)
    assert rewards.tolist() == [-1.0, 0.0, -0.25]
    assert terminations.tolist() == [0.0, 1.0, 1.0]
    check_env(section)


def test_rewards_are_those_of_the_next_observations(task):
    environment = task(Reach).make()
    rows, actions = three_rows(environment)
    zeros = environment.spec.layout.pack({name: np.zeros_like(array) for name, array in rows.items()})
    assert environment.compute_rewards(zeros, actions, rows)[0].tolist() == [-1.0, 0.0, -0.25]


class UsesInfo(Reach):
    def step(self, action):
        observation, reward, terminated, truncated, info = Line.step(self, action)
        return observation, reward, terminated, truncated, info | {"bonus": 1.0}

    def compute_reward(self, achieved_goal, desired_goal, info):
        return info["bonus"]


class Remembers(Reach):
    """Its reward is not what its function returns."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward - 1.0, terminated, truncated, info


class RemembersLater(Reach):
    """Its first reward is what its function returns, its second is not."""

    steps = 0

    def reset(self, **keywords):
        self.steps = 0
        return super().reset(**keywords)

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        self.steps += 1
        return observation, reward - (self.steps > 1), terminated, truncated, info


class EndsByItself(Reach):
    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, True, truncated, info

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return False


class OneFunction(Reach):
    compute_terminated = None

    def step(self, action):
        return Line.step(self, action)


class NoGoals(Reach):
    observation_space = VECTOR

    def observe(self):
        return Line.observe(self)

    def step(self, action):
        return Line.step(self, action)


@pytest.mark.parametrize("kind", [UsesInfo, Remembers, RemembersLater, EndsByItself, OneFunction, NoGoals])
def test_what_is_no_function_of_goals_is_not_computed(task, kind):
    environment = task(kind).make()
    one = stacked([environment.reset(0)])
    assert environment.compute_rewards(one, np.zeros((1, 1), np.float32), one) is None


def test_a_wrapper_of_the_registration_and_repeated_actions_change_rewards():
    import gymnasium

    from sacpipe.envs.gymnasium import GymnasiumTask

    halved = TransformReward.wrapper_spec(func=lambda reward: 0.5 * reward)
    gymnasium.register("SacpipeHalf-v0", Reach, max_episode_steps=20, additional_wrappers=(halved,))
    gymnasium.register("SacpipeWhole-v0", Reach, max_episode_steps=20)
    try:
        for name, options in (("SacpipeHalf-v0", {}), ("SacpipeWhole-v0", {"action_repeat": 2})):
            environment = GymnasiumTask(suite="gymnasium", id=name, options=options, metrics=()).make()
            one = stacked([environment.reset(0)])
            assert environment.compute_rewards(one, np.zeros((1, 1), np.float32), one) is None
    finally:
        del gymnasium.registry["SacpipeHalf-v0"], gymnasium.registry["SacpipeWhole-v0"]


class Breaks(Reach):
    def compute_terminated(self, achieved_goal, desired_goal, info):
        if np.any(np.asarray(desired_goal) > 2.0):
            raise ArithmeticError("too far")
        return False


def test_an_error_of_the_function_is_the_tasks(task):
    environment = task(Breaks).make()
    rows, actions = three_rows(environment)
    with pytest.raises(SimulatorError, match="reward function raised ArithmeticError: too far"):
        environment.compute_rewards(rows, actions, rows)
