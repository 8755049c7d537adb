"""An environment in a process of its own, for simulators that take milliseconds a step.

Run as a module (`python -m sacpipe.envs.environment_process DESCRIPTOR`) this file is that process. It is a
fresh interpreter, not a fork, and reads requests from the socket DESCRIPTOR. It ignores SIGINT and SIGTERM,
because the run needs its simulators for the checkpoint of a stop, and ends when the run's end of the socket
is closed: so it outlives a killed run by no more than a moment.

Messages are packed records over a socket, no pickle. A message is one byte for its kind, the number of bytes
that follow as a little-endian uint32, and the bytes. The record of an answer has the bits of the step: the
same float64 reward, the same float32 observation.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from sacpipe.core.error_fields import error_fields, error_of
from sacpipe.core.errors import SacpipeError, SimulatorError
from sacpipe.core.files import canonical_json
from sacpipe.core.fixed_arithmetic import fixed_environment
from sacpipe.envs.base import Environment, TaskSection
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import NO_METRICS, FloatArray, Step

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


_END_S = 10.0
"""Time that a process may take to end after its request, in seconds; then it is killed."""
_ANSWER_S = 600.0
"""Time that a process may take to answer, in seconds: the slowest simulators take one to make a model."""
_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class EnvironmentProcess:
    """The run's end of an environment in another process. Each call that begins is followed by its result's.

    The constructor does not wait: several processes start at the same time. An error of the task's `make` is
    raised by the first call that waits.

    Args:
        task: The `task` section of params.yaml.
        spec: Of the task.
        num_threads: Threads of libraries that the simulator may use beside NumPy, such as PyTorch.
        answer_s: Time that the process may take to answer, in seconds.
    """

    def __init__(
        self, task: TaskSection, spec: EnvSpec, num_threads: int, answer_s: float = _ANSWER_S
    ) -> None:
        self._name, self._codec = spec.task, StepCodec(spec, task.metrics)
        self._is_made = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = _start(theirs, num_threads)
        self._connection, self._answer_s = ours, answer_s
        ours.settimeout(answer_s)
        self._send(MAKE, canonical_json(task.as_tree()).encode())

    def begin_episode(self, seed: int) -> None:
        """Ask the process to reset its simulator."""
        self._send(RESET, seed.to_bytes(8, "little"))

    def first_observation(self) -> Observation:
        """Wait for the reset and return the episode's first observation."""
        return self.finish_step().observation

    def begin_step(self, action: FloatArray) -> None:
        """Ask the process for a step."""
        self._send(STEP, np.asarray(action, dtype=np.float32).tobytes())

    def finish_step(self) -> Step:
        """Wait for the step and return its result.

        Raises:
            SacpipeError: what the environment raised.
            SimulatorError: the process died, or did not answer in time; a retry may succeed.
        """
        if not self._is_made:
            self._receive()
            self._is_made = True
        return self._codec.unpack(self._receive())

    def close(self) -> None:
        """Let the process free its simulator, and wait for its end. A second call does nothing."""
        with contextlib.suppress(OSError, EOFError):
            self._connection.settimeout(_END_S)
            send(self._connection, CLOSE)
            while True:  # an answer that was not taken may keep the process from reading the request
                receive(self._connection)
        self._end()

    def _send(self, kind: bytes, data: bytes) -> None:
        try:
            send(self._connection, kind, data)
        except OSError as exc:
            if not self._is_made:
                self._receive()  # raises the error for which the process ended, if it could tell one
            raise self._death() from exc

    def _receive(self) -> bytearray:
        try:
            kind, data = receive(self._connection)
        except TimeoutError as exc:
            self._child.kill()
            self._end()
            raise SimulatorError(
                f"the process of task '{self._name}' did not answer for {self._answer_s:g} s and was killed. "
                "The last checkpoint is kept.",
                retryable=True,
            ) from exc
        except (OSError, EOFError) as exc:
            raise self._death() from exc
        if kind == FAILURE:
            raise error_of(json.loads(data))
        return data

    def _death(self) -> SimulatorError:
        code = self._end()
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return SimulatorError(
            f"the process of task '{self._name}' died: {reason}. The last checkpoint is kept.", retryable=True
        )

    def _end(self) -> int:
        """Close the connection, wait for the process, which ends with it, and return its exit code."""
        self._connection.close()
        try:
            return self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


def _start(connection: socket.socket, num_threads: int) -> subprocess.Popen[bytes]:
    """Start the process with the signals of a stop blocked, until it ignores them."""
    search_path = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    environment = os.environ | {"PYTHONPATH": search_path, "OMP_NUM_THREADS": str(num_threads)}
    descriptor = connection.fileno()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(descriptor)],
            stdin=subprocess.DEVNULL,
            env=fixed_environment(environment),
            pass_fds=(descriptor,),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: socket.socket) -> None:
    """Answer requests until the run closes the environment or ends."""
    from sacpipe.envs import SUITES

    _, data = receive(connection)
    tree = json.loads(data)
    try:
        environment = SUITES.find_or_import(tree["suite"]).parse(tree, where="task").make()
    except SacpipeError as exc:
        _send_failure(connection, exc)
        return
    send(connection, RESULT)
    codec = StepCodec(environment.spec, environment.metric_names)
    while True:
        kind, data = receive(connection)
        if kind == CLOSE:
            environment.close()
            return
        try:
            result = _result(environment, codec, kind, data)
        except SacpipeError as exc:
            _send_failure(connection, exc)
        else:
            send(connection, RESULT, result)


def _result(environment: Environment, codec: StepCodec, kind: bytes, data: bytearray) -> bytes:
    if kind == RESET:
        return codec.pack_observation(environment.reset(int.from_bytes(data, "little")))
    return codec.pack(environment.step(np.frombuffer(data, dtype=np.float32)))


def _send_failure(connection: socket.socket, error: SacpipeError) -> None:
    send(connection, FAILURE, canonical_json(error_fields(error)).encode())


def _end_with_run(connection: socket.socket) -> None:
    """Wait until the run's end of the socket is closed, even while the simulator steps; then end."""
    hangup = select.poll()
    hangup.register(connection, 0)  # a hang-up is reported whatever is asked for
    hangup.poll()
    os._exit(0)


def main() -> NoReturn:
    """Serve one environment, and end without the exit handlers of simulators."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        threading.Thread(target=_end_with_run, args=(connection,), daemon=True).start()
        with contextlib.suppress(EOFError, OSError):
            _serve(connection)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
