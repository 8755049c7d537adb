"""A small bundle made by hand, so that these tests need no torch: action = clip(gain * (x0 - x1 + 1))."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.guard_settings import GuardSettings
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle

GOLDEN_OBSERVATIONS = np.array([[0.5, 0.25, 0.0], [3.0, 1.0, 0.0], [0.0, 9.0, 2.0]], np.float32)
GOLDEN_ACTIONS = np.array([[1.25, 2.5], [3.0, 4.0], [-2.0, -4.0]], np.float32)


def make_model(**names) -> ModelProto:
    """Three observations, of which the last is ignored, to [-2, 3] and [-4, 4]."""
    nodes = [
        helper.make_node("MatMul", [names.get("input", "observation"), "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scaled"]),
        helper.make_node("Max", ["scaled", "low"], ["floored"]),
        helper.make_node("Min", ["floored", "high"], [names.get("output", "action")]),
    ]
    tensors = {"weight": [[1, 2], [-1, -2], [0, 0]], "bias": [1, 2], "low": [-2, -4], "high": [3, 4]}
    batch = names.get("batch", "batch")
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info(nodes[0].input[0], TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(np.array(rows, np.float32), name) for name, rows in tensors.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def make_contract(policy_onnx: bytes) -> Contract:
    terms = [("position", 2, "m", "joint encoders"), ("velocity", 1, "m/s", "tachometer")]
    tensors = {"input_name": "observation", "output_name": "action"}
    types = {"input_dtype": "float32", "output_dtype": "float32"}
    return Contract.parse(
        {
            "format_version": 2,
            "spec": {
                "task": "example/Reach-v0",
                "observation": [dict(zip(("name", "size", "unit", "source"), t, strict=True)) for t in terms],
                "action": [
                    {"name": "shoulder", "unit": "N m", "low": -2.0, "high": 3.0},
                    {"name": "elbow", "unit": "N m", "low": -4.0, "high": 4.0},
                ],
                "control_period_s": 0.02,
                "max_episode_steps": None,
            },
            "onnx": tensors | types | read_graph(policy_onnx)._asdict(),
            "parity": {
                "tolerance": 1e-5,
                "max_error": 0.0,
                "synthetic_max_error": 0.0,
                "num_observations": 3,
            },
            "golden": {"tolerance": 1e-5, "num_steps": 3},
            "guards": GuardSettings.EXAMPLE,
            "envelope": {"low": [-10.0] * 3, "high": [10.0] * 3},
            "provenance": {"algorithm": "sac", "digests": {}},
        }
    )


@pytest.fixture
def model():
    return make_model()


def write_model(folder, model, actions):
    policy_onnx = model.SerializeToString(deterministic=True)
    golden = Golden(GOLDEN_OBSERVATIONS, np.asarray(actions, np.float32))
    write_bundle(folder, policy_onnx, make_contract(policy_onnx), golden)
    return folder


def write_other(folder):
    model = make_model()
    for tensor, rows in zip(model.graph.initializer[:2], ([[-1, -2], [1, 2], [0, 0]], [-1, -2]), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(np.array(rows, np.float32), tensor.name))
    return write_model(folder, model, [[-1.25, -2.5], [-2.0, -4.0], [3.0, 4.0]])


@pytest.fixture
def build(tmp_path):
    """Write a bundle of a model and golden actions, and return its folder."""

    def write(model=None, actions=GOLDEN_ACTIONS, **names):
        return write_model(tmp_path / "bundle", model or make_model(**names), actions)

    return write


@pytest.fixture
def build_other(tmp_path):
    """A bundle of the same task that acts the other way round, in a folder of its own."""
    return write_other(tmp_path / "other")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Both bundles once for many tests, which leave them as they are."""
    folder = tmp_path_factory.mktemp("bundles")
    return write_model(folder / "bundle", make_model(), GOLDEN_ACTIONS), write_other(folder / "other")
