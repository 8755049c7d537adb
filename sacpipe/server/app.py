"""The server's paths: documents, access, answers. docs/serving.md describes them.

A client receives the text of a refusal, but nothing of an unforeseen exception: that goes to the log.
"""

import contextlib
import functools
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from sacpipe.core.config import Config
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.follower_status import FollowerStatus
from sacpipe.server.http_errors import FaultError, NotFoundError, RefusalError
from sacpipe.server.http_messages import Head, Reply, Request
from sacpipe.server.metadata import (
    Live,
    Ready,
    StatisticsAnswer,
    model_metadata,
    server_metadata,
)
from sacpipe.server.openapi import openapi
from sacpipe.server.page import Page
from sacpipe.server.prometheus import prometheus_text
from sacpipe.server.protocol import Rendered, render_error
from sacpipe.server.service import Call, Service
from sacpipe.server.status import server_status

Headers = dict[bytes, bytes]

_LOGGER = logging.getLogger(__name__)
_BINARY = b"application/octet-stream"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_SAFE = (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")
_MAX_UNUSED_BODY_BYTES = 1024
"""Body of a request that needs none: some clients send `{}`."""
_WITHOUT_TOKEN = frozenset({"/", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no token: their answers have no secrets."""
_INTERNAL_ERROR = "internal error; the log of the server has the details"


class Access(NamedTuple):
    """Which clients may use the server."""

    token: bytes | None
    """Token that each request must carry; None where every client that reaches the address has access."""
    is_loopback_only: bool
    """Whether to refuse requests whose Host is not a loopback address."""


class App:
    """Answers the requests of one service, and of the follower that updates it."""

    def __init__(
        self, service: Service, access: Access, max_body_bytes: int, follower: Follower | None = None
    ) -> None:
        self._service, self._access, self._max_body_bytes = service, access, max_body_bytes
        self._follower = follower
        self._page = Page.load()
        self._documents: dict[str, Callable[[], Reply]] = {
            "/": self._show_page,
            "/status.json": lambda: _json(server_status(service, self._follower_status())),
            "/metrics": lambda: Reply(200, prometheus_text(service, self._follower_status()), _TEXT),
            "/openapi.json": lambda: _json(openapi(service.active)),
            "/v2": lambda: _json(server_metadata()),
            "/v2/": lambda: _json(server_metadata()),
            "/v2/health/live": lambda: _json(Live(live=True)),
            "/v2/health/ready": self._ready,
            "/v2/models/stats": lambda: _json(StatisticsAnswer([service.active.statistics])),
        }

    def is_trusted(self, head: Head) -> bool:
        """Return whether the request shows the token; true for every request if the server has none."""
        token = self._access.token
        if token is None:
            return True
        scheme, _, shown = head.headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(shown.strip(), token)

    def max_body_bytes(self, head: Head) -> int:
        """Check access, path and method, and return the largest body of the request.

        Raises:
            RefusalError: the request is refused whatever its body holds.
        """
        self._check_access(head)
        if head.path in self._documents:
            _check_method(head.method, "GET", "HEAD")
            return _MAX_UNUSED_BODY_BYTES
        _, verb = self._find(head.path)
        if verb != "infer":
            _check_method(head.method, "GET", "HEAD")
            return _MAX_UNUSED_BODY_BYTES
        _check_method(head.method, "POST")
        coding = head.headers.get(b"content-encoding", b"identity")
        if coding.lower() != b"identity":
            raise RefusalError(
                f"Content-Encoding: expected identity, found '{coding[:40].decode('latin-1')}'. "
                "Send the body as it is",
                status=415,
            )
        return self._max_body_bytes

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer one request; never raises."""
        try:
            document = self._documents.get(request.path)
            if document is not None:
                return document()
            version, verb = self._find(request.path)
            if verb == "infer":
                return self._infer(request, version)
            return self._describe(version, verb)
        except RefusalError as exc:
            return self.refuse(exc)
        except Exception:
            _LOGGER.exception("sacpipe: a request failed")
            return self.refuse(FaultError(_INTERNAL_ERROR))

    def refuse(self, error: RefusalError) -> Reply:
        """Return the answer for an error."""
        return Reply(error.status, render_error(str(error)), more_headers=error.headers)

    def _infer(self, request: Request, version: str | None) -> Reply | Awaitable[Reply]:
        length = request.headers.get(b"inference-header-content-length")
        answer = self._service.answer(Call(request.body, length, version, request.arrived_ns))
        if isinstance(answer, Rendered):
            return _rendered(answer)
        return self._infer_in_slices(answer)

    async def _infer_in_slices(self, answer: Awaitable[Rendered]) -> Reply:
        try:
            return _rendered(await answer)
        except RefusalError as exc:
            return self.refuse(exc)
        except Exception:
            _LOGGER.exception("sacpipe: a request failed")
            return self.refuse(FaultError(_INTERNAL_ERROR))

    def _describe(self, version: str | None, verb: str) -> Reply:
        service, active = self._service, self._service.active
        active.check_version(version)
        if verb == "stats":
            return _json(StatisticsAnswer([active.statistics]))
        if verb == "":
            return _json(model_metadata(active))
        error = "the server is shutting down" if service.is_draining else ""
        error = error or ("no policy may act here now" if active.is_halted else "")
        if error:
            return _json(Ready(name=service.name, ready=False, error=error), 503)
        return _json(Ready(name=service.name, ready=True))

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
        is_ready = not (self._service.is_draining or self._service.active.is_halted)
        return _json(Ready(ready=is_ready, live=True), 200 if is_ready else 503)

    def _follower_status(self) -> FollowerStatus | None:
        return None if self._follower is None else self._follower.status()

    def _show_page(self) -> Reply:
        page = self._page
        return Reply(
            200, page.html, b"text/html; charset=utf-8", ((b"content-security-policy", page.policy), *_SAFE)
        )

    def _check_access(self, head: Head) -> None:
        """Check the token, and refuse requests of another site's web page in a browser of this machine.

        Raises:
            RefusalError: the Host or the Origin is another than this server's, or the token is missing.
        """
        host, origin = head.headers.get(b"host", b"").lower(), head.headers.get(b"origin")
        if self._access.is_loopback_only and not _is_loopback(host):
            fault = f"Host: expected a loopback address, found '{host[:80].decode('latin-1')}'"
            raise RefusalError(fault, status=403)
        if origin is not None and origin.lower().partition(b"://")[2] != host:
            fault = "Origin: expected no web page, or the server's own, found another site's"
            raise RefusalError(fault, status=403)
        if head.path not in _WITHOUT_TOKEN and not self.is_trusted(head):
            fault = "Authorization: expected `Bearer TOKEN` with the server's token"
            raise RefusalError(fault, status=401, headers=((b"www-authenticate", b"Bearer"),))


def _check_method(method: str, *allowed: str) -> None:
    if method not in allowed:
        expected = ", ".join(allowed)
        fault = f"method: expected {expected}, found {method}"
        raise RefusalError(fault, status=405, headers=((b"allow", expected.encode()),))


def _json(answer: Any, status_code: int = 200) -> Reply:
    try:
        return Reply(status_code, msgspec.json.encode(answer, enc_hook=Config.as_tree))
    except UnicodeEncodeError:  # a path that is not valid UTF-8
        tree = msgspec.to_builtins(answer, enc_hook=Config.as_tree)
        return Reply(status_code, msgspec.json.encode(_escaped(tree)))


def _escaped(value: Any) -> Any:
    """Return a JSON tree whose text is valid UTF-8: other bytes of a path are shown as escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value


def _rendered(answer: Rendered) -> Reply:
    if answer.header_length is None:
        return Reply(200, answer.body)
    length = str(answer.header_length).encode()
    return Reply(200, answer.body, _BINARY, ((b"inference-header-content-length", length),))


@functools.lru_cache(maxsize=64)
def _is_loopback(host: bytes) -> bool:
    """Return whether a Host header is a loopback address or `localhost`."""
    name, colon, port = host.decode("latin-1").rpartition(":")
    name = name if colon and port.isdigit() else host.decode("latin-1")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    return name == "localhost"
