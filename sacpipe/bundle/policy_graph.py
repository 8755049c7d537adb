"""Reads and checks the graph of policy.onnx from its bytes, without any ONNX library.

A robot runs these checks before onnxruntime parses the file. sacpipe/bundle/protobuf.py refuses every field
that an exported policy may not have, sacpipe/bundle/graph_types.py refuses arithmetic with integers, and
sacpipe/bundle/graph_size.py bounds memory and time of the graph.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.graph_shapes import RULES
from sacpipe.bundle.graph_types import ValueTypes
from sacpipe.bundle.graph_values import MAX_DIM, MAX_RANK, Node
from sacpipe.bundle.protobuf import read_message, refuse, signed

ALLOWED_OPERATORS = RULES.keys()
"""Operators without state, randomness, loops or branches."""

_MAY_SKIP_INPUTS = frozenset({"Clip", "Slice"})
"""Operators whose inputs may have empty names, for an input that is left out. onnxruntime 1.31 crashes
(SIGSEGV at run time) on an empty input name of Max, Min or LayerNormalization."""

_ATTRIBUTE_FIELDS = {1: 2, 2: 3, 3: 4, 4: 5, 6: 7, 7: 8}
"""Protobuf field of the value, by type of attribute: FLOAT, INT, STRING, TENSOR, FLOATS, INTS."""
_ITEM_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
}
_PORT_TYPES = {1: "float32", 2: "uint8"}
"""Types of inputs and outputs, by ONNX data type."""


class GraphFacts(NamedTuple):
    """Properties of a policy.onnx that its contract states too."""

    ir_version: int
    opset_version: int
    operators: tuple[str, ...]
    """Names of the operators in the graph, sorted, each once."""


class Port(NamedTuple):
    """An input or an output of a graph."""

    name: str
    dtype: str
    """`float32` or `uint8`."""
    shape: list[int | str]
    """Size of each dimension; a text is the name of a dimension of any size."""


class Graph(NamedTuple):
    """The graph of a policy.onnx."""

    facts: GraphFacts
    tensors: dict[str, NDArray[Any]]
    """Constant tensors, by name. They share the memory of the file's bytes."""
    inputs: list[Port]
    outputs: list[Port]
    nodes: list[Node]
    """All operations, in the order of the file."""


def read_graph(policy_onnx: bytes) -> GraphFacts:
    """Check that a policy is one plain graph of finite numbers, and return its properties.

    Raises:
        BundleError: the bytes are not an ONNX model, or have a part that a policy may not have.
    """
    return parse_graph(policy_onnx).facts


def parse_graph(policy_onnx: bytes) -> Graph:
    """Check that a policy is one plain graph of finite numbers, and return it.

    Raises:
        BundleError: as for `read_graph`.
    """
    count = itertools.count(1)
    model = read_message("model", memoryview(policy_onnx), count)
    opset = read_message("opset", model.block(8, "operator set"), count)
    if domain := opset.text(1, "operator domain"):
        raise refuse(f"expected the standard operator domain, found '{domain}'")
    graph = read_message("graph", model.block(7, "graph"), count)
    tensors: dict[str, NDArray[Any]] = {}
    for block in graph.blocks.get(5, []):
        name, array = _read_tensor(block, count)
        if name in tensors:
            raise refuse(f"tensor '{name}': expected one tensor of this name, found two")
        tensors[name] = array
    inputs, outputs = ([_read_port(block, count) for block in graph.blocks.get(n, [])] for n in (11, 12))
    types = ValueTypes(
        [name for name, array in tensors.items() if array.dtype.kind == "i"],
        [port.name for port in inputs if port.dtype == "uint8"],
    )
    nodes = [_read_node(node, types, count) for node in graph.blocks.get(1, [])]
    facts = GraphFacts(
        ir_version=model.number(1, "IR version"),
        opset_version=opset.number(2, "operator set version"),
        operators=tuple(sorted({node.operator for node in nodes})),
    )
    return Graph(facts, tensors, inputs, outputs, nodes)


def _read_port(data: memoryview, count: Iterator[int]) -> Port:
    info = read_message("value_info", data, count)
    name = info.text(1, "name of an input or output")
    kind = read_message("type", info.block(2, f"type of '{name}'"), count)
    tensor = read_message("tensor_type", kind.block(1, f"tensor type of '{name}'"), count)
    code = tensor.number(1, f"data type of '{name}'")
    if code not in _PORT_TYPES:
        raise refuse(f"'{name}': expected float32 or uint8, found ONNX data type {code}")
    shape = read_message("shape", tensor.block(2, f"shape of '{name}'"), count)
    dims = [read_message("dimension", block, count) for block in shape.blocks.get(1, [])]
    sizes: list[int | str] = [
        dim.text(2, "name of a dimension") if 2 in dim.blocks else dim.number(1, "size of a dimension")
        for dim in dims
    ]
    return Port(name, _PORT_TYPES[code], sizes)


def _read_node(data: memoryview, types: ValueTypes, count: Iterator[int]) -> Node:
    message = read_message("node", data, count)
    operator = message.text(4, "operator name in a node")
    inputs, outputs = (
        [bytes(name).decode(errors="replace") for name in message.blocks.get(n, [])] for n in (1, 2)
    )
    if operator not in ALLOWED_OPERATORS:
        raise refuse(f"expected operators that docs/bundle.md lists, found '{operator}'")
    if operator not in _MAY_SKIP_INPUTS and not all(inputs):
        raise refuse(f"expected a name for every input of '{operator}', found an empty one")
    attributes: dict[str, Any] = {}
    for block in message.blocks.get(5, []):
        name, value = _read_attribute(block, count)
        if name in attributes:
            raise refuse(f"expected each attribute of '{operator}' once, found '{name}' twice")
        attributes[name] = value
    types.check(operator, inputs, outputs, attributes)
    return Node(operator, inputs, outputs, attributes)


def _read_attribute(data: memoryview, count: Iterator[int]) -> tuple[str, Any]:
    """Return name and value. An attribute has one kind of value, the one that its type says."""
    attribute = read_message("attribute", data, count)
    name = attribute.text(1, "attribute name")
    kind = attribute.number(20, f"type of the attribute '{name}'")
    field = _ATTRIBUTE_FIELDS.get(kind)
    found = (attribute.numbers.keys() | attribute.blocks.keys()) - {1, 20}
    if field is None or found - {field}:
        raise refuse(f"attribute '{name}': expected one value of type {kind}, found another")
    if field in (3, 8):
        numbers = [signed(number) for number in attribute.numbers.get(field, [])]
        return name, numbers if field == 8 else _one(name, numbers)
    blocks = attribute.blocks.get(field, [])
    if field in (2, 7):
        floats = [float(np.frombuffer(block, "<f4")[0]) for block in blocks]
        if not all(map(math.isfinite, floats)):
            raise refuse(f"attribute '{name}': expected finite numbers, found NaN or infinity")
        return name, floats if field == 7 else _one(name, floats)
    block = _one(name, blocks)
    return name, _read_tensor(block, count)[1] if field == 5 else bytes(block)


def _one(name: str, values: list[Any]) -> Any:
    if len(values) != 1:
        raise refuse(f"attribute '{name}': expected one value, found {len(values)}")
    return values[0]


def _read_tensor(data: memoryview, count: Iterator[int]) -> tuple[str, NDArray[Any]]:
    tensor = read_message("tensor", data, count)
    name = tensor.text(8, "name in a tensor")
    code = tensor.number(2, f"data type in tensor '{name}'")
    item_type = _ITEM_TYPES.get(code)
    if item_type is None:
        raise refuse(f"tensor '{name}': expected float32, int32, int64 or bool, found ONNX data type {code}")
    raw = tensor.block(9, f"block of raw data in tensor '{name}'")
    dims = tensor.numbers.get(1, [])
    if len(dims) > MAX_RANK or any(dim > MAX_DIM for dim in dims):
        raise refuse(f"tensor '{name}': expected at most {MAX_RANK} dimensions of at most {MAX_DIM}")
    if len(raw) != (expected := math.prod(dims) * item_type.itemsize):
        raise refuse(f"tensor '{name}': expected {expected} bytes, found {len(raw)}")
    array = np.frombuffer(raw, item_type).reshape(dims)
    if item_type.kind == "f" and not np.isfinite(array).all():
        raise refuse(f"tensor '{name}': expected finite numbers, found NaN or infinity")
    return name, array
