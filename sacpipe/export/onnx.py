"""Exports a network to one ONNX file: input raw observation, output action in the task's own units.

torch's exporter writes source paths, stack traces and counters into the file. They are removed, and every
value is renamed in the order of use, so that identical networks give identical bytes.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from sacpipe.bundle.policy_graph import read_graph
from sacpipe.core.errors import BundleError, ExportError
from sacpipe.specs.env_spec import EnvSpec

_IR_VERSION = 10
"""Version of the ONNX file format. onnxruntime reads it since 1.18; a policy needs no newer one."""


def export_policy(module: torch.nn.Module, spec: EnvSpec, opset_version: int) -> bytes:
    """Return policy.onnx for a network.

    Args:
        module: Maps raw observations (batch, observation_dim) to deterministic actions in [-1, 1],
            (batch, action_dim), both float32; its normaliser is part of it. It is not changed.
        spec: The task; its action bounds become part of the graph.
        opset_version: Version of the ONNX operator set.

    Raises:
        ExportError: the network has another shape or type, cannot be traced, depends on the batch
            size, or needs an operator that a bundle may not have.
    """
    policy = copy.deepcopy(module).to("cpu").eval()
    _check_module(policy, spec)
    model = _trace(_TaskUnits(policy, spec), spec, opset_version)
    canonical = _canonical(model, opset_version)
    try:
        onnx.checker.check_model(canonical, full_check=True)
        data: bytes = canonical.SerializeToString(deterministic=True)
        read_graph(data)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, BundleError) as exc:
        raise ExportError(f"the exported policy is not a plain graph: {exc}") from exc
    return data


class _TaskUnits(torch.nn.Module):
    """A policy followed by EnvSpec.to_task_units, with the same order of operations."""

    low: torch.Tensor
    high: torch.Tensor
    half_range: torch.Tensor

    def __init__(self, policy: torch.nn.Module, spec: EnvSpec) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("low", torch.from_numpy(spec.action_low))
        self.register_buffer("high", torch.from_numpy(spec.action_high))
        self.register_buffer(
            "half_range", torch.from_numpy(np.float32(0.5) * (spec.action_high - spec.action_low))
        )

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        clipped = self.policy(observation).clamp(-1.0, 1.0)
        scaled = self.low + (clipped + 1.0) * self.half_range
        return torch.minimum(torch.maximum(scaled, self.low), self.high)


def _check_module(policy: torch.nn.Module, spec: EnvSpec) -> None:
    for name, tensor in [*policy.named_parameters(), *policy.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ExportError(f"the policy's '{name}' is not finite. Train again from an earlier checkpoint.")
    expected = (torch.float32, (2, spec.action_dim))
    try:
        with torch.no_grad():
            actions = policy(torch.zeros(2, spec.observation_dim))
    except RuntimeError as exc:
        raise ExportError(
            f"the policy does not take {spec.observation_dim} entries of {spec.task}: {exc}"
        ) from exc
    found = (actions.dtype, tuple(actions.shape))
    if found != expected:
        raise ExportError(
            f"the policy returns {found} for two observations of {spec.task}; expected {expected}."
        )


def _trace(module: torch.nn.Module, spec: EnvSpec, opset_version: int) -> onnx.ModelProto:
    example = torch.zeros(2, spec.observation_dim)
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                external_data=False,
                input_names=["observation"],
                output_names=["action"],
                dynamic_shapes={"observation": {0: torch.export.Dim("batch")}},
                opset_version=opset_version,
                verbose=False,
            )
    except RuntimeError as exc:  # torch.onnx.OnnxExporterError is one
        raise ExportError(f"the policy cannot be exported for any batch size: {exc}") from exc
    if program is None:
        raise ExportError("torch's ONNX exporter returned no model.")
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's own deprecation warnings and its notes about missing optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _canonical(model: onnx.ModelProto, opset_version: int) -> onnx.ModelProto:
    """Rebuild the model with the computation only, and with names in the order of use."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    names = {"": "", "observation": "observation", "action": "action"}
    initializers: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name in tensors and name not in names:
                names[name] = f"tensor_{len(initializers)}"
                initializers.append(_canonical_tensor(tensors[name], names[name]))
        for name in node.output:
            names.setdefault(name, f"value_{len(names)}")
        nodes.append(_canonical_node(node, f"node_{index}", names))
    shapes = [_value(value) for value in (*graph.input, *graph.output)]
    rebuilt = helper.make_graph(nodes, "policy", shapes[:1], shapes[1:], initializer=initializers)
    return helper.make_model(
        rebuilt,
        producer_name="sacpipe",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", opset_version)],
    )


def _canonical_tensor(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor), name)


def _canonical_node(node: onnx.NodeProto, name: str, names: dict[str, str]) -> onnx.NodeProto:
    inputs, outputs = [names[value] for value in node.input], [names[value] for value in node.output]
    rebuilt = helper.make_node(node.op_type, inputs, outputs, name=name, domain=node.domain or None)
    for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
        kept = rebuilt.attribute.add()
        kept.CopyFrom(attribute)
        kept.ClearField("doc_string")
        if attribute.HasField("t"):
            kept.t.CopyFrom(_canonical_tensor(attribute.t, "value"))
    return rebuilt


def _value(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Rebuild the input or the output with name, type and shape only."""
    tensor = value.type.tensor_type
    batch, size = tensor.shape.dim
    if not batch.dim_param:
        raise ExportError(f"the policy's {value.name} has a batch of {batch.dim_value}; expected any batch.")
    return helper.make_tensor_value_info(value.name, tensor.elem_type, ["batch", size.dim_value])
