"""One client's connection: HTTP/1.1 on asyncio and httptools, with a bound on all that the client decides.

A connection handles one request at a time and reads nothing while an answer is due. Pipelined requests, and
answers that are never read, therefore cost a constant amount of memory. The token is checked before a body is
kept.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import unquote

import httptools

from sacpipe.server.connections import Connections
from sacpipe.server.http_errors import RefusalError, UnavailableError
from sacpipe.server.http_messages import Head, Reply, Request, render

if TYPE_CHECKING:
    from sacpipe.server.app import App

_SINGLE = frozenset(
    {b"host", b"authorization", b"content-length", b"content-encoding", b"inference-header-content-length"}
)
"""Headers that must not be repeated: two values leave open which one counts."""
_MAX_PIPELINED = 8
"""Requests of one packet that wait behind the one being handled."""
_MAX_FRAMING_BYTES = 65_536
"""Chunk sizes and line ends around a chunked body."""
_LINGER_S = 1.0
"""How long bytes are read and dropped after an error, so that the client can read the answer."""
_MAX_DROPPED_BYTES = 2**24
"""Bytes of a trusted client that are dropped meanwhile."""
_WRITE_BUFFER_BYTES = 65_536
"""Unread bytes of answers above which the client is waited for."""


class Connection(asyncio.Protocol):
    """Reads a request, hands it to the handler, writes the answer, reads the next."""

    def __init__(self, connections: Connections, handler: "App") -> None:
        self.is_trusted = False
        self.address = ""
        self._all, self._limits, self._handler = connections, connections.limits, handler
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Future[Reply] | None = None
        self._is_writable, self._is_reading, self._is_deaf = True, True, False
        self._deadline_s = self._loop.time() + self._limits.request_s
        self._timer: asyncio.TimerHandle | None = None
        self._is_in_message = self._has_completed = False
        self._num_dropped_bytes = 0
        self._reset_message()

    def _reset_message(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._num_headers = 0
        self._head: Head | None = None
        self._max_body_bytes = self._num_body_bytes = 0
        self._pieces: list[bytes] = []
        self._budget_bytes = self._limits.header_bytes

    @property
    def is_evictable(self) -> bool:
        """Whether another client may take the place of this one: no complete request of it is unanswered.

        A trusted client may also take its time to send a request.
        """
        is_answering = bool(self._waiting) or self._task is not None
        return not is_answering and not (self.is_trusted and self._is_in_message)

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or be closed at once."""
        stream = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        peer = stream.get_extra_info("peername")  # None for a client that has left already
        self.address = str(peer[0]) if peer else ""
        if not self._all.add(self):
            if self._all.all_trusted and not self._all.is_ending:
                reply = self._handler.refuse(
                    UnavailableError("connections: too many are open. Try again later")
                )
                stream.write(render(reply, closes=True, is_head=False))
                stream.close()
            else:
                stream.abort()
            return
        self._transport = stream
        stream.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        """Free the place."""
        self._transport = None
        self._waiting.clear()
        self._all.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Wait for the client to read its answers."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Go on: the client has read its answers."""
        self._is_writable = True
        self._answer()

    def eof_received(self) -> bool:
        """Keep the connection only until the answers that are due are sent."""
        self._is_deaf = True
        if self._waiting:
            self._waiting[-1] = self._waiting[-1]._replace(closes=True)
        elif self._task is not None:
            self._waiting.append(_Waiting(None, None, closes=True))
        return bool(self._waiting)

    def data_received(self, data: bytes) -> None:
        """Parse bytes, unless the connection is only being closed."""
        if self._transport is None:
            return
        if self._is_deaf:
            self._drop(data)
            return
        if not self._is_in_message:
            self._arrived_ns = time.monotonic_ns()
            self._deadline_s = self._loop.time() + self._limits.request_s
        error = self._parse(data)
        if error is not None:
            self._refuse(error)
        self._answer()

    def _drop(self, data: bytes) -> None:
        """Count bytes that are read only so that the client reads its answer; close after too many."""
        self._num_dropped_bytes += len(data)
        if self._num_dropped_bytes > (_MAX_DROPPED_BYTES if self.is_trusted else _MAX_FRAMING_BYTES):
            self.abort()

    def _parse(self, data: bytes) -> RefusalError | None:
        """Feed the parser, which calls the methods below; return what is wrong with the bytes."""
        self._has_completed = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = True  # HTTP/2 and WebSocket are not spoken; the request itself is answered
            if self._waiting:
                self._waiting[-1] = self._waiting[-1]._replace(closes=True)
            return None
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__context__
            return cause if isinstance(cause, RefusalError) else RefusalError(f"HTTP: {cause}")
        except httptools.HttpParserError as exc:
            return RefusalError(f"HTTP: {exc}")
        if not self._has_completed:  # else an unknown part of the bytes belongs to the message before
            self._budget_bytes -= len(data)
        return self._too_large() if self._budget_bytes < 0 else None

    # Called by httptools.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if len(self._waiting) >= _MAX_PIPELINED:
            raise RefusalError(f"HTTP: expected at most {_MAX_PIPELINED} requests that wait for an answer")
        self._reset_message()
        self._is_in_message = True

    def on_url(self, url: bytes) -> None:
        """Add a piece of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; one after the body is refused."""
        if self._head is not None:
            raise RefusalError("trailers: expected no header after the body")
        self._num_headers += 1
        if self._num_headers > self._limits.headers:
            raise RefusalError(f"headers: expected at most {self._limits.headers} of them", status=431)
        name = name.lower()
        if name in self._headers:
            if name in _SINGLE:
                raise RefusalError(f"{name.decode('latin-1')}: expected this header once, found it repeated")
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Check who asks, and for what, before a byte of the body is kept."""
        self._head = head = Head(self._parser.get_method().decode("latin-1"), _path(self._url), self._headers)
        if b"host" not in head.headers and self._parser.get_http_version() != "1.0":
            raise RefusalError("Host: expected this header, found none")
        if self._handler.is_trusted(head):
            if not self._all.trust(self):
                raise UnavailableError("connections: too many are open. Try again later")
        elif not self._all.allow(self):
            raise RefusalError(
                "requests: expected fewer a second from this address without the token", status=429
            )
        self._max_body_bytes = self._handler.max_body_bytes(head)
        announced = head.headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_body_bytes:
            self._num_body_bytes = int(announced)
            raise self._too_large()
        self._budget_bytes = self._max_body_bytes + _MAX_FRAMING_BYTES
        if head.headers.get(b"expect", b"").lower() == b"100-continue" and not self._waiting:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._num_body_bytes += len(body)
        if self._num_body_bytes > self._max_body_bytes:
            raise self._too_large()
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Queue the request for its answer."""
        self._is_in_message, self._has_completed = False, True
        if self._head is None:
            raise RefusalError("HTTP: expected a request line")
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        request = Request(*self._head, body, self._arrived_ns)
        self._waiting.append(_Waiting(request, None, closes=not self._parser.should_keep_alive()))
        self._reset_message()

    # Answers.

    def _answer(self) -> None:
        """Answer the requests that wait, one at a time and in order; read on once none is left."""
        while self._waiting and self._task is None and self._is_writable and self._transport is not None:
            waiting = self._waiting.popleft()
            if waiting.request is None:
                reply: Reply | Awaitable[Reply] = waiting.reply or _NOTHING
            else:
                reply = self._handler.handle(waiting.request)
            if isinstance(reply, Reply):
                self._send(waiting, reply)
            else:
                self._task = asyncio.ensure_future(reply)
                self._task.add_done_callback(partial(self._finish, waiting))
        self._read_on()

    def _finish(self, waiting: "_Waiting", task: "asyncio.Future[Reply]") -> None:
        self._task = None
        if self._transport is not None and not task.cancelled():
            self._send(waiting, task.result())
            self._answer()

    def _read_on(self) -> None:
        """Read only while no answer is due, so that a client cannot queue work or memory."""
        if self._transport is None or self._transport.is_closing():
            return
        is_due = bool(self._waiting) or self._task is not None or not self._is_writable
        if is_due == self._is_reading:
            self._is_reading = not is_due
            (self._transport.pause_reading if is_due else self._transport.resume_reading)()
        if not is_due and not self._is_in_message and not self._is_deaf:
            limits = self._limits
            idle_s = limits.idle_s if self.is_trusted else limits.untrusted_idle_s
            self._deadline_s = self._loop.time() + idle_s

    def _send(self, waiting: "_Waiting", reply: Reply) -> None:
        closes = waiting.closes or reply.closes or self._all.is_ending
        is_head = waiting.request is not None and waiting.request.method == "HEAD"
        if reply is not _NOTHING:
            self._write(render(reply, closes=closes, is_head=is_head))
        if closes:
            self._close(after_error=reply.closes)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _refuse(self, error: RefusalError) -> None:
        """Answer an error behind the answers that are due, and read nothing more."""
        if not self._is_deaf:
            self._is_deaf = True
            self._waiting.append(
                _Waiting(None, self._handler.refuse(error)._replace(closes=True), closes=True)
            )

    def _too_large(self) -> RefusalError:
        if self._head is None:
            return RefusalError(f"headers: expected at most {self._limits.header_bytes} bytes", status=431)
        found = max(self._num_body_bytes, self._max_body_bytes + 1)
        return RefusalError(
            f"body: expected at most {self._max_body_bytes} bytes, found {found} or more", status=413
        )

    def _close(self, *, after_error: bool) -> None:
        """Close the connection; after an error, read and drop what the client still sends, for a moment.

        A socket that is closed with unread bytes is reset, and the client may lose the answer.
        """
        self._is_deaf = True
        self._waiting.clear()
        if self._transport is None:
            return
        if not after_error:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()
            self._deadline_s = self._loop.time() + _LINGER_S
            if self._timer is not None:
                self._timer.cancel()
            self._arm()

    # Time.

    def _arm(self) -> None:
        """Look at the deadline when it may have passed: moving a timer with every request would cost more."""
        limits = self._limits
        soon_s = self._loop.time() + min(limits.request_s, limits.untrusted_idle_s)
        self._timer = self._loop.call_at(min(self._deadline_s, soon_s), self._check_deadline)

    def _check_deadline(self) -> None:
        if self._transport is None:
            return
        if self._loop.time() < self._deadline_s:
            self._arm()
            return
        is_answering = bool(self._waiting) or self._task is not None or not self._is_writable
        if self._is_in_message and not is_answering and not self._is_deaf:
            self._refuse(
                RefusalError(f"request: expected all of it within {self._limits.request_s:g} s", status=408)
            )
            self._answer()
            self._arm()
        else:
            self.abort()

    def end(self) -> None:
        """Close the connection now if it is idle, else after its present answer."""
        if self._transport is not None and not (self._waiting or self._task or self._is_in_message):
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()


class _Waiting(NamedTuple):
    """A request that waits for its answer, or an answer that waits for its turn."""

    request: Request | None
    reply: Reply | None
    closes: bool


_NOTHING = Reply(0, b"")


def _path(url: bytes) -> str:
    try:
        path = httptools.parse_url(url).path
        return unquote((path or b"").decode("ascii"), errors="strict")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise RefusalError("path: expected an address in ASCII, with escapes of UTF-8") from None
