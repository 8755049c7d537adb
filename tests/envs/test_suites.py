"""The contract of an environment holds for every task suite."""

import pytest
from suite_trials import tried

from sacpipe.envs import SUITES, find_task
from sacpipe.testing.environments import check_env

HERE = [name for name in SUITES.names() if name != "robosuite"]
"""Suites whose packages are in requirements.lock; tests/robosuite_environment has the same tests of robosuite."""
MORE = [
    ("gymnasium/HalfCheetah-v5", {"max_episode_steps": 300}),
    ("gymnasium/InvertedDoublePendulum-v5", {}),
    ("gymnasium/Pendulum-v1", {}),
    ("gymnasium/Ant-v5", {"max_episode_steps": 100}),
    ("dm_control/cheetah-run", {"time_limit": 2.0}),
    ("dm_control/finger-turn_hard", {"time_limit": 2.0}),
    ("dm_control/cartpole-swingup", {"time_limit": 2.0}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_example_of_every_task_suite_keeps_the_contract(name):
    check_env(SUITES.find(name).example())


@pytest.mark.parametrize("name", HERE)
def test_example_of_every_task_suite_is_listed_by_it(name):
    member = SUITES.find(name)
    tasks = member.tasks()
    assert (member.suite_name, member.example().suite) == (name, name)
    assert member.example().id in tasks
    assert list(tasks) == sorted(set(tasks))


@pytest.mark.parametrize("name", [name for name in SUITES.ours if name in HERE])
def test_three_tasks_of_every_suite_are_trained_by_make_acceptance(name):
    """A new suite of ours adds its tasks to suite_trials.py."""
    found = tried(name)
    assert len(set(found)) == len(found) >= 3
    assert {task.partition("/")[2] for task, _ in found} <= {*SUITES.find(name).tasks()}


@pytest.mark.parametrize(("name", "options"), MORE, ids=[name for name, _ in MORE])
@pytest.mark.slow
def test_further_tasks_keep_the_contract(name, options):
    check_env(find_task(name).replace(options=options))
