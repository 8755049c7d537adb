"""One client's connection, with a limit on everything a client decides: size, time and number.

uvicorn limits none of these by itself: a client that sends a header a minute, or never reads its
answer, would stay for ever.
"""

import asyncio
import time
from typing import Any

from pydantic import Field
from uvicorn import Config as UvicornConfig
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sacpipe.core.config import Config
from sacpipe.server.protocol import render_error


class ConnectionLimits(Config):
    """What one client may take."""

    header_bytes: int = Field(ge=1024)
    """Of a request's first line and headers, give or take what comes in one packet."""
    body_bytes: int = Field(ge=1)
    request_s: float = Field(gt=0)
    """From a request's first byte, or the connection's beginning, until its answer is sent."""
    idle_s: int = Field(ge=1)
    """Between two requests."""
    connections: int = Field(ge=1)
    """Open at once."""
    drain_s: float = Field(ge=0)
    """From SIGTERM until no more connections are accepted: for a balancer to notice."""


LIMITS = ConnectionLimits(
    header_bytes=16_384, body_bytes=2**22, request_s=10.0, idle_s=75, connections=256, drain_s=1.0
)


class ServerConfig(UvicornConfig):
    """uvicorn's settings, and ours for its connections."""

    limits: ConnectionLimits = LIMITS


class Connection(HttpToolsProtocol):
    """uvicorn's connection, bounded. Stamps each request with its arrival: `scope["state"]["arrived_ns"]`."""

    def __init__(self, config: ServerConfig, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self._limits = config.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._is_reading = False
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or turn the client away where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._turn_away(b"503 Service Unavailable", "connections: too many are open. Try again later")
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless they are more headers than any client needs."""
        if self.transport.is_closing():
            return
        if self._deadline is None:
            self._arm()
        if self._header_bytes >= 0:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > self._limits.header_bytes and not self.transport.is_closing():
            text = f"headers: expected at most {self._limits.header_bytes} bytes"
            self._turn_away(b"431 Request Header Fields Too Large", text)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP at all."""
        self._turn_away(b"400 Bad Request", f"HTTP: {msg}")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["state"]["arrived_ns"] = time.monotonic_ns()
        self._is_reading = True
        self._arm()

    def on_headers_complete(self) -> None:
        """Stop counting headers."""
        self._header_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        self._is_reading = False
        self._header_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer."""
        super().on_response_complete()
        if not self._is_reading and not self.pipeline:
            self._disarm()

    def _arm(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(self._limits.request_s, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()  # the client does not read its answer: closing would wait for it
        elif self._is_reading and not (cycle is not None and cycle.response_complete and cycle.more_body):
            text = f"request: expected all of it within {self._limits.request_s:g} s"
            self._turn_away(b"408 Request Timeout", text)
        else:
            self.transport.close()

    def _turn_away(self, status: bytes, text: str) -> None:
        body = render_error(text)
        length = str(len(body)).encode()
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
            b"content-length: %s\r\nconnection: close\r\n\r\n%s" % (status, length, body)
        )
        self.transport.close()
