"""Gymnasium-Robotics: six families, their goals as terms, their rewards again, their metrics."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from sacpipe.core.errors import UnknownTaskError
from sacpipe.envs import SUITES, find_task, suggested_metrics
from sacpipe.specs.observation import stacked
from sacpipe.testing.environments import check_env

RoboticsTask = SUITES.find("gymnasium_robotics")
FUNCTION = {"remove_task_when_completed": False, "terminate_on_tasks_completed": False}
FAMILIES = [
    ("HandReach-v3", {}),
    ("HandManipulateBlockRotateZ_ContinuousTouchSensors-v1", {}),
    ("AdroitHandPen-v1", {"max_episode_steps": 50}),
    ("PointMaze_UMaze-v3", {"continuing_task": False, "max_episode_steps": 100}),
    ("AntMaze_UMaze-v5", {"max_episode_steps": 50}),
    ("FrankaKitchen-v1", {"max_episode_steps": 30}),
    ("FrankaKitchen-v1", {"max_episode_steps": 30} | FUNCTION),
]


def section(task_id, *metrics, **options):
    return RoboticsTask(suite="gymnasium_robotics", id=task_id, options=options, metrics=metrics)


def own(environment):
    """The task's own object inside an environment."""
    return environment._simulator._env.unwrapped


@pytest.mark.slow
@pytest.mark.parametrize(("task_id", "options"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_each_family_keeps_the_contract(task_id, options):
    task = section(task_id, **options)
    check_env(task.replace(metrics=suggested_metrics(task)))


@pytest.mark.slow
def test_tasks_are_those_of_the_six_families():
    tasks = RoboticsTask.tasks()
    assert {"FetchPush-v4", "HandReach-v3", "AdroitHandDoor-v1", "PointMaze_UMaze-v3"} <= set(tasks)
    assert {"AntMaze_UMaze-v5", "FrankaKitchen-v1"} <= set(tasks)
    assert not {"AntMaze_UMaze-v4", "FetchPush-v1", "Walker2d-v2"} & set(tasks)
    assert not [name for name in SUITES.find("gymnasium").tasks() if name in tasks]
    assert find_task("FetchReach-v4").name == "gymnasium_robotics/FetchReach-v4"


@pytest.mark.parametrize("task_id", ["HalfCheetah-v5", "Walker2d-v2", "gymnasium_robotics:FetchReach-v4"])
def test_other_ids_are_unknown_to_the_suite(task_id):
    with pytest.raises(UnknownTaskError, match="is not known"):
        section(task_id).make()


def towards_the_goal(observation, size):
    """Move a gripper or a point straight to the goal."""
    names = ("gripper_position", "position")
    place = next(observation[name] for name in names if name in observation)
    goal = observation["desired_goal"]
    action = np.zeros(size, np.float32)
    action[: len(goal)] = np.clip(8.0 * (goal - place), -1.0, 1.0)
    return action


def record(environment, policy, steps):
    """Return observations, actions, next observations, rewards and terminations of one episode."""
    rows, observation = [], environment.reset(3)
    for chosen in itertools.islice(policy, steps):
        action = chosen(observation) if callable(chosen) else chosen
        step = environment.step(action)
        rows.append((observation, action, step.observation, step.reward, float(step.terminated)))
        observation = step.observation
        if step.terminated or step.truncated:
            break
    columns = list(zip(*rows, strict=True))
    return (
        stacked(columns[0]),
        np.stack(columns[1]),
        stacked(columns[2]),
        np.array(columns[3]),
        np.array(columns[4]),
    )


RECORDED = [
    ("FetchReach-v4", {}, {-1.0, 0.0}),
    ("FetchReachDense-v4", {}, None),
    ("HandReachDense-v3", {}, None),
    ("HandManipulateBlockRotateZDense-v1", {}, None),
    ("PointMaze_Open-v3", {"continuing_task": False}, {0.0, 1.0}),
    ("PointMaze_OpenDense-v3", {}, None),
    ("AntMaze_UMazeDense-v5", {}, None),
    ("FrankaKitchen-v1", FUNCTION, {0.0}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task_id", "options", "values"), RECORDED, ids=[name for name, *_ in RECORDED])
def test_recorded_transitions_with_their_own_goals_have_their_rewards(task_id, options, values):
    environment = section(task_id, **options).make()
    size = environment.spec.action_dim
    steered = itertools.repeat(lambda observation: towards_the_goal(observation, size))
    random = np.random.default_rng(0)
    wild = (random.uniform(-1, 1, size).astype(np.float32) for _ in itertools.count())
    policy = steered if task_id.startswith(("FetchReach", "PointMaze")) else wild
    observations, actions, after, rewards, terminations = record(environment, policy, 250)
    found = environment.compute_rewards(observations, actions, after)
    np.testing.assert_allclose(found[0], rewards, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[1], terminations)
    assert values is None or set(rewards.tolist()) == values
    if options.get("continuing_task") is False:
        assert terminations[-1] == 1.0


def with_goals(rows, **goals):
    """Return observations whose goals are others."""
    changed = rows.copy()
    for name, values in goals.items():
        changed[name][:] = values
    return changed


@pytest.mark.parametrize(
    ("task_id", "options", "near", "far", "rewards", "terminations"),
    [
        ("FetchReach-v4", {}, 0.049, 0.051, [0.0, -1.0], [0.0, 0.0]),
        ("PointMaze_UMaze-v3", {}, 0.449, 0.451, [1.0, 0.0], [0.0, 0.0]),
        ("PointMaze_UMaze-v3", {"continuing_task": False}, 0.449, 0.451, [1.0, 0.0], [1.0, 0.0]),
        ("PointMaze_UMazeDense-v3", {}, 0.0, 1.0, [1.0, math.exp(-1.0)], [0.0, 0.0]),
    ],
)  # fmt: skip
def test_rewards_of_other_goals_by_hand(task_id, options, near, far, rewards, terminations):
    """5 cm in Fetch, 45 cm in a maze; a dense maze has exp(-distance)."""
    environment = section(task_id, **options).make()
    rows = stacked([environment.reset(1)] * 2)
    offset = np.zeros_like(rows["achieved_goal"])
    offset[:, 0] = near, far
    rows = with_goals(rows, desired_goal=rows["achieved_goal"] + offset)
    found = environment.compute_rewards(rows, np.zeros((2, environment.spec.action_dim), np.float32), rows)
    np.testing.assert_allclose(found[0], rewards, rtol=1e-5)
    assert found[1].tolist() == terminations


@pytest.mark.slow
def test_the_kitchens_rewards_count_the_tasks_that_are_done():
    environment = section("FrankaKitchen-v1", **FUNCTION).make()
    rows = stacked([environment.reset(0)] * 3)
    for row, names in ((1, ["kettle"]), (2, ["kettle", "top burner", "microwave"])):
        for name in names:
            rows[f"achieved_goal/{name}"][row] = rows[f"desired_goal/{name}"][row]
    actions = np.zeros((3, 9), np.float32)
    assert environment.compute_rewards(rows, actions, rows)[0].tolist() == [0.0, 1.0, 3.0]
    once = section("FrankaKitchen-v1").make()
    assert once.compute_rewards(rows, actions, rows) is None


def test_a_task_of_the_kitchen_is_counted_once():
    metrics = ("completed_tasks", "success")
    environment = section("FrankaKitchen-v1", *metrics, tasks_to_complete=["microwave", "kettle"]).make()
    environment.reset(0)
    task = own(environment)
    steps = []
    for index in range(3):
        if index == 1:
            task.data.qpos[22] = task.goal["microwave"][0]
        steps.append(environment.step(np.zeros(9, np.float32)))
    assert [step.reward for step in steps] == [0.0, 1.0, 0.0]
    assert [dict(step.metrics) for step in steps] == [
        {"completed_tasks": float(count), "success": 0.0} for count in (0, 1, 1)
    ]
    names = [term.name for term in environment.spec.observation if "desired_goal" in term.groups]
    assert names == ["desired_goal/kettle", "desired_goal/microwave"]


def test_names_and_units_are_those_of_the_state():
    environment = section("FetchPush-v4").make()
    observation, task = environment.reset(2), own(environment)
    for name, site in (("gripper_position", "robot0:grip"), ("object_position", "object0")):
        np.testing.assert_array_equal(observation[name], task.data.site(site).xpos.astype(np.float32))
    np.testing.assert_array_equal(observation["achieved_goal"], observation["object_position"])
    assert {term.unit for term in environment.spec.observation} == {"m", "rad"}
    assert environment.spec.control_period_s == pytest.approx(0.04)


def test_metrics_are_success_and_distance():
    environment = section("FetchReach-v4", "is_success", "goal_distance").make()
    environment.reset(0)
    step = environment.step(np.zeros(4, np.float32))
    distance = np.linalg.norm(step.observation["achieved_goal"] - step.observation["desired_goal"])
    assert step.metrics["goal_distance"] == pytest.approx(distance, rel=1e-5)
    assert step.metrics["is_success"] == float(distance < 0.05)


def test_the_ants_policy_sees_its_place_and_its_own_rewards_are_below_ant():
    task = section("AntMaze_UMaze-v5", "success", "ant/reward_forward")
    environment = task.make()
    assert suggested_metrics(task) == ("success", "goal_distance")
    seen = [term.name for term in environment.spec.policy_spec.observation]
    assert seen[:3] == ["achieved_goal", "desired_goal", "root_position"]
    observation, data = environment.reset(0), own(environment).data
    np.testing.assert_array_equal(observation["achieved_goal"], data.qpos[:2].astype(np.float32))
    np.testing.assert_array_equal(observation["root_position"], data.qpos[2:3].astype(np.float32))
    np.testing.assert_array_equal(observation["root_velocity"], data.qvel[:3].astype(np.float32))
    assert math.isfinite(environment.step(np.ones(8, np.float32)).metrics["ant/reward_forward"])
    assert environment.spec.control_period_s == pytest.approx(0.05)


def test_the_model_file_of_a_maze_is_removed():
    assert not Path(own(section("PointMaze_UMaze-v3").make()).tmp_xml_file_path).exists()


@pytest.mark.parametrize("task_id", ["FetchReach-v4", "HandReach-v3"])
def test_a_picture_of_the_goal_does_not_change_the_episode(task_id):
    environments = [section(task_id).make() for _ in range(2)]
    action = np.full(environments[0].spec.action_dim, 0.3, np.float32)
    for environment in environments:
        environment.reset(5)
    for _ in range(5):
        environments[0]._simulator._env.draw_goal()
        goal = own(environments[0]).goal[:3]
        np.testing.assert_array_equal(own(environments[0]).data.site("target0").xpos, goal)
        first, second = (environment.step(action) for environment in environments)
        assert first.observation.equals(second.observation)
