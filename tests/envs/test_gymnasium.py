"""Gymnasium tasks: names, bounds, flags and refusals."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs import registration
from gymnasium.wrappers import TransformReward

from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs.gymnasium import GymnasiumTask

V5 = sorted(task_id for task_id in gymnasium.registry if task_id.endswith("-v5"))


def section(task_id, **options):
    return GymnasiumTask(suite="gymnasium", id=task_id, options=options, metrics=())


@pytest.mark.parametrize("task_id", V5)
def test_every_named_term_is_what_its_source_says(task_id):
    """Run Gymnasium itself beside us: each term must equal the MuJoCo state its source names."""
    environment = section(task_id).make()
    raw = gymnasium.make(task_id, disable_env_checker=True).unwrapped
    raw.reset(seed=5)
    environment.reset(5)
    for _ in range(5):
        action = np.ones(environment.spec.action_dim, dtype=np.float32)
        raw.step(environment.spec.to_task_units(action))
        observation, _, terminated, *_ = environment.step(action)
        if terminated:
            break
    checked = 0
    for term in environment.spec.observation:
        found = re.fullmatch(
            r"(sin|cos)?\(?MuJoCo (q\w+)\[(\d+):(\d+)\]\)?(, clipped to \[-10, 10\])?", term.source
        )
        if found:
            value = getattr(raw.data, found[2])[int(found[3]) : int(found[4])]
            value = getattr(np, found[1])(value) if found[1] else value
            value = np.clip(value, -10, 10) if found[5] else value
            np.testing.assert_array_equal(observation[term.name], value.astype(np.float32))
            checked += 1
    assert checked >= 2
    assert "unknown" not in {term.unit for term in environment.spec.observation}


def test_half_cheetah_names_joints_with_their_units():
    spec = section("HalfCheetah-v5").make().spec
    names = [(term.name, term.unit) for term in spec.observation]
    assert names[:3] == [("rootz_position", "m"), ("rooty_angle", "rad"), ("bthigh_angle", "rad")]
    assert names[8:11] == [
        ("rootx_velocity", "m/s"),
        ("rootz_velocity", "m/s"),
        ("rooty_angular_velocity", "rad/s"),
    ]
    assert len(names) == 17
    assert [term.name for term in spec.action] == ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"]
    assert spec.control_period_s == pytest.approx(0.05)
    assert spec.max_episode_steps == 1000


def test_free_joint_is_named_in_parts_without_the_skipped_position():
    terms = section("Ant-v5").make().spec.observation
    assert [(term.name, term.size) for term in terms[:2]] == [("root_position", 1), ("root_orientation", 4)]
    assert [term.name for term in section("Ant-v5").make().spec.action][:2] == ["hip_4", "ankle_4"]


@pytest.mark.parametrize(
    ("task_id", "bound"), [("Humanoid-v5", 0.4), ("InvertedPendulum-v5", 3.0), ("Pusher-v5", 2.0)]
)
def test_bounds_are_those_of_the_task_bit_for_bit(task_id, bound):
    spec = section(task_id).make().spec
    assert (spec.action_high == np.float32(bound)).all()
    assert (spec.action_low == np.float32(-bound)).all()


def test_episode_is_that_of_gymnasium_itself():
    raw = gymnasium.make("Hopper-v5")
    environment = section("Hopper-v5").make()
    expected, _ = raw.reset(seed=11)
    np.testing.assert_array_equal(environment.reset(11).vector, expected.astype(np.float32))
    random = np.random.default_rng(0)
    for _ in range(200):
        action = random.uniform(-1, 1, 3).astype(np.float32)
        expected, reward, terminated, truncated, _ = raw.step(environment.spec.to_task_units(action))
        step = environment.step(action)
        np.testing.assert_array_equal(step.observation.vector, expected.astype(np.float32))
        assert step[1:4] == (float(reward), terminated, truncated)
        if terminated:
            break
    assert terminated


def test_time_limit_truncates_and_falling_terminates():
    environment = section("HalfCheetah-v5", max_episode_steps=7).make()
    environment.reset(0)
    assert [environment.step(np.zeros(6))[2:4] for _ in range(7)][-1] == (False, True)
    falling = section("InvertedDoublePendulum-v5").make()
    falling.reset(0)
    flags = (False, False)
    while flags == (False, False):
        flags = falling.step(np.ones(1))[2:4]
    assert flags == (True, False)


def test_options_reach_the_task():
    free = section(
        "HalfCheetah-v5", ctrl_cost_weight=0.0, exclude_current_positions_from_observation=False
    ).make()
    costly = section("HalfCheetah-v5", ctrl_cost_weight=1.0).make()
    assert free.spec.observation[0].name == "rootx_position"
    assert free.spec.observation_dim == 18
    free.reset(0)
    costly.reset(0)
    difference = free.step(np.ones(6)).reward - costly.step(np.ones(6)).reward
    assert difference == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("task_id", "options", "message"),
    [
        ("CartPole-v1", {}, r"expected a bounded, continuous Box .* found Discrete\(2\)"),
        ("HalfCheetah-v5", {"wings": 2}, "refuses wings=2: .*unexpected keyword argument 'wings'"),
        ("HalfCheetah-v5", {"frame_skip": 0}, "refuses frame_skip=0"),
        ("HalfCheetah-v5", {"ctrl_cost_weight": "high"}, "refuses ctrl_cost_weight='high'"),
        ("HalfCheetah-v5", {"xml_file": "none.xml"}, "none.xml does not exist"),
        ("Pendulum-v1", {"render_mode": "human"}, "render_mode is set by sacpipe"),
    ],
)
def test_what_cannot_be_trained_says_why(task_id, options, message):
    with pytest.raises(ConfigError, match=message):
        section(task_id, **options).make()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_version_that_gymnasium_gave_up_says_so_in_its_words_and_names_the_newest(monkeypatch):
    """gymnasium_robotics, once imported, registers the same id as its own."""
    given_up = registration.EnvSpec("Ant-v3", entry_point=gymnasium.envs._raise_mujoco_py_error)
    monkeypatch.setitem(gymnasium.registry, "Ant-v3", given_up)
    with pytest.raises(
        ConfigError, match=r"cannot be made here: .+\. Use 'gymnasium/Ant-v5', the newest version"
    ):
        section("Ant-v3").make()


def test_unregistered_id_offers_the_nearest():
    with pytest.raises(UnknownTaskError, match="gymnasium/Walker2d-v5"):
        section("Walker-v5").make()


class Odd(gymnasium.Env):
    """A task with the spaces it is given; its observation says which episode and step it is."""

    def __init__(self, observation_space, action_space, render_mode=None):
        self.observation_space, self.action_space, self.render_mode = (
            observation_space,
            action_space,
            render_mode,
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        return self.observe(float(seed or 0)), {}

    def step(self, action):
        return self.observe(float(np.sum(action))), 1, False, False, {}

    def observe(self, number):
        if isinstance(self.observation_space, spaces.Dict):
            return {"a": np.array([1.0, 2.0]), "b": np.array([number])}
        return np.full(self.observation_space.shape, number, dtype=self.observation_space.dtype)


UNIT = spaces.Box(-1.0, 1.0, (2,))
VECTOR = spaces.Box(-9.0, 9.0, (3,))


@pytest.fixture
def odd():
    """Register a task with odd spaces under a name of its own, and take it away again."""
    names = []

    def register(observation_space, action_space, **settings):
        names.append(f"SacpipeOdd{len(names)}-v0")
        spaces_ = {"observation_space": observation_space, "action_space": action_space}
        gymnasium.register(names[-1], entry_point=Odd, kwargs=spaces_, max_episode_steps=4, **settings)
        return section(names[-1])

    yield register
    for name in names:
        del gymnasium.registry[name]


def test_dict_observation_is_flattened_in_the_order_of_its_keys(odd):
    parts = {"b": spaces.Box(-9.0, 9.0, (1,)), "a": spaces.Box(-9.0, 9.0, (2,))}
    environment = odd(spaces.Dict(parts), UNIT).make()
    assert [(term.name, term.size) for term in environment.spec.observation] == [("a", 2), ("b", 1)]
    assert environment.reset(7).vector.tolist() == [1.0, 2.0, 7.0]
    assert environment.step(np.array([0.5, 0.25])).observation.vector.tolist() == [1.0, 2.0, 0.75]


def test_task_that_describes_nothing_gets_one_unnamed_term(odd):
    spec = odd(VECTOR, UNIT).make().spec
    assert [(term.name, term.size, term.unit) for term in spec.observation] == [("observation", 3, "unknown")]
    assert [term.name for term in spec.action] == ["action_0", "action_1"]
    assert spec.control_period_s is None
    assert spec.max_episode_steps == 4


def test_wrappers_for_order_and_time_come_off_and_those_of_the_registration_stay(odd):
    doubled = TransformReward.wrapper_spec(func=lambda reward: 2 * reward)
    task = odd(VECTOR, UNIT, additional_wrappers=(doubled,))
    environment = task.make()
    environment.reset(0)
    assert environment.step(np.zeros(2)).reward == 2.0
    assert type(odd(VECTOR, UNIT).make()._simulator._env) is Odd


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Discrete(5), UNIT, r"expected an observation of arrays .* found Discrete\(5\)"),
        (spaces.Box(0, 1, (1,) * 7), UNIT, "shape: .*at most 6 items"),
        (VECTOR, spaces.Box(-np.inf, np.inf, (2,)), "whose actions have limits"),
        (VECTOR, spaces.Box(-1.0, 1.0, (2, 2)), "with one axis, found Box"),
        (VECTOR, spaces.Box(0, 3, (2,), np.int64), "continuous Box"),
        (VECTOR, spaces.MultiDiscrete([2, 2]), "found MultiDiscrete"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(odd, observation_space, action_space, message):
    with pytest.raises(ConfigError, match=message):
        odd(observation_space, action_space).make()


def test_the_pendulums_rewards_again_by_hand():
    """Hanging down at 2 rad/s under 1 N m: pi squared for the angle, 0.4 for the speed, 0.001 for the torque."""
    environment, half = section("Pendulum-v1").make(), np.array([[0.5]], dtype=np.float32)
    names = ("angle_cosine", "angle_sine", "angular_velocity")
    down, later = (
        environment.spec.layout.pack({name: np.array([[x]]) for name, x in zip(names, values, strict=True)})
        for values in ((-1.0, 0.0, 2.0), (0.0, 1.0, 3.0))
    )
    rewards, terminations = environment.compute_rewards(down, half, later)
    np.testing.assert_allclose(rewards, [-(np.pi**2 + 0.4 + 0.001)], rtol=1e-6)
    assert terminations.tolist() == [0.0]


def test_rewards_that_no_record_tells_are_not_computed():
    environment = section("InvertedPendulum-v5").make()
    rows = environment.spec.layout.empty(3)
    assert environment.compute_rewards(rows, np.zeros((3, 1), dtype=np.float32), rows) is None
