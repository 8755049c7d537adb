"""What robosuite_compat.py repairs is there, and still needs it."""

import inspect
from types import ModuleType

import mujoco
import numpy as np
from robosuite_sections import own, section

from sacpipe.envs.robosuite_compat import repair_robosuite


def source(kind):
    return "".join(inspect.getsource(kind).split())


def test_robosuite_still_calls_mj_fullm_in_the_old_order():
    from robosuite.controllers.parts.controller import Controller

    old = "mujoco.mj_fullM(self.sim.model._model,mass_matrix,self.sim.data.qM)"
    assert old in source(Controller.update), (
        "robosuite Controller.update changed: remove repair_inertia from sacpipe/envs/robosuite_compat.py"
    )


def test_robosuite_still_compares_joint_types_with_enums():
    from robosuite.utils.binding_utils import MjModel

    for method in (MjModel.get_joint_qpos_addr, MjModel.get_joint_qvel_addr):
        assert "joint_typein(mujoco.mjtJoint.mjJNT_HINGE,mujoco.mjtJoint.mjJNT_SLIDE)" in source(method), (
            f"robosuite {method.__qualname__} changed: remove repair_enums from sacpipe/envs/robosuite_compat.py"
        )


def test_mujocos_enums_still_differ_from_numpys_integers():
    hinge = mujoco.mjtJoint.mjJNT_HINGE
    assert hinge != np.int32(int(hinge)), (
        "mujoco.mjtJoint changed: remove repair_enums from sacpipe/envs/robosuite_compat.py"
    )


def test_two_modules_are_repaired_and_no_other():
    section("Lift").make().close()
    from robosuite.controllers.parts import controller
    from robosuite.utils import binding_utils, ik_utils

    view, enums = controller.mujoco, binding_utils.mujoco
    repair_robosuite()
    assert (controller.mujoco, binding_utils.mujoco) == (view, enums)
    assert not isinstance(view, ModuleType)
    assert ik_utils.mujoco is mujoco
    assert not hasattr(mujoco.MjData, "qM")


def test_the_controllers_inertia_is_mujocos():
    environment = section("Lift").make()
    environment.reset(0)
    environment.step(np.full(7, 0.5, np.float32))
    env = own(environment)
    arm = env.robots[0].part_controllers["right"]
    arm.update(force=True)
    model, data = env.sim.model._model, env.sim.data._data
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    np.testing.assert_array_equal(arm.mass_matrix, full[np.ix_(arm.qvel_index, arm.qvel_index)])
    assert (np.linalg.eigvalsh(arm.mass_matrix) > 0).all()
