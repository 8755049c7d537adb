"""robosuite's private parts, which sacpipe/envs/robosuite_compat.py and robosuite.py use."""

import inspect

import mujoco
import pytest
from robosuite_sections import own, section

from sacpipe.envs.robosuite_compat import mujoco_data, mujoco_model


@pytest.fixture(scope="module")
def environment():
    made = section("Lift").make(None)
    yield own(made)
    made.close()


def test_model_and_data(environment):
    assert isinstance(mujoco_model(environment), mujoco.MjModel), (
        "robosuite MjModel._model changed: repair mujoco_model in sacpipe/envs/robosuite_compat.py"
    )
    assert isinstance(mujoco_data(environment.sim.data), mujoco.MjData), (
        "robosuite MjData._data changed: repair mujoco_data in sacpipe/envs/robosuite_compat.py"
    )


def test_action_split_indexes(environment):
    (robot,) = environment.robots
    places = getattr(robot.composite_controller, "_action_split_indexes", {})
    assert [end for _, end in places.values()][-1:] == [robot.action_dim], (
        "robosuite CompositeController._action_split_indexes changed: name the actions of a robot in "
        "sacpipe/envs/robosuite.py by another way"
    )


def test_check_success(environment):
    assert inspect.ismethod(getattr(environment, "_check_success", None)), (
        "robosuite MujocoEnv._check_success changed: repair _has_succeeded in sacpipe/envs/robosuite.py"
    )
