"""One client's connection, with limits on what a client controls: size, time and number.

uvicorn has none of these limits: a client that sends one header a minute, or never reads its answer, would
hold its connection permanently.
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
    """Limits of one client, and of all connections."""

    header_bytes: int = Field(ge=1024)
    """Maximum size of a request's first line and headers, in bytes; exact to one packet."""
    body_bytes: int = Field(ge=1)
    """Maximum size of a request's body, in bytes."""
    request_s: float = Field(gt=0)
    """Maximum time from a request's first byte, or the connection's start, to the answer's end; seconds."""
    idle_s: int = Field(ge=1)
    """Maximum time between two requests, in seconds."""
    connections: int = Field(ge=1)
    """Maximum number of open connections."""
    drain_s: float = Field(ge=0)
    """Time from SIGTERM until no connection is accepted, in seconds: load balancers poll `ready` then."""


LIMITS = ConnectionLimits(
    header_bytes=16_384, body_bytes=2**22, request_s=10.0, idle_s=75, connections=256, drain_s=1.0
)


class ServerConfig(UvicornConfig):
    """uvicorn's settings, with our limits."""

    limits: ConnectionLimits = LIMITS


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits. Stamps a request's arrival in `scope["state"]["arrived_ns"]`."""

    def __init__(self, config: ServerConfig, *arguments: Any, **keywords: Any) -> None:
        super().__init__(config, *arguments, **keywords)
        self._limits = config.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._is_reading = False
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open the connection, or refuse it where too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(b"503 Service Unavailable", "connections: too many are open. Try again later")
            return
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive bytes; refuse headers that are too long."""
        if self.transport.is_closing():
            return
        if self._deadline is None:
            self._restart_timer()
        if self._header_bytes >= 0:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > self._limits.header_bytes and not self.transport.is_closing():
            text = f"headers: expected at most {self._limits.header_bytes} bytes"
            self._refuse(b"431 Request Header Fields Too Large", text)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP."""
        self._refuse(b"400 Bad Request", f"HTTP: {msg}")

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.scope["state"]["arrived_ns"] = time.monotonic_ns()
        self._is_reading = True
        self._restart_timer()

    def on_headers_complete(self) -> None:
        """Stop counting headers."""
        self._header_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Finish a request."""
        self._is_reading = False
        self._header_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Finish an answer."""
        super().on_response_complete()
        if not self._is_reading and not self.pipeline:
            self._stop_timer()

    def _restart_timer(self) -> None:
        self._stop_timer()
        self._deadline = self.loop.call_later(self._limits.request_s, self._time_out)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()  # the client does not read its answer, and `close` would wait for it
        elif self._is_reading and not (cycle is not None and cycle.response_complete and cycle.more_body):
            text = f"request: expected all of it within {self._limits.request_s:g} s"
            self._refuse(b"408 Request Timeout", text)
        else:
            self.transport.close()

    def _refuse(self, status: bytes, text: str) -> None:
        body = render_error(text)
        length = str(len(body)).encode()
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
            b"content-length: %s\r\nconnection: close\r\n\r\n%s" % (status, length, body)
        )
        self.transport.close()
