"""A bundle of HalfCheetah's size whose policy has 17 terms of one number, for the benchmark of the server."""

import itertools
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper
from report import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from bundle_factories import make_bundle, make_spec, term_tree

TERMS = tuple(f"joint_{index}" for index in range(17))
_WIDTHS = (17, 256, 256, 6)
_GOLDEN_STEPS = 64


def make_terms_bundle(folder: Path) -> Path:
    """Write the bundle of an untrained policy; the time of a request does not depend on its numbers."""
    model = _model()
    spec = make_spec(bounds=((-1.0, 1.0),) * _WIDTHS[-1], observation=[term_tree(name, 1) for name in TERMS])
    rows = np.random.default_rng(0).uniform(-1.0, 1.0, (_GOLDEN_STEPS, len(TERMS))).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    columns = {name: rows[:, [index]] for index, name in enumerate(TERMS)}
    actions = np.concatenate(
        [
            session.run(None, {name: column[[row]] for name, column in columns.items()})[0]
            for row in range(len(rows))
        ]
    )
    return make_bundle(folder, model, spec, rows, actions)


def _model() -> ModelProto:
    """Return three layers with tanh at the end, on the terms side by side."""
    random = np.random.default_rng(1)
    nodes, constants, value = [helper.make_node("Concat", [*TERMS], ["value_0"], axis=1)], [], "value_0"
    for index, shape in enumerate(itertools.pairwise(_WIDTHS), start=1):
        weight = random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[0]))
        constants.append(numpy_helper.from_array(weight, f"weight_{index}"))
        is_last = index == len(_WIDTHS) - 1
        output = "action" if is_last else f"value_{index}"
        nodes.append(helper.make_node("MatMul", [value, f"weight_{index}"], [f"product_{index}"]))
        nodes.append(helper.make_node("Tanh" if is_last else "Relu", [f"product_{index}"], [output]))
        value = output
    sizes = dict.fromkeys(TERMS, 1)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in sizes.items()
    ]
    action = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", _WIDTHS[-1]])
    graph = helper.make_graph(nodes, "policy", inputs, [action], constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
