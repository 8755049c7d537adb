"""What the suite robosuite refuses before robosuite is imported; its repair of mj_fullM on MuJoCo itself.

Its tasks are tested in an environment that has robosuite, by `make robosuite`.
"""

import re
import sys
from types import ModuleType

import mujoco
import numpy as np
import pytest

from sacpipe.cli.main import main
from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs import SUITES, parse_task
from sacpipe.envs.robosuite_compat import repair_inertia

RobosuiteTask = SUITES.find("robosuite")


def section(task_id="Lift", **options):
    return RobosuiteTask(suite="robosuite", id=task_id, options=options, metrics=())


@pytest.fixture
def _absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "robosuite", None)


@pytest.mark.usefixtures("_absent")
def test_without_the_package_the_message_says_how_to_install_it(capsys):
    assert parse_task("robosuite/Lift") == section()
    assert RobosuiteTask.tasks() == ()
    with pytest.raises(
        ConfigError, match=r"needs the package robosuite.*`make robosuite`.*robosuite==1\.5\.2"
    ):
        section().make()
    assert main(["params", "robosuite/Lift"]) == 2
    assert "`make robosuite` builds an environment with it" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robots": "R2D2"}, r"task\.options\.robots.*'Panda'.*R2D2"),
        ({"robots": ["Panda", "Panda"]}, r"task\.options\.robots: .*is for one robot, found Panda, Panda"),
        ({"controller": "JOINT_VELOCITY"}, r"task\.options\.controller: .*'OSC_POSE'.*JOINT_VELOCITY"),
        ({"horizon": 0}, r"task\.options\.horizon: .*greater than or equal to 1, found 0"),
        ({"reward_shaping": "dense"}, r"task\.options\.reward_shaping: .*valid boolean"),
        ({"has_renderer": True}, r"task\.options\.has_renderer: unknown key; expected one of .*hard_reset"),
        ({"use_camera_obs": True}, r"task\.options\.use_camera_obs: unknown key"),
    ],
)
def test_options_are_checked_before_the_import(options, message):
    with pytest.raises(ConfigError, match=re.compile(message, re.DOTALL)):
        section(**options).make()


@pytest.mark.parametrize("task_id", ["ToolHang", "TwoArmTransport"])
def test_a_dense_reward_that_robosuite_does_not_have_is_refused(task_id):
    with pytest.raises(ConfigError, match=r"reward_shaping: .*has no dense reward"):
        section(task_id, reward_shaping=True).make()


def test_an_unknown_task_has_its_nearest():
    with pytest.raises(UnknownTaskError) as refused:
        section("lift").make()
    assert refused.value.nearest[0] == "robosuite/Lift"


@pytest.mark.parametrize(
    ("task_id", "other"), [("PickPlaceSingle", "PickPlace"), ("NutAssemblySingle", "NutAssembly")]
)
def test_a_task_whose_episodes_no_seed_names_is_refused(task_id, other):
    with pytest.raises(ConfigError, match=f"a seed does not determine an episode.*e.g. {other}"):
        section(task_id).make()


class Data:
    """As robosuite's class around MuJoCo's data."""

    def __init__(self, data):
        self._data = data


def test_the_repaired_inertia_gives_the_kinetic_energy():
    """1/2 v' M v, of a pendulum of two links; MuJoCo computes the energy by itself."""
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><option><flag energy='enable'/></option><worldbody><body><joint axis='0 1 0'/>"
        "<geom type='capsule' size='.05' fromto='0 0 0 0 0 -1'/><body pos='0 0 -1'><joint axis='0 1 0'/>"
        "<geom type='capsule' size='.04' fromto='0 0 0 0 0 -.5'/></body></body></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = (0.3, -0.7), (1.1, -2.0)
    mujoco.mj_forward(model, data)
    module, kind = ModuleType("controller"), type("MjData", (Data,), {})
    module.mujoco = mujoco
    repair_inertia(module, kind)
    matrix = np.zeros((2, 2))
    module.mujoco.mj_fullM(model, matrix, kind(data).qM)
    assert data.qvel @ matrix @ data.qvel / 2 == pytest.approx(data.energy[1])
    assert module.mujoco.mj_step is mujoco.mj_step
    view = module.mujoco
    repair_inertia(module, kind)
    assert module.mujoco is view


def test_mujocos_mj_fullm_still_has_the_new_order():
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    data, matrix = mujoco.MjData(model), np.zeros((0, 0))
    changed = "changed: remove repair_inertia from sacpipe/envs/robosuite_compat.py"
    assert not hasattr(data, "qM"), f"mujoco.MjData.qM {changed}"
    try:
        mujoco.mj_fullM(model, data, matrix)
    except TypeError:
        pytest.fail(f"mujoco.mj_fullM {changed}")
