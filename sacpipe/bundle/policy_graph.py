"""Reads and checks the graph of policy.onnx from its bytes, without any ONNX library.

A robot runs these checks before onnxruntime parses the file. `_FIELDS` lists the protobuf fields that
an exported policy may have (`onnx/onnx.proto`). Every other field is refused: tensors in other files,
sub-graphs, functions, other operator domains, training information, metadata.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sacpipe.core.errors import BundleError

_OPERATOR_NAMES = """
    Abs Add And BatchNormalization Cast Clip Concat Constant Cos Div Elu Equal Erf Exp Expand Flatten
    Gather Gelu Gemm Greater GreaterOrEqual HardSigmoid HardSwish Identity LayerNormalization LeakyRelu
    Less LessOrEqual Log MatMul Max Min Mish Mul Neg Not Or PRelu Pow RMSNormalization ReduceMax ReduceMean
    ReduceMin ReduceSum Reciprocal Relu Reshape Selu Shape Sigmoid Sign Sin Slice Softmax Softplus Softsign
    Split Sqrt Squeeze Sub Swish Tanh Transpose Unsqueeze Where
"""
ALLOWED_OPERATORS = frozenset(_OPERATOR_NAMES.split())
"""Operators without state, randomness, loops or branches."""

_MAY_SKIP_INPUTS = frozenset({"Clip", "Slice"})
"""Operators whose inputs may have empty names, for an input that is left out. onnxruntime 1.31 crashes
(SIGSEGV at run time) on an empty input name of Max, Min or LayerNormalization."""

_INTEGER_INPUTS: dict[str, frozenset[int]] = {
    **dict.fromkeys(("Expand", "Gather", "Pow", "Reshape", "Split", "Squeeze", "Unsqueeze"), frozenset({1})),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), frozenset({1})),
    "Slice": frozenset({1, 2, 3, 4}),
}
"""Indices of the inputs that may be integers, by operator: shapes, indices, axes and exponents. Arithmetic
with integers is refused: dividing the lowest integer by -1 ends the process by a signal (SIGFPE), possibly
for rare observations only."""
_MOVING_OPERATORS = frozenset({"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
"""Operators that copy values without arithmetic; their output is an integer if an input is."""
_CAST_TARGETS = frozenset({1, 9})
"""ONNX data types float32 and bool."""

MAX_FIELDS = 2**17
"""Largest number of protobuf fields in a model. A policy has some hundreds; this many take a second."""

_INT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIELDS: dict[str, dict[int, int]] = {
    "model": {1: _INT, 2: _BYTES, 7: _BYTES, 8: _BYTES},  # ir_version producer_name graph opset_import
    "opset": {1: _BYTES, 2: _INT},  # domain version
    "graph": {1: _BYTES, 2: _BYTES, 5: _BYTES, 11: _BYTES, 12: _BYTES},  # node name initializer input output
    "node": {1: _BYTES, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _BYTES},  # input output name op_type attribute
    "attribute": {1: _BYTES, 2: _FIXED32, 3: _INT, 4: _BYTES, 5: _BYTES, 7: _FIXED32, 8: _INT, 20: _INT},
    "tensor": {1: _INT, 2: _INT, 8: _BYTES, 9: _BYTES},  # dims data_type name raw_data
}
_REFUSED = {
    ("model", 14): "metadata",
    ("model", 20): "training information",
    ("model", 25): "a function",
    ("graph", 15): "a sparse tensor",
    ("node", 7): "an operator domain",
    ("attribute", 6): "a sub-graph",
    ("attribute", 11): "a sub-graph",
    ("tensor", 13): "data in another file",
    ("tensor", 14): "data in another file",
}
_ITEM_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
}
_NOT_A_MODEL = "expected an ONNX model, found other or truncated bytes"


class GraphFacts(NamedTuple):
    """Properties of a policy.onnx that its contract states too."""

    ir_version: int
    opset_version: int
    operators: tuple[str, ...]
    """Names of the operators in the graph, sorted, each once."""


@dataclass(frozen=True)
class _Message:
    """The fields of one protobuf message, by number."""

    kind: str
    numbers: dict[int, list[int]]
    blocks: dict[int, list[memoryview]]

    def number(self, field: int, what: str) -> int:
        values = self.numbers.get(field, [])
        if len(values) != 1:
            raise _refuse(f"expected one {what}, found {len(values)}")
        return values[0]

    def block(self, field: int, what: str) -> memoryview:
        values = self.blocks.get(field, [])
        if len(values) != 1:
            raise _refuse(f"expected one {what}, found {len(values)}")
        return values[0]

    def text(self, field: int, what: str) -> str:
        return bytes(self.block(field, what)).decode(errors="replace")


def read_graph(policy_onnx: bytes) -> GraphFacts:
    """Check that a policy is one plain graph of finite numbers, and return its properties.

    Raises:
        BundleError: the bytes are not an ONNX model, or have a part that a policy may not have.
    """
    count = itertools.count(1)
    model = _read("model", memoryview(policy_onnx), count)
    opset = _read("opset", model.block(8, "operator set"), count)
    if domain := opset.text(1, "operator domain"):
        raise _refuse(f"expected the standard operator domain, found '{domain}'")
    graph = _read("graph", model.block(7, "graph"), count)
    integers = _Integers({name for name, kind in _check_tensors(graph, count) if kind == "i"}, set())
    operators = {_check_node(node, integers, count) for node in graph.blocks.get(1, [])}
    return GraphFacts(
        ir_version=model.number(1, "IR version"),
        opset_version=opset.number(2, "operator set version"),
        operators=tuple(sorted(operators)),
    )


class _Integers(NamedTuple):
    """Tracks which values of a graph are integers, node by node in the graph's order."""

    known: set[str]
    """Names of the values that are integers."""
    used: set[str]
    """Names of all values that were an input so far."""

    def check(self, operator: str, inputs: list[str], outputs: list[str], *, makes: bool) -> None:
        """Check the integers of one node and record its outputs.

        Args:
            operator: The operator's name.
            inputs: Names of the input values.
            outputs: Names of the output values.
            makes: Whether the outputs are integers whatever the inputs are.
        """
        self.used.update(inputs)
        places = {place for place, name in enumerate(inputs) if name in self.known}
        if others := places - _INTEGER_INPUTS.get(operator, frozenset()):
            if operator not in _MOVING_OPERATORS:
                raise _refuse(
                    f"expected integers as shapes, indices and axes only, found one as input {min(others)} "
                    f"of '{operator}'"
                )
            makes = True
        if makes:
            if not self.used.isdisjoint(outputs):
                raise _refuse(f"expected every node after those whose values it takes, found '{operator}'")
            self.known.update(outputs)


def _check_node(data: memoryview, integers: _Integers, count: Iterator[int]) -> str:
    node = _read("node", data, count)
    operator = node.text(4, "operator name in a node")
    inputs, outputs = (
        [bytes(name).decode(errors="replace") for name in node.blocks.get(n, [])] for n in (1, 2)
    )
    if operator not in ALLOWED_OPERATORS:
        raise _refuse(f"expected operators that docs/bundle.md lists, found '{operator}'")
    if operator not in _MAY_SKIP_INPUTS and not all(inputs):
        raise _refuse(f"expected a name for every input of '{operator}', found an empty one")
    makes = operator == "Shape"
    for block in node.blocks.get(5, []):
        attribute = _read("attribute", block, count)
        kinds = [kind for _, kind in _check_tensors(attribute, count)]
        numbers = attribute.numbers.get(3, []) + attribute.numbers.get(8, [])
        if (
            operator == "Cast"
            and attribute.text(1, "attribute name") == "to"
            and set(numbers) - _CAST_TARGETS
        ):
            raise _refuse(f"expected a Cast to float32 or bool, found ONNX data type {numbers}")
        makes |= operator == "Constant" and ("i" in kinds or bool(numbers))
    integers.check(operator, inputs, outputs, makes=makes)
    return operator


def _check_tensors(message: _Message, count: Iterator[int]) -> list[tuple[str, str]]:
    """Check the tensors of a graph or an attribute; return name and NumPy kind letter of each."""
    return [_check_tensor(tensor, count) for tensor in message.blocks.get(5, [])]


def _check_tensor(data: memoryview, count: Iterator[int]) -> tuple[str, str]:
    tensor = _read("tensor", data, count)
    name = tensor.text(8, "name in a tensor")
    code = tensor.number(2, f"data type in tensor '{name}'")
    item_type = _ITEM_TYPES.get(code)
    if item_type is None:
        raise _refuse(f"tensor '{name}': expected float32, int32, int64 or bool, found ONNX data type {code}")
    raw = tensor.block(9, f"block of raw data in tensor '{name}'")
    expected = math.prod(tensor.numbers.get(1, [])) * item_type.itemsize
    if len(raw) != expected:
        raise _refuse(f"tensor '{name}': expected {expected} bytes, found {len(raw)}")
    if item_type.kind == "f" and not np.isfinite(np.frombuffer(raw, item_type)).all():
        raise _refuse(f"tensor '{name}': expected finite numbers, found NaN or infinity")
    return name, item_type.kind


def _read(kind: str, data: memoryview, count: Iterator[int]) -> _Message:
    """Group the fields of one protobuf message by number, and refuse every field that is not in `_FIELDS`.

    Args:
        kind: Key of `_FIELDS`.
        data: Bytes of the message.
        count: Counter of the fields read so far in the whole model.
    """
    message = _Message(kind, {}, {})
    for number, wire, value in _fields(data):
        if next(count) > MAX_FIELDS:
            raise _refuse(f"expected at most {MAX_FIELDS} protobuf fields, found more")
        if _FIELDS[kind].get(number) != wire:
            what = _REFUSED.get((kind, number), f"field {number}")
            raise _refuse(f"the {kind} holds {what}, which a policy may not hold")
        if isinstance(value, int):
            message.numbers.setdefault(number, []).append(value)
        else:
            message.blocks.setdefault(number, []).append(value)
    return message


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield number, wire type and value of each field of one protobuf message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        value, position = _varint(data, position) if wire in {_INT, _BYTES} else (0, position)
        if wire == _INT:
            yield number, wire, value
            continue
        size = {_FIXED64: 8, _BYTES: value, _FIXED32: 4}.get(wire)
        if size is None or position + size > len(data):
            raise _refuse(_NOT_A_MODEL)
        yield number, wire, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, position + index + 1
    raise _refuse(_NOT_A_MODEL)


def _refuse(fault: str) -> BundleError:
    return BundleError(f"policy.onnx: {fault}. Export the policy again with `sacpipe`.")
