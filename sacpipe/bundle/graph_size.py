"""Bounds the memory and the time of a policy's graph before any runtime loads it.

A graph of 1 kB can ask for gigabytes: `Expand` to a large shape, a product of a column and a row, `Concat` of
a value with itself, node after node. A robot runs a policy on one observation at a time, and integers are
never computed from numbers of the observation. So every shape is known before the policy runs: this file
computes the shape of every value and adds up sizes and operations.
"""

import math

from sacpipe.bundle.graph_shapes import RULES
from sacpipe.bundle.graph_values import MAX_DIM, MAX_RANK, Node, Result, Value, constant
from sacpipe.bundle.policy_graph import Graph, Port
from sacpipe.bundle.protobuf import refuse

MAX_VALUE_BYTES = 2**26
"""Maximum size of all computed values together, in bytes, beyond `SHARE_OF_FILE` times the file's size."""
SHARE_OF_FILE = 4
"""A graph may copy its constants a few times, for example to transpose them."""
MAX_OPERATIONS = 2**28
"""Maximum number of multiplications and other operations for one action: some tenths of a second."""
_ITEM_BYTES = 8
"""Largest size of one number, in bytes."""


def check_size(graph: Graph, file_bytes: int) -> None:
    """Compute the shape of every value for one observation, and check sizes and operations.

    Args:
        graph: The graph of policy.onnx. Its inputs and outputs have an axis `batch` first, and no other axis
            of any size (`graph_check.check_ports`).
        file_bytes: Size of policy.onnx.

    Raises:
        BundleError: values or operations are too large, a shape cannot be computed, or an output has another
            shape than it declares.
    """
    values = {name: constant(array) for name, array in graph.tensors.items()}
    for port in graph.inputs:
        _add(values, port.name, _declared(port))
    max_bytes = MAX_VALUE_BYTES + SHARE_OF_FILE * file_bytes
    num_bytes = operations = 0
    for node in graph.nodes:
        result = _compute(node, values)
        num_bytes += _ITEM_BYTES * (sum(math.prod(value.shape) for value in result.values) + result.scratch)
        operations += result.operations
        if num_bytes > max_bytes:
            found = f"more from '{node.operator}' on, to the shape {list(result.values[0].shape)}"
            raise refuse(f"expected values of at most {max_bytes} bytes for one observation, found {found}")
        if operations > MAX_OPERATIONS:
            found = f"more from '{node.operator}' on"
            raise refuse(f"expected at most {MAX_OPERATIONS} operations for one observation, found {found}")
    for port in graph.outputs:
        found_value = values.get(port.name)
        if found_value is None or found_value.shape != _declared(port).shape:
            shape = "none" if found_value is None else f"shape {list(found_value.shape)}"
            raise refuse(f"expected '{port.name}' of shape {port.shape}, found {shape} for one observation")


def _declared(port: Port) -> Value:
    """Return the value that an input or an output declares, for a batch of one."""
    return Value((1, *(size for size in port.shape[1:] if isinstance(size, int))))


def _compute(node: Node, values: dict[str, Value]) -> Result:
    """Compute the outputs of one node and add them to the values."""
    inputs = [_find(values, name, node) for name in node.inputs]
    try:
        result = RULES[node.operator](node, inputs)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise refuse(f"expected a '{node.operator}' whose shape can be computed, found {exc}") from exc
    if len(node.outputs) > len(result.values):
        found = len(node.outputs)
        raise refuse(f"expected at most {len(result.values)} outputs of '{node.operator}', found {found}")
    for place, name in enumerate(node.outputs):
        value = result.values[place]
        if len(value.shape) > MAX_RANK or any(size > MAX_DIM for size in value.shape):
            fault = f"expected at most {MAX_RANK} dimensions of at most {MAX_DIM}"
            raise refuse(f"{fault}, found a '{node.operator}' to {list(value.shape[: MAX_RANK + 1])}")
        if name:
            _add(values, name, value)
    return result


def _add(values: dict[str, Value], name: str, value: Value) -> None:
    if name in values:
        raise refuse(f"expected one value of each name, found '{name}' twice")
    values[name] = value


def _find(values: dict[str, Value], name: str, node: Node) -> Value | None:
    """Return an input; None where it is left out."""
    if not name:
        return None
    if name not in values:
        raise refuse(f"expected every node after those whose values it takes, found '{node.operator}'")
    return values[name]
