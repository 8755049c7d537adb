"""Bundles of a few bytes for the contract tests of trackers and registries."""

from pathlib import Path

import numpy as np

from sacpipe.bundle.golden import Golden
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.terms import ActionTerm, vector_term
from sacpipe.testing.guard_contract import example_contract

_SPEC = EnvSpec(
    task="example/Push-v0",
    observation=(vector_term("position", 1, unit="m", source="test"),),
    action=(ActionTerm(name="push", unit="N", low=-1.0, high=1.0),),
    control_period_s=0.02,
    max_episode_steps=None,
)


def example_bundle(folder: Path, gain: float) -> Path:
    """Write the bundle of the policy `action = gain * position`, and return its folder."""
    from onnx import TensorProto, helper, numpy_helper

    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1])
        for name in ("position", "action")
    ]
    weight = numpy_helper.from_array(np.array([[gain]], np.float32), "weight")
    product = helper.make_node("MatMul", ["position", "weight"], ["action"])
    graph = helper.make_graph([product], "policy", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    policy_onnx = model.SerializeToString(deterministic=True)
    positions = np.array([[0.5], [0.25], [-1.0]], np.float32)
    golden = Golden(_SPEC.layout.pack({"position": positions}), np.float32(gain) * positions, None)
    write_bundle(folder, policy_onnx, example_contract(_SPEC, (), read_graph(policy_onnx), 3), golden)
    return folder
