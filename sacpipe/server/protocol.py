"""The Open Inference Protocol v2 for one policy: bytes to a request, an answer to bytes. No I/O.

A body is JSON; or JSON followed by raw tensors, where the HTTP header `Inference-Header-Content-Length` gives
the length of the JSON; or one raw flat observation, where that header is 0. sacpipe/server/inputs.py reads
the tensors, and docs/serving.md lists the parameters. A malformed request is refused with the place, what was
expected and what was found. Values are never converted, padded or clamped.
"""

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sacpipe.robot.decision import Verdict
from sacpipe.server.http_errors import FaultError, RefusalError
from sacpipe.server.inputs import FLAT_INPUT, Count, Inputs, InputTensor, Stamp
from sacpipe.server.json_numbers import decode
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

OUTPUT, OUTPUT_DATATYPE = "action", "FP32"

_Name = Annotated[str, Meta(max_length=128)]
_FLOAT32 = np.dtype("<f4")
_MAX_SEQUENCE_ID = 2**64 - 1
_SequenceId = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": _MAX_SEQUENCE_ID})]
"""`_sequence` checks the bounds: msgspec has none above 2**63 - 1."""


class Sequence(NamedTuple):
    """The sequence of a request: its episode, and whether the request starts or ends it."""

    key: int | str
    is_start: bool
    is_end: bool


class InferRequest(NamedTuple):
    """A well-formed request. Its numbers are not checked yet."""

    observations: Observation
    """Observations with one leading axis, the batch of at least 1; may be read-only and may have NaN."""
    id: str | None
    sequence: Sequence | None
    stamp_ns: int | None
    """Time at which the observation was taken, in nanoseconds of this machine's monotonic clock."""
    term_stamps_ns: dict[str, int]
    """The same of single terms, by name; empty where the request has no such stamp."""
    timeout_us: int | None
    is_binary: bool
    """Whether to answer with raw bytes."""


class AnswerParameters(Struct, omit_defaults=True):
    """Parameters of an answer; docs/serving.md describes them."""

    verdict: Verdict
    reasons: str
    bundle_sha256: str
    contract_sha256: str
    queue_ns: int
    policy_ns: int
    observation_age_ns: int | None = None
    stop_category: int | None = None
    blended_with_sha256: str | None = None


class BinarySize(Struct):
    """Number of bytes of a tensor after the JSON."""

    binary_data_size: Count


class OutputTensor(Struct, omit_defaults=True):
    """The actions: their numbers, or the size of their bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = None
    parameters: BinarySize | None = None


class InferAnswer(Struct, omit_defaults=True, kw_only=True):
    """An answer with actions."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: AnswerParameters
    outputs: list[OutputTensor]


class ErrorAnswer(Struct):
    """A refusal: the reason for which there is no other answer."""

    error: str


class Rendered(NamedTuple):
    """Body of an answer."""

    body: bytes
    header_length: int | None
    """Number of bytes of JSON before the raw tensor; None where the whole body is JSON."""


class OutputParameters(Struct):
    """Parameters of a requested output."""

    binary_data: bool | None = None


class RequestedOutput(Struct):
    """One entry of `outputs`."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(Struct):
    """Parameters of a request; docs/serving.md describes them."""

    sequence_id: _SequenceId | _Name = 0
    sequence_start: bool = False
    sequence_end: bool = False
    timeout: Annotated[Count, Meta(description="Microseconds")] = 0
    binary_data_output: bool = False
    observation_stamp_ns: Stamp | None = None


class RequestBody(Struct):
    """The JSON of a request. The OpenAPI document has the schema of this class."""

    inputs: list[InputTensor]
    id: _Name | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


_REQUESTS = msgspec.json.Decoder(RequestBody)
_NO_PARAMETERS = RequestParameters()


def parse_infer(body: bytes, header_length: bytes | None, inputs: Inputs) -> InferRequest:
    """Read the body of an inference request.

    Args:
        body: The whole body.
        header_length: Value of `Inference-Header-Content-Length`; None where it was not sent.
        inputs: Inputs of the active policy.

    Raises:
        RefusalError: names the place, what was expected and what was found.
    """
    if header_length is None:
        return _parse(body, b"", inputs)
    size = _header_size(header_length, len(body))
    if size == 0:
        return InferRequest(inputs.read_raw(body), None, None, None, {}, None, is_binary=True)
    return _parse(body[:size], body[size:], inputs)


def render_infer(answer: InferAnswer, actions: FloatArray, *, is_binary: bool) -> Rendered:
    """Write an answer.

    Args:
        answer: All but its outputs, which are replaced.
        actions: Shape (batch, action_dim).
        is_binary: Whether the actions are raw bytes after the JSON.

    Raises:
        FaultError: an action is not finite. JSON would have null in its place.
    """
    if not np.isfinite(actions).all():
        raise FaultError("the action is not finite. Do not use this policy.", "action_not_finite")
    output = OutputTensor(OUTPUT, OUTPUT_DATATYPE, list(actions.shape))
    answer.outputs = [output]
    if not is_binary:
        output.data = actions.ravel().tolist()
        return Rendered(msgspec.json.encode(answer), None)
    raw = actions.astype(_FLOAT32, copy=False).tobytes()
    output.parameters = BinarySize(len(raw))
    header = msgspec.json.encode(answer)
    return Rendered(header + raw, len(header))


def render_error(text: str) -> bytes:
    """Write the body of a refusal."""
    return msgspec.json.encode(ErrorAnswer(text))


def _header_size(value: bytes, body_size: int) -> int:
    if not (value.isdigit() and len(value) <= 10 and int(value) <= body_size):
        raise RefusalError(
            f"Inference-Header-Content-Length: expected 0 to {body_size}, the length of the body, "
            f"found {value[:20].decode('latin-1')!r}"
        )
    return int(value)


def _parse(header: bytes, tail: bytes, inputs: Inputs) -> InferRequest:
    request = decode(_REQUESTS, header, "request")
    parameters = request.parameters or _NO_PARAMETERS
    observations = inputs.read(request.inputs, tail)
    sequence, batch = _sequence(parameters), len(observations.vector)
    if sequence is not None and batch != 1:
        raise RefusalError(f"inputs[0].shape: expected one observation a step of a sequence, found {batch}")
    return InferRequest(
        observations=observations,
        id=request.id,
        sequence=sequence,
        stamp_ns=parameters.observation_stamp_ns,
        term_stamps_ns=_term_stamps(request.inputs, inputs),
        timeout_us=parameters.timeout or None,
        is_binary=_is_binary(request.outputs or [], default=parameters.binary_data_output),
    )


def _term_stamps(tensors: list[InputTensor], inputs: Inputs) -> dict[str, int]:
    """Return the stamps of single terms; a flat input has the stamp of every term."""
    stamps = {
        tensor.name: tensor.parameters.stamp_ns
        for tensor in tensors
        if tensor.parameters is not None and tensor.parameters.stamp_ns is not None
    }
    if stamps and tensors[0].name not in inputs.terms:
        return dict.fromkeys(inputs.terms, stamps[FLAT_INPUT])
    return stamps


def _sequence(parameters: RequestParameters) -> Sequence | None:
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


def _is_binary(outputs: list[RequestedOutput], *, default: bool) -> bool:
    if not outputs:
        return default
    if len(outputs) != 1 or outputs[0].name != OUTPUT:
        found = ", ".join(f"'{output.name[:40]}'" for output in outputs[:8])
        raise RefusalError(f"outputs: expected '{OUTPUT}' once or nothing, found {found}")
    own = None if outputs[0].parameters is None else outputs[0].parameters.binary_data
    return default if own is None else own
