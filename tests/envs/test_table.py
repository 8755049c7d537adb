"""Names lead to tasks, and wrong names to the nearest right one."""

import sys

import gymnasium
import pytest
from factories import SUITE_TASKS
from pydantic import TypeAdapter

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs import SUITES, TaskConfig, find_task, list_tasks
from sacpipe.envs.point_mass import PointMassTask


class Section(Config):
    """The part of params.yaml that this table is for."""

    task: TaskConfig


def test_full_name_gives_its_section_without_options():
    task = find_task("dm_control/cartpole-swingup")
    assert task.as_tree() == {"suite": "dm_control", "id": "cartpole-swingup", "options": {}, "metrics": []}


@pytest.mark.parametrize("name", ["Pendulum-v1", "cheetah-run", "point-mass-v0"])
def test_bare_id_is_enough_where_one_task_suite_has_it(name):
    assert find_task(name).id == name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("gymnasium/HalfCheeta-v5", "gymnasium/HalfCheetah-v5"),
        ("gymnasium/halfcheetah-v5", "gymnasium/HalfCheetah-v5"),
        ("gymnasium/HalfCheetah", "gymnasium/HalfCheetah-v5"),
        ("dm_control/cartpole-swing_up", "dm_control/cartpole-swingup"),
        ("point_mass/reach", "point_mass/point-mass-v0"),
        ("gymnasium/FetchReach-v4", "gymnasium_robotics/FetchReach-v4"),
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
    for name in SUITES.names():
        tree = {"suite": name, "id": SUITE_TASKS[name], "options": {}, "metrics": []}
        assert type(section.validate_python(tree)) is SUITES.find(name)


def test_unknown_task_suite_is_refused_with_the_known_ones():
    names = ", ".join(SUITES.names())
    expected = f"task.suite: task suite 'mujoco': expected one of {names}"
    with pytest.raises(ConfigError, match=expected):
        Section.parse({"task": {"suite": "mujoco", "id": "x", "options": {}, "metrics": []}})
    with pytest.raises(
        ConfigError,
        match=f"task.suite: expected one of {names}, found null",
    ):
        Section.parse({"task": {"id": "x"}})


def test_options_keep_their_types():
    options = {"a": True, "b": 1, "c": 1.0, "d": "one", "e": None, "f": [1, 1.0, [False]], "g": {"h": [0.5]}}
    task = Section.parse(
        {"task": {"suite": "gymnasium", "id": "Ant-v5", "options": options, "metrics": []}}
    ).task
    assert repr(task.options) == repr(options)
    assert repr(task.replace(id="Ant-v5").options) == repr(options)


@pytest.mark.parametrize("value", [float("inf"), [float("nan")], {"x": [1, -float("inf")]}])
def test_option_that_json_cannot_hold_is_refused(value):
    with pytest.raises(ConfigError, match=r"task\.options: .*not JSON compliant"):
        Section.parse(
            {"task": {"suite": "gymnasium", "id": "Ant-v5", "options": {"a": value}, "metrics": []}}
        )


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


ARM = """
from typing import ClassVar
import gymnasium
from line_task import Line
from sacpipe.envs.point_mass import PointMassTask

class ArmTask(PointMassTask):
    suite_name: ClassVar[str] = "arm"

gymnasium.register("SacpipeArm-v0", entry_point=Line, max_episode_steps=9)
"""


@pytest.fixture
def arm(tmp_path, monkeypatch):
    """A module of the user's own with a task suite and a Gymnasium task; and its package's entry point."""
    (tmp_path / "own_arm.py").write_text(ARM)
    metadata = tmp_path / "own_arm-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-arm\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sacpipe.envs]\narm = own_arm:ArmTask\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_arm", None)
    gymnasium.registry.pop("SacpipeArm-v0", None)


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("suite", ["own_arm:ArmTask", "arm"])
def test_own_suite_is_found_by_import_path_and_by_entry_point(suite):
    tree = {"suite": suite, "id": "point-mass-v0", "options": {"force_limit_n": 3}, "metrics": ["is_success"]}
    task = Section.parse({"task": tree}).task
    assert task.as_tree() == tree
    assert task.name == task.make().spec.task == "arm/point-mass-v0"
    assert find_task(f"{suite}/point-mass-v0").name == "arm/point-mass-v0"
    assert "arm/point-mass-v0" in list_tasks()


@pytest.mark.usefixtures("arm")
def test_the_module_of_a_task_is_not_in_its_specification():
    task = find_task("gymnasium/own_arm:SacpipeArm-v0")
    assert (task.id, task.name) == ("own_arm:SacpipeArm-v0", "gymnasium/SacpipeArm-v0")
    assert task.make().spec.task == "gymnasium/SacpipeArm-v0"


@pytest.mark.usefixtures("arm")
def test_a_suite_that_cannot_be_imported_says_so():
    for name in ("own_arm:LegTask", "no_such_module:LegTask"):
        with pytest.raises(ConfigError, match=rf"task\.suite: task suite '{name}': .*cannot be imported"):
            Section.parse({"task": {"suite": name, "id": "x", "options": {}, "metrics": []}})


def test_a_section_of_another_suite_is_refused_by_the_member():
    with pytest.raises(ConfigError, match="suite: expected 'point_mass', found 'gymnasium'"):
        PointMassTask.parse({"suite": "gymnasium", "id": "x", "options": {}, "metrics": []})


def test_a_wrong_key_has_its_path():
    tree = {"suite": "point_mass", "id": "point-mass-v0", "options": {}, "metrics": [1], "colour": "x"}
    with pytest.raises(ConfigError) as refused:
        Section.parse({"task": tree})
    assert "task.metrics.0: Input should be a valid string, found 1" in str(refused.value)
    assert "task.colour: unknown key" in str(refused.value)
    del tree["metrics"], tree["colour"]
    with pytest.raises(ConfigError, match="task.metrics: missing"):
        Section.parse({"task": tree})
