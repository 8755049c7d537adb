"""Whether the installed onnx and onnxruntime know a version of the ONNX operator set."""

import os

from sacpipe.core.errors import ConfigError


def check_opset(version: int) -> None:
    """Load a model of one node, because each release of the runtime reads operator sets up to its own.

    Args:
        version: `export.opset_version`.

    Raises:
        ConfigError: a policy of this version could be exported, but not run here.
    """
    import onnx

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, at import
    import onnxruntime
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    operators = [helper.make_opsetid("", version)]
    model = helper.make_model(graph, opset_imports=operators, ir_version=10)
    try:
        onnx.checker.check_model(model)
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200]
        raise ConfigError(
            f"params.yaml: export.opset_version: expected an operator set that onnx {onnx.__version__} and "
            f"onnxruntime {onnxruntime.__version__} know, found {version}: {reason} Lower it, or install "
            "newer packages."
        ) from exc
