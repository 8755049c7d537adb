"""Gymnasium-Robotics' lookup of joint types works on a MuJoCo whose enums differ from NumPy's integers."""

import enum
import sys
from types import ModuleType

import mujoco
import numpy as np
import pytest

from sacpipe.envs import mujoco_compat
from sacpipe.envs.mujoco_compat import repair_enums, repair_robotics

LOOKUP = """
def joint_size(joint_type):
    if joint_type == mujoco.mjtJoint.mjJNT_FREE:
        return 7
    assert joint_type in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    return 1
"""
"""What set_joint_qpos of gymnasium_robotics 1.4.2 does."""


def robotics(simulator):
    module = ModuleType("gymnasium_robotics.utils.mujoco_utils")
    module.mujoco = simulator
    exec(LOOKUP, module.__dict__)  # noqa: S102
    return module


def joint_types():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint type='free'/><geom size='.1'/></body><body><joint type='slide'/>"
        "<geom size='.1'/></body><body><joint type='hinge'/><geom size='.1'/></body></worldbody></mujoco>"
    )
    return model.jnt_type


def test_joint_types_are_found_after_the_repair():
    module = robotics(mujoco)
    before = dict(vars(mujoco))
    repair_enums(module)
    assert [module.joint_size(joint_type) for joint_type in joint_types()] == [7, 1, 1]
    assert module.mujoco.mj_name2id is mujoco.mj_name2id
    assert module.mujoco.mjtObj.mjOBJ_SITE == int(mujoco.mjtObj.mjOBJ_SITE)
    assert dict(vars(mujoco)) == before


def test_a_second_repair_changes_nothing():
    module = robotics(mujoco)
    repair_enums(module)
    view = module.mujoco
    repair_enums(module)
    assert module.mujoco is view


def test_the_repair_is_still_needed_here():
    """If this fails, MuJoCo's enums equal NumPy's integers again: remove sacpipe/envs/mujoco_compat.py."""
    with pytest.raises(AssertionError):
        robotics(mujoco).joint_size(np.int32(mujoco.mjtJoint.mjJNT_HINGE))


def test_nothing_is_replaced_where_the_enums_equal_numpys_integers():
    mended = ModuleType("mujoco")
    mended.mjtJoint = enum.IntEnum(
        "mjtJoint", {name: int(value) for name, value in mujoco.mjtJoint.__members__.items()}
    )
    module = robotics(mended)
    repair_enums(module)
    assert module.mujoco is mended
    assert [module.joint_size(joint_type) for joint_type in joint_types()] == [7, 1, 1]


def test_only_an_imported_gymnasium_robotics_is_repaired(monkeypatch):
    monkeypatch.delitem(sys.modules, mujoco_compat._ROBOTICS_MODULE, raising=False)
    repair_robotics()
    module = robotics(mujoco)
    monkeypatch.setitem(sys.modules, mujoco_compat._ROBOTICS_MODULE, module)
    repair_robotics()
    assert module.joint_size(joint_types()[2]) == 1
