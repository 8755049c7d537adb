"""The Open Inference Protocol v2 for one policy: bytes to a request, an answer to bytes. No I/O.

A body is JSON; or JSON followed by the raw tensor, where the HTTP header `Inference-Header-Content-Length`
gives the length of the JSON; or one raw observation, where that header is 0. docs/serving.md lists the
parameters. A malformed request is refused with the place, what was expected and what was found. Values are
never converted, padded or clamped.
"""

from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from sacpipe.server.http_errors import FaultError, RefusalError
from sacpipe.specs.records import FloatArray

INPUT, OUTPUT, DATATYPE = "observation", "action", "FP32"

_Count = Annotated[int, Meta(ge=0)]
_Name = Annotated[str, Meta(max_length=128)]
_T = TypeVar("_T")
_FLOAT32 = np.dtype("<f4")
_MAX_SEQUENCE_ID = 2**64 - 1


class Limits(NamedTuple):
    """Limits of a request."""

    width: int
    """Number of entries of an observation."""
    max_batch: int
    """Maximum number of observations in one request."""


class Sequence(NamedTuple):
    """The sequence of a request: its episode, and whether the request starts or ends it."""

    key: int | str
    is_start: bool
    is_end: bool


class InferRequest(NamedTuple):
    """A well-formed request. Its numbers are not checked yet."""

    observations: FloatArray
    """Observations; may be read-only and may have NaN. Shape (batch, observation_dim), batch at least 1."""
    id: str | None
    sequence: Sequence | None
    stamp_ns: int | None
    """Time at which the observation was taken, in nanoseconds of this machine's monotonic clock."""
    timeout_us: int | None
    is_binary: bool
    """Whether to answer with raw bytes."""


class InferAnswer(NamedTuple):
    """An answer with actions."""

    model_name: str
    model_version: str
    id: str | None
    parameters: dict[str, str | int | bool]
    actions: FloatArray
    """Shape (batch, action_dim)."""


class Rendered(NamedTuple):
    """Body of an answer."""

    body: bytes
    header_length: int | None
    """Number of bytes of JSON before the raw tensor; None where the whole body is JSON."""


class _TensorParameters(Struct):
    binary_data_size: _Count | None = None


class _Input(Struct):
    name: str
    datatype: str
    shape: list[_Count]
    parameters: _TensorParameters | None = None
    data: Raw = Raw()


class _OutputParameters(Struct):
    binary_data: bool | None = None


class _Output(Struct):
    name: str
    parameters: _OutputParameters | None = None


class _Parameters(Struct):
    sequence_id: int | _Name = 0
    sequence_start: bool = False
    sequence_end: bool = False
    timeout: _Count = 0
    binary_data_output: bool = False
    observation_stamp_ns: int | None = None


class _Request(Struct):
    inputs: list[_Input]
    id: _Name | None = None
    parameters: _Parameters | None = None
    outputs: list[_Output] | None = None


_REQUESTS = msgspec.json.Decoder(_Request)
_FLAT = msgspec.json.Decoder(list[float])
_NESTED = msgspec.json.Decoder(list[list[float]])
_NO_PARAMETERS = _Parameters()


def parse_infer(body: bytes, header_length: bytes | None, limits: Limits) -> InferRequest:
    """Read the body of an inference request.

    Args:
        body: The whole body.
        header_length: Value of `Inference-Header-Content-Length`; None where it was not sent.
        limits: Limits of a request.

    Raises:
        RefusalError: names the place, what was expected and what was found.
    """
    if header_length is None:
        return _parse(body, b"", limits)
    size = _header_size(header_length, len(body))
    if size == 0:
        return InferRequest(_raw_rows(body, 1, limits.width), None, None, None, None, is_binary=True)
    return _parse(body[:size], body[size:], limits)


def render_infer(answer: InferAnswer, *, is_binary: bool) -> Rendered:
    """Write an answer.

    Raises:
        FaultError: an action is not finite. JSON would have null in its place.
    """
    if not np.isfinite(answer.actions).all():
        raise FaultError("the action is not finite. Do not use this policy.", "action_not_finite")
    output: dict[str, Any] = {"name": OUTPUT, "datatype": DATATYPE, "shape": list(answer.actions.shape)}
    tree: dict[str, Any] = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.id is not None:
        tree["id"] = answer.id
    tree |= {"parameters": answer.parameters, "outputs": [output]}
    if not is_binary:
        output["data"] = answer.actions.ravel().tolist()
        return Rendered(msgspec.json.encode(tree), None)
    raw = answer.actions.astype(_FLOAT32, copy=False).tobytes()
    output["parameters"] = {"binary_data_size": len(raw)}
    header = msgspec.json.encode(tree)
    return Rendered(header + raw, len(header))


def render_error(text: str) -> bytes:
    """Write the body of a refusal."""
    return msgspec.json.encode({"error": text})


def _header_size(value: bytes, body_size: int) -> int:
    if not (value.isdigit() and len(value) <= 10 and int(value) <= body_size):
        raise RefusalError(
            f"Inference-Header-Content-Length: expected 0 to {body_size}, the length of the body, "
            f"found {value[:20].decode('latin-1')!r}"
        )
    return int(value)


def _parse(header: bytes, tail: bytes, limits: Limits) -> InferRequest:
    request = _decode(_REQUESTS, header, "request")
    parameters = request.parameters or _NO_PARAMETERS
    tensor = _only_input(request.inputs)
    batch = _check_shape(tensor.shape, limits)
    sequence = _sequence(parameters)
    if sequence is not None and batch != 1:
        raise RefusalError(f"inputs[0].shape: expected one observation a step of a sequence, found {batch}")
    return InferRequest(
        observations=_observations(tensor, tail, batch, limits.width),
        id=request.id,
        sequence=sequence,
        stamp_ns=parameters.observation_stamp_ns,
        timeout_us=parameters.timeout or None,
        is_binary=_is_binary(request.outputs or [], default=parameters.binary_data_output),
    )


def _decode(decoder: "msgspec.json.Decoder[_T]", text: bytes | Raw, where: str) -> _T:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise RefusalError(f"{where}: expected a smaller depth of nesting") from None
    except ValueError as exc:  # msgspec's own, and of text that is not UTF-8
        raise RefusalError(f"{where}: {exc}") from None


def _only_input(inputs: list[_Input]) -> _Input:
    if len(inputs) != 1 or inputs[0].name != INPUT:
        found = ", ".join(f"'{tensor.name[:40]}'" for tensor in inputs[:8]) or "none"
        raise RefusalError(f"inputs: expected '{INPUT}' once and nothing else, found {found}")
    if inputs[0].datatype != DATATYPE:
        raise RefusalError(f"inputs[0].datatype: expected {DATATYPE}, found '{inputs[0].datatype[:40]}'")
    return inputs[0]


def _check_shape(shape: list[int], limits: Limits) -> int:
    """Return the batch size. Each size is checked before sizes are multiplied."""
    if len(shape) != 2 or shape[1] != limits.width or not 1 <= shape[0] <= limits.max_batch:
        found = str(shape[:8])[:80]
        raise RefusalError(
            f"inputs[0].shape: expected [1 to {limits.max_batch}, {limits.width}], found {found}", "shape"
        )
    return shape[0]


def _observations(tensor: _Input, tail: bytes, batch: int, width: int) -> FloatArray:
    announced = None if tensor.parameters is None else tensor.parameters.binary_data_size
    data = bytes(tensor.data)
    if (announced is None) == (not data):
        raise RefusalError("inputs[0]: expected either `data` or `parameters.binary_data_size`")
    if announced not in (None, len(tail)) or (announced is None and tail):
        raise RefusalError(
            f"inputs[0].parameters.binary_data_size: expected the {len(tail)} bytes after the JSON header, "
            f"found {announced}"
        )
    return _raw_rows(tail, batch, width) if announced is not None else _json_rows(data, batch, width)


def _raw_rows(raw: bytes, batch: int, width: int) -> FloatArray:
    if len(raw) != (size := batch * width * _FLOAT32.itemsize):
        raise RefusalError(
            f"{INPUT}: expected {size} bytes, {batch} x {width} of {DATATYPE}, found {len(raw)}", "shape"
        )
    rows: FloatArray = np.frombuffer(raw, _FLOAT32).reshape(batch, width)
    return rows


def _json_rows(data: bytes, batch: int, width: int) -> FloatArray:
    place = "inputs[0].data"
    if data[1:].lstrip()[:1] == b"[":
        nested = _decode(_NESTED, data, place)
        wrong = [len(row) for row in nested if len(row) != width]
        if wrong or len(nested) != batch:
            raise RefusalError(
                f"{place}: expected {batch} rows of {width} numbers, found {len(nested)} rows"
                + (f", one of {wrong[0]}" if wrong else ""),
                "shape",
            )
        values = [value for row in nested for value in row]
    else:
        values = _decode(_FLAT, data, place)
    if len(values) != batch * width:
        raise RefusalError(f"{place}: expected {batch * width} numbers, found {len(values)}", "shape")
    with np.errstate(over="ignore"):  # checked below
        flat: FloatArray = np.array(values, dtype=np.float32)
    if not np.isfinite(flat).all():
        index = int(np.flatnonzero(~np.isfinite(flat))[0])
        raise RefusalError(f"{place}: number {index} is beyond {DATATYPE}, found {values[index]}")
    return flat.reshape(batch, width)


def _sequence(parameters: _Parameters) -> Sequence | None:
    key = parameters.sequence_id
    if not key:  # 0 and "" are no sequence, as in Triton
        if parameters.sequence_start or parameters.sequence_end:
            raise RefusalError(
                "parameters.sequence_id: expected with sequence_start or sequence_end, found none"
            )
        return None
    if isinstance(key, int) and not 0 < key <= _MAX_SEQUENCE_ID:
        raise RefusalError(
            f"parameters.sequence_id: expected 1 to 2**64 - 1 or a text, found {str(key)[:40]}"
        )
    return Sequence(key, parameters.sequence_start, parameters.sequence_end)


def _is_binary(outputs: list[_Output], *, default: bool) -> bool:
    if not outputs:
        return default
    if len(outputs) != 1 or outputs[0].name != OUTPUT:
        found = ", ".join(f"'{output.name[:40]}'" for output in outputs[:8])
        raise RefusalError(f"outputs: expected '{OUTPUT}' once or nothing, found {found}")
    own = None if outputs[0].parameters is None else outputs[0].parameters.binary_data
    return default if own is None else own
