"""Exports a network to one ONNX file: one input an observation term, output action in the task's own units.

A policy that describes itself is written from its description, the operators and its own arrays, which takes
milliseconds; any other one is traced. The parity check compares either result with the network.
"""

import copy
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.contract import NoiseInput, OnnxTerms, onnx_inputs, onnx_output
from sacpipe.bundle.graph_check import check_graph
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.core.errors import BundleError, ExportError
from sacpipe.export.inputs import noise_dim_of, recorded_inputs
from sacpipe.export.traced import traced_graph
from sacpipe.networks.graph import GraphDraft
from sacpipe.networks.network import Network
from sacpipe.networks.policies.base import PolicyNetwork
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
    graph = described_graph(policy, spec)
    if graph is None:
        graph = traced_graph(policy, spec, examples, opset_version)
    return policy_file(graph, spec, noise_dim, opset_version)


def policy_file(graph: onnx.GraphProto, spec: EnvSpec, noise_dim: int | None, opset_version: int) -> bytes:
    """Return policy.onnx of a graph, checked as a robot checks it.

    Args:
        graph: The policy, from the raw terms to the action.
        spec: The policy's task.
        noise_dim: Length of the input `noise`; None for a deterministic policy.
        opset_version: Version of the ONNX operator set.

    Raises:
        ExportError: the graph needs an operator, memory or time that a bundle may not have.
    """
    operators = [helper.make_opsetid("", opset_version)]
    model = helper.make_model(graph, producer_name="sacpipe", ir_version=_IR_VERSION, opset_imports=operators)
    try:
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
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


_ELEMENTS = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
_DESCRIBED: dict[str, tuple[str, ...]] = {
    "policy": ("forward", "normalised", "unsquashed"),
    "network": ("first_outputs", "forward"),
    "trunk": ("forward",),
    "normaliser": ("forward",),
}
"""Methods that the `describe` of each part of a policy writes down."""


def described_graph(policy: torch.nn.Module, spec: EnvSpec) -> onnx.GraphProto | None:
    """Return the graph of a network; None where the network or a part of it does not describe itself.

    Args:
        policy: As of `export_policy`, in evaluation mode, on the CPU.
        spec: The policy's task.
    """
    if not isinstance(policy, PolicyNetwork) or not is_described(policy):
        return None
    shapes = {term.name: (_ELEMENTS[term.dtype], term.shape) for term in spec.observation}
    if policy.noise_dim is not None:
        shapes["noise"] = (TensorProto.FLOAT, (policy.noise_dim,))
    graph = GraphDraft([*shapes, "action"])
    action = _in_task_units(graph, policy.describe(graph), spec)
    nodes = [
        helper.make_node(
            node.operator,
            node.inputs,
            ["action" if node.output == action else node.output],
            name=node.output,
            **node.attributes,
        )
        for node in graph.nodes
    ]
    return helper.make_graph(
        nodes,
        "policy",
        [_port(name, element, shape) for name, (element, shape) in shapes.items()],
        [_port("action", TensorProto.FLOAT, (spec.action_dim,))],
        initializer=[
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in graph.constants.items()
        ],
    )


def is_described(policy: PolicyNetwork) -> bool:
    """Return whether each part of a policy has a description of the functions that it has.

    A class that has a function of its own, and `describe` from a class above it, computes something else than
    its description.
    """
    return all(_has_own_description(part, _DESCRIBED[name]) for name, part in _parts(policy))


def _parts(policy: PolicyNetwork) -> Iterator[tuple[str, object]]:
    yield "policy", policy
    network: object = policy.network
    yield "network", network
    if isinstance(network, Network):
        yield "trunk", network.trunk
    if policy.normaliser is not None:
        yield "normaliser", policy.normaliser


def _has_own_description(part: object, functions: tuple[str, ...]) -> bool:
    description, *described = (_place(part, name) for name in ("describe", *functions))
    return all(description <= place for place in described)


def _place(part: object, name: str) -> float:
    """Return how far above an object the first one is that defines a name: itself, its class, or one above.

    Infinite where none does.
    """
    owners = [part, *type(part).__mro__]
    return next((place for place, one in enumerate(owners) if name in vars(one)), float("inf"))


def _in_task_units(graph: GraphDraft, squashed: str, spec: EnvSpec) -> str:
    """Add EnvSpec.to_task_units, with the same order of operations."""
    low, high = spec.action_low, spec.action_high
    one = graph.constant("one", 1.0)
    clipped = graph.add("Clip", (squashed, graph.constant("minus_one", -1.0), one), "share")
    raised = graph.add("Add", (clipped, one), "raised")
    half_range = graph.constant("half_range", np.float32(0.5) * (high - low))
    stretched = graph.add("Mul", (raised, half_range), "stretched")
    lowest, highest = graph.constant("low", low), graph.constant("high", high)
    scaled = graph.add("Add", (lowest, stretched), "scaled_action")
    return graph.add("Min", (graph.add("Max", (scaled, lowest), "not_below"), highest), "not_above")


def _port(name: str, element: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, ["batch", *shape])
