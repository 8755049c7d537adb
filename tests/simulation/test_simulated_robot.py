"""The simulated robot gives the policy's terms only, and disturbs its numbers but not its images."""

import numpy as np
import pytest
from bundle_factories import make_bundle
from factories import make_point_mass
from onnx import TensorProto, helper, numpy_helper

from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.simulation.drive import Disturbance, SimulatedRobot

STILL = {"noise": 0.0, "drop_out": 0.0, "delay_steps": 0, "not_a_number": 0.0, "actuator_noise": 0.0}
TASK = make_point_mass(image_size=4)


def make_model():
    """The policy -2 position - velocity + 0 image, within 2 N."""
    weights = {"w_position": -2.0 * np.eye(2), "w_velocity": -np.eye(2), "w_image": np.zeros((48, 2)),
               "low": [-2.0] * 2, "high": [2.0] * 2}  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["pixels"], axis=1),
        helper.make_node("MatMul", ["position", "w_position"], ["a"]),
        helper.make_node("MatMul", ["velocity", "w_velocity"], ["b"]),
        helper.make_node("MatMul", ["pixels", "w_image"], ["c"]),
        helper.make_node("Add", ["a", "b"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("Max", ["e", "low"], ["f"]),
        helper.make_node("Min", ["f", "high"], ["action"]),
    ]
    inputs = [
        helper.make_tensor_value_info("position", TensorProto.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("velocity", TensorProto.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4, 4, 3]),
    ]
    output = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 2])
    constants = [numpy_helper.from_array(np.array(rows, np.float32), name) for name, rows in weights.items()]
    graph = helper.make_graph(nodes, "policy", inputs, [output], constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


@pytest.fixture
def make_robot(tmp_path):
    """Start a runtime and a simulated robot with a disturbance."""
    rows = {
        "position": np.array([[0.5, 0.0]] * 3),
        "velocity": np.zeros((3, 2)),
        "image": np.zeros((3, 4, 4, 3), np.uint8),
    }
    golden = [[-1.0, 0.0]] * 3
    folder = make_bundle(tmp_path / "bundle", make_model(), TASK.make().spec, rows, golden)

    def make(task=TASK, **disturbance):
        runtime = Runtime(OnnxPolicy(folder), control_period_s=0.1)
        robot = SimulatedRobot(task.make(), runtime, Disturbance.parse(STILL | disturbance), seed=1)
        return runtime, robot

    return make


def test_an_undisturbed_robot_reaches_the_goal(make_robot):
    runtime, robot = make_robot()
    while not robot.episode_returns:
        robot.execute(runtime.step(*robot.observe()))
    assert robot.episode_returns[0] > -15.0


def test_noise_and_nan_leave_images_as_they_are(make_robot):
    _, still = make_robot()
    _, robot = make_robot(noise=0.5, not_a_number=1.0)
    expected, _ = still.observe()
    observation, _ = robot.observe()
    np.testing.assert_array_equal(observation["image"], expected["image"])
    assert np.isnan(observation.vector).sum() == 1
    assert (observation.vector != expected.vector).all()


def test_a_nan_stops_at_its_guard(make_robot):
    runtime, robot = make_robot(not_a_number=1.0)
    assert "observation_not_finite" in str(runtime.step(*robot.observe()))


def test_all_terms_are_late_together(make_robot):
    runtime, robot = make_robot(delay_steps=2)
    given = []
    for _ in range(4):
        given.append(robot.observe())
        robot.execute(runtime.step(*given[-1]))
    assert all(late.equals(given[0][0]) for late, _ in given[:3])
    assert not np.array_equal(given[3][0].vector, given[0][0].vector)
    assert given[3][1] > given[2][1] == given[0][1]


class Privileged:
    """The same task with one more term that the critics alone see."""

    def make(self):
        environment = TASK.make()
        terms = [term.as_tree() for term in environment.spec.observation]
        extra = terms[0] | {"name": "mass", "groups": ["critic"]}
        environment.spec = environment.spec.replace(observation=[*terms, extra])
        layout, reset, step = environment.spec.layout, environment.reset, environment.step

        def with_mass(observation):
            return layout.pack({**observation, "mass": np.ones(2)})

        environment.reset = lambda seed: with_mass(reset(seed))
        environment.step = lambda action: (found := step(action))._replace(
            observation=with_mass(found.observation)
        )
        return environment


def test_a_robot_has_no_term_of_the_critics_alone(make_robot):
    runtime, robot = make_robot(Privileged())
    observation = robot.observe()[0]
    assert [*observation] == ["position", "velocity", "image"]
    robot.execute(runtime.step(*robot.observe()))
    assert [*robot.observe()[0]] == ["position", "velocity", "image"]
