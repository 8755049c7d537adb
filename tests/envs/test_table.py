"""Names lead to tasks, and wrong names to the nearest right one."""

import pytest
from factories import SUITE_TASKS
from pydantic import TypeAdapter

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs import SUITES, TaskConfig, find_task, list_tasks, suite


class Section(Config):
    """The part of params.yaml that this table is for."""

    task: TaskConfig


def test_full_name_gives_its_section_without_options():
    task = find_task("dm_control/cartpole-swingup")
    assert task.as_tree() == {"suite": "dm_control", "id": "cartpole-swingup", "options": {}}


@pytest.mark.parametrize("name", ["Pendulum-v1", "cheetah-run", "point-mass-v0"])
def test_bare_id_is_enough_where_one_task_suite_has_it(name):
    assert find_task(name).id == name


@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("gymnasium/HalfCheeta-v5", "gymnasium/HalfCheetah-v5"),
        ("gymnasium/halfcheetah-v5", "gymnasium/HalfCheetah-v5"),
        ("gymnasium/HalfCheetah", "gymnasium/HalfCheetah-v5"),
        ("dm_control/cartpole-swing_up", "dm_control/cartpole-swingup"),
        ("point_mass/reach", "point_mass/point-mass-v0"),
        ("HalfCheetha-v5", "gymnasium/HalfCheetah-v5"),
        ("cheetah-rum", "dm_control/cheetah-run"),
        ("gym/HalfCheetah-v5", "gymnasium/HalfCheetah-v5"),
    ],
)
def test_unknown_name_offers_the_nearest(name, offer):
    with pytest.raises(UnknownTaskError, match="is not known") as caught:
        find_task(name)
    assert caught.value.nearest[0] == offer
    assert name in str(caught.value)


def test_every_task_suite_is_in_the_section_of_params():
    section = TypeAdapter(TaskConfig)
    for name in SUITES:
        tree = {"suite": name, "id": SUITE_TASKS[name], "options": {}}
        assert type(section.validate_python(tree)) is suite(name)


def test_unknown_task_suite_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'gymnasium', 'dm_control', 'point_mass'"):
        Section.parse({"task": {"suite": "mujoco", "id": "x", "options": {}}})


def test_options_keep_their_types():
    options = {"a": True, "b": 1, "c": 1.0, "d": "one", "e": None, "f": [1, 1.0, [False]], "g": {"h": [0.5]}}
    task = Section.parse({"task": {"suite": "gymnasium", "id": "Ant-v5", "options": options}}).task
    assert repr(task.options) == repr(options)
    assert repr(task.replace(id="Ant-v5").options) == repr(options)


@pytest.mark.parametrize("value", [float("inf"), [float("nan")], {"x": [1, -float("inf")]}])
def test_option_that_json_cannot_hold_is_refused(value):
    with pytest.raises(ConfigError, match=r"task\.options: .*not JSON compliant"):
        Section.parse({"task": {"suite": "gymnasium", "id": "Ant-v5", "options": {"a": value}}})


def test_list_holds_mujoco_v5_and_the_suite_and_nothing_old_discrete_or_unbounded():
    tasks = list_tasks()
    v5 = (
        "Ant HalfCheetah Hopper Humanoid HumanoidStandup InvertedDoublePendulum InvertedPendulum"
        " Pusher Reacher Swimmer Walker2d"
    )
    assert {f"gymnasium/{name}-v5" for name in v5.split()} <= set(tasks)
    assert {"dm_control/cheetah-run", "dm_control/quadruped-escape", "point_mass/point-mass-v0"} <= set(tasks)
    assert not [task for task in tasks if "lqr" in task or "CartPole" in task]
    assert not [task for task in tasks if task.startswith("gymnasium/Ant") and not task.endswith("-v5")]
    assert len(tasks) == len(set(tasks))
