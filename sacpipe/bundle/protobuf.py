"""Reads the wire format of protobuf from untrusted bytes, without any protobuf library.

Every field that is not in `_FIELDS` is refused (`onnx/onnx.proto` numbers them): tensors in other files,
sub-graphs, functions, other operator domains, training information, metadata.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sacpipe.core.errors import BundleError

MAX_FIELDS = 2**17
"""Largest number of protobuf fields in a model. A policy has some hundreds; this many take a second."""

_INT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_FIELDS: dict[str, dict[int, int]] = {
    "model": {1: _INT, 2: _BYTES, 7: _BYTES, 8: _BYTES},  # ir_version producer_name graph opset_import
    "opset": {1: _BYTES, 2: _INT},  # domain version
    "graph": {1: _BYTES, 2: _BYTES, 5: _BYTES, 11: _BYTES, 12: _BYTES},  # node name initializer input output
    "node": {1: _BYTES, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _BYTES},  # input output name op_type attribute
    # name f i s t floats ints type
    "attribute": {1: _BYTES, 2: _FIXED32, 3: _INT, 4: _BYTES, 5: _BYTES, 7: _FIXED32, 8: _INT, 20: _INT},
    "value_info": {1: _BYTES, 2: _BYTES},  # name type
    "type": {1: _BYTES},  # tensor_type
    "tensor_type": {1: _INT, 2: _BYTES},  # elem_type shape
    "shape": {1: _BYTES},  # dim
    "dimension": {1: _INT, 2: _BYTES},  # dim_value dim_param
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
_NOT_A_MODEL = "expected an ONNX model, found other or truncated bytes"


@dataclass(frozen=True)
class Message:
    """The fields of one protobuf message, by number."""

    numbers: dict[int, list[int]]
    """Unsigned integers."""
    blocks: dict[int, list[memoryview]]
    """Bytes; 4 of them for a float."""

    def number(self, field: int, what: str) -> int:
        """Return the only integer of a field."""
        values = self.numbers.get(field, [])
        if len(values) != 1:
            raise refuse(f"expected one {what}, found {len(values)}")
        return values[0]

    def block(self, field: int, what: str) -> memoryview:
        """Return the only bytes of a field."""
        values = self.blocks.get(field, [])
        if len(values) != 1:
            raise refuse(f"expected one {what}, found {len(values)}")
        return values[0]

    def text(self, field: int, what: str) -> str:
        """Return the only text of a field."""
        return bytes(self.block(field, what)).decode(errors="replace")


def read_message(kind: str, data: memoryview, count: Iterator[int]) -> Message:
    """Group the fields of one protobuf message by number, and refuse every field that is not in `_FIELDS`.

    Args:
        kind: Key of `_FIELDS`.
        data: Bytes of the message.
        count: Counter of the fields read so far in the whole model.
    """
    message = Message({}, {})
    for number, wire, value in _fields(data):
        if next(count) > MAX_FIELDS:
            raise refuse(f"expected at most {MAX_FIELDS} protobuf fields, found more")
        if _FIELDS[kind].get(number) != wire:
            what = _REFUSED.get((kind, number), f"field {number}")
            raise refuse(f"the {kind} holds {what}, which a policy may not hold")
        if isinstance(value, int):
            message.numbers.setdefault(number, []).append(value)
        else:
            message.blocks.setdefault(number, []).append(value)
    return message


def signed(number: int) -> int:
    """Return an unsigned integer of a message as the signed 64-bit integer that it encodes."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield number, wire type and value of each field of one protobuf message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == _INT:
            value, position = _varint(data, position)
            yield number, wire, value
            continue
        size = _FIXED_BYTES.get(wire)
        if wire == _BYTES:
            size, position = _varint(data, position)
        if size is None or position + size > len(data):
            raise refuse(_NOT_A_MODEL)
        yield number, wire, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, position + index + 1
    raise refuse(_NOT_A_MODEL)


def refuse(fault: str) -> BundleError:
    """Return the error of a policy.onnx that is not as expected."""
    return BundleError(f"policy.onnx: {fault}. Export the policy again with `sacpipe`.")
