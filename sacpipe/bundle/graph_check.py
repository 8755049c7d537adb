"""Every check of policy.onnx that needs no ONNX runtime: parts, types, tensors, size."""

from sacpipe.bundle.canonical_json import FETCH_AGAIN
from sacpipe.bundle.contract import OnnxTerms
from sacpipe.bundle.files import under_rule
from sacpipe.bundle.graph_size import check_size
from sacpipe.bundle.policy_graph import Graph, Port, parse_graph
from sacpipe.bundle.protobuf import refuse
from sacpipe.core.errors import BundleError


def check_graph(policy_onnx: bytes, terms: OnnxTerms) -> None:
    """Check a policy against its contract, before any runtime loads it.

    Raises:
        BundleError: the bytes are no plain graph, differ from the contract, or take much memory or time. The
            rule is `tensors` where inputs or output differ, else `graph`.
    """
    with under_rule("graph"):
        graph = parse_graph(policy_onnx)
        for field, value in graph.facts._asdict().items():
            if value != (expected := getattr(terms, field)):
                raise BundleError(f"policy.onnx: {field}: expected {expected}, found {value}. {FETCH_AGAIN}")
        with under_rule("tensors"):
            check_ports(graph, terms)
        check_size(graph, len(policy_onnx))


def check_ports(graph: Graph, terms: OnnxTerms) -> None:
    """Compare names, types and shapes of inputs and output with the contract.

    Raises:
        BundleError: one differs; the message has the first.
    """
    output = terms.output
    for kind, found, expected in (
        ("input", graph.inputs, input_ports(terms)),
        ("output", graph.outputs, [Port(output.name, output.dtype, ["batch", *output.shape])]),
    ):
        if found != expected:
            pairs = enumerate(zip(found, expected, strict=False))
            place = next((place for place, (one, other) in pairs if one != other), None)
            if place is None:
                raise refuse(f"expected {len(expected)} {kind}s, found {len(found)}")
            raise refuse(f"expected {_show(kind, place, expected)}, found {_show(kind, place, found)}")


def input_ports(terms: OnnxTerms) -> list[Port]:
    """Return the inputs that a policy.onnx of these terms has: one a term, then `noise`."""
    ports = [Port(term.name, term.dtype, ["batch", *term.shape]) for term in terms.inputs]
    return ports if terms.noise is None else [*ports, Port("noise", "float32", ["batch", terms.noise.dim])]


def _show(kind: str, place: int, ports: list[Port]) -> str:
    port = ports[place]
    return f"{kind} {place} '{port.name}', {port.dtype} {port.shape}"
