"""The ball goes where it is pushed, stops at walls, and its rewards follow the goals of the observation."""

import math

import numpy as np
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.envs.softlearning.point_2d import WallOptions, walls_of
from sacpipe.envs.softlearning.suite import SoftlearningTask

SHAPES = ("u", "h", "--", "big-u", "easy-u", "big-h", "box", "none")


def make(task="Default", render_size=None, **options):
    metrics = ("distance_to_target", "is_success", "speed")
    section = SoftlearningTask(
        suite="softlearning", id=f"Point2DEnv-{task}-v0", options=options, metrics=metrics
    )
    return section.make(render_size)


def test_one_step_by_hand():
    environment = make(fixed_goal=[1.0, -2.0], randomize_position_on_reset=False, action_scale=0.5)
    first = environment.reset(0)
    assert {name: first[name].tolist() for name in first} == {
        "observation": [0.0, 0.0],
        "achieved_goal": [0.0, 0.0],
        "desired_goal": [1.0, -2.0],
    }
    step = environment.step(np.array([1.0, -0.5]))  # 0.5 m/s and -0.25 m/s for a second
    assert step.observation["achieved_goal"].tolist() == [0.5, -0.25]
    assert step.reward == pytest.approx(-math.hypot(0.5, 1.75), rel=1e-12)
    assert step.metrics == {
        "distance_to_target": -step.reward,
        "is_success": 0.0,
        "speed": pytest.approx(math.hypot(0.5, 0.25)),
    }


def test_sparse_reward_is_zero_at_the_goal_and_no_episode_terminates():
    environment = make(reward_type="sparse", fixed_goal=[0, 0], randomize_position_on_reset=False)
    environment.reset(0)
    steps = [environment.step(np.array([0.59, 0.0])), environment.step(np.array([0.1, 0.0]))]
    assert [step.reward for step in steps] == [0.0, -1.0]
    assert [step.metrics["is_success"] for step in steps] == [1.0, 0.0]
    flags = [environment.step(np.zeros(2))[2:4] for _ in range(48)]
    assert flags == [(False, False)] * 47 + [(False, True)]


def test_goals_and_starts_fill_the_square():
    environment = make()
    firsts = [environment.reset(seed) for seed in range(1000)]
    for name in ("achieved_goal", "desired_goal"):
        points = np.array([first[name] for first in firsts])
        np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.25)
        np.testing.assert_allclose(points.std(axis=0), 4 / math.sqrt(3), atol=0.1)  # uniform in [-4, 4]


@pytest.mark.parametrize("reward_type", ["dense", "sparse"])
def test_rewards_of_another_goal_are_computed_again(reward_type):
    environment = make(reward_type=reward_type)
    layout = environment.spec.layout
    places = np.array([[1.0, 1.0], [0.0, -0.5]], dtype=np.float32)
    goals = np.array([[1.0, 3.0], [0.3, -0.5]], dtype=np.float32)
    after = layout.pack({"observation": places, "achieved_goal": places, "desired_goal": goals})
    rewards, terminations = environment.compute_rewards(after, np.zeros((2, 2), np.float32), after)
    expected = {"dense": [-2.0, -0.3], "sparse": [-1.0, 0.0]}[reward_type]
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    assert terminations.tolist() == [0.0, 0.0]


def test_groups_are_those_of_a_goal_environment():
    assert {term.name: term.groups for term in make().spec.observation} == {
        "observation": ("policy", "critic"),
        "achieved_goal": ("achieved_goal",),
        "desired_goal": ("policy", "critic", "desired_goal"),
    }


def test_a_wall_stops_the_ball_and_it_slides_along():
    environment = make("Wall", wall_shape="h", randomize_position_on_reset=False)  # a wall at y = 1
    environment.reset(0)
    step = environment.step(np.array([0.25, 1.0]))
    assert step.observation["achieved_goal"].tolist() == [0.25, 0.5]  # half a metre before the wall
    step = environment.step(np.array([0.5, 1.0]))
    assert step.observation["achieved_goal"].tolist() == [0.75, 0.5]
    environment.step(np.array([1.0, 0.0]))  # to x = 1.75, past the wall's end at 1.5
    step = environment.step(np.array([0.0, 1.0]))
    assert step.observation["achieved_goal"].tolist() == [1.75, 1.5]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ball_is_never_in_a_wall_and_crosses_none(shape):
    environment = make("Wall", wall_shape=shape, max_episode_steps=400)
    walls = [wall.extended(0.5) for wall in walls_of(WallOptions(wall_shape=shape))]
    random = np.random.default_rng(0)
    place = environment.reset(1)["achieved_goal"].astype(np.float64)
    touched = 0
    for _ in range(400):
        direction = random.uniform(-1, 1, 2)
        after = environment.step(direction).observation["achieved_goal"].astype(np.float64)
        for wall in walls:
            assert not wall.extended(-1e-5).contains(tuple(after))
        touched += not np.allclose(after, np.clip(place + direction, -4, 4), atol=1e-4)
        place = after
    assert (touched > 0) == bool(walls)


def test_a_cup_holds_the_ball():
    """Without a wall that can be crossed, the ball leaves the cup below alone."""
    environment = make("Wall", wall_shape="u", randomize_position_on_reset=False, max_episode_steps=500)
    environment.reset(0)
    random = np.random.default_rng(3)
    for _ in range(500):
        direction = np.array([random.uniform(-1, 1), random.uniform(0, 1)])
        x, y = environment.step(direction).observation["achieved_goal"]
        assert -0.5 <= x <= 0.5
        assert y <= 0.5


def test_image_shows_goal_ball_and_wall():
    environment = make(
        "Wall", (90, 90), wall_shape="h", fixed_goal=[-2.0, -2.0], randomize_position_on_reset=False
    )
    environment.reset(0)
    frame = environment.render()
    assert frame.shape == (90, 90, 3)
    assert tuple(frame[64, 24]) == (90, 170, 90)
    assert tuple(frame[44, 44]) == (40, 80, 160)
    assert tuple(frame[34, 44]) == (110, 110, 110)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("Default", {"wall_shape": "u"}, r"task\.options\.wall_shape: unknown key"),
        ("Default", {"reward_type": "vectorized"}, r"reward_type: .*'dense' or 'sparse'"),
        ("Default", {"action_scale": 2}, r"action_scale: .* less than or equal to 1"),
        (
            "Default",
            {"fixed_goal": [5, 0]},
            r"fixed_goal: expected coordinates of at most boundary_dist=4\.0",
        ),
        ("Wall", {"wall_shape": "--", "randomize_position_on_reset": False}, "the origin is inside a wall"),
        ("Wall", {"fixed_goal": [1, 0]}, "fixed_goal is inside a wall"),
        ("Wall", {"wall_shape": "box", "wall_thickness": 9}, "the walls leave no room for the ball"),
    ],
)
def test_wrong_option_is_refused_with_its_reason(task, options, message):
    with pytest.raises(ConfigError, match=message):
        make(task, **options)
