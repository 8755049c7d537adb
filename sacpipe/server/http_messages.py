"""Requests and answers of HTTP/1.1 as the server's parts pass them on, and the bytes of an answer."""

from http import HTTPStatus
from typing import NamedTuple

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


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
