"""The HTTP server as a raw ASGI application: paths, methods, token, bodies. docs/serving.md describes it.

A client gets the text of a refusal. It gets nothing of an unexpected exception; that goes to the log.
"""

import contextlib
import functools
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from sacpipe.rollout.follower import Follower, FollowerStatus
from sacpipe.server.http_errors import (
    ForbiddenError,
    MediaTypeError,
    MethodError,
    NotFoundError,
    RefusalError,
    TooLargeError,
    UnauthorisedError,
)
from sacpipe.server.metadata import model_metadata, model_statistics, server_metadata
from sacpipe.server.openapi import openapi
from sacpipe.server.page import Page
from sacpipe.server.prometheus import prometheus_text
from sacpipe.server.protocol import render_error
from sacpipe.server.service import Call, Service
from sacpipe.server.status import status_tree

Message = MutableMapping[str, Any]
Headers = dict[bytes, bytes]

_LOGGER = logging.getLogger(__name__)
_JSON, _BINARY = b"application/json", b"application/octet-stream"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_SAFE = (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")
_MAX_DISCARDED_BODIES = 16
"""Multiple of the largest body that is read and discarded, so that the client reads the refusal."""
_WITHOUT_TOKEN = frozenset({"/", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no token: their answers have no secrets."""


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    kind: bytes = _JSON
    more_headers: tuple[tuple[bytes, bytes], ...] = ()


class Access(NamedTuple):
    """Which clients may send requests."""

    token: bytes | None
    """Token that each request must carry; None where every client that reaches the address has access."""
    is_loopback_only: bool
    """Whether to refuse requests whose Host is not a loopback address."""


class _DisconnectedError(Exception):
    """The client closed the connection."""


class App:
    """An ASGI 3 application for one service and, where there is one, its follower."""

    def __init__(
        self, service: Service, access: Access, max_body_bytes: int, follower: Follower | None = None
    ) -> None:
        self._service, self._access, self._max_body_bytes = service, access, max_body_bytes
        self._follower = follower
        self._page = Page.load()
        self._answers: dict[str, Callable[[], Reply]] = {
            "/": self._show_page,
            "/status.json": lambda: _json(status_tree(service, self._follower_status())),
            "/metrics": lambda: Reply(200, prometheus_text(service, self._follower_status()), _TEXT),
            "/openapi.json": lambda: _json(openapi(service.name, service.active)),
            "/v2": lambda: _json(server_metadata()),
            "/v2/": lambda: _json(server_metadata()),
            "/v2/health/live": lambda: _json({"live": True}),
            "/v2/health/ready": self._ready,
            "/v2/models/stats": lambda: _json(model_statistics(service, service.active)),
        }

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            reply = await self._reply(scope, receive)
        except _DisconnectedError:
            return
        except RefusalError as exc:
            reply = _refusal(exc)
        except Exception:
            _LOGGER.exception("sacpipe: a request failed")
            reply = Reply(500, render_error("internal error; the log of the server has the details"))
        headers = [
            (b"content-type", reply.kind),
            (b"content-length", str(len(reply.body)).encode()),
            *reply.more_headers,
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> Reply:
        path, method = scope["path"], scope["method"]
        headers: Headers = dict(scope["headers"])
        arrived_ns = scope.get("state", {}).get("arrived_ns") or time.monotonic_ns()
        self._check_access(path, headers)
        # Read also for a path without a body: unread bytes would be parsed as the next request.
        body = await self._read(headers, receive)
        answer = self._answers.get(path)
        if answer is not None:
            _check_method(method, "GET", "HEAD")
            return answer()
        version, verb = self._find(path)
        if verb == "infer":
            _check_method(method, "POST")
            return self._infer(body, headers, version, arrived_ns)
        _check_method(method, "GET", "HEAD")
        return self._describe(version, verb)

    def _infer(self, body: bytes, headers: Headers, version: str | None, arrived_ns: int) -> Reply:
        coding = headers.get(b"content-encoding", b"identity")
        if coding != b"identity":
            raise MediaTypeError(
                f"Content-Encoding: expected identity, found '{coding[:40].decode('latin-1')}'. "
                "Send the body as it is"
            )
        length = headers.get(b"inference-header-content-length")
        body, header_length = self._service.answer(Call(body, length, version, arrived_ns))
        if header_length is None:
            return Reply(200, body)
        return Reply(200, body, _BINARY, ((b"inference-header-content-length", str(header_length).encode()),))

    def _describe(self, version: str | None, verb: str) -> Reply:
        service, active = self._service, self._service.active
        active.check_version(version)
        if verb == "stats":
            return _json(model_statistics(service, active))
        if verb == "":
            return _json(model_metadata(service.name, active))
        if service.is_draining:
            return _json({"name": service.name, "ready": False, "error": "the server is shutting down"}, 503)
        return _json({"name": service.name, "ready": True})

    def _find(self, path: str) -> tuple[str | None, str]:
        """Return the version and the verb of a model's path; the verb is empty for its metadata."""
        model, found, rest = path.removeprefix("/v2/models/").partition("/")
        if not path.startswith("/v2/models/") or (found and not rest):
            raise NotFoundError(f"path: expected one that /openapi.json lists, found '{path[:80]}'")
        if model != self._service.name:
            raise NotFoundError(f"model: expected '{self._service.name}', found '{model[:80]}'")
        version = None
        if rest.startswith("versions/"):
            version, _, rest = rest.removeprefix("versions/").partition("/")
        if rest not in ("", "ready", "infer", "stats") or version == "":
            raise NotFoundError(f"path: expected ready, infer or stats after the model, found '{rest[:80]}'")
        return version, rest

    def _ready(self) -> Reply:
        is_ready = not self._service.is_draining
        return _json({"ready": is_ready, "live": True}, 200 if is_ready else 503)

    def _follower_status(self) -> FollowerStatus | None:
        return None if self._follower is None else self._follower.status()

    def _show_page(self) -> Reply:
        page = self._page
        return Reply(
            200, page.html, b"text/html; charset=utf-8", ((b"content-security-policy", page.policy), *_SAFE)
        )

    def _check_access(self, path: str, headers: Headers) -> None:
        """Check the token, and refuse requests of another site's web page in a browser of this machine."""
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if self._access.is_loopback_only and not _is_loopback(host):
            raise ForbiddenError(f"Host: expected a loopback address, found '{host[:80].decode('latin-1')}'")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise ForbiddenError("Origin: expected no web page, or the server's own, found another site's")
        if self._access.token is None or path in _WITHOUT_TOKEN:
            return
        authorization = headers.get(b"authorization", b"")
        if not hmac.compare_digest(authorization, b"Bearer " + self._access.token):
            raise UnauthorisedError("Authorization: expected `Bearer TOKEN` with the server's token")

    async def _read(self, headers: Headers, receive: Callable[[], Awaitable[Message]]) -> bytes:
        """Return the body. The rest of a body that is too long is read and discarded, up to a limit."""
        max_bytes, max_read_bytes = self._max_body_bytes, self._max_body_bytes * _MAX_DISCARDED_BODIES
        announced = headers.get(b"content-length", b"")
        size = int(announced) if announced.isdigit() else 0
        kept: list[bytes] = []
        read, is_more = 0, size <= max_read_bytes
        while is_more and read <= max_read_bytes:
            message = await receive()
            if message["type"] != "http.request":
                raise _DisconnectedError
            piece, is_more = message.get("body", b""), message.get("more_body", False)
            read += len(piece)
            if read <= max_bytes:
                kept.append(piece)
        if max(size, read) > max_bytes:
            raise TooLargeError(f"body: expected at most {max_bytes} bytes, found {max(size, read)} or more")
        return kept[0] if len(kept) == 1 else b"".join(kept)


def _check_method(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodError(method, ", ".join(allowed))


def _json(tree: dict[str, Any], status_code: int = 200) -> Reply:
    return Reply(status_code, msgspec.json.encode(tree))


@functools.lru_cache(maxsize=64)
def _is_loopback(host: bytes) -> bool:
    """Return whether a Host header is a loopback address or `localhost`."""
    name, colon, port = host.decode("latin-1").rpartition(":")
    name = name if colon and port.isdigit() else host.decode("latin-1")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    return name == "localhost"


def _refusal(exc: RefusalError) -> Reply:
    more: list[tuple[bytes, bytes]] = []
    if isinstance(exc, MethodError):
        more.append((b"allow", exc.allowed.encode()))
    if isinstance(exc, UnauthorisedError):
        more.append((b"www-authenticate", b"Bearer"))
    if isinstance(exc, UnauthorisedError | ForbiddenError | TooLargeError):
        more.append((b"connection", b"close"))  # the body was not read, or not completely
    return Reply(exc.status, render_error(str(exc)), _JSON, tuple(more))
