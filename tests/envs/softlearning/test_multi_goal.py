"""The point of MultiGoal moves and is rewarded as Softlearning's, and its image shows it among four goals."""

import numpy as np
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.envs.softlearning.multi_goal import GOALS_M
from sacpipe.envs.softlearning.suite import SoftlearningTask

TERMS = ("reward_action", "reward_distance", "reward_goal", "is_success", "distance_m", "nearest_goal")


def make(render_size=None, **options):
    task = SoftlearningTask(suite="softlearning", id="MultiGoal-Default-v0", options=options, metrics=TERMS)
    return task.make(render_size)


def test_one_step_by_hand():
    environment = make()
    x, y = environment.reset(3)["position"].astype(np.float64)
    step = environment.step(np.array([0.5, -1.0]))
    np.testing.assert_allclose(step.observation["position"], (x + 0.5, y - 1.0), atol=1e-6)
    square = (x + 0.5) ** 2 + (y + 4.0) ** 2  # the goal (0, -5) is nearest
    expected = (-30.0 * 1.25, -square, 0.0, 0.0, np.sqrt(square), 3.0)
    np.testing.assert_allclose([*step.metrics.values()], expected, rtol=1e-5)
    assert step.reward == pytest.approx(-37.5 - square, rel=1e-6)


@pytest.mark.parametrize("goal", range(4))
def test_going_straight_to_a_goal_terminates_with_its_reward(goal):
    environment = make()
    environment.reset(0)
    action = np.array(GOALS_M[goal], dtype=np.float32) / 5
    steps = [environment.step(action) for _ in range(4)]  # 4 m of 5 m, from about the centre
    steps += [] if steps[-1].terminated else [environment.step(action)]
    assert [step.terminated for step in steps[:-1]] == [False] * (len(steps) - 1)
    last = steps[-1]
    assert (last.terminated, last.truncated) == (True, False)
    assert last.metrics["nearest_goal"] == goal
    assert last.metrics["reward_goal"] == 10.0
    terms = [last.metrics[name] for name in TERMS[:3]]
    assert last.reward == pytest.approx(sum(terms), rel=1e-12)


def test_walls_stop_the_point_and_thirty_steps_truncate():
    environment = make()
    environment.reset(0)
    steps = [environment.step(np.array([1.0, 1.0])) for _ in range(30)]  # between two goals, to the corner
    np.testing.assert_array_equal(steps[-1].observation["position"], (7.0, 7.0))
    assert [step[2:4] for step in steps] == [(False, False)] * 29 + [(False, True)]


def test_starts_are_normal_around_the_centre():
    environment = make()
    starts = np.array([environment.reset(seed)["position"] for seed in range(1000)])
    np.testing.assert_allclose(starts.mean(axis=0), 0.0, atol=0.015)
    np.testing.assert_allclose(starts.std(axis=0), 0.1, atol=0.01)


def test_rewards_and_terminations_again_by_hand():
    environment = make(goal_reward=2.0, actuation_cost_coeff=1.0)
    layout = environment.spec.layout
    places = layout.pack({"position": np.array([[4.5, 0.0], [0.0, -3.0]], dtype=np.float32)})
    actions = np.array([[1.0, 0.0], [0.5, 0.5]], dtype=np.float32)
    rewards, terminations = environment.compute_rewards(places, actions, places)
    np.testing.assert_allclose(rewards, [2.0 - 1.0 - 0.25, -0.5 - 4.0], atol=1e-6)
    assert terminations.tolist() == [1.0, 0.0]


def test_image_shows_the_point_and_four_goals():
    environment = make(render_size=(140, 140))
    environment.reset(0)
    frame = environment.render()
    for row, column in ((69, 119), (69, 19), (19, 69), (119, 69)):
        assert tuple(frame[row, column]) == (90, 170, 90)
    assert (frame == (40, 80, 160)).all(axis=2).sum() > 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"goal_reward": -1}, r"task\.options\.goal_reward: .* greater than or equal to 0, found -1"),
        ({"init_sigma": 0}, r"task\.options\.init_sigma: .* greater than 0"),
        ({"colour": "red"}, r"task\.options\.colour: unknown key"),
        ({"max_episode_steps": 0}, r"task\.options\.max_episode_steps: .* found 0"),
        ({"distance_cost_coeff": "far"}, r"task\.options\.distance_cost_coeff: .* valid number, found 'far'"),
    ],
)
def test_wrong_option_is_refused_with_its_reason(option, message):
    with pytest.raises(ConfigError, match=message):
        make(**option)
