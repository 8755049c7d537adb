"""HTTP requests of a robot to a registry that may be slow, broken or hostile: every request ends in time.

A time-out of a socket counts from byte to byte: a server that sends a byte now and then would hold a request
without end, in the handshake, the headers, the body or the trailers. The lookup of a name has no time-out at
all. So each request runs in a thread of its own, and the caller watches it: by total time, by the time until
the headers, and by the rate of the body. A request that takes longer is cut off. All bytes of an answer are
limited, with those of its headers, chunk sizes and trailers. No redirection is followed.
"""

import contextlib
import http.client
import io
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from sacpipe.core.errors import BundleError, StoreUnavailableError
from sacpipe.core.proxies import is_loopback

LOOK_S = 300.0
"""Maximum time of a whole look at the registry, downloads included, in seconds."""
_READ_TIMEOUT_S = 10.0
"""Maximum time without a byte, in seconds."""
_START_S = 30.0
"""Maximum time from the lookup of the server's name to the end of the headers, in seconds."""
_GRACE_S = 10.0
"""Time after the headers in which the body may be slower than the minimum rate, in seconds."""
_MIN_BYTES_PER_S = 1024
"""Minimum mean rate of a body, in bytes per second."""
_WATCH_S = 0.05
"""Time between two looks at a request, in seconds."""
_END_S = 1.0
"""Maximum time to wait for the end of a request that was cut off, in seconds."""
_FRAME_BYTES = 2**20
"""Maximum size of headers, chunk sizes and trailers, in bytes beyond the size of the body."""
_CHUNK_BYTES = 2**18


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    reason: str
    body: bytes


class Look:
    """The time that one look at the registry has: resolution and downloads together."""

    def __init__(self) -> None:
        self.left_s = LOOK_S


class Fetcher:
    """Fetches from one server, one request at a time.

    Args:
        context: TLS settings.
        headers: Headers of every request.
    """

    def __init__(self, context: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        self._context, self._headers = context, dict(headers)
        self._last: threading.Thread | None = None
        """Thread of the last request. It may still wait for the lookup of a name, which cannot be cut off."""

    def fetch(self, url: str, max_bytes: int, look: Look) -> Answer:
        """Return the answer of the server, whatever its status.

        Args:
            url: Address, http or https.
            max_bytes: Maximum size of the body.
            look: Time that is left; the time of this request is taken from it.

        Raises:
            BundleError: the body is larger.
            StoreUnavailableError: the server does not answer, or not in time.
        """
        if self._last is not None and self._last.is_alive():
            fault = "the request before still waits for the lookup of the name or for a connection"
            raise StoreUnavailableError(fault, "too slow")
        request = _Request(urllib.request.Request(url, headers=self._headers), max_bytes, self._context)  # noqa: S310 - http(s)
        start_s = time.monotonic()
        try:
            self._last = threading.Thread(target=request.run, name="fetch", daemon=True)
            self._last.start()
            self._watch(request, start_s, look)
        finally:
            look.left_s -= time.monotonic() - start_s
        if request.error is not None:
            _raise(request.error)
        if request.answer is None:
            raise StoreUnavailableError("the request ended without an answer", "protocol")
        return request.answer

    def _watch(self, request: "_Request", start_s: float, look: Look) -> None:
        """Wait for the end of a request, and cut it off where it is too slow.

        Raises:
            StoreUnavailableError: it was too slow.
        """
        while not request.is_done.wait(_WATCH_S):
            now_s = time.monotonic()
            if now_s - start_s > look.left_s:
                fault = f"the look took longer than {LOOK_S:g} s"
            elif request.body_since_s is None:
                if now_s - start_s <= _START_S:
                    continue
                fault = f"no answer began within {_START_S:g} s"
            elif request.received >= (now_s - request.body_since_s - _GRACE_S) * _MIN_BYTES_PER_S:
                continue
            else:
                fault = f"it sends less than {_MIN_BYTES_PER_S} bytes a second"
            request.cut_off()
            request.is_done.wait(_END_S)
            raise StoreUnavailableError(fault, "too slow")


class _Request:
    """One request, run in a thread and watched by another."""

    def __init__(self, request: urllib.request.Request, max_bytes: int, context: ssl.SSLContext) -> None:
        self._request, self._max_bytes = request, max_bytes
        # Without names of proxies, a registry on this machine is asked directly.
        proxies = urllib.request.ProxyHandler({} if is_loopback(request.full_url) else None)
        self._opener = urllib.request.build_opener(
            proxies, _NoRedirection, _HTTPHandler(self), _HTTPSHandler(self, context)
        )
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._is_cut_off = False
        self._raw_bytes = 0
        self.is_done = threading.Event()
        self.body_since_s: float | None = None
        """Time of the end of the headers, by the monotonic clock; None before."""
        self.received = 0
        """Number of bytes of the body so far."""
        self.answer: Answer | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Send the request and read the answer."""
        try:
            self.answer = self._run()
        except Exception as exc:  # noqa: BLE001 - the thread that watches raises it
            self.error = exc
        finally:
            with self._lock, contextlib.suppress(OSError):
                if self._connection is not None:
                    self._connection.close()
            self.is_done.set()

    def connected(self, connection: socket.socket) -> None:
        """Remember a connection, for `cut_off`. The TLS layer takes its descriptor over, so a copy is kept.

        Raises:
            TimeoutError: the request was cut off meanwhile.
        """
        with self._lock:
            if self._is_cut_off:
                raise TimeoutError("cut off")
            if self._connection is not None:
                self._connection.close()
            self._connection = socket.socket(fileno=os.dup(connection.fileno()))

    def count(self, size_bytes: int) -> None:
        """Count bytes of the connection.

        Raises:
            TimeoutError: the request was cut off.
            HTTPException: they are more than any answer of this size needs.
        """
        self._raw_bytes += size_bytes
        if self._is_cut_off:
            raise TimeoutError("cut off")
        if self._raw_bytes > 2 * self._max_bytes + _FRAME_BYTES:
            raise http.client.HTTPException(f"found more than {self._raw_bytes} bytes around the body")

    def cut_off(self) -> None:
        """End the connection; the thread then ends too, unless it waits for the lookup of a name."""
        with self._lock:
            self._is_cut_off = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _run(self) -> Answer:
        try:
            with self._opener.open(self._request, timeout=_READ_TIMEOUT_S) as response:
                return Answer(response.status, str(response.reason), self._read(response))
        except urllib.error.HTTPError as exc:
            with exc:
                try:
                    body = self._read(exc)
                except (BundleError, OSError, http.client.HTTPException):
                    body = b""  # the status alone says enough
                return Answer(exc.code, str(exc.reason), body)

    def _read(self, response: Any) -> bytes:
        """Read a body.

        Raises:
            BundleError: it is too large.
            OSError: the connection failed; HTTPException: the body is not whole.
        """
        self.body_since_s, data = time.monotonic(), bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            data += chunk
            self.received = len(data)
            if len(data) > self._max_bytes:
                raise BundleError(f"expected at most {self._max_bytes} bytes, found more.", "size")
        if response.length:  # `read1` does not report that the connection ended too early
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(data)


class _CountedReader(io.RawIOBase):
    """The bytes of a connection, counted; none after the request was cut off.

    A shutdown alone would not end a request: what a server sends after it can still be read.
    """

    def __init__(self, raw: io.RawIOBase, watched: _Request) -> None:
        self._raw, self._watched = raw, watched

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read, unless the request was cut off."""
        self._watched.count(0)
        size = self._raw.readinto(buffer)
        self._watched.count(size or 0)
        return size

    def close(self) -> None:
        """Close the connection's own reader too."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose bytes are counted."""

    def __init__(self, sock: socket.socket, *arguments: Any, watched: _Request, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_CountedReader(self.fp.detach(), watched))


class _Connection(http.client.HTTPConnection):
    """A connection that its request knows from the first moment, before a TLS handshake."""

    watched: _Request

    def response_class(self, *arguments: Any, **options: Any) -> _Response:  # type: ignore[override]
        """Make the answer; http.client calls it."""
        return _Response(*arguments, watched=self.watched, **options)

    def connect(self) -> None:
        """Connect, and tell the request."""
        super().connect()
        self.watched.connected(self.sock)


class _TLSConnection(http.client.HTTPSConnection, _Connection):
    """The same with TLS: HTTPSConnection connects by the class behind it, and shakes hands then."""


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, watched: _Request) -> None:
        super().__init__()
        self._watched = watched

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a connection without TLS."""

        def connection(host: str, /, **options: Any) -> _Connection:
            made = _Connection(host, **options)
            made.watched = self._watched
            return made

        return self.do_open(connection, request)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, watched: _Request, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._watched, self._tls = watched, context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a connection with TLS."""

        def connection(host: str, /, **options: Any) -> _TLSConnection:
            made = _TLSConnection(host, context=self._tls, **options)
            made.watched = self._watched
            return made

        return self.do_open(connection, request)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the credentials would go to the other server."""

    def redirect_request(self, *_: Any) -> None:
        """Return None, which makes a redirection an HTTP error."""


def _raise(error: Exception) -> NoReturn:
    """Raise the error of a request as a robot's error."""
    if isinstance(error, OSError | http.client.HTTPException | ValueError):
        cause = getattr(error, "reason", error)
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise StoreUnavailableError(reason, type(cause).__name__) from error
    raise error
