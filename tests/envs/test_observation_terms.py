"""Observation spaces become terms: images, goals, critic-only entries, reserved names; and `info` metrics."""

from typing import ClassVar

import numpy as np
import pytest
from gymnasium import ObservationWrapper, spaces
from gymnasium.wrappers import TransformReward
from line_task import VECTOR, Line

from sacpipe.core.errors import ConfigError, SimulatorError
from sacpipe.envs import suggested_metrics
from sacpipe.envs.dm_control import DmControlTask
from sacpipe.envs.observation_reader import ObservationPart, array_term, observation_reader
from sacpipe.specs.observation import ObservationLayout
from sacpipe.testing.environments import check_env

NUMBER = spaces.Box(-np.inf, np.inf, ())
EYE = spaces.Box(0, 255, (4, 5, 3), np.uint8)
BOTH = ("policy", "critic")


def eye(x):
    """An image whose pixels differ, and depend on a number."""
    return (np.arange(60).reshape(4, 5, 3) + int(40 * x)).astype(np.uint8)


def terms(environment):
    return {term.name: (term.shape, term.dtype, term.groups) for term in environment.spec.observation}


class Seeing(Line):
    """An image, a vector and a number."""

    observation_space = spaces.Dict({"eye": EYE, "joints": VECTOR, "x": NUMBER})

    def observe(self):
        return {"eye": eye(self.x), "joints": np.array([self.x, self.steps]), "x": self.x}


def test_an_image_beside_vectors_is_a_uint8_term_with_memory_of_its_own(task):
    section = task(Seeing)
    environment = section.make()
    assert terms(environment) == {
        "eye": ((4, 5, 3), "uint8", BOTH),
        "joints": ((2,), "float32", BOTH),
        "x": ((), "float32", BOTH),
    }
    observation = environment.reset(3)
    x = environment._simulator._env.unwrapped.x
    np.testing.assert_array_equal(observation["eye"], eye(x))
    assert observation["eye"].flags.c_contiguous
    assert observation.vector.tolist() == [np.float32(x), 0.0, np.float32(x)]
    check_env(section)


class OnlyImage(Line):
    """One image, turned, so that its memory is not in order."""

    observation_space = spaces.Box(0, 255, (5, 4, 3), np.uint8)

    def observe(self):
        return eye(self.x + self.steps).transpose(1, 0, 2)


def test_an_image_alone_is_an_observation_without_a_vector(task):
    section = task(OnlyImage)
    environment = section.make()
    assert terms(environment) == {"observation": ((5, 4, 3), "uint8", BOTH)}
    observation = environment.reset(0)
    assert observation.vector.shape == (0,)
    assert observation["observation"].flags.c_contiguous
    check_env(section)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((4, 5, 3)), r"shape \(4, 5, 3\) of float64"),
        (np.zeros((4, 5, 1), np.uint8), r"shape \(4, 5, 1\) of uint8"),
        (np.zeros((4, 5, 3), np.uint8).tolist(), "list"),
    ],
)
def test_an_image_of_another_shape_or_type_stops_the_run(task, image, found):
    kind = type(
        "Wrong",
        (Seeing,),
        {"observe": lambda self: Seeing.observe(self) | ({"eye": image} if self.steps > 2 else {})},
    )
    environment = task(kind).make()
    environment.reset(0)
    for _ in range(2):
        environment.step(np.zeros(1))
    expected = rf"step 3: expected an image of uint8 of shape \(4, 5, 3\) at the entry 'eye', found {found}"
    with pytest.raises(SimulatorError, match=expected):
        environment.step(np.zeros(1))


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Box(0, 255, (4, 5, 3), np.uint8), (4, 5, 3), "uint8"),
        (spaces.Box(0, 1, (4, 5, 3), np.float32), (4, 5, 3), "float32"),
        (spaces.Box(0, 255, (4, 5), np.uint8), (4, 5), "float32"),
        (spaces.Box(-3, 3, (2, 2), np.int64), (2, 2), "float32"),
        (spaces.MultiBinary([2, 2]), (2, 2), "float32"),
    ],
)
def test_only_three_axes_of_uint8_are_an_image(task, space, shape, dtype):
    kind = type(
        "One",
        (Line,),
        {
            "observation_space": space,
            "observe": lambda self: (
                space.low * 0 if hasattr(space, "low") else np.zeros(space.shape, np.int8)
            ),
        },
    )
    assert terms(task(kind).make()) == {"observation": (shape, dtype, BOTH)}


class Goal(Line):
    """Its x is to reach a goal."""

    observation_space = spaces.Dict({"observation": VECTOR, "achieved_goal": NUMBER, "desired_goal": NUMBER})

    def observe(self):
        return {"observation": super().observe(), "achieved_goal": self.x, "desired_goal": 0.5}


def test_the_three_entries_of_a_goal_environment_have_their_groups(task):
    section = task(Goal)
    environment = section.make()
    assert terms(environment) == {
        "achieved_goal": ((), "float32", ("achieved_goal",)),
        "desired_goal": ((), "float32", (*BOTH, "desired_goal")),
        "observation": ((2,), "float32", BOTH),
    }
    x = np.float32(environment.reset(3)["achieved_goal"])
    observation = environment.reset(3)
    assert observation.group("policy").tolist() == [0.5, x, 0.0]
    assert observation.vector.tolist() == [0.5, x, 0.0, x]
    assert [term.name for term in environment.spec.policy_spec.observation] == ["desired_goal", "observation"]
    check_env(section)


def test_two_of_the_three_entries_are_no_goal_environment(task):
    space = spaces.Dict({"observation": VECTOR, "achieved_goal": NUMBER})
    kind = type("Half", (Goal,), {"observation_space": space})
    assert {groups for _, _, groups in terms(task(kind).make()).values()} == {BOTH}


class Asymmetric(Line):
    """The critics see a mass and a nested state, the policy a noisy number."""

    observation_space = spaces.Dict(
        {"mass": NUMBER, "state": spaces.Dict({"q": VECTOR, "v": NUMBER}), "noisy": NUMBER}
    )
    observation_groups: ClassVar = {"mass": ["critic"], "state": ("critic",), "noisy": ["policy"]}

    def observe(self):
        return {"mass": 3.0, "state": {"q": np.array([self.x, 7.0]), "v": 0.0}, "noisy": self.x + 0.01}


def test_entries_may_be_of_the_critics_alone(task):
    section = task(Asymmetric)
    environment = section.make()
    assert {name: groups for name, (_, _, groups) in terms(environment).items()} == {
        "mass": ("critic",),
        "noisy": ("policy",),
        "state/q": ("critic",),
        "state/v": ("critic",),
    }
    observation = environment.reset(0)
    x = environment._simulator._env.unwrapped.x
    assert observation.group("policy").tolist() == [np.float32(x + 0.01)]
    assert observation.group("critic").tolist() == [3.0, np.float32(x), 7.0, 0.0]
    check_env(section)


class Wrapped(ObservationWrapper):
    """Declares the groups of an observation that it makes."""

    observation_groups: ClassVar = {"a": ["policy", "critic"], "b": ["critic"]}

    def __init__(self):
        super().__init__(Line())
        self.observation_space = spaces.Dict({"a": NUMBER, "b": NUMBER})

    def observation(self, observation):
        return {"a": observation[0], "b": observation[1]}


def test_a_wrapper_may_declare_the_groups(task):
    assert terms(task(Wrapped).make())["b"] == ((), "float32", ("critic",))


def test_groups_of_a_task_below_a_wrapper_are_found(task):
    def wrapped():
        return TransformReward(Asymmetric(), lambda reward: 2 * reward)

    assert terms(task(wrapped).make())["mass"] == ((), "float32", ("critic",))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"weight": ["critic"]}, r"expected entries of the observation \(mass, noisy, state/q, state/v\), found 'weight'"),
        ({"mass": ["critics"]}, r"of 'mass': expected a list of policy, critic, .*, found \['critics'\]"),
        ({"mass": "critic"}, "of 'mass': expected a list of policy, .*, found 'critic'"),
        ({"mass": []}, r"of 'mass': expected a list of .*, found \[\]"),
        ({"mass": [["critic"]]}, "of 'mass': expected a list of"),
        (["mass"], r"observation_groups: expected a mapping, found \['mass'\]"),
        ({key: ["critic"] for key in ("mass", "state", "noisy")}, "at least one term of the group `policy`, found none"),
    ],
)  # fmt: skip
def test_wrong_groups_are_refused_with_what_is_there(task, groups, message):
    with pytest.raises(ConfigError, match=message):
        task(type("Wrong", (Asymmetric,), {"observation_groups": groups})).make()


class Reserved(Line):
    """Keys that policy.onnx uses for other tensors."""

    observation_space = spaces.Dict({"action": NUMBER, "noise": EYE, "deep": spaces.Dict({"action": NUMBER})})

    def observe(self):
        return {"action": self.x, "noise": eye(self.x), "deep": {"action": self.steps}}


def test_reserved_names_get_an_ending(task):
    section = task(Reserved)
    assert [*terms(section.make())] == ["action_observation", "deep/action", "noise_observation"]
    check_env(section)


def test_terms_of_dm_control_follow_from_shapes():
    names = [("camera", (4, 4, 3), np.uint8), ("touch", (), np.float64), ("action", (2, 3), np.float32)]
    found = [array_term(*one, source="x") for one in names]
    assert [(term.name, term.shape, term.dtype) for term in found] == [
        ("camera", (4, 4, 3), "uint8"),
        ("touch", (), "float32"),
        ("action_observation", (2, 3), "float32"),
    ]
    assert DmControlTask.example().make().spec.observation[0].shape == (3,)


class Measured(Line):
    """Gives reward terms, success and more in `info`."""

    def step(self, action):
        *values, _ = super().step(action)
        info = {
            "reward_near": -abs(self.x),
            "is_success": bool(self.x > 0),
            "reward_parts": np.zeros(3),
            "reward_info": {"ctrl": 0.25},
            "clock": self.steps,
        }
        return *values, info


def test_metrics_of_a_task_are_kept_in_every_step(task):
    section = task(Measured, metrics=("reward_near", "reward_info/ctrl", "clock"))
    environment = section.make()
    environment.reset(0)
    metrics = environment.step(np.zeros(1)).metrics
    x = environment._simulator._env.unwrapped.x
    assert metrics == {"reward_near": -abs(x), "reward_info/ctrl": 0.25, "clock": 1.0}
    check_env(section)


def test_reward_terms_and_success_are_suggested(task):
    assert suggested_metrics(task(Measured)) == ("reward_near", "is_success")
    assert suggested_metrics(task(Line)) == ()


def test_a_metric_that_the_task_lacks_is_refused_before_a_run(task):
    section = task(Measured, metrics=("reward_far",))
    with pytest.raises(
        ConfigError,
        match="task.metrics: expected an `info` with the entry 'reward_far', found the entries 'reward_near', 'is_success'",
    ):
        section.make()


def test_a_name_is_listed_once(task):
    with pytest.raises(ValueError, match="expected each name once; 'clock' is there twice"):
        task(Measured, metrics=("clock", "clock"))


def test_one_array_of_terms_in_different_groups_is_sorted_into_the_vector():
    one, two, three = (
        array_term(name, (size,), np.float32, source="").replace(groups=groups)
        for name, size, groups in (("a", 2, ["critic"]), ("b", 1, ["policy"]), ("c", 2, ["policy", "critic"]))
    )
    layout = ObservationLayout((one, two, three))
    observation = observation_reader(layout, [ObservationPart((), (5,), (one, two, three))])(np.arange(5))
    assert observation.vector.tolist() == [2.0, 3.0, 4.0, 0.0, 1.0]
    assert {name: array.tolist() for name, array in observation.items()} == {
        "a": [0.0, 1.0],
        "b": [2.0],
        "c": [3.0, 4.0],
    }
