"""The pusher's states, costs and starts are Softlearning's."""

import numpy as np
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.envs.softlearning.suite import SoftlearningTask


def make(task="Default", metrics=(), **options):
    section = SoftlearningTask(
        suite="softlearning", id=f"Pusher2d-{task}-v0", options=options, metrics=metrics
    )
    return section.make()


def test_terms_and_torques():
    spec = make("DefaultReach").spec
    assert [(term.name, term.size) for term in spec.observation] == [
        ("joint_angle_sines", 3),
        ("joint_angle_cosines", 3),
        ("joint_angular_velocities", 3),
        ("hand_position", 3),
        ("object_position", 3),
        ("goal_position", 2),
    ]
    assert [(term.name, term.unit, term.high) for term in spec.action] == [
        ("proximal_j_1", "N m", 3.0),
        ("distal_j_1", "N m", 3.0),
        ("distal_j_2", "N m", 3.0),
    ]
    assert (spec.control_period_s, spec.max_episode_steps) == (0.05, 1000)
    assert make().spec.observation == spec.observation[:-1]


def test_hand_is_where_the_joints_bring_it():
    """Three links of 0.4 m, mounted at 0.785, -0.785 and -1.57 rad."""
    environment = make()
    observation = environment.reset(0)
    for _ in range(20):
        observation = environment.step(np.array([0.3, -0.2, 0.1])).observation
    joints = np.arctan2(observation["joint_angle_sines"], observation["joint_angle_cosines"])
    angles = np.cumsum(joints + np.array([0.785, -0.785, -1.57]))
    expected = 0.4 * np.cos(angles).sum(), 0.4 * np.sin(angles).sum(), -0.075
    np.testing.assert_allclose(observation["hand_position"], expected, atol=1e-5)
    np.testing.assert_allclose(
        np.square(observation["joint_angle_sines"]) + np.square(observation["joint_angle_cosines"]),
        1.0,
        atol=1e-6,
    )


def test_cost_of_pushing_is_that_of_the_state_before_the_step():
    names = ("goal_object_distance", "arm_object_distance", "is_success")
    environment = make(
        metrics=names, arm_object_distance_cost_coeff=0.5, goal_object_distance_cost_coeff=2.0, goal=[1, 1]
    )
    before = environment.reset(2)
    hand, puck = (before[name].astype(np.float64) for name in ("hand_position", "object_position"))
    step = environment.step(np.array([1.0, -1.0, 1 / 3], dtype=np.float32))  # torques 3, -3 and 1 N m
    distances = np.linalg.norm(puck[:2] - 1.0), np.linalg.norm(hand - puck)
    assert step.metrics == {
        "goal_object_distance": pytest.approx(distances[0], rel=1e-6),
        "arm_object_distance": pytest.approx(distances[1], rel=1e-6),
        "is_success": 0.0,
    }
    assert step.reward == pytest.approx(-2.0 * distances[0] - 0.5 * distances[1] - 0.1 * 19, rel=1e-6)


def test_a_coordinate_of_the_goal_may_be_free():
    environment = make(metrics=("goal_object_distance",), goal=["any", -1.0])
    before = environment.reset(2)
    step = environment.step(np.zeros(3))
    assert step.metrics["goal_object_distance"] == pytest.approx(abs(before["object_position"][1] + 1.0))


def test_cost_of_reaching_is_the_distance_in_the_plane():
    environment = make("DefaultReach", arm_object_distance_cost_coeff=0.5)
    before = environment.reset(4)
    hand, puck, goal = (
        before[name][:2].astype(np.float64) for name in ("hand_position", "object_position", "goal_position")
    )
    expected = -np.linalg.norm(hand - goal) - 0.5 * np.linalg.norm(hand - puck)
    assert environment.step(np.zeros(3)).reward == pytest.approx(expected, rel=1e-6)


def test_starts_of_both_tasks():
    push, reach = make(), make("DefaultReach")
    pucks = np.array([push.reset(seed)["object_position"][:2] for seed in range(100)])
    assert (pucks > (0.3, -1.0)).all()
    assert (pucks < (1.0, -0.4)).all()
    firsts = [reach.reset(seed) for seed in range(100)]
    radii = np.linalg.norm([first["goal_position"] for first in firsts], axis=1)
    assert (radii > 0.6 - 1e-6).all()
    assert (radii < 1.2 + 1e-6).all()
    assert radii.std() > 0.1
    pucks = np.array([first["object_position"][:2] for first in firsts])
    assert (np.abs(pucks) >= 0.5 - 1e-6).all()


def test_target_is_drawn_where_it_is():
    """Softlearning draws it in one place, whatever the goal."""
    environment = make(goal=[0.25, 0.5])
    environment.reset(0)
    np.testing.assert_allclose(environment._simulator._bodies[2].xpos[:2], (0.25, 0.5), atol=1e-12)


def test_contact_knows_the_armature_of_the_puck():
    """An inverse inertia of 1 / 0.04; without the armature, 1 / (6e-8 kg), contacts would yield."""
    model = make()._simulator._simulation.model
    np.testing.assert_allclose(model.dof_invweight0[3:5], 25.0, rtol=1e-4)


def test_the_arm_pushes_the_puck():
    environment = make()
    first = observation = environment.reset(0)
    for _ in range(200):  # the hand follows the puck
        lever = observation["object_position"] - observation["hand_position"]
        torque = np.clip(lever[0] + lever[1], -1, 1)
        observation = environment.step(np.full(3, torque, dtype=np.float32)).observation
    assert not np.allclose(observation["object_position"][:2], first["object_position"][:2], atol=0.01)
    assert observation["object_position"][2] == first["object_position"][2]


def test_blind_task_has_the_joints_alone_and_no_computed_rewards():
    environment = make("BlindReach")
    assert [term.name for term in environment.spec.observation] == [
        "joint_angles",
        "joint_angular_velocities",
    ]
    blind, seeing = environment.reset(3), make("DefaultReach").reset(3)
    np.testing.assert_array_equal(
        np.sin(blind["joint_angles"], dtype=np.float64).astype(np.float32), seeing["joint_angle_sines"]
    )
    zeros = np.zeros((1, 3), dtype=np.float32)
    assert environment.compute_rewards(blind, zeros, blind) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal": [0]}, r"task\.options\.goal"),
        ({"goal": ["x", 1]}, r"task\.options\.goal"),
        ({"ctrl_cost_coeff": -1}, r"task\.options\.ctrl_cost_coeff: .* greater than or equal to 0"),
        ({"image_shape": [32, 32, 3]}, r"task\.options\.image_shape: unknown key"),
    ],
)
def test_wrong_option_is_refused_with_its_reason(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
