"""The server's process: its address, its token, its beginning and its end."""

import argparse
import contextlib
import gc
import ipaddress
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.sources import Source
from sacpipe.rollout.starting_policy import load_starting_policy
from sacpipe.server.app import Access, App
from sacpipe.server.connection import LIMITS, Connection, ConnectionLimits, ServerConfig
from sacpipe.server.service import Service

_BACKLOG = 128
_MIN_TOKEN = 16


class Address(Config):
    """Where to listen."""

    host: str
    port: int = Field(ge=0, le=65_535)
    """0 for any that is free."""


class Server(uvicorn.Server):
    """uvicorn's server, with our way to end: not ready at once, deaf after a while, then exit code 0."""

    def __init__(self, config: ServerConfig, service: Service) -> None:
        super().__init__(config)
        self._service, self._drain_s = service, config.limits.drain_s
        self._deaf_at_s: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        # What lives now lives for ever: a collection need not look at it again.
        gc.collect()
        gc.freeze()
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            policy = self._service.active.policy
            sys.stderr.write(
                f"sacpipe: serving {policy.contract.spec.task}, bundle {policy.digest[:12]}, at {where}\n"
            )
        sys.stderr.flush()

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to stop accepting connections."""
        is_over = self._deaf_at_s is not None and time.monotonic() >= self._deaf_at_s
        return await super().on_tick(counter) or is_over

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take Ctrl-C and SIGTERM. uvicorn's own way raises them again at the end, and so the exit code."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's shape
        """Begin to end; the second time, end now."""
        if self._deaf_at_s is not None:
            self.should_exit = self.force_exit = True
        self._service.is_draining = True
        self._deaf_at_s = time.monotonic() + self._drain_s


def serve_source(source: Source, arguments: argparse.Namespace) -> int:
    """Serve what a source names as the command line says, until Ctrl-C or SIGTERM; return the exit code.

    Raises:
        ConfigError: settings, store, name, address or token are not as they should be.
        BundleError: the gate refuses the bundle; with --follow, only where no other is in the store.
        StoreError: the source failed; with --follow, likewise.
        BusyError: another process has the store.
    """
    settings = FollowSettings.read(None if arguments.terms is None else Path(arguments.terms))
    address = Address.parse({"host": arguments.host, "port": arguments.port}, source="command line")
    token = read_token(arguments.token_file)
    access = access_of(address, token, is_insecure=arguments.insecure_no_token)
    if arguments.follow != (arguments.store is not None):
        raise ConfigError("--follow, --store: expected both or none. The store keeps what may serve.")
    if not arguments.follow:
        serve(
            Service(run_load_gate(source.resolve().pull(), settings.gate).policy, arguments.name),
            address,
            access,
        )
        return 0
    with BundleStore(Path(arguments.store)) as store:
        service = Service(load_starting_policy(source, store, settings.gate), arguments.name)
        with Follower(source, service, store, settings) as follower:
            serve(service, address, access, follower=follower)
    return 0


def serve(
    service: Service,
    address: Address,
    access: Access,
    limits: ConnectionLimits = LIMITS,
    follower: Follower | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: nobody can listen at the address.
    """
    app: Any = App(service, access, limits.body_bytes, follower)  # uvicorn's types of messages are private
    config = ServerConfig(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="uvloop" if sys.platform != "win32" else "auto",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=round(limits.request_s) + 1,
    )
    config.limits = limits
    with _listen(address) as listener:
        Server(config, service).run([listener])


def access_of(address: Address, token: bytes | None, *, is_insecure: bool) -> Access:
    """Say who may ask at an address.

    Raises:
        ConfigError: everybody on the network might.
    """
    is_loopback = address.host == "localhost"
    with contextlib.suppress(ValueError):
        is_loopback = ipaddress.ip_address(address.host).is_loopback
    if not is_loopback and token is None and not is_insecure:
        raise ConfigError(
            f"--host: expected a loopback address where there is no token, found '{address.host}'. Give "
            "--token-file or SACPIPE_TOKEN, or read in --help what --insecure-no-token risks."
        )
    return Access(token, is_loopback and token is None)


def read_token(file: str | None) -> bytes | None:
    """Return the token of a file, or of the environment, or None.

    Raises:
        ConfigError: the file cannot be read, or it is no token that a header can carry. It is never shown.
    """
    where = "SACPIPE_TOKEN" if file is None else file
    try:
        text = os.environ.get("SACPIPE_TOKEN") if file is None else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--token-file: {file} cannot be read: {type(exc).__name__}.") from exc
    if text is None:
        return None
    token = text.strip()
    if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{where}: expected a token of at least {_MIN_TOKEN} ASCII letters, digits or signs, no spaces. "
            "`openssl rand -hex 32` makes one."
        )
    return token.encode()


def _listen(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where = found[0]
        return socket.create_server((str(where[0]), int(where[1])), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise ConfigError(
            f"--host, --port: nobody can listen at {address.host}, port {address.port}: {exc}. "
            "Choose another port, or 0 for any."
        ) from exc
