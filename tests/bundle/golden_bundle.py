"""Writes the bundle in bundle_v3/, once for each version of the format: `python golden_bundle.py bundle_v3`.

Its policy: light = mean of the camera + first noise, in [0, 100]; motor = left - right + height + second noise,
in [-1, 1].
"""

import sys
from pathlib import Path

import numpy as np
from bundle_factories import make_bundle, make_spec, term_tree
from onnx import ModelProto, TensorProto, helper, numpy_helper

SPEC = make_spec(
    task="toy/lamp",
    observation=[
        term_tree("height"),
        term_tree("camera", 2, 2, 1, dtype="uint8", unit="1", source="renderer"),
        term_tree("place/left, right", 2, groups=["policy", "critic", "achieved_goal"]),
    ],
    action=[
        {"name": "light", "unit": "cd", "low": 0.0, "high": 100.0},
        {"name": "motor", "unit": "N", "low": -1.0, "high": 1.0},
    ],
    max_episode_steps=None,
)
OBSERVATIONS = {
    "height": np.float32([0.0, 0.25, 9.0]),
    "camera": np.uint8([[10, 20, 30, 40], [0, 0, 0, 4], [255, 255, 255, 255]]).reshape(3, 2, 2, 1),
    "place/left, right": np.float32([[0.5, 0.25], [0.5, 0.25], [0.0, 0.0]]),
}
NOISE = [[0.0, 0.0], [0.5, -0.25], [2.0, -9.0]]
ACTIONS = [[25.0, 0.25], [1.5, 0.25], [100.0, 0.0]]


def model() -> ModelProto:
    """Return the policy's graph."""
    tensors = {
        "mean": np.full((1, 1, 2, 2), 0.25),
        "sign": [[1.0], [-1.0]],
        "low": [0.0, -1.0],
        "high": [100.0, 1.0],
    }
    nodes = [
        ("Transpose", ["camera"], "first", {"perm": [0, 3, 1, 2]}),
        ("Cast", ["first"], "numbers", {"to": TensorProto.FLOAT}),
        ("Conv", ["numbers", "mean"], "pixel", {"kernel_shape": [2, 2]}),
        ("Flatten", ["pixel"], "light", {}),
        ("MatMul", ["place/left, right", "sign"], "difference", {}),
        ("Unsqueeze", ["height", "axis"], "column", {}),
        ("Add", ["difference", "column"], "motor", {}),
        ("Concat", ["light", "motor"], "both", {"axis": 1}),
        ("Add", ["both", "noise"], "noisy", {}),
        ("Max", ["noisy", "low"], "floored", {}),
        ("Min", ["floored", "high"], "action", {}),
    ]
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    ports = [
        helper.make_tensor_value_info(term.name, kinds[term.dtype], ["batch", *term.shape])
        for term in SPEC.observation
    ]
    ports += [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("noise", "action")
    ]
    constants = [numpy_helper.from_array(np.array(rows, np.float32), name) for name, rows in tensors.items()]
    constants.append(numpy_helper.from_array(np.array([1]), "axis"))
    made = [
        helper.make_node(operator, inputs, [output], **changes) for operator, inputs, output, changes in nodes
    ]
    graph = helper.make_graph(made, "policy", ports[:-1], ports[-1:], constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def write(folder: Path) -> None:
    """Write the bundle."""
    provenance = {"algorithm": "sac", "digests": {"policy": "ab" * 32}}
    make_bundle(folder, model(), SPEC, OBSERVATIONS, ACTIONS, noise=NOISE, provenance=provenance)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
