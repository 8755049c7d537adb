"""A small bundle whose policy was made by hand: action = clip(x0 - x1, -1, 1)."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.guard_settings import GuardSettings
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle


def make_policy() -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["observation", "weight"], ["product"]),
            helper.make_node("Clip", ["product", "low", "high"], ["action"]),
        ],
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [
            numpy_helper.from_array(np.array([[1.0], [-1.0]], np.float32), "weight"),
            numpy_helper.from_array(np.array(-1.0, np.float32), "low"),
            numpy_helper.from_array(np.array(1.0, np.float32), "high"),
        ],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString(deterministic=True)


def make_golden() -> Golden:
    observations = np.array([[0.5, 0.25], [3.0, 1.0], [0.0, 9.0]], np.float32)
    return Golden(observations, np.array([[0.25], [1.0], [-1.0]], np.float32))


def make_tree(policy_onnx: bytes) -> dict:
    facts = read_graph(policy_onnx)
    terms = [{"name": name, "size": 1, "unit": "m", "source": f"sensor/{name}"} for name in ("left", "right")]
    return {
        "format_version": 2,
        "spec": {
            "task": "example/Reach-v0",
            "observation": terms,
            "action": [{"name": "gripper", "unit": "N", "low": -1.0, "high": 1.0}],
            "control_period_s": 0.02,
            "max_episode_steps": 100,
        },
        "onnx": {
            "input_name": "observation",
            "input_dtype": "float32",
            "output_name": "action",
            "output_dtype": "float32",
            "ir_version": facts.ir_version,
            "opset_version": facts.opset_version,
            "operators": list(facts.operators),
        },
        "parity": {"tolerance": 1e-5, "max_error": 1e-7, "synthetic_max_error": 1e-6, "num_observations": 9},
        "golden": {"tolerance": 1e-5, "num_steps": 3},
        "guards": GuardSettings.EXAMPLE,
        "envelope": {"low": [-10.0] * 2, "high": [10.0] * 2},
        "provenance": {"algorithm": "sac", "digests": {"policy": "ab" * 32, "params": "cd" * 32}},
    }


def make_contract(**spec) -> Contract:
    tree = make_tree(make_policy())
    return Contract.parse(tree | {"spec": tree["spec"] | spec})


@pytest.fixture
def bundle(tmp_path):
    """Write the bundle and return its folder."""
    write_bundle(tmp_path / "bundle", make_policy(), make_contract(), make_golden())
    return tmp_path / "bundle"


@pytest.fixture(scope="session", name="policy_onnx")
def policy_onnx_fixture():
    return make_policy()


@pytest.fixture(name="golden")
def golden_fixture():
    return make_golden()


@pytest.fixture(scope="session", name="make_contract")
def make_contract_fixture():
    """Return a function that makes the contract, with changes to the task."""
    return make_contract
