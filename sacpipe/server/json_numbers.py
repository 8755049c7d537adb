"""Numbers of a tensor in JSON, flat or nested, as the bytes of the tensor."""

import functools
import math
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw

from sacpipe.server.http_errors import RefusalError

_ENTRIES: dict[str, Any] = {"FP32": float, "UINT8": Annotated[int, Meta(ge=0, le=255)]}
_NESTED = re.compile(rb"\[\s*\[")
_MAX_FLOAT32 = (2 - 2.0**-24) * 2.0**127
"""Smallest number that no float32 is near to: from here on, numbers round to infinity."""

_T = TypeVar("_T")


def decode(decoder: "msgspec.json.Decoder[_T]", text: bytes | Raw, where: str) -> _T:
    """Decode JSON.

    Raises:
        RefusalError: it is no JSON, or not of the decoder's type.
    """
    try:
        return decoder.decode(text)
    except RecursionError:
        raise RefusalError(f"{where}: expected a smaller depth of nesting") from None
    except ValueError as exc:  # msgspec's own, and of text that is not UTF-8
        raise RefusalError(f"{where}: {exc}") from None


@functools.cache
def _decoder(datatype: str, depth: int) -> "msgspec.json.Decoder[Any]":
    kind: Any = _ENTRIES[datatype]
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def read_numbers(raw: Raw, datatype: str, shape: Sequence[int], place: str) -> bytes:
    """Return the numbers of a tensor's `data` as the bytes of the tensor.

    Args:
        raw: A list in JSON, flat or nested as the shape says.
        datatype: FP32 or UINT8.
        shape: Shape of the tensor, with the batch.
        place: Place in the request, for messages.

    Raises:
        RefusalError: another number of numbers, another nesting, or a number that is none of this datatype.
    """
    data, count = bytes(raw), math.prod(shape)
    if (found := data.count(b",") + 1) > count:  # before a list of them takes memory
        raise RefusalError(f"{place}: expected {count} numbers, found {found}", "shape")
    if not _NESTED.match(data):
        shape = (count,)
    values = _flatten(decode(_decoder(datatype, len(shape)), data, place), shape, place)
    if datatype == "UINT8":
        return bytes(values)
    try:
        return struct.pack(f"<{count}f", *values)
    except OverflowError:
        index = next(index for index, value in enumerate(values) if abs(value) >= _MAX_FLOAT32)
        raise RefusalError(f"{place}: number {index} is beyond FP32, found {values[index]}") from None


def _flatten(nested: list[Any], shape: Sequence[int], place: str) -> list[Any]:
    """Return the numbers of nested lists, which must have this shape."""
    if len(nested) != shape[0] and len(shape) == 1:
        raise RefusalError(f"{place}: expected {shape[0]} numbers, found {len(nested)}", "shape")
    lists = [nested]
    for axis, length in enumerate(shape):
        for part in lists:
            if len(part) != length:
                raise RefusalError(
                    f"{place}: expected lists of the shape {list(shape)}, found one of {len(part)} in axis "
                    f"{axis}",
                    "shape",
                )
        lists = [entry for part in lists for entry in part]
    return lists
