"""Changed mass and friction: the model changes for one episode, and is the same afterwards, bit for bit."""

import numpy as np
import pytest

from sacpipe.core.errors import SimulatorError
from sacpipe.envs import find_task
from sacpipe.envs.mujoco_physics import changed_physics, find_model

TASKS = (
    "gymnasium/HalfCheetah-v5",
    "gymnasium/Humanoid-v5",
    "dm_control/walker-walk",
    "gymnasium_robotics/FetchReach-v4",
    "gymnasium_robotics/AntMaze_Medium-v5",
    "softlearning/Ant-CrossMaze-v0",
)


@pytest.fixture
def make():
    opened = []

    def make_task(name):
        opened.append(find_task(name).make())
        opened[-1].reset(0)
        return opened[-1]

    yield make_task
    for environment in opened:
        environment.close()


def model_bytes(model):
    import mujoco

    data = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, data)
    return data.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_every_byte_of_the_model_is_restored(make, name):
    environment = make(name)
    model = find_model(environment)
    before, masses, friction = model_bytes(model), model.body_mass.copy(), model.geom_friction.copy()
    with changed_physics(environment, mass=1.25, friction=0.5):
        assert np.array_equal(model.body_mass, 1.25 * masses)
        assert np.array_equal(model.geom_friction, 0.5 * friction)
        assert model.body_subtreemass[0] == pytest.approx(1.25 * masses.sum())
        environment.step(np.zeros(environment.spec.action_dim, np.float32))
    assert model_bytes(model) == before


def test_an_error_in_the_episode_restores_it_too(make):
    environment = make("gymnasium/InvertedPendulum-v5")
    model = find_model(environment)
    before = model_bytes(model)
    with pytest.raises(ZeroDivisionError), changed_physics(environment, mass=2.0, friction=2.0):
        raise ZeroDivisionError
    assert model_bytes(model) == before


def test_a_heavier_pole_is_accelerated_as_one_of_that_mass(make):
    """The mass matrix at rest is twice as large, but for the inertia of the motors."""
    environment = make("gymnasium/InvertedPendulum-v5")
    model = find_model(environment)
    with changed_physics(environment, mass=2.0, friction=1.0):
        heavy = model.dof_M0.copy()
    assert heavy == pytest.approx(2.0 * (model.dof_M0 - model.dof_armature) + model.dof_armature)


def test_friction_is_that_of_contacts_and_joints(make):
    environment = make("gymnasium/HalfCheetah-v5")
    model = find_model(environment)
    damping = model.dof_damping.copy()
    with changed_physics(environment, mass=1.0, friction=3.0):
        assert np.array_equal(model.dof_damping, 3.0 * damping)


def test_a_task_without_a_model_is_named(make):
    environment = make("point_mass/point-mass-v0")
    assert find_model(environment) is None
    with (
        pytest.raises(SimulatorError, match="point_mass/point-mass-v0': expected a MuJoCo model, found none"),
        changed_physics(environment, mass=2.0, friction=1.0),
    ):
        pass


def test_a_model_that_mujoco_refuses_is_an_error_of_the_task(make, monkeypatch):
    import mujoco

    def refused(model, data):
        raise mujoco.FatalError("mass matrix is singular")

    monkeypatch.setattr(mujoco, "mj_setConst", refused)
    environment = make("gymnasium/InvertedPendulum-v5")
    before = model_bytes(find_model(environment))
    expected = "the changed model was refused: FatalError: mass matrix is singular"
    with pytest.raises(SimulatorError, match=expected), changed_physics(environment, mass=2.0, friction=1.0):
        pass
    assert model_bytes(find_model(environment)) == before


class OwnSimulator:
    def __init__(self, model):
        self.model = model

    def mujoco_model(self):
        return self.model


def test_the_simulator_of_another_suite_names_its_model(make):
    environment = make("gymnasium/InvertedPendulum-v5")
    model = find_model(environment)
    environment._simulator = OwnSimulator(model)
    assert find_model(environment) is model


def test_an_error_of_mujoco_model_is_one_of_the_task(make):
    environment = make("point_mass/point-mass-v0")
    environment._simulator = type("Bad", (), {"mujoco_model": lambda self: 1 / 0})()
    with pytest.raises(SimulatorError, match=r"point-mass-v0': mujoco_model\(\) of its .* ZeroDivisionError"):
        find_model(environment)


def test_a_simulator_whose_attributes_raise_has_no_model(make):
    environment = make("point_mass/point-mass-v0")
    environment._simulator = type("Bad", (), {"_env": property(lambda self: 1 / 0)})()
    assert find_model(environment) is None
