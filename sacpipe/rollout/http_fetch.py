"""HTTP requests of a robot to a registry that may be slow, broken or hostile: every request ends in time.

A time-out of a socket counts from byte to byte: a server that sends a byte now and then would hold a request
without end, in the headers, the body or the trailers. So the connection's reader asks before and after each
read: for the total time, the time until the headers end, the rate of the body, and the number of bytes. The
lookup of a name has no time-out at all, so each request runs in a thread of its own, and its caller does not
wait longer than for the headers. No redirection is followed.
"""

import functools
import http.client
import io
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from sacpipe.core.errors import BundleError, SacpipeError, StoreUnavailableError
from sacpipe.core.proxies import is_loopback

LOOK_S = 300.0
"""Maximum time of a whole look at the registry, downloads included, in seconds."""
_READ_TIMEOUT_S = 10.0
"""Maximum time without a byte, of a connection attempt and of a TLS handshake, in seconds."""
_START_S = 30.0
"""Maximum time from the lookup of the server's name to the end of the headers, in seconds."""
_GRACE_S = 10.0
"""Time after the headers in which the body may be slower than the minimum rate, in seconds."""
_MIN_BYTES_PER_S = 1024
"""Minimum mean rate of a body, in bytes per second."""
_END_S = 1.0
"""Maximum time to wait beyond its limits for a request whose next read is its last, in seconds."""
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
        self._mutex = threading.Lock()
        """Held during a request. A start asks from one thread for bars, and from another for the bundle."""
        self._last: threading.Thread | None = None
        """Thread of the last request. It may still wait for the lookup of a name, which cannot be cut off."""

    def fetch(self, url: str, max_bytes: int, look: Look) -> Answer:
        """Return the answer of the server, whatever its status. From any thread.

        Args:
            url: Address, http or https.
            max_bytes: Maximum size of the body.
            look: Time that is left; the time of this request is taken from it, not that of another thread's
                request before.

        Raises:
            BundleError: the body is larger.
            StoreUnavailableError: the server does not answer, or not in time.
        """
        with self._mutex:
            return self._fetch(url, max_bytes, look)

    def _fetch(self, url: str, max_bytes: int, look: Look) -> Answer:
        if self._last is not None and self._last.is_alive():
            fault = "the request before still waits for the lookup of the name or for a connection"
            raise StoreUnavailableError(fault, "too slow")
        request = _Request(url, self._headers, max_bytes, look.left_s)
        start_s = time.monotonic()
        try:
            self._last = threading.Thread(
                target=request.run, args=(self._context,), name="fetch", daemon=True
            )
            self._last.start()
            request.headers_end.wait(min(_START_S, look.left_s))
            if request.headers_end.is_set():
                self._last.join(look.left_s - (time.monotonic() - start_s) + _END_S)
            else:
                request.is_given_up = True
                self._last.join(_END_S)
        finally:
            look.left_s -= time.monotonic() - start_s
        if request.answer is None:
            raise request.error or request.too_slow()
        return request.answer


class _Request:
    """One request, run in a thread of its own.

    Args:
        url: Address, http or https.
        headers: Headers of the request.
        max_bytes: Maximum size of the body.
        left_s: Time that the look has left, in seconds.
    """

    def __init__(self, url: str, headers: Mapping[str, str], max_bytes: int, left_s: float) -> None:
        self._url, self._headers, self._max_bytes = url, headers, max_bytes
        self._start_s, self._left_s = time.monotonic(), left_s
        self._body_since_s = self._raw_bytes = 0.0
        self._received = 0
        self.headers_end = threading.Event()
        """Set at the end of the headers, or of the request."""
        self.is_given_up = False
        """Whether the caller waits no longer."""
        self.answer: Answer | None = None
        self.error: Exception | None = None

    def run(self, context: ssl.SSLContext) -> None:
        """Send the request and read the answer."""
        try:
            request = urllib.request.Request(self._url, headers=dict(self._headers))  # noqa: S310 - http(s)
            # Without names of proxies, a registry on this machine is asked directly.
            proxies = urllib.request.ProxyHandler({} if is_loopback(self._url) else None)
            opener = urllib.request.build_opener(proxies, _NoRedirection, _Handler(self, context))
            self.answer = self._run(opener, request)
        except Exception as exc:  # noqa: BLE001 - the caller raises it
            self.error = self._translated(exc)
        finally:
            self.headers_end.set()

    def too_slow(self) -> StoreUnavailableError:
        """Return the error of a request that broke a limit of time."""
        if time.monotonic() - self._start_s >= self._left_s:
            fault = f"the look took longer than {LOOK_S:g} s"
        elif not self._body_since_s:
            fault = f"no answer began within {_START_S:g} s"
        else:
            fault = f"it sends less than {_MIN_BYTES_PER_S} bytes a second"
        return StoreUnavailableError(fault, "too slow")

    def check(self, size_bytes: int) -> float:
        """Count bytes of the connection; return the time that its next read may take, in seconds.

        Raises:
            StoreUnavailableError: the request is too slow.
            HTTPException: the bytes are more than any answer of this size needs.
        """
        left_s = self._time_left_s()
        if left_s <= 0 or self.is_given_up:
            raise self.too_slow()
        self._raw_bytes += size_bytes
        if self._raw_bytes > 2 * self._max_bytes + _FRAME_BYTES:
            raise http.client.HTTPException(f"found more than {self._raw_bytes:.0f} bytes around the body")
        return min(left_s, _READ_TIMEOUT_S)

    def _time_left_s(self) -> float:
        """Return the time that the request has left now; 0 or less where it broke a limit."""
        now_s = time.monotonic()
        if not self._body_since_s:
            return min(_START_S, self._left_s) - (now_s - self._start_s)
        needed = (now_s - self._body_since_s - _GRACE_S) * _MIN_BYTES_PER_S
        return self._left_s - (now_s - self._start_s) if self._received >= needed else 0.0

    def _translated(self, error: Exception) -> Exception:
        """Return an error of the connection as one of a robot's."""
        if not isinstance(error, OSError | http.client.HTTPException | ValueError):
            return error
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError) and self._time_left_s() <= 0:
            return self.too_slow()
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        return StoreUnavailableError(reason, type(cause).__name__)

    def _run(self, opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> Answer:
        try:
            with opener.open(request, timeout=_READ_TIMEOUT_S) as response:
                return Answer(response.status, str(response.reason), self._read(response))
        except urllib.error.HTTPError as exc:
            with exc:
                try:
                    body = self._read(exc)
                except (SacpipeError, OSError, http.client.HTTPException):
                    body = b""  # the status alone says enough
                return Answer(exc.code, str(exc.reason), body)

    def _read(self, response: Any) -> bytes:
        """Read a body.

        Raises:
            BundleError: it is too large.
            OSError: the connection failed; HTTPException: the body is not whole.
        """
        self._body_since_s, data = time.monotonic(), bytearray()
        self.headers_end.set()
        while chunk := response.read1(_CHUNK_BYTES):
            data += chunk
            self._received = len(data)
            if len(data) > self._max_bytes:
                raise BundleError(f"expected at most {self._max_bytes} bytes, found more.", "size")
        if response.length:  # `read1` does not report that the connection ended too early
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(data)


class _CheckedReader(io.RawIOBase):
    """The bytes of a connection, each read within the limits of its request."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, request: _Request) -> None:
        self._sock, self._raw, self._request = sock, raw, request

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read for at most the time that is left."""
        self._sock.settimeout(self._request.check(0))
        size = self._raw.readinto(buffer)
        self._request.check(size or 0)
        return size

    def close(self) -> None:
        """Close the connection's own reader too."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose reads are checked."""

    def __init__(self, sock: socket.socket, *arguments: Any, request: _Request, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_CheckedReader(sock, self.fp.detach(), request))


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections of one request, with TLS or without."""

    def __init__(self, request: _Request, context: ssl.SSLContext) -> None:
        urllib.request.HTTPSHandler.__init__(self, context=context)
        self._response, self._tls = functools.partial(_Response, request=request), context

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a connection without TLS."""
        return self.do_open(functools.partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a connection with TLS."""
        tls = functools.partial(http.client.HTTPSConnection, context=self._tls)
        return self.do_open(functools.partial(self._connection, tls), request)

    def _connection(self, kind: Any, host: str, **options: Any) -> Any:
        made = kind(host, **options)
        made.response_class = self._response
        return made


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the credentials would go to the other server."""

    def redirect_request(self, *_: Any) -> None:
        """Return None, which makes a redirection an HTTP error."""
