"""Clients with the token that send what no policy can use. Kind: one round, and the statuses that it may receive."""

import gzip
import json
from collections.abc import Callable
from typing import Any

from hostile_peer import Peer

_BAD = frozenset({400})
Round = Callable[[Peer], None]


def _tensor(**changes: Any) -> dict[str, Any]:
    plain = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}
    return plain | changes


def _request(parameters: dict[str, Any] | None = None, **changes: Any) -> bytes:
    return json.dumps({"inputs": [_tensor(**changes)], "parameters": parameters or {}}).encode()


def _terms(*tensors: dict[str, Any], **parameters: Any) -> bytes:
    return json.dumps({"inputs": list(tensors), "parameters": parameters}).encode()


def _term(name: str, size: int, **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "shape": [1, size], "datatype": "FP32", "data": [0.25] * size}
    return {key: value for key, value in (plain | changes).items() if value is not ...}


_POSITION, _VELOCITY = _term("position", 2), _term("velocity", 1)


def _send(*bodies: bytes, headers: tuple[str, ...] = ()) -> Round:
    """Return a round that sends the bodies, each over a connection of its own."""

    def run(peer: Peer) -> None:
        for body in bodies:
            peer.ask_token(body, *headers)

    return run


def _many_sequences(peer: Peer) -> None:
    """More sequences than the server keeps open, each begun and left."""
    for index in range(65):
        key = f"{peer.source}-{peer.rounds}-{index}"
        peer.ask_token(_request({"sequence_id": key, "sequence_start": True}))


def _same_sequence(peer: Peer) -> None:
    """All peers step one sequence."""
    peer.ask_token(_request({"sequence_id": 7, "sequence_start": True}))
    peer.ask_token(_request({"sequence_id": 7}))


def _lying_bytes(peer: Peer) -> None:
    """Fewer or more bytes after the JSON than the terms have, and sizes that belong to another term."""
    sizes = {"position": 8, "velocity": 4}
    for claimed in (sizes, {"position": 4, "velocity": 8}, {"position": 2**62, "velocity": 4}):
        parts = [
            _term(name, size // 4, data=..., parameters={"binary_data_size": claimed[name]})
            for name, size in sizes.items()
        ]
        json_bytes = _terms(*parts)
        for tail in (b"", b"\0" * 11, b"\0" * 13, b"\0" * 2**20):
            peer.ask_token(json_bytes + tail, f"Inference-Header-Content-Length: {len(json_bytes)}")


_DEEP = b"[" * 100_000 + b"]" * 100_000
_DIGITS = b'{"inputs": [{"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [%s, 0, 0]}]}'

WITH_TOKEN: dict[str, tuple[Round, frozenset[int]]] = {
    "compressed body": (
        _send(gzip.compress(b"\0" * 2**22), headers=("Content-Encoding: gzip",)),
        frozenset({415}),
    ),
    "compressed body without its header": (_send(gzip.compress(b"\0" * 2**22)), _BAD),
    "deep nesting": (_send(_DEEP, b'{"inputs": ' * 20_000), _BAD),
    "numbers beyond float32": (_send(*(_DIGITS % value for value in (b"1e400", b"-1e39"))), _BAD),
    "numbers of many digits": (
        _send(_DIGITS % (b"9" * 100_000), _DIGITS % (b"0." + b"1" * 100_000)),
        frozenset({200, 400}),
    ),
    "numbers that are none": (
        _send(*(_DIGITS % value for value in (b"NaN", b"Infinity", b"null", b'"1"', b"true"))),
        _BAD,
    ),
    "keys given twice": (
        _send(
            b'{"inputs": [], "inputs": [{"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [1]}]}'
        ),
        _BAD,
    ),
    "JSON that ends early": (_send(_request()[:-3], b"", b"{"), _BAD),
    "bytes that are no UTF-8": (_send(b"\xff\xfe" + _request(), b'{"inputs": "\xc3\x28"}'), _BAD),
    "binary size that is a lie": (
        _send(
            *(_request(data=None, parameters={"binary_data_size": size}) for size in (2**40, 13, 0)),
            headers=("Inference-Header-Content-Length: 20",),
        ),
        _BAD,
    ),
    "length of the JSON that is a lie": (
        _send(_request(), headers=("Inference-Header-Content-Length: 99999999999999999999",)),
        _BAD,
    ),
    "length of the JSON that is no number": (
        _send(_request(), headers=("Inference-Header-Content-Length: -1",)),
        _BAD,
    ),
    "raw observation of another size": (
        _send(b"\0" * 11, b"\0" * 4096, headers=("Inference-Header-Content-Length: 0",)),
        _BAD,
    ),
    "shape that is a lie": (
        _send(*(_request(shape=shape) for shape in ([2**62, 3], [-1, 3], [0, 3], [3], [1, 1, 3], [2, 3]))),
        _BAD,
    ),
    "batch of 1,000": (_send(_request(shape=[1000, 3], data=[0.0] * 3000)), frozenset({200, 400})),
    "unknown names": (_send(_request(name="other"), _request(datatype="INT8")), _BAD),
    "terms of unknown names": (
        _send(
            *(_terms(_term(name, 2), _VELOCITY) for name in ("os:system", "../position", "", "x" * 100_000)),
            _terms(_POSITION),
            _terms(_POSITION, _VELOCITY, _term("camera", 1)),
            _terms(_tensor(), _POSITION, _VELOCITY),
        ),
        _BAD,
    ),
    "terms given twice": (
        _send(
            _terms(_POSITION, _POSITION),
            _terms(_POSITION, _VELOCITY, _POSITION),
            _terms(_tensor(), _tensor()),
        ),
        _BAD,
    ),
    "terms of another type": (
        _send(
            *(
                _terms(_term("position", 2, datatype=kind), _VELOCITY)
                for kind in ("UINT8", "FP64", "BYTES", "")
            ),
            _terms(_term("position", 2, data=["0", "1"]), _VELOCITY),
        ),
        _BAD,
    ),
    "terms of another shape": (
        _send(
            *(
                _terms(_term("position", 2, shape=shape), _VELOCITY)
                for shape in ([2, 1], [1, 3], [2], [], [1, 2, 1], [2**62, 2], [-1, 2], [0, 2])
            )
        ),
        _BAD,
    ),
    "terms of two batch sizes": (
        _send(_terms(_term("position", 4, shape=[2, 2]), _VELOCITY)),
        _BAD,
    ),
    "terms whose bytes are a lie": (_lying_bytes, _BAD),
    "terms with far more numbers than their shape": (
        _send(_terms(_term("position", 2, data=[0] * 1_000_000), _VELOCITY)),
        _BAD,
    ),
    "tens of thousands of inputs": (
        _send(_terms(*(_term(str(index), 1) for index in range(30_000)))),
        _BAD,
    ),
    "stamps of single terms that are none": (
        _send(
            *(
                _terms(
                    _term("position", 2, parameters={"stamp_ns": value}),
                    _VELOCITY,
                    sequence_id=11,
                    sequence_start=True,
                )
                for value in (-1, 2**62, 2**64, 2**70, 1e30, "now", None)
            )
        ),
        frozenset({200, 400}),
    ),
    "hundreds of inputs": (_send(json.dumps({"inputs": [_tensor()] * 500}).encode()), _BAD),
    "hundreds of outputs": (
        _send(json.dumps({"inputs": [_tensor()], "outputs": [{"name": "action"}] * 500}).encode()),
        _BAD,
    ),
    "more sequences than places": (_many_sequences, frozenset({200, 400})),
    "one sequence, several robots": (_same_sequence, frozenset({200, 400})),
    "sequence ids that are none": (
        _send(*(_request({"sequence_id": key}) for key in (-1, 2**64, "x" * 129, 1.5, True, [], {}))),
        _BAD,
    ),
    "timeouts that are none": (
        _send(*(_request({"timeout": value}) for value in (-1, 0, 2**70, 1.5, "1", True, None))),
        frozenset({200, 400, 503}),
    ),
    "stamps that are none": (
        _send(
            *(
                _request({"sequence_id": 9, "sequence_start": True, "observation_stamp_ns": value})
                for value in (-1, 2**63, 2**64, 2**70, 1e30, "now")
            )
        ),
        frozenset({200, 400}),
    ),
    "long id": (
        _send(json.dumps({"id": "x" * 2_000_000, "inputs": [_tensor()]}).encode()),
        frozenset({200, 400}),
    ),
}
