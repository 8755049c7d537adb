"""The contract of an environment holds for every task suite, and the check itself can fail."""

import numpy as np
import pytest
from factories import SUITE_TASKS, make_spec

from sacpipe.core.errors import ContractError
from sacpipe.envs import SUITES, find_task, suite
from sacpipe.specs.records import Step
from sacpipe.testing.environments import check_env

MORE = [
    ("gymnasium/HalfCheetah-v5", {"max_episode_steps": 300}),
    ("gymnasium/InvertedDoublePendulum-v5", {}),
    ("gymnasium/Pendulum-v1", {}),
    ("gymnasium/Ant-v5", {"max_episode_steps": 100}),
    ("dm_control/cheetah-run", {"time_limit": 2.0}),
    ("dm_control/finger-turn_hard", {"time_limit": 2.0}),
    ("dm_control/cartpole-swingup", {"time_limit": 2.0}),
]


@pytest.mark.parametrize("name", SUITES)
def test_example_of_every_task_suite_keeps_the_contract(name):
    check_env(find_task(f"{name}/{SUITE_TASKS[name]}"))


@pytest.mark.parametrize("name", SUITES)
def test_example_of_every_task_suite_is_listed_by_it(name):
    tasks = suite(name).tasks()
    assert SUITE_TASKS[name] in tasks
    assert list(tasks) == sorted(set(tasks))


@pytest.mark.parametrize(("name", "options"), MORE, ids=[name for name, _ in MORE])
@pytest.mark.slow
def test_further_tasks_keep_the_contract(name, options):
    check_env(find_task(name).replace(options=options))


def test_one_episode_cannot_show_a_difference():
    with pytest.raises(ValueError, match="at least 2"):
        check_env(find_task("point-mass-v0"), episodes=1)


class Walk:
    """A correct environment on its own: a bounded random walk of ten steps, in [-2, 2] newtons."""

    def __init__(self):
        self.spec = make_spec(2, [(-2.0, 2.0)] * 2, task="toy/walk", max_episode_steps=10)
        self.steps, self.running = 0, False
        self.place = self.given = np.zeros(2)

    def reset(self, seed):
        self.given = np.zeros(2)
        self.place = np.random.default_rng(seed).normal(size=2)
        self.steps, self.running = 0, True
        return self.observe()

    def step(self, action):
        if not self.running or action.shape != (2,) or not np.isfinite(action).all():
            raise ContractError("refused")
        self.place = self.place + self.spec.to_task_units(action)
        self.steps += 1
        self.running = self.steps < 10
        return Step(self.observe(), float(self.place.sum()), False, not self.running)

    def observe(self):
        return self.place.astype(np.float32)

    def compute_rewards(self, observations, actions, next_observations):
        del observations, actions
        return next_observations.sum(axis=1), np.zeros(len(next_observations), dtype=np.float32)

    def close(self):
        self.running = False


class OneBuffer(Walk):
    buffer = np.zeros(2, dtype=np.float32)

    def observe(self):
        self.buffer[:] = self.place
        return self.buffer


class GivesItsState(Walk):
    def observe(self):
        self.place = self.place.astype(np.float32)
        return self.place


class KeepsTheAction(Walk):
    def step(self, action):
        step = super().step(action)
        self.place = self.place + 0.1 * self.given
        self.given = action
        return step


class DoublePrecision(Walk):
    def observe(self):
        return self.place.copy()


class TooLong(Walk):
    def observe(self):
        return np.zeros(3, dtype=np.float32)


class NotFinite(Walk):
    def observe(self):
        return np.full(2, np.nan, dtype=np.float32)


class ReadOnly(Walk):
    def observe(self):
        observation = super().observe()
        observation.flags.writeable = False
        return observation


class IgnoresSeed(Walk):
    def reset(self, seed):
        del seed
        return super().reset(7)


class OneStream(Walk):
    random = np.random.default_rng(0)

    def reset(self, seed):
        del seed
        return super().reset(int(self.random.integers(1 << 30)))


class RemembersEpisodes(Walk):
    resets = 0

    def reset(self, seed):
        self.resets += 1
        super().reset(seed)
        self.place += 1e-6 * self.resets
        return self.observe()


class BothFlags(Walk):
    def step(self, action):
        step = super().step(action)
        return step._replace(terminated=step.truncated)


class NumpyFlags(Walk):
    def step(self, action):
        return super().step(action)._replace(terminated=np.bool_(False))


class NumpyReward(Walk):
    def step(self, action):
        return super().step(action)._replace(reward=np.float64(1.0))


class Early(Walk):
    def step(self, action):
        step = super().step(action)
        self.running = self.steps < 9
        return step._replace(truncated=self.steps == 9)


class Endless(Walk):
    def step(self, action):
        step = super().step(action)
        self.running = True
        return step._replace(truncated=False)


class GoesOn(Walk):
    def step(self, action):
        step = super().step(action)
        self.running = True
        return step


class StartsItself(Walk):
    def __init__(self):
        super().__init__()
        self.running = True


class TakesAnyAction(Walk):
    def step(self, action):
        return super().step(np.nan_to_num(action[:2]))


class DoesNotClip(Walk):
    def step(self, action):
        step = super().step(action)
        return step._replace(reward=step.reward + float(np.abs(action).sum()))


class ChangesAction(Walk):
    def step(self, action):
        step = super().step(action)
        action *= 2.0
        return step


class RewardsDiffer(Walk):
    def compute_rewards(self, observations, actions, next_observations):
        return super().compute_rewards(actions, next_observations, observations)


class EndsDiffer(Walk):
    def compute_rewards(self, observations, actions, next_observations):
        rewards, terminations = super().compute_rewards(observations, actions, next_observations)
        return rewards, terminations + 1


class StaysOpen(Walk):
    def close(self):
        self.running = True


class OtherName(Walk):
    def __init__(self):
        super().__init__()
        self.spec = self.spec.replace(task="toy/run")


class InexactBound(Walk):
    def __init__(self):
        super().__init__()
        self.spec = make_spec(2, [(-0.1, 2.0)] * 2, task="toy/walk", max_episode_steps=10)


class Section:
    """A task section around one of the environments above."""

    suite, id = "toy", "walk"  # the params key

    def __init__(self, kind):
        self.kind = kind

    def make(self, render_size=None):
        del render_size
        return self.kind()


BROKEN = [
    (OneBuffer, "changed by a later step"),
    (GivesItsState, "writing into a returned observation"),
    (KeepsTheAction, "a used action changed"),
    (DoublePrecision, "float64, not float32"),
    (TooLong, r"shape \(3,\), not \(2,\)"),
    (NotFinite, "not finite"),
    (ReadOnly, "read-only"),
    (IgnoresSeed, "two different seeds"),
    (OneStream, "seed 0 gave another episode"),
    (RemembersEpisodes, "seed 0 gave another episode"),
    (BothFlags, "both terminated and truncated"),
    (NumpyFlags, "not bool"),
    (NumpyReward, "a reward is"),
    (Early, "truncated at step 9"),
    (Endless, "passed without truncation"),
    (GoesOn, "after the end"),
    (StartsItself, "before reset"),
    (TakesAnyAction, "is accepted"),
    (DoesNotClip, "differs from the clipped"),
    (ChangesAction, "changed the action"),
    (RewardsDiffer, r"compute_rewards\(\) and step\(\) disagree"),
    (EndsDiffer, r"compute_rewards\(\) and step\(\) disagree"),
    (StaysOpen, r"after close\(\)"),
    (OtherName, "spec.task is 'toy/run'"),
    (InexactBound, "action 'joint_0' has the bound -0.1, which is no float32"),
]


def test_check_accepts_a_correct_toy():
    check_env(Section(Walk))


@pytest.mark.parametrize(("kind", "message"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_check_finds_what_is_broken(kind, message):
    with pytest.raises(ContractError, match=message) as caught:
        check_env(Section(kind))
    assert "toy/walk" in str(caught.value)
