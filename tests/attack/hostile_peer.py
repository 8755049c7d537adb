"""One hostile client in a process of its own: it repeats one attack on a server of loopback, for a limited time.

    python hostile_peer.py KIND PORT SOURCE SECONDS PEERS

Needs the standard library alone, so that it starts fast. Writes its rounds and the statuses that it received
as one line of JSON. Statuses: 0 for a connection that ended without an answer.
"""

import contextlib
import json
import os
import socket
import struct
import sys
import time
from collections import Counter

SERVER = "127.0.0.1"
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of the test's own server
INFER = "/v2/models/policy/infer"
HEALTH = "/v2/health/live"
MAX_ROUNDS = 20_000
"""Rounds of one peer: bounds the attack where each round is short."""
MAX_SOCKETS = 350
"""Sockets that all peers together keep open."""
_WAIT_S = 1.0


class Peer:
    """The client's sockets, its end and its counters."""

    def __init__(self, port: int, source: str, seconds: float, num_peers: int) -> None:
        self.port, self.source = port, source
        self.end_s = time.monotonic() + seconds
        self.num_sockets = MAX_SOCKETS // num_peers
        self.rounds = 0
        self.statuses: Counter[int] = Counter()

    def is_on(self) -> bool:
        """Return whether the attack goes on."""
        return time.monotonic() < self.end_s

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        """Return a connection from this peer's address."""
        connection = socket.socket()
        connection.settimeout(_WAIT_S)
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            connection.bind((self.source, 0))
            connection.connect((SERVER, self.port))
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, *pieces: bytes) -> None:
        """Send bytes over a connection of their own and count the status of the answer."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
            self.count_answer(connection)

    def ask_token(self, body: bytes, *headers: str) -> None:
        """Send one inference request with the server's token."""
        self.ask(post(body, f"Authorization: Bearer {TOKEN}", *headers))

    def count_answer(self, connection: socket.socket) -> None:
        """Count the status of the next answer; read no more than its beginning."""
        try:
            answer = connection.recv(65_536)
        except ConnectionError:
            answer = b""
        status = answer[9:12]
        self.statuses[int(status) if status.isdigit() else 0] += 1

    def hold(self, first: bytes, drip: bytes = b"", pause_s: float = 0.1) -> None:
        """Keep many connections open: send `first` on each, then `drip` again and again."""
        with contextlib.ExitStack() as stack:
            held: list[socket.socket] = []
            while self.is_on():
                while len(held) < self.num_sockets and self.is_on():
                    connection = stack.enter_context(self.connect())
                    connection.sendall(first)
                    held.append(connection)
                time.sleep(pause_s)
                held = [connection for connection in held if self._is_open(connection, drip)]

    def _is_open(self, connection: socket.socket, drip: bytes) -> bool:
        """Send the drip; return whether the connection is open, and count the answer of one that is not."""
        try:
            connection.sendall(drip)
            connection.setblocking(False)
            answer = connection.recv(65_536)
        except BlockingIOError:
            connection.settimeout(_WAIT_S)
            return True
        except OSError:
            answer = b""
        connection.settimeout(_WAIT_S)
        if answer:
            status = answer[9:12]
            self.statuses[int(status) if status.isdigit() else 0] += 1
            return True
        connection.close()
        return False

    def flood(self, first: bytes, piece: bytes) -> None:
        """Send `first`, then `piece` again and again until the server ends the connection; read nothing."""
        with self.connect(receive_bytes=4096) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(first)
                while self.is_on():
                    connection.sendall(piece)
            self.count_answer(connection)

    def reset(self, *pieces: bytes) -> None:
        """Send bytes and end the connection by a reset."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.statuses[0] += 1


def head(method: str, target: str, *headers: str, version: str = "HTTP/1.1", host: str = "robot") -> bytes:
    """Return a request's first line and headers."""
    lines = [f"{method} {target} {version}", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, *headers: str) -> bytes:
    """Return a whole inference request."""
    return head("POST", INFER, f"Content-Length: {len(body)}", *headers) + body


def main(kind: str, port: str, source: str, seconds: str, num_peers: str) -> None:
    """Repeat one attack until the time is over, and write what was counted."""
    from hostile_clients import ATTACKS

    os.nice(19)
    attack = ATTACKS[kind]
    peer = Peer(int(port), source, float(seconds), int(num_peers))
    failures: Counter[str] = Counter()
    while peer.is_on() and peer.rounds < MAX_ROUNDS:
        peer.rounds += 1
        try:
            attack.run(peer)
        except OSError as exc:  # refused, reset or timed out: what the server may do
            failures[type(exc).__name__] += 1
            time.sleep(0.001)
    sys.stdout.write(
        json.dumps({"rounds": peer.rounds, "statuses": dict(peer.statuses), "failures": dict(failures)})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
