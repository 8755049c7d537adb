"""Small environments for the test of `check_env`: some keep the contract, the others break one rule each."""

import numpy as np
from factories import make_spec

from sacpipe.core.errors import ContractError
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Step


def add_term(spec, name, shape, dtype="float32", groups=("policy", "critic")):
    """The same task with one more observation term."""
    term = {"name": name, "shape": shape, "dtype": dtype, "unit": "1", "source": "", "groups": list(groups)}
    terms = [*(one.as_tree() for one in spec.observation), term]
    return EnvSpec.parse(spec.as_tree() | {"observation": terms})


class Walk:
    """A correct environment on its own: a bounded random walk of ten steps, in [-2, 2] newtons."""

    metric_names = ()

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
        return Observation(self.spec.layout, self.vector(), {})

    def vector(self):
        return self.place.astype(np.float32)

    def compute_rewards(self, observations, actions, next_observations):
        del observations
        return next_observations["state"].sum(axis=1), np.zeros(len(actions), dtype=np.float32)

    def close(self):
        self.running = False


class OneBuffer(Walk):
    buffer = np.zeros(2, dtype=np.float32)

    def vector(self):
        self.buffer[:] = self.place
        return self.buffer


class GivesItsState(Walk):
    def vector(self):
        self.place = self.place.astype(np.float32)
        return self.place


class KeepsTheAction(Walk):
    def step(self, action):
        step = super().step(action)
        self.place = self.place + 0.1 * self.given
        self.given = action
        return step


class DoublePrecision(Walk):
    def vector(self):
        return self.place.copy()


class TooLong(Walk):
    def vector(self):
        return np.zeros(3, dtype=np.float32)


class NotFinite(Walk):
    def vector(self):
        return np.full(2, np.nan, dtype=np.float32)


class ReadOnly(Walk):
    def vector(self):
        vector = super().vector()
        vector.flags.writeable = False
        return vector


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
        return super().compute_rewards(next_observations, actions, observations)


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


class GivesAnArray(Walk):
    def observe(self):
        return self.vector()


class OtherTerms(Walk):
    def observe(self):
        return Observation(make_spec(2, task="toy/walk").replace(observation=[
            self.spec.observation[0].as_tree() | {"name": "place"}]).layout, self.vector(), {})  # fmt: skip


class TwoSpecifications(Walk):
    made = 0

    def __init__(self):
        super().__init__()
        type(self).made += 1
        self.spec = self.spec.replace(control_period_s=0.02 * self.made)


class Pictured(Walk):
    """A vector and an image."""

    def __init__(self):
        super().__init__()
        self.spec = add_term(self.spec, "eye", [4, 4, 1], "uint8")

    def observe(self):
        return Observation(self.spec.layout, self.vector(), {"eye": self.image()})

    def image(self):
        return np.full((4, 4, 1), int(10 * self.place[0]) % 256, np.uint8)


class OneImage(Pictured):
    kept = np.zeros((4, 4, 1), np.uint8)

    def image(self):
        self.kept[:] = super().image()
        return self.kept


class GivesItsImage(Pictured):
    def reset(self, seed):
        self.kept = np.zeros((4, 4, 1), np.uint8)
        return super().reset(seed)

    def image(self):
        self.kept = (
            self.kept if self.steps % 2 else self.kept + 1
        )  # odd steps give the array of the step before
        return self.kept


class SmallImage(Pictured):
    def image(self):
        return super().image()[:2]


class FloatImage(Pictured):
    def image(self):
        return super().image() / 255


class NoImage(Pictured):
    def observe(self):
        return Observation(self.spec.layout, self.vector(), {})


class Goal(Walk):
    """The state is achieved, and another is asked for."""

    goal_shape = (2,)

    def __init__(self):
        super().__init__()
        spec = add_term(self.spec, "achieved", [2], groups=["achieved_goal"])
        self.spec = add_term(spec, "desired", [*self.goal_shape], groups=["policy", "critic", "desired_goal"])

    def observe(self):
        goal = np.ones(self.goal_shape)
        arrays = {"state": self.place, "achieved": self.place, "desired": goal}
        return self.spec.layout.pack(arrays)


class OtherGoal(Goal):
    goal_shape = (3,)


class NoAchievedGoal(Goal):
    def __init__(self):
        super().__init__()
        trees = [one.as_tree() for one in self.spec.observation if one.name != "achieved"]
        self.spec = EnvSpec.parse(self.spec.as_tree() | {"observation": trees})

    def observe(self):
        return self.spec.layout.pack({"state": self.place, "desired": np.ones(2)})


class BlindCritic(Walk):
    def __init__(self):
        super().__init__()
        tree = self.spec.observation[0].as_tree() | {"groups": ["policy"]}
        self.spec = EnvSpec.parse(self.spec.as_tree() | {"observation": [tree]})


class Asymmetric(Walk):
    """The critics see a term that the policy does not."""

    def __init__(self):
        super().__init__()
        self.spec = add_term(self.spec, "mass", [], groups=["critic"])

    def observe(self):
        return self.spec.layout.pack({"state": self.place, "mass": np.array(1.5)})


class Measured(Walk):
    """Gives the sum of the place as a metric."""

    metric_names = ("height",)

    def step(self, action):
        return super().step(action)._replace(metrics=self.metrics())

    def metrics(self):
        return {"height": float(self.place.sum())}


class OtherMetric(Measured):
    def metrics(self):
        return {"width": 1.0}


class MoreMetrics(Measured):
    def metrics(self):
        return super().metrics() | {"width": 1.0}


class NumpyMetric(Measured):
    def metrics(self):
        return {"height": np.float64(1.0)}


class NoMetricNames(Measured):
    metric_names = ()


class NewMetric(Measured):
    resets = 0

    def reset(self, seed):
        self.resets += 1
        return super().reset(seed)

    def metrics(self):
        return {"height": float(self.resets)}
