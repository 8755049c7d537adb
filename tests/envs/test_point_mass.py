"""The point mass ends in two ways, and its images show goal and mass."""

import math

import numpy as np
import pytest
from factories import make_point_mass

from sacpipe.core.errors import ConfigError, RendererError
from sacpipe.envs.point_mass import PointMassTask
from sacpipe.params.yaml_text import comment_of


def make(render_size=None, **options):
    return make_point_mass(**options).make(render_size)


def steer(observation):
    """Push against the distance and the speed: a spring and a damper."""
    return (-2.0 * observation["position"] - 1.0 * observation["velocity"]).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_steering_to_the_goal_terminates(seed):
    environment = make()
    observation = environment.reset(seed)
    for _ in range(50):
        observation, _, terminated, truncated, _ = environment.step(steer(observation))
        if terminated or truncated:
            break
    assert terminated
    assert not truncated
    assert math.hypot(*observation["position"]) < 0.15


def test_doing_nothing_is_truncated_at_fifty_steps():
    environment = make()
    environment.reset(0)
    flags = [environment.step(np.zeros(2))[2:4] for _ in range(50)]
    assert flags[:49] == [(False, False)] * 49
    assert flags[49] == (False, True)


def test_one_step_by_hand():
    environment = make()
    x, y, vx, vy = environment.reset(3).vector.astype(np.float64)
    assert (vx, vy) == (0.0, 0.0)
    assert 0.6 <= math.hypot(x, y) <= 1.0
    step = environment.step(np.array([1.0, -0.5]))  # 2 N and -1 N for 0.1 s on 1 kg at rest
    expected = (x + 0.02, y - 0.01, 0.2, -0.1)
    np.testing.assert_allclose(step.observation.vector, expected, atol=1e-6)
    assert step.reward == pytest.approx(-math.hypot(x + 0.02, y - 0.01) - 0.1, abs=1e-6)


def test_turned_actuators_push_elsewhere_and_leave_the_spec_as_it_is():
    straight, turned = make(), make(actuator_angle_deg=90)
    assert turned.spec == straight.spec
    start = straight.reset(3)
    assert turned.reset(3).equals(start)
    step = turned.step(np.array([1.0, -0.5]))  # 2 N and -1 N, turned to the left: 1 N and 2 N
    np.testing.assert_allclose(step.observation.vector - start.vector, (0.01, 0.02, 0.1, 0.2), atol=1e-6)


def test_rewards_and_terminations_again_by_hand():
    position = np.array([[0.3, 0.4], [0.0, -0.1]], dtype=np.float32)
    layout, actions = make().spec.layout, np.zeros((2, 2), dtype=np.float32)
    earlier = layout.pack({"position": position + 1, "velocity": position})
    places = layout.pack({"position": position, "velocity": position})
    rewards, terminations = make().compute_rewards(earlier, actions, places)
    np.testing.assert_allclose(rewards, [-0.6, -0.2], atol=1e-6)
    assert terminations.tolist() == [0.0, 1.0]
    assert {rewards.dtype, terminations.dtype} == {np.dtype(np.float32)}
    wider = make(goal_radius_m=0.55).compute_rewards(places, actions, places)
    assert wider[1].tolist() == [1.0, 1.0]


def test_options_change_the_task():
    spec = make(force_limit_n=5, max_episode_steps=7).spec
    assert [term.high for term in spec.action] == [5.0, 5.0]
    assert spec.max_episode_steps == 7


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"goal_radius_m": 2.0}, "goal_radius_m must be in"),
        ({"force_limit_n": -1.0}, "force_limit_n must be in"),
        ({"actuator_angle_deg": 181}, "actuator_angle_deg must be in"),
        ({"max_episode_steps": 0}, "max_episode_steps: .* found 0"),
        ({"max_episode_steps": 2.5}, "max_episode_steps: .* found 2.5"),
        ({"goal_radius_m": "wide"}, "goal_radius_m='wide'"),
        ({"image_size": 2.0}, "image_size must be an integer"),
        ({"image_size": 257}, "image_size must be an integer in"),
        ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_wrong_option_is_refused_with_its_reason(option, message):
    with pytest.raises(ConfigError, match=message):
        make(**option)


def test_image_shows_goal_in_the_middle_and_mass_where_it_is():
    environment = make(render_size=(60, 90))
    x, y = environment.reset(1)["position"]
    frame = environment.render()
    assert frame.shape == (60, 90, 3)
    assert frame.dtype == np.uint8
    assert tuple(frame[30, 45]) == (90, 170, 90)
    row, column = round(29.5 - y * 20), round(44.5 + x * 20)
    assert tuple(frame[row, column]) == (40, 80, 160)


def test_image_without_a_size_is_refused():
    environment = make()
    environment.reset(0)
    with pytest.raises(RendererError, match="without a render size"):
        environment.render()


def test_observed_image_shows_the_state_like_the_rendered_one():
    environment = make(render_size=(20, 20), image_size=20)
    assert environment.spec.observation[-1].shape == (20, 20, 3)
    first = environment.reset(1)
    np.testing.assert_array_equal(first["image"], environment.render())
    step = environment.step(np.ones(2))
    np.testing.assert_array_equal(step.observation["image"], environment.render())
    assert not np.array_equal(first["image"], step.observation["image"])


def test_success_and_distance_are_in_info():
    environment = make_point_mass(metrics=("is_success", "distance_m"), goal_radius_m=0.55).make()
    observation = environment.reset(0)
    while True:
        step = environment.step(steer(observation))
        observation = step.observation
        distance = math.hypot(*observation["position"])
        assert step.metrics == {
            "is_success": float(step.terminated),
            "distance_m": pytest.approx(distance, abs=1e-6),
        }
        if step.terminated:
            break
    assert type(step.metrics["is_success"]) is float


def test_the_values_of_options_are_at_their_fields_alone():
    """A second copy, in the comment of params.yaml, would be wrong after a change."""
    text = comment_of(PointMassTask, "options")
    assert "PointMassOptions" in text
    assert not any(letter.isdigit() for letter in text)
