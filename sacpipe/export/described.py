"""policy.onnx of a network that describes itself: the operators of its description, and its own arrays.

Nothing is traced, so it takes milliseconds. The parity check compares the result with the network like any
other.
"""

from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sacpipe.networks.graph import GraphDraft
from sacpipe.networks.network import Network
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.specs.env_spec import EnvSpec

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
