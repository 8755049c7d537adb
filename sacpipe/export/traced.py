"""policy.onnx of any network, by torch's exporter, which traces it.

The exporter writes source paths, stack traces and counters into the file. They are removed, and every value
is renamed in the order of use, so that identical networks give identical bytes.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from sacpipe.core.errors import ExportError
from sacpipe.specs.env_spec import EnvSpec


def traced_graph(
    policy: torch.nn.Module, spec: EnvSpec, examples: tuple[torch.Tensor, ...], opset_version: int
) -> onnx.GraphProto:
    """Return the graph of a network.

    Args:
        policy: As of `export_policy`, in evaluation mode, on the CPU.
        spec: The policy's task.
        examples: Arguments of the network: two observations.
        opset_version: Version of the ONNX operator set.

    Raises:
        ExportError: the network cannot be traced, or depends on the batch size.
    """
    names = [term.name for term in spec.observation] + ["noise"] * (len(examples) - len(spec.observation))
    return _canonical(_trace(_TaskUnits(policy, spec).eval(), examples, opset_version), names)


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

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        clipped = self.policy(*inputs).clamp(-1.0, 1.0)
        scaled = self.low + (clipped + 1.0) * self.half_range
        return torch.minimum(torch.maximum(scaled, self.low), self.high)


def _trace(
    module: torch.nn.Module, examples: tuple[torch.Tensor, ...], opset_version: int
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                external_data=False,
                input_names=[f"input_{place}" for place in range(len(examples))],
                output_names=["action"],
                dynamic_shapes=(tuple({0: batch} for _ in examples),),
                opset_version=opset_version,
                verbose=False,
            )
    except Exception as exc:  # a policy kind is foreign code
        raise ExportError(f"the policy cannot be exported for any batch size: {exc}") from exc
    if program is None:
        raise ExportError("torch's ONNX exporter returned no model.")
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's own deprecation warnings, its notes about missing packages and about equal axes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _canonical(model: onnx.ModelProto, inputs: list[str]) -> onnx.GraphProto:
    """Rebuild the graph with the computation only, and with names in the order of use.

    Args:
        model: The exporter's model.
        inputs: Name of each input, in order.
    """
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    if len(graph.input) != len(inputs):
        raise ExportError(f"torch's exporter kept {len(graph.input)} inputs of {len(inputs)}.")
    names = {"": "", "action": "action"} | {
        port.name: name for port, name in zip(graph.input, inputs, strict=True)
    }
    initializers: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name in tensors and name not in names:
                names[name] = _fresh(f"tensor_{len(initializers)}", inputs)
                initializers.append(_canonical_tensor(tensors[name], names[name]))
        for name in node.output:
            names.setdefault(name, _fresh(f"value_{len(names)}", inputs))
        nodes.append(_canonical_node(node, f"node_{index}", names))
    ends = [[_port(port, names[port.name]) for port in ports] for ports in (graph.input, graph.output)]
    return helper.make_graph(nodes, "policy", *ends, initializer=initializers)


def _fresh(name: str, taken: list[str]) -> str:
    """Return a name that is none of the terms'."""
    while name in taken:
        name += "_"
    return name


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


def _port(port: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    """Rebuild an input or the output with name, type and shape only."""
    tensor = port.type.tensor_type
    batch, *sizes = tensor.shape.dim
    if not batch.dim_param:
        raise ExportError(f"the policy's {name} has a batch of {batch.dim_value}; expected any batch.")
    shape = ["batch", *(size.dim_param or size.dim_value for size in sizes)]
    return helper.make_tensor_value_info(name, tensor.elem_type, shape)
