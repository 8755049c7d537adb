"""The ant's mazes: walls, goals, rewards and ends are Softlearning's."""

import mujoco
import numpy as np
import pytest

from sacpipe.envs.softlearning.ant_maze import CROSS_GOALS_M, SIMPLE_GOAL_M
from sacpipe.envs.softlearning.suite import SoftlearningTask

TERMS = ("reward_goal", "reward_velocity", "reward_survive", "reward_ctrl", "reward_contact")


def make(task="SimpleMaze", **options):
    section = SoftlearningTask(
        suite="softlearning",
        id=f"Ant-{task}-v0",
        options=options,
        metrics=(*TERMS, "distance_to_goal", "is_success"),
    )
    return section.make()


def place(environment, x, y, z=0.55):
    """Put the torso of a running episode to a place, at rest."""
    simulation = environment._simulator._simulation
    state = simulation.model.key("start").qpos.copy()
    state[:3] = x, y, z
    goal = simulation.data.mocap_pos.copy()
    simulation.start(state, np.zeros(14))
    simulation.data.mocap_pos[:] = goal


def test_terms_and_torques():
    spec = make().spec
    names = [term.name for term in spec.observation]
    assert names[:4] == ["root_position", "root_orientation", "hip_1_angle", "ankle_1_angle"]
    assert names[-5:] == [
        "contact_forces",
        "torso_rotation",
        "centre_of_mass",
        "desired_goal",
        "achieved_goal",
    ]
    assert sum(term.size for term in spec.observation if "policy" in term.groups) == 15 + 14 + 78 + 9 + 3 + 2
    assert [term.name for term in spec.action][:2] == ["hip_4", "ankle_4"]
    assert {(term.unit, term.high) for term in spec.action} == {("N m", 150.0)}
    assert spec.control_period_s == 0.02


def test_reward_of_a_step_by_hand():
    environment = make(velocity_reward_weight=2.0)
    environment.reset(0)
    step = environment.step(np.array([1.0, -1.0, 0.5, 0, 0, 0, 0, 0]))
    observation = step.observation
    distance = np.linalg.norm(observation["achieved_goal"] - np.array(SIMPLE_GOAL_M))
    expected = {
        "reward_goal": 0.3 * (5 - distance),
        "reward_velocity": 2.0 * np.linalg.norm(observation["root_velocity"][:2]),
        "reward_survive": 0.05,
        "reward_ctrl": -0.005 * 2.25,
        "reward_contact": -0.0005 * np.square(observation["contact_forces"]).sum(),
    }
    for name, value in expected.items():
        assert step.metrics[name] == pytest.approx(value, rel=1e-5, abs=1e-7)
    assert step.reward == pytest.approx(sum(expected.values()), rel=1e-5)
    np.testing.assert_array_equal(observation["desired_goal"], SIMPLE_GOAL_M)
    assert (np.abs(observation["contact_forces"]) <= 1).all()


def test_the_centre_of_mass_is_that_of_the_present_joints():
    environment = make()
    environment.reset(0)
    simulation = environment._simulator._simulation
    for _ in range(5):
        observation = environment.step(np.full(8, 0.7)).observation
    present = mujoco.MjData(simulation.model)
    present.qpos[:] = simulation.data.qpos
    mujoco.mj_forward(simulation.model, present)
    expected = present.body("torso").subtree_com.astype(np.float32)
    np.testing.assert_array_equal(observation["centre_of_mass"], expected)


@pytest.mark.parametrize(("terminate", "flags"), [(True, (True, False)), (False, (False, False))])
def test_the_goal_is_a_success_and_may_terminate(terminate, flags):
    environment = make(reward_type="sparse", terminate_at_goal=terminate)
    environment.reset(0)
    place(environment, 6.1, -6.0)
    step = environment.step(np.zeros(8))
    assert step[2:4] == flags
    assert (step.metrics["is_success"], step.metrics["reward_goal"]) == (1.0, 0.3)


def test_an_ant_too_high_or_low_terminates():
    environment = make()
    for height in (1.2, 0.1):
        environment.reset(0)
        place(environment, 0, 0, height)
        assert environment.step(np.zeros(8)).terminated


def test_goals_of_the_crossing():
    environment = make("CrossMaze")
    goals = [tuple(environment.reset(seed)["desired_goal"].tolist()) for seed in range(60)]
    assert set(goals) == set(CROSS_GOALS_M)
    assert min(goals.count(goal) for goal in CROSS_GOALS_M) > 8
    fixed = make("CrossMaze", fixed_goal_position=[3.0, 0.0])
    assert [fixed.reset(seed)["desired_goal"].tolist() for seed in range(3)] == [[3.0, 0.0]] * 3


@pytest.mark.parametrize("task", ["SimpleMaze", "CrossMaze"])
def test_a_wall_stops_the_ant(task):
    """Thrown to the west, the ant does not pass the wall behind its start."""
    environment = make(task)
    environment.reset(0)
    simulation = environment._simulator._simulation
    state, speed = simulation.model.key("start").qpos.copy(), np.zeros(14)
    speed[0] = -8.0
    simulation.start(state, speed)
    xs = [simulation.advance(np.zeros(8)) or simulation.data.qpos[0] for _ in range(60)]
    assert -1.5 < min(xs) < -0.3
    simulation.model.geom_contype[:] = 0
    simulation.model.geom_conaffinity[:] = 0
    simulation.start(state, speed)
    xs = [simulation.advance(np.zeros(8)) or simulation.data.qpos[0] for _ in range(60)]
    assert min(xs) < -2.0


def test_another_goal_changes_rewards_and_terminations():
    environment = make(terminate_at_goal=True)
    observation = environment.reset(0)
    step = environment.step(np.zeros(8))
    before, after = (
        {name: seen[name][None].copy() for name in seen} for seen in (observation, step.observation)
    )
    after["desired_goal"] = after["achieved_goal"].copy()
    layout = environment.spec.layout
    rewards, terminations = environment.compute_rewards(
        layout.pack(before), np.zeros((1, 8), np.float32), layout.pack(after)
    )
    assert terminations.tolist() == [1.0]
    expected = step.reward - step.metrics["reward_goal"] + 0.3 * 5.0
    assert rewards[0] == pytest.approx(expected, rel=1e-5)
