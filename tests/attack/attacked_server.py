"""A server under attack: its memory, connections and output, and the clients that must not notice."""

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostile_peer import HEALTH, SERVER, TOKEN, head, post

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEER = HERE / "hostile_peer.py"
SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
"""Addresses of the hostile peers; the good clients are at 127.0.0.1."""
MAX_GROWTH_BYTES = 50 * 2**20
_START_S = 60.0
_ANSWER_S = 5.0


class AttackedServer:
    """A server process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[Any]", port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    def log(self) -> str:
        """Return what the server wrote to stderr."""
        return self._log.read_text(errors="replace")

    def memory_bytes(self) -> int:
        """Return the resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+) kB", status)[1]) * 1024

    def num_sockets(self) -> int:
        """Return the number of open sockets."""
        count = 0
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                count += str(path.readlink()).startswith("socket:")
        return count

    def connect(self) -> socket.socket:
        """Return a connection from 127.0.0.1."""
        connection = socket.create_connection((SERVER, self.port), timeout=_ANSWER_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of one answer over a new connection."""
        with self.connect() as connection:
            return exchange(connection, request)


def exchange(connection: socket.socket, request: bytes) -> tuple[int, bytes]:
    """Send a request and return the status and the body of its answer."""
    connection.sendall(request)
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _received(connection)
    length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer)[1])
    while len(answer) < end + 4 + length:
        answer += _received(connection)
    return int(answer[9:12]), answer[end + 4 :]


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionResetError("the server ended the connection")
    return data


@contextlib.contextmanager
def serving(*arguments: object, log: Path) -> Iterator[AttackedServer]:
    """Start a server process whose stderr is a file, and end it."""
    environment = {name: value for name, value in os.environ.items() if name != "SACPIPE_TOKEN"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sacpipe.server", *(str(part) for part in arguments)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=environment | {"PYTHONPATH": str(ROOT)},
        )
    try:
        yield AttackedServer(process, _wait_for_port(process, log), log)
    finally:
        process.kill()
        process.wait()


def _wait_for_port(process: "subprocess.Popen[Any]", log: Path) -> int:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        found = re.search(r" at http://\S+:(\d+)\s", log.read_text(errors="replace"))
        if found:
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')}")


@contextlib.contextmanager
def attacking(kind: str, server: AttackedServer, seconds: float, num_peers: int) -> Iterator[list[Any]]:
    """Start the peers of an attack; wait for their end afterwards, and fill the list with their counters."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(PEER), kind, str(server.port), source, str(seconds), str(num_peers)],
            stdout=subprocess.PIPE,
        )
        for source in SOURCES[:num_peers]
    ]
    counters: list[Any] = []
    try:
        yield counters
        for process in processes:
            output, _ = process.communicate(timeout=seconds + 30.0)
            counters.append(json.loads(output))
    finally:
        for process in processes:
            process.kill()  # by its id; has no effect where it ended
            process.wait()


OBSERVATION = (0.5, 0.25, 0.0)
ACTION = (1.25, 2.5)
"""The hand-made bundle's action for the observation, by hand: gain 0.5 - 0.25 + 1."""
RAW = struct.pack("<3f", *OBSERVATION)
GOOD_REQUEST = post(RAW, f"Authorization: Bearer {TOKEN}", "Inference-Header-Content-Length: 0")
HEALTH_REQUEST = head("GET", HEALTH, host=SERVER)
_REQUESTS_A_CONNECTION = 50


class GoodClients:
    """A client with the token, which must get right answers in time, and the container's health check.

    Args:
        server: Under attack.
        pause_s: Time between two requests of the client, in seconds.
    """

    def __init__(self, server: AttackedServer, pause_s: float = 0.002) -> None:
        self._server, self._pause_s = server, pause_s
        self.faults: list[str] = []
        self.latencies_s: list[float] = []
        self.num_health_checks = 0
        self.peak_bytes = 0
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._ask_often, self._check_health, self._watch_memory)
        ]

    def __enter__(self) -> "GoodClients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(timeout=2 * _ANSWER_S)

    def _ask_often(self) -> None:
        while not self._is_over.is_set():
            begin_s = time.monotonic()
            try:
                with self._server.connect() as connection:
                    for _ in range(_REQUESTS_A_CONNECTION):
                        begin_s = time.monotonic()
                        self._ask_once(connection)
                        if self._is_over.wait(self._pause_s):
                            break
            except OSError as exc:
                self.faults.append(f"client with the token: {exc!r} after {time.monotonic() - begin_s:.2f} s")
                self._is_over.wait(0.05)

    def _ask_once(self, connection: socket.socket) -> None:
        begin_s = time.perf_counter()
        status, body = exchange(connection, GOOD_REQUEST)
        self.latencies_s.append(time.perf_counter() - begin_s)
        if status != 200:
            self.faults.append(f"client with the token: status {status}, {body[:200]!r}")
            raise ConnectionAbortedError("another request over this connection makes no sense")
        action = struct.unpack("<2f", body[-8:])
        if any(abs(found - right) > 1e-5 for found, right in zip(action, ACTION, strict=True)):
            self.faults.append(f"client with the token: expected {ACTION}, found {action}")

    def _check_health(self) -> None:
        while not self._is_over.is_set():
            try:
                status, _ = self._server.ask(HEALTH_REQUEST)
                if status != 200:
                    self.faults.append(f"health check: status {status}")
            except OSError as exc:
                self.faults.append(f"health check: {exc!r}")
            self.num_health_checks += 1
            self._is_over.wait(0.25)

    def _watch_memory(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(OSError, TypeError):  # the process may have ended
                self.peak_bytes = max(self.peak_bytes, self._server.memory_bytes())
            self._is_over.wait(0.05)
