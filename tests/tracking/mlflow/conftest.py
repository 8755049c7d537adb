"""Fixtures of the MLflow tests: an empty ledger and small hand-made bundles."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.guard_settings import GuardSettings
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle
from sacpipe.tracking.mlflow.connection import MlflowConnection

OBSERVATIONS = np.array([[0.5, 0.25, 0.0], [3.0, 1.0, 0.0], [0.0, 9.0, 2.0]], np.float32)


def make_bundle(folder: Path, gain: float) -> Path:
    """Write a bundle whose policy is action = clip(gain * x0, -2, 3) for three observations."""
    nodes = [
        helper.make_node("MatMul", ["observation", "weight"], ["product"]),
        helper.make_node("Max", ["product", "low"], ["floored"]),
        helper.make_node("Min", ["floored", "high"], ["action"]),
    ]
    tensors = {"weight": [[gain], [0], [0]], "low": [-2], "high": [3]}
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.array(rows, np.float32), name) for name, rows in tensors.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    policy_onnx = helper.make_model(graph, ir_version=10, opset_imports=opset).SerializeToString()
    contract = Contract.parse(
        {
            "format_version": 2,
            "spec": {
                "task": "example/Reach-v0",
                "observation": [{"name": "position", "size": 3, "unit": "m", "source": "encoders"}],
                "action": [{"name": "force", "unit": "N", "low": -2.0, "high": 3.0}],
                "control_period_s": 0.02,
                "max_episode_steps": None,
            },
            "onnx": {"input_name": "observation", "output_name": "action"}
            | {"input_dtype": "float32", "output_dtype": "float32"}
            | read_graph(policy_onnx)._asdict(),
            "parity": {
                "tolerance": 1e-5,
                "max_error": 0.0,
                "synthetic_max_error": 0.0,
                "num_observations": 3,
            },
            "golden": {"tolerance": 1e-5, "num_steps": 3},
            "guards": GuardSettings.EXAMPLE,
            "envelope": {"low": [-9.0] * 3, "high": [9.0] * 3},
            "provenance": {"algorithm": "sac", "digests": {}},
        }
    )
    actions = np.clip(np.float32(gain) * OBSERVATIONS[:, :1], np.float32(-2), np.float32(3))
    write_bundle(folder, policy_onnx, contract, Golden(OBSERVATIONS, actions))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[float], Path]:
    """Make a bundle with a given gain."""
    return lambda gain: make_bundle(tmp_path / f"bundle-{gain}", gain)


@pytest.fixture(scope="session")
def database(empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one database for all tests: opening one takes half a second."""
    return f"sqlite:///{shutil.copy(empty_ledger, tmp_path_factory.mktemp('ledger') / 'mlflow.db')}"


@pytest.fixture
def store(database: str, tmp_path: Path) -> MlflowConnection:
    """An empty experiment of one's own."""
    return MlflowConnection(database, tmp_path / "artifacts", experiment=str(tmp_path))
