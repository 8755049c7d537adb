"""Exports a network to one ONNX file: one input an observation term, output action in the task's own units.

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

from sacpipe.bundle.contract import NoiseInput, OnnxTerms, onnx_inputs, onnx_output
from sacpipe.bundle.graph_check import check_graph
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.core.errors import BundleError, ExportError
from sacpipe.export.inputs import noise_dim_of, recorded_inputs
from sacpipe.specs.env_spec import EnvSpec

_IR_VERSION = 10
"""Version of the ONNX file format. onnxruntime reads it since 1.18; a policy needs no newer one."""


def export_policy(module: torch.nn.Module, spec: EnvSpec, opset_version: int) -> bytes:
    """Return policy.onnx for a network.

    Args:
        module: Maps one raw tensor a term, in the order of `spec`, shape (batch, *shape), float32 or uint8,
            to actions in [-1, 1], float32, shape (batch, action_dim); its normaliser is part of it. If its
            attribute `noise_dim` is an integer, it takes a last argument, standard normal, shape
            (batch, noise_dim). It is not changed.
        spec: The policy's task; its action bounds become part of the graph.
        opset_version: Version of the ONNX operator set.

    Raises:
        ExportError: the network has another shape or type, cannot be traced, depends on the batch
            size, or needs an operator, memory or time that a bundle may not have.
    """
    policy = copy.deepcopy(module).to("cpu").eval()
    noise_dim = noise_dim_of(policy)
    examples = _examples(spec, noise_dim)
    _check_module(policy, spec, examples)
    model = _trace(_TaskUnits(policy, spec).eval(), examples, opset_version)
    names = [term.name for term in spec.observation] + ["noise"] * (noise_dim is not None)
    canonical = _canonical(model, names, opset_version)
    try:
        onnx.checker.check_model(canonical, full_check=True)
        data: bytes = canonical.SerializeToString(deterministic=True)
        check_graph(data, onnx_terms(data, spec, noise_dim))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, BundleError) as exc:
        raise ExportError(f"the exported policy is not a plain graph: {exc}") from exc
    return data


def onnx_terms(policy_onnx: bytes, spec: EnvSpec, noise_dim: int | None) -> OnnxTerms:
    """Return the contract's section about policy.onnx.

    Raises:
        BundleError: the bytes are no plain graph.
    """
    return OnnxTerms(
        inputs=onnx_inputs(spec),
        noise=None if noise_dim is None else NoiseInput(name="noise", dim=noise_dim),
        output=onnx_output(spec),
        **read_graph(policy_onnx)._asdict(),
    )


def _examples(spec: EnvSpec, noise_dim: int | None) -> tuple[torch.Tensor, ...]:
    """Return two observations of zeros, with noise where the policy takes it."""
    observations = spec.layout.pack(
        {term.name: np.zeros((2, *term.shape), term.dtype) for term in spec.observation}
    )
    return recorded_inputs(observations, noise_dim).tensors()


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


def _check_module(policy: torch.nn.Module, spec: EnvSpec, examples: tuple[torch.Tensor, ...]) -> None:
    for name, tensor in [*policy.named_parameters(), *policy.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ExportError(f"the policy's '{name}' is not finite. Train again from an earlier checkpoint.")
    expected = (torch.float32, (2, spec.action_dim))
    try:
        with torch.no_grad():
            actions = policy(*examples)
        found = (actions.dtype, tuple(actions.shape))
    except Exception as exc:  # a policy kind is foreign code
        terms = ", ".join(f"{term.name} {list(term.shape)}" for term in spec.observation)
        raise ExportError(f"the policy does not take the terms {terms} of {spec.task}: {exc}") from exc
    if found != expected:
        raise ExportError(
            f"the policy returns {found} for two observations of {spec.task}; expected {expected}."
        )


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


def _canonical(model: onnx.ModelProto, inputs: list[str], opset_version: int) -> onnx.ModelProto:
    """Rebuild the model with the computation only, and with names in the order of use.

    Args:
        model: The exporter's model.
        inputs: Name of each input, in order.
        opset_version: Version of the ONNX operator set.
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
    rebuilt = helper.make_graph(nodes, "policy", *ends, initializer=initializers)
    return helper.make_model(
        rebuilt,
        producer_name="sacpipe",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", opset_version)],
    )


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
