"""Requests and answers of HTTP/1.1 as the server's parts pass them on, and the bytes of an answer."""

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from sacpipe.server.http_errors import RefusalError

_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


class Request(NamedTuple):
    """A request; its body is complete."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    headers: dict[bytes, bytes]
    """Names in lower case; repeated ones joined by a comma."""
    body: bytes
    arrived_ns: int
    """When its first byte arrived, by the monotonic clock."""


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    more_headers: tuple[tuple[bytes, bytes], ...] = ()
    closes: bool = False
    """Whether the connection is closed after it."""


class Head(NamedTuple):
    """What is known of a request before its body."""

    method: str
    path: str
    headers: dict[bytes, bytes]


class Handler(Protocol):
    """The application behind the connections."""

    def is_trusted(self, head: Head) -> bool:
        """Return whether the request shows the token; true for every request if the server has none."""
        ...

    def max_body_bytes(self, head: Head) -> int:
        """Return the largest body of this request.

        Raises:
            RefusalError: the request is refused whatever its body holds.
        """
        ...

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer; never raises."""
        ...

    def refuse(self, error: RefusalError) -> Reply:
        """Return the answer for an error."""
        ...


def render(reply: Reply, *, closes: bool, is_head: bool) -> bytes:
    """Return the bytes of an answer; the body of an answer to HEAD is left out."""
    lines = [
        b"HTTP/1.1 %d %s" % (reply.status, _REASONS[reply.status]),
        b"content-type: " + reply.content_type,
        b"content-length: %d" % len(reply.body),
        *(name + b": " + value for name, value in reply.more_headers),
    ]
    if closes:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if is_head else reply.body)
