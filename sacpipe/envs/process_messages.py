"""Messages between a run and the processes of its simulators: packed records over a socket, no pickle.

A message is one byte for its kind, the number of bytes that follow as a little-endian uint32, and the bytes.
The record of an answer has the bits of the step: the same float64 reward, the same float32 observation.
"""

import socket
import struct
from collections.abc import Sequence

import numpy as np

from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import NO_METRICS, Step

MAKE, RESET, STEP, CLOSE = b"M", b"R", b"S", b"C"
"""Kinds of requests: JSON of the `task` section; a seed as int64; an action as float32; no bytes."""
RESULT, FAILURE = b"=", b"!"
"""Kinds of answers: a record, empty for MAKE; JSON of `sacpipe.core.error_fields`."""

_HEADER = struct.Struct("<cI")


class StepCodec:
    """Packs steps of a task into bytes and back.

    Args:
        spec: Of the task.
        metrics: Names of each step's metrics.
    """

    def __init__(self, spec: EnvSpec, metrics: Sequence[str]) -> None:
        self._layout, self._metrics = spec.layout, tuple(metrics)
        images = [(f"images/{term.name}", np.uint8, term.shape) for term in spec.layout.image_terms]
        self._dtype = np.dtype(
            [
                ("vector", np.float32, (spec.layout.vector_dim,)),  # first, so that it is aligned
                ("reward", np.float64),
                ("metrics", np.float64, (len(metrics),)),
                ("terminated", np.bool_),
                ("truncated", np.bool_),
                *images,
            ]
        )

    def pack(self, step: Step) -> bytes:
        """Return the bytes of a step."""
        record = np.zeros(1, dtype=self._dtype)
        record["vector"][0] = step.observation.vector
        record["reward"], record["terminated"], record["truncated"] = step[1:4]
        if self._metrics:
            record["metrics"][0] = [step.metrics[name] for name in self._metrics]
        for name, image in step.observation.images.items():
            record[f"images/{name}"][0] = image
        return record.tobytes()

    def pack_observation(self, observation: Observation) -> bytes:
        """Return the bytes of a first observation: a step without a reward."""
        return self.pack(Step(observation, 0.0, False, False, dict.fromkeys(self._metrics, 0.0)))

    def unpack(self, data: bytearray) -> Step:
        """Return the step; its observation is a view of the bytes, which nothing else may change."""
        record = np.frombuffer(data, dtype=self._dtype)
        names = (term.name for term in self._layout.image_terms)
        images = {name: record[f"images/{name}"][0] for name in names}
        metrics = record["metrics"][0].tolist()
        return Step(
            Observation(self._layout, record["vector"][0], images),
            float(record["reward"][0]),
            bool(record["terminated"][0]),
            bool(record["truncated"][0]),
            dict(zip(self._metrics, metrics, strict=True)) if metrics else NO_METRICS,
        )


def send(connection: socket.socket, kind: bytes, data: bytes = b"") -> None:
    """Send a message.

    Raises:
        OSError: the other process has ended.
    """
    connection.sendall(_HEADER.pack(kind, len(data)) + data)


def receive(connection: socket.socket) -> tuple[bytes, bytearray]:
    """Wait for a message; return its kind and its bytes in memory of their own.

    Raises:
        EOFError: the other process has ended.
        OSError: likewise.
    """
    kind, size = _HEADER.unpack(_receive_bytes(connection, _HEADER.size))
    return kind, _receive_bytes(connection, size)


def _receive_bytes(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, received = memoryview(data), 0
    while received < size:
        count = connection.recv_into(view[received:])
        if not count:
            raise EOFError("the connection is closed")
        received += count
    return data
